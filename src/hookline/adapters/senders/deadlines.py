"""Deadlines without a timer each: one sweep looks at everything that has one.

A timer per request costs more than parsing its answer. Whoever may wait for the other side is an entry here, and
the sweep ends what is overdue, at most `SWEEP_S` late. It runs only while there are entries.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Protocol

from hookline.ports.clock import Clock

SWEEP_S: Final = 0.1
EXPIRED_MAX: Final = 8
"""In one turn of the event loop: what ends has an outcome to be told of, and hundreds may end at once."""


class Expiring(Protocol):
    """Something that must end at `deadline_s` of the monotonic clock."""

    deadline_s: float

    def expire(self) -> None:
        """The deadline has passed: end it. Must not raise."""
        ...


class Deadlines:
    """Ends its entries when their deadlines have passed. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: set[Expiring] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: Expiring) -> None:
        """Watch `entry`; its `deadline_s` may change while it is watched."""
        self._entries.add(entry)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._sweep(), name="hookline-sender-deadlines")

    def discard(self, entry: Expiring) -> None:
        """Watch `entry` no longer; nothing happens where it is not watched."""
        self._entries.discard(entry)

    def limit(self, deadline_s: float) -> Limit:
        """A block of code that must end at `deadline_s`: `TimeoutError` is raised out of it."""
        return Limit(self, deadline_s)

    def __len__(self) -> int:
        return len(self._entries)

    def stop_if_empty(self) -> None:
        """End the sweep now, instead of at its next turn, if it has nothing to watch."""
        if self._task is not None and not self._entries:
            self._task.cancel()
            self._task = None

    async def _sweep(self) -> None:
        while self._entries:
            await self._clock.sleep(SWEEP_S)
            now_s = self._clock.monotonic_s()
            overdue = [entry for entry in self._entries if entry.deadline_s <= now_s]
            for number, entry in enumerate(overdue, 1):
                if entry in self._entries and entry.deadline_s <= now_s:
                    self._entries.discard(entry)
                    entry.expire()
                if not number % EXPIRED_MAX:
                    await asyncio.sleep(0)
        self._task = None


class Limit:
    """What `asyncio.timeout_at` is, by the sweep and the clock of a `Deadlines`."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "deadline_s")

    def __init__(self, deadlines: Deadlines, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._deadlines = deadlines
        self._expired = False
        self._cancelling = 0
        self._task: asyncio.Task[object] | None = None

    def expire(self) -> None:
        """Cancel the block; its exit makes a `TimeoutError` of that."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        # Ours alone: when somebody else cancelled too, his cancellation goes on.
        if (
            self._expired
            and self._task is not None
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
