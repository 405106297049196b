"""An event loop without real time: what is due runs in order, and time jumps to whatever is due next.

A walk runs one turn at a time, so that a process can be cut off between any two of them. Nothing here depends on
threads, sockets or the machine's clock: the same seed makes the same walk.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from hookline.testing.clock import START_WALL_MS

T = TypeVar("T")

TURNS_MAX = 200_000
"""So many turns without time passing are a loop that spins."""


class Spinning(Exception):
    """Something runs again and again and lets no time pass."""


class Time:
    """The time of the world; it goes on when a process does not."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.wall_ahead_ms = START_WALL_MS - 1_000_000
        """Of the wall clock, before time; somebody may set it."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one process. `crash` is leaving it alone; `closed` says that it was."""

    def __init__(self, world: Time) -> None:
        self.world = world
        self.defects: list[str] = []
        """What was told to the exception handler: nothing of the flow should get there."""
        self.turns = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._round = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timed = 0

    # ------------------------------------------------------------------------------------- what asyncio asks for

    def time(self) -> float:
        return self.world.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.world.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timed += 1
        heapq.heappush(self._timers, (when, self._timed, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        message = context.get("message", "")
        if "was destroyed but it is pending" not in message:
            self.defects.append(f"{message}: {context.get('exception')!r}")

    # ------------------------------------------------------------------------------------------- what a walk does

    def turn(self) -> bool:
        """Run what is due next at this moment; False: nothing is, until time passes."""
        ready = self._ready
        while True:
            if not self._round:  # as asyncio does it: timers that are due come behind what is ready already
                self._due()
                self._round = len(ready)
                if not self._round:
                    return False
            self._round -= 1
            handle = ready.popleft()
            if not handle._cancelled:
                self.turns += 1
                handle._run()
                return True

    def _due(self) -> None:
        timers, now_s = self._timers, self.world.now_s
        while timers and timers[0][0] <= now_s:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._ready.append(handle)

    def run_for(self, wait_s: float, turns_max: int = 0) -> bool:
        """Let so much time pass, from one due time to the next; False: `turns_max` came first."""
        end_s = self.world.now_s + wait_s
        turns = spun = 0
        asyncio._set_running_loop(self)
        try:
            while True:
                if self.turn():
                    turns, spun = turns + 1, spun + 1
                    if turns == turns_max:
                        return False
                    if spun > TURNS_MAX:
                        raise Spinning(f"{TURNS_MAX} turns at {self.world.now_s:.3f}")
                    continue
                timers = self._timers
                while timers and timers[0][2]._cancelled:
                    heapq.heappop(timers)
                if not timers or timers[0][0] > end_s:
                    self.world.now_s = max(self.world.now_s, end_s)
                    return True
                self.world.now_s, spun = timers[0][0], 0
        finally:
            asyncio._set_running_loop(None)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something; it runs when time does."""
        return self.inside(lambda: asyncio.Task(work, loop=self))

    def inside(self, call: Callable[[], T]) -> T:
        """What is not awaited, called as from a task of this loop."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            return call()
        finally:
            asyncio._set_running_loop(before)

    def cut_off(self) -> None:
        """The process is no more. What it had begun is let go of now, not whenever memory is tidied up."""
        for _ in range(5):
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(RuntimeError):  # it wanted to wait once more
                    self.inside(task.get_coro().close)  # type: ignore[union-attr]
            if not self._ready:
                break
            self._ready.clear()
        self._timers.clear()

    def stand_still(self, wait_s: float) -> None:
        """Time passes and the process does not notice: it was stopped, or its machine slept."""
        self.world.now_s += wait_s


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of what does not wait for anything."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")


class SimulatedClock:
    """`ports.clock.Clock` of one process."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random) -> None:
        self._loop = loop
        self._world = loop.world
        self._chance = chance

    def wall_ms(self) -> int:
        return self._world.wall_ahead_ms + int(self._world.now_s * 1000)

    def monotonic_s(self) -> float:
        return self._world.now_s

    async def sleep(self, wait_s: float) -> None:
        loop = self._loop
        woken = loop.create_future()
        handle = loop.call_later(wait_s, _wake, woken) if wait_s > 0 else loop.call_soon(_wake, woken)
        try:
            await woken
        finally:
            handle.cancel()

    def dice(self) -> float:
        return self._chance.random()

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
