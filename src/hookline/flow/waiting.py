"""Waiting for what may come, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hookline.ports.clock import Clock


async def wait_for_set(event: asyncio.Event, clock: Clock, wait_s: float) -> None:
    """Return when the event is set, or after `wait_s` of this clock."""
    is_set = asyncio.ensure_future(event.wait())
    slept = asyncio.ensure_future(clock.sleep(wait_s))
    try:
        await asyncio.wait({is_set, slept}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_set.cancel()
        slept.cancel()


async def ended_within(work: Coroutine[Any, Any, None], clock: Clock, wait_s: float) -> bool:
    """Whether the work ended in time; otherwise it is not waited for any longer."""
    task = asyncio.ensure_future(work)
    slept = asyncio.ensure_future(clock.sleep(wait_s))
    await asyncio.wait([task, slept], return_when=asyncio.FIRST_COMPLETED)
    ended = task.done()
    task.cancel()
    slept.cancel()
    await asyncio.gather(task, slept, return_exceptions=True)
    return ended
