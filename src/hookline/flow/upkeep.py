"""What runs beside the way of an event: take back, unfold, close, sweep, fold, expire, purge.

Each is a loop of its own with bounded steps, and none of them ends when a step fails: the store's outage is waited
out. A step that is needed now is asked for by `soon`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from hookline.flow import report
from hookline.flow.expire import PURGE_PAUSE_S, Announcer, Expire
from hookline.flow.rescue import Rescue
from hookline.flow.reseal import Reseal
from hookline.flow.waiting import wait_for_set
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Store

OVERFLOW_STEP: Final = 500
LOST_STEP: Final = 1000
BY_ONE: Final = frozenset(
    (
        "close_deleted",
        "fold",
        "sweep_lanes",
        "purge_dedupe",
        "overflow",
        "expire",
        "purge",
        "reseal",
        "settle",
        "verify",
    )
)
"""One process is enough for these; when it dies another one is the first of those that live."""


class _Step(msgspec.Struct):
    name: str
    run: Callable[[], Awaitable[bool]]
    """Does one bounded step; True: there is more to do at once."""
    every_s: float
    wanted: asyncio.Event
    pause_s: float = 0.0
    """Between two steps although there is more to do: what need not be quick leaves the store to the others."""
    alone: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """A step keeps its place between two awaits: one by hand waits for that of the loop."""

    async def once(self) -> bool:
        async with self.alone:
            return await self.run()


UNFOLD_ALONE: Final = 500
UNFOLD_BESIDE: Final = 25
UNFOLD_PAUSE_S: Final = 0.02
"""Beside publishers a big fan-out becomes 2,000 deliveries a second at most: in bigger steps their commits would wait
for it, and all of one core would be its."""


class Upkeep:
    """The loops. `run` gathers them; cancel it to end them."""

    def __init__(
        self,
        store: Store,
        rescue: Rescue,
        wake: Wake,
        clock: Clock,
        observer: Observer,
        expire: Expire,
        announcer: Announcer,
        reseal: Reseal,
        *,
        open_max: int = 1_000_000,
    ) -> None:
        self._store = store
        self._rescue = rescue
        self._announcer = announcer
        self._wake = wake
        self._clock = clock
        self._observer = observer
        self._open_max = open_max
        self.publishing: Callable[[], bool] = lambda: False
        """Whether somebody publishes: then a big fan-out takes its time."""
        self.mine: Callable[[], bool] = lambda: True
        """Whether this process does what one of all is enough for."""
        self._overflowed: dict[bytes, bytes] = {}
        """Of each endpoint that had too many, the first that the last step failed."""
        self._steps = {
            step.name: step
            for step in (
                _Step("take_back", self._take_back, 5.0, asyncio.Event()),
                _Step("unfold", self._unfold, 5.0, asyncio.Event()),
                _Step("close_deleted", self._close_deleted, 1.0, asyncio.Event()),
                _Step("fold", self._fold, 1.0, asyncio.Event()),
                _Step("sweep_lanes", self._sweep_lanes, 30.0, asyncio.Event()),
                _Step("purge_dedupe", self._purge_dedupe, 5.0, asyncio.Event()),
                _Step("overflow", self._overflow, 5.0, asyncio.Event()),
                _Step("expire", expire.expire, 10.0, asyncio.Event()),
                _Step("purge", expire.purge, 10.0, asyncio.Event(), PURGE_PAUSE_S),
                _Step("reseal", reseal.step, 3600.0, asyncio.Event()),
            )
        }

    def add(self, name: str, run: Callable[[], Awaitable[bool]], every_s: float) -> None:
        """One more step, before `run`."""
        self._steps[name] = _Step(name, run, every_s, asyncio.Event())

    def soon(self, name: str) -> None:
        """Run this step now."""
        self._steps[name].wanted.set()

    async def run(self, names: Sequence[str] | None = None) -> None:
        """Run all loops (or those named) until cancelled."""
        steps = self._steps.values() if names is None else [self._steps[name] for name in names]
        await asyncio.gather(*(self._loop(step) for step in steps))

    async def once(self, name: str) -> bool:
        """One step by hand; whether there is more to do. For tests and for the start."""
        return await self._steps[name].once()

    async def _loop(self, step: _Step) -> None:
        while True:
            step.wanted.clear()
            try:
                more = (step.name not in BY_ONE or self.mine()) and await step.once()
            except Exception as error:  # noqa: BLE001 - a loop that ended silently would be the worst of failures
                self._observer.warn("upkeep_failed", step=step.name, error=str(error) or repr(error))
                more = False
            if more:
                await (self._clock.sleep(step.pause_s) if step.pause_s else asyncio.sleep(0))
                continue
            await wait_for_set(step.wanted, self._clock, step.every_s)

    async def _take_back(self) -> bool:
        count = await self._rescue.once()
        if count:
            self._observer.fact("taken_back", deliveries=count)
        return count >= LOST_STEP

    async def _unfold(self) -> bool:
        beside = self.publishing()
        due_s, more = await self._store.unfold(UNFOLD_BESIDE if beside else UNFOLD_ALONE)
        self._wake.notify(due_s)
        if more and beside:
            await self._clock.sleep(UNFOLD_PAUSE_S)
        return more

    async def _close_deleted(self) -> bool:
        closed = await self._store.close_deleted()
        if closed:
            self._observer.closed("discarded", closed)
        return closed > 0

    async def _fold(self) -> bool:
        await self._store.fold()
        return False

    async def _sweep_lanes(self) -> bool:
        promoted = await self._store.sweep_lanes()
        if promoted:
            self._observer.warn("lanes_without_head", lanes=promoted)
            self._wake.notify(await self._store.due())
        return False

    async def _purge_dedupe(self) -> bool:
        return await self._store.purge_dedupe() > 0

    async def _overflow(self) -> bool:
        more = False
        before, self._overflowed = self._overflowed, {}
        for endpoint_id, count in (await self._store.open_by_endpoint(self._open_max)).items():
            refs = await self._store.oldest(endpoint_id, min(OVERFLOW_STEP, count - self._open_max))
            if not refs:
                continue
            self._overflowed[endpoint_id] = refs[0].delivery_id
            await self._rescue.overflow(refs)
            self._observer.warn("overflow", endpoint=endpoint_id.hex(), failed=len(refs))
            await self._announcer.say(report.ENDPOINT_OVERFLOW, endpoint_id, open_max=self._open_max)
            # What could not be recorded comes again: not at once, so that it does not keep this busy.
            more = more or before.get(endpoint_id) != refs[0].delivery_id
        return more
