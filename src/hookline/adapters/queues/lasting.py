"""A connection that lasts: made again when it is lost, never in a hot loop, with at most one warning a second.

within      an end to whatever a driver does, also to one that swallows its cancellation
for_ever    connect and work, again and again, with longer and longer waits between
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

from hookline.ports.clock import Clock

T = TypeVar("T")
AGAIN_S_MIN: Final = 0.1
AGAIN_S_MAX: Final = 2.0
LASTED_S: Final = 5.0
"""A connection that was there for so long was a good one: the next is made at once."""
WARN_EVERY_S: Final = 1.0


async def within(wait_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or `TimeoutError` after `wait_s`. Some drivers go on when they are cancelled: who waits
    here does not wait for that."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait({task}, timeout=wait_s)
    finally:
        if not task.done():
            task.add_done_callback(_ended)
            task.cancel()
    if not task.done():
        raise TimeoutError(f"no answer within {wait_s:g} s")
    return task.result()


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that nobody complains that nobody did


async def for_ever(work: Callable[[], Awaitable[None]], clock: Clock, warn: Callable[[str], None]) -> NoReturn:
    """Let `work` connect and go on until it raises; say why, wait, and begin again, until cancelled.

    The waits grow from 0.1 to 2 s, and are spread: all processes lose a broker at the same moment.
    """
    again_s = AGAIN_S_MIN
    warned_s = float("-inf")
    while True:
        began_s = clock.monotonic_s()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - drivers raise more than they say; ending here would be silent
            now_s = clock.monotonic_s()
            if now_s - warned_s >= WARN_EVERY_S:
                warned_s = now_s
                warn(f"{type(error).__name__}: {error}"[:300])
        if clock.monotonic_s() - began_s >= LASTED_S:
            again_s = AGAIN_S_MIN
        await clock.sleep(again_s * (0.5 + clock.dice() / 2))
        again_s = min(AGAIN_S_MAX, 2 * again_s)
