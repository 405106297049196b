"""Workers of an inbox: they claim what is due, run its handlers, and say to the senders what became of it.

    Worker(inbox, threads=4).run()           until SIGTERM or SIGINT; or `with Worker(inbox): …` beside other things
    await AsyncWorker(inbox).run()           in an event loop; coroutine functions and plain ones

As many workers as wanted may run, in as many processes: each event is one worker's at a time, by a lease that is
extended while it is being handled and ends by itself when its process dies.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

from hookline.sdk.inbox import Inbox
from hookline.sdk.inbox_desk import RESULTS, Desk, OnResult, Result
from hookline.sdk.inbox_table import Claimed, Confirmation

__all__ = ["RESULTS", "AsyncWorker", "Result", "Worker"]

LEASE_S: Final = 60.0
POLL_S: Final = 0.5
STOP_S: Final = 30.0
PURGE_EVERY_S: Final = 60.0
CONFIRMATIONS_AT_ONCE: Final = 4
_ERROR_WAIT_S: Final = 1.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Times:
    """When what is done now and then was done last."""

    def __init__(self, lease_s: float) -> None:
        self._every_s = {"extend": lease_s / 3, "purge": PURGE_EVERY_S}
        self._next_s = {name: time.monotonic() + every_s for name, every_s in self._every_s.items()}

    def has_come(self, name: str) -> bool:
        """Whether it is time again."""
        now_s = time.monotonic()
        if now_s < self._next_s[name]:
            return False
        self._next_s[name] = now_s + self._every_s[name]
        return True


def _checked(at_once: int, poll_s: float, stop_s: float) -> None:
    if not (1 <= at_once <= 1024 and 0 < poll_s <= 60 and stop_s >= 0):
        raise ValueError("a worker has 1 to 1,024 at once, poll_s of at most 60 and stop_s of 0 or more")


class _Wake:
    """Wakes a thread that waits. An Event would not do: a handler of signals that sets it while the thread it came upon
    is between two lines of `wait` waits for that thread's own lock, for ever. This queue may be put to from there."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake it, or let its next wait end at once."""
        self._told.put(None)

    def wait(self, wait_s: float) -> None:
        """Until it is set, at most so long; what was set until then counts once."""
        try:
            self._told.get(timeout=wait_s)
            while True:
                self._told.get_nowait()
        except queue.Empty:
            pass


class Worker:
    """Handles events in threads.

    `threads`: events at once. `lease_s`: so long an event is kept from others without a sign of life of this process.
    `poll_s`: how soon what other processes put is seen. `stop_s`: so long `stop` lets handlers end; what has not is
    another worker's after its lease. `on_result` is called, from any thread, with each `Result`. Raises `TypeError`
    where a handler is a coroutine function: `AsyncWorker` runs those.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        threads: int = 4,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        stop_s: float = STOP_S,
        on_result: OnResult | None = None,
    ) -> None:
        _checked(threads, poll_s, stop_s)
        self._inbox, self._threads, self._poll_s, self._stop_s = inbox, threads, poll_s, stop_s
        self._desk = Desk(inbox, lease_s, on_result)
        self._wake = _Wake()
        self._stopping = False
        self._lock = threading.Lock()
        self._running: dict[Claimed | Confirmation, threading.Thread] = {}
        self._thread: threading.Thread | None = None

    def run(self, *, signals: bool = True) -> bool:
        """Handle events until `stop` is called, or, with `signals` in the main thread, SIGTERM or SIGINT comes. Whether
        all that was begun has ended."""
        for handler in self._inbox.handlers:
            if handler.is_async:
                raise TypeError(f"{handler.name} is a coroutine function: AsyncWorker runs those")
        forget = self._inbox.add_waker(self._wake.set)
        before = self._catch_signals() if signals and threading.current_thread() is threading.main_thread() else {}
        times = _Times(self._desk.lease_s)
        try:
            while not self._stopping:
                try:
                    self._turn(times)
                except Exception:
                    self._inbox.logger.exception("the inbox cannot be read; it is tried again")
                    self._pause(_ERROR_WAIT_S)
                self._wake.wait(self._poll_s)
            return self._end(times)
        finally:
            forget()
            for number, handler_before in before.items():
                signal.signal(number, handler_before)

    def run_once(self) -> int:
        """Handle what is due now, in this thread, and say what senders wait for; how many events that was."""
        count = 0
        while claims := self._desk.claim(1):
            for claim in claims:
                self._handle(claim)
                count += 1
        while due := self._desk.to_confirm(CONFIRMATIONS_AT_ONCE):
            for one in due:
                self._desk.confirm(one)
        return count

    def stop(self) -> None:
        """Take no more, let what runs end; may be called from anywhere. `run` returns after it."""
        self._stopping = True
        self._wake.set()

    def __enter__(self) -> Self:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self.run, kwargs={"signals": False}, name="inbox", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the end."""
        self.stop()
        assert self._thread is not None
        self._thread.join()

    def _pause(self, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while not self._stopping and (left_s := end_s - time.monotonic()) > 0:
            self._wake.wait(left_s)

    def _turn(self, times: _Times) -> None:
        with self._lock:
            claims = [one for one in self._running if isinstance(one, Claimed)]
            confirming = len(self._running) - len(claims)
        room = self._threads - len(claims)
        if room:
            for claim in self._desk.claim(room):
                self._start(claim, self._handle)
        if confirming < CONFIRMATIONS_AT_ONCE:
            for due in self._desk.to_confirm(CONFIRMATIONS_AT_ONCE - confirming):
                self._start(due, self._desk.confirm)
        self._keep_up(times)

    def _keep_up(self, times: _Times) -> None:
        if times.has_come("extend"):
            with self._lock:
                claims = [one for one in self._running if isinstance(one, Claimed)]
            self._desk.extend(claims)
        if times.has_come("purge"):
            self._inbox.purge()

    def _start(self, one: Any, work: Callable[[Any], None]) -> None:
        def body() -> None:
            try:
                work(one)
            except Exception:
                self._inbox.logger.exception("what became of an event cannot be written; its lease ends by itself")
            finally:
                with self._lock:
                    del self._running[one]
                self._wake.set()

        thread = threading.Thread(target=body, name="inbox-handler", daemon=True)
        with self._lock:
            self._running[one] = thread
        thread.start()

    def _handle(self, claim: Claimed) -> None:
        finished = claim.finished
        try:
            todo = self._desk.todo(claim)
            if not todo:
                self._desk.over(claim)
            for handler in todo:
                finished = self._desk.run(claim, handler, finished)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the event is tried again
            self._desk.failed(claim, error)

    def _end(self, times: _Times) -> bool:
        end_s = time.monotonic() + self._stop_s
        while time.monotonic() < end_s:
            with self._lock:
                threads = list(self._running.values())
            if not threads:
                return True
            threads[0].join(min(1.0, max(0.01, end_s - time.monotonic())))
            with suppress(Exception):  # what cannot be extended is handled again; the handlers matter more now
                self._keep_up(times)
        with self._lock:
            left = [one.key for one in self._running]
        if left:
            self._inbox.logger.warning("%d events have not ended in %g s: %s", len(left), self._stop_s, left[:5])
        return not left

    def _catch_signals(self) -> dict[int, Any]:
        def told(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        return {number: signal.signal(number, told) for number in _SIGNALS}


class AsyncWorker:
    """Handles events in an event loop: coroutine functions in it, plain ones in threads.

    As `Worker`; `concurrency` is the number of events at once. What has not ended `stop_s` after `stop` is cancelled
    and free for another worker.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        concurrency: int = 16,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        stop_s: float = STOP_S,
        on_result: OnResult | None = None,
    ) -> None:
        _checked(concurrency, poll_s, stop_s)
        self._inbox, self._concurrency, self._poll_s, self._stop_s = inbox, concurrency, poll_s, stop_s
        self._desk = Desk(inbox, lease_s, on_result)
        self._running: dict[asyncio.Task[None], Claimed | Confirmation] = {}
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[bool] | None = None

    async def run(self, *, signals: bool = False) -> bool:
        """Handle events until `stop` is called, or, with `signals`, SIGTERM or SIGINT comes. Whether all that was begun
        has ended by itself."""
        self._loop = asyncio.get_running_loop()
        forget = self._inbox.add_waker(self._wake_up)
        for number in _SIGNALS if signals else ():
            self._loop.add_signal_handler(number, self.stop)
        times = _Times(self._desk.lease_s)
        try:
            while not self._is_stopping:
                try:
                    await self._turn(times)
                except Exception:
                    self._inbox.logger.exception("the inbox cannot be read; it is tried again")
                    await asyncio.sleep(_ERROR_WAIT_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._poll_s)
                self._wake.clear()
            return await self._end(times)
        finally:
            await self._cancel(list(self._running))  # where this task itself was cancelled
            forget()
            for number in _SIGNALS if signals else ():
                self._loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Take no more, let what runs end; may be called from any thread. `run` returns after it."""
        self._is_stopping = True
        self._wake_up()

    async def __aenter__(self) -> Self:
        """Run in a task of its own."""
        self._task = asyncio.create_task(self.run(), name="inbox")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and wait for the end."""
        self.stop()
        assert self._task is not None
        await self._task

    def _wake_up(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _turn(self, times: _Times) -> None:
        claims = self._claims()
        room, confirming = self._concurrency - len(claims), len(self._running) - len(claims)
        if room:
            for claim in await asyncio.to_thread(self._desk.claim, room):
                self._start(claim, self._handle(claim))
        if confirming < CONFIRMATIONS_AT_ONCE:
            for due in await asyncio.to_thread(self._desk.to_confirm, CONFIRMATIONS_AT_ONCE - confirming):
                self._start(due, asyncio.to_thread(self._desk.confirm, due))
        await self._keep_up(times)

    async def _keep_up(self, times: _Times) -> None:
        if times.has_come("extend"):
            await asyncio.to_thread(self._desk.extend, self._claims())
        if times.has_come("purge"):
            await asyncio.to_thread(self._inbox.purge)

    def _claims(self) -> Sequence[Claimed]:
        return [one for one in self._running.values() if isinstance(one, Claimed)]

    def _start(self, one: Claimed | Confirmation, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._running[task] = one
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._inbox.logger.error(
                "what became of an event cannot be written; its lease ends by itself", exc_info=error
            )
        self._wake.set()

    async def _handle(self, claim: Claimed) -> None:
        finished, desk = claim.finished, self._desk
        in_loop = False
        try:
            todo = desk.todo(claim)
            if not todo:
                await asyncio.to_thread(desk.over, claim)
            for handler in todo:
                in_loop = handler.is_async
                if not in_loop:
                    finished = await asyncio.to_thread(desk.run, claim, handler, finished)
                    continue
                await handler.call(claim.event)
                finished |= {handler.name}
                in_loop = False
                await asyncio.to_thread(desk.ran, claim, finished)
        except asyncio.CancelledError:
            if in_loop:  # what runs in a thread goes on there: its lease ends by itself
                await asyncio.to_thread(desk.give_back, claim)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the event is tried again
            await asyncio.to_thread(desk.failed, claim, error)

    async def _end(self, times: _Times) -> bool:
        end_s = time.monotonic() + self._stop_s
        while self._running and (left_s := end_s - time.monotonic()) > 0:
            await asyncio.wait(self._running, timeout=min(1.0, left_s))
            with suppress(Exception):  # what cannot be extended is handled again; the handlers matter more now
                await self._keep_up(times)
        late = list(self._running)
        if late:
            keys = [one.key for one in self._running.values()]
            self._inbox.logger.warning("%d events have not ended in %g s: %s", len(late), self._stop_s, keys[:5])
            await self._cancel(late)
        return not late

    @staticmethod
    async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
