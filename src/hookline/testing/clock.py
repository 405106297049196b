"""A clock that is told what to say: rules about days are tests of milliseconds, without a sleep."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Iterable

START_WALL_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where every told clock starts unless told otherwise."""

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_START_MONOTONIC_NS = 1_000 * _NS_PER_S  # not 0: who takes 0 for "never" is found out


class ToldClock:
    """`ports.clock.Clock` that moves only when told.

    `advance` moves wall and monotonic time together, `set_wall` makes the wall alone jump. `dice` gives what
    `tell_dice` told, then a sequence made from `seed`; `random_bytes` is made from `seed` too. Reading is safe
    from any thread; `sleep` and `advance` belong to one event loop.
    """

    def __init__(self, wall_ms: int = START_WALL_MS, *, seed: int = 0, dice: Iterable[float] = ()) -> None:
        self._monotonic_ns = _START_MONOTONIC_NS
        self._wall_ahead_ns = wall_ms * _NS_PER_MS - self._monotonic_ns
        self._told_dice: deque[float] = deque(dice)
        self._chance = random.Random(seed)  # noqa: S311  a test repeats by its seed
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sleeps = 0
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    def wall_ms(self) -> int:
        """The told wall clock, ms since 1970."""
        return (self._wall_ahead_ns + self._monotonic_ns) // _NS_PER_MS

    def monotonic_s(self) -> float:
        """Seconds that only `advance` and `run_for` move."""
        return self._monotonic_ns / _NS_PER_S

    async def sleep(self, wait_s: float) -> None:
        """Return once the clock was advanced by `wait_s` seconds; at the loop's next turn when not positive."""
        if wait_s <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeps += 1
        until_ns = self._monotonic_ns + round(wait_s * _NS_PER_S)
        heapq.heappush(self._sleepers, (until_ns, self._sleeps, waiter))
        self._tell_watchers()
        await waiter

    def dice(self) -> float:
        """The next told number, else the next of the seeded sequence; in [0, 1)."""
        return self._told_dice.popleft() if self._told_dice else self._chance.random()

    def random_bytes(self, count: int) -> bytes:
        """The next bytes of the seeded sequence: the same in every run."""
        return self._chance.randbytes(count)

    def tell_dice(self, *numbers: float) -> None:
        """What `dice` gives next, in this order; each in [0, 1)."""
        if any(not 0 <= number < 1 for number in numbers):
            raise ValueError("a dice is in [0, 1)")
        self._told_dice.extend(numbers)

    def set_wall(self, wall_ms: int) -> None:
        """Somebody sets the machine's clock: the wall jumps, durations do not."""
        self._wall_ahead_ns = wall_ms * _NS_PER_MS - self._monotonic_ns

    def advance(self, wait_s: float) -> None:
        """Let `wait_s` seconds pass at once. Sleepers that fell due are woken in the order of their times; they
        run at the loop's next turn and then see the end of the span."""
        if wait_s < 0:
            raise ValueError("time does not go back")
        self._monotonic_ns += round(wait_s * _NS_PER_S)
        self._wake()

    async def run_for(self, wait_s: float) -> None:
        """Let `wait_s` seconds pass from sleeper to sleeper: each wakes at its own time and may sleep again within
        the span. What waits for threads or sockets is not waited for."""
        end_ns = self._monotonic_ns + round(wait_s * _NS_PER_S)
        await _turns()
        while (next_ns := self._next_ns()) is not None and next_ns <= end_ns:
            self._monotonic_ns = max(self._monotonic_ns, next_ns)
            self._wake()
            await _turns()
        self._monotonic_ns = end_ns

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(1 for _, _, waiter in self._sleepers if not waiter.done())

    async def asleep(self, count: int = 1) -> None:
        """Return as soon as at least `count` sleep: the fact to wait for before `advance`."""
        if self.sleepers >= count:
            return
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((count, watcher))
        await watcher

    def _next_ns(self) -> int | None:
        """When the first sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # it was cancelled
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake(self) -> None:
        while (next_ns := self._next_ns()) is not None and next_ns <= self._monotonic_ns:
            heapq.heappop(self._sleepers)[2].set_result(None)

    def _tell_watchers(self) -> None:
        sleepers = self.sleepers
        for count, watcher in self._watchers:
            if count <= sleepers and not watcher.done():
                watcher.set_result(None)
        self._watchers = [(count, watcher) for count, watcher in self._watchers if not watcher.done()]


async def _turns() -> None:
    """Give the loop enough turns for woken tasks to do their work and to sleep again."""
    for _ in range(10):
        await asyncio.sleep(0)
