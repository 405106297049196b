"""A store that fails on cue: at call n of a method, before or after its commit."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from hookline.core.errors import HooklineError
from hookline.ports.store import Store


class Fault(msgspec.Struct, frozen=True):
    """What is to happen at some calls of a method. Calls are counted from 1, from the start of the wrapper."""

    method: str
    first: int
    last: int
    error: HooklineError | None
    """Raised; None: the call waits instead, until `FaultyStore.let_go`."""
    after_commit: bool
    """False: the store is not asked. True: it does its work, and the caller does not learn of it."""


class FaultyStore:
    """Every method of the store it wraps, with faults on cue. `wrapped` is the store to give to the flow.

        faults = FaultyStore(store)
        faults.fail("record", StoreUnavailable("connection lost"), call=2, after_commit=True)
        engine = Engine(faults.wrapped, ...)

    A StoreUnavailable after the commit is the lost answer of rule 12 (docs/reliability.md): the caller has to repeat
    or to give back without doing anything twice.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._faults: list[Fault] = []
        self._go_on = asyncio.Event()
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self.raised: Counter[str] = Counter()
        """How often each method failed on cue."""

    @property
    def wrapped(self) -> Store:
        """The store with its faults."""
        return cast("Store", _Wrapped(self._store, self))

    def fail(
        self, method: str, error: HooklineError, *, call: int = 1, times: int = 1, after_commit: bool = False
    ) -> None:
        """Raise `error` at call number `call` of `method` from now on, and at the `times` - 1 calls after it."""
        first = self.calls[self._known(method)] + call
        self._faults.append(Fault(method, first, first + times - 1, error, after_commit))

    def stall(self, method: str, *, call: int = 1, times: int = 1, after_commit: bool = False) -> None:
        """Let those calls wait, as for a full disk or a lock, until `let_go`."""
        first = self.calls[self._known(method)] + call
        self._go_on.clear()
        self._faults.append(Fault(method, first, first + times - 1, None, after_commit))

    def let_go(self) -> None:
        """End all waits."""
        self._go_on.set()

    def heal(self) -> None:
        """No more faults; waits end."""
        self._faults.clear()
        self.let_go()

    async def around(self, method: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work, or what was told instead."""
        self.calls[method] += 1
        number = self.calls[method]
        faults = [fault for fault in self._faults if fault.method == method and fault.first <= number <= fault.last]
        for fault in faults:
            if not fault.after_commit:
                await self._happen(fault)
        result = await work()
        for fault in faults:
            if fault.after_commit:
                await self._happen(fault)
        return result

    async def _happen(self, fault: Fault) -> None:
        if fault.error is None:
            await self._go_on.wait()
        else:
            self.raised[fault.method] += 1
            raise fault.error

    def _known(self, method: str) -> str:
        if not inspect.iscoroutinefunction(getattr(self._store, method, None)):
            raise ValueError(f"a store has no method {method} that can fail")
        return method


class _Wrapped:
    """Passes everything on; what is awaited goes through the faults."""

    def __init__(self, store: Store, faults: FaultyStore) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*args: Any, **named: Any) -> Any:
            return await self._faults.around(name, lambda: method(*args, **named))

        return call
