"""How the tests send: one small event to one endpoint."""

from __future__ import annotations

import asyncio
from typing import Any

from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Outcome
from hookline.core.endpoint import Endpoint
from hookline.testing.clock import ToldClock
from hookline.testing.coroutine_sender import sent
from hookline.testing.samples import sample_endpoint
from hookline.testing.sender_contract import check_outcome, request

START_S = 10.0


async def send(sender: HttpSender, url: str, **changes: Any) -> Outcome:
    """One event to one endpoint at `url`; real time is bounded."""
    return await send_to(sender, sample_endpoint(url, **changes))


async def send_to(sender: HttpSender, endpoint: Endpoint) -> Outcome:
    """One event to `endpoint`."""
    async with asyncio.timeout(START_S):
        (outcome,) = await sent(sender, request(endpoint))
    check_outcome(outcome)
    return outcome


async def advance_until(clock: ToldClock, task: asyncio.Task[Any], step_s: float = 0.1, most_s: float = 120.0) -> float:
    """Let told time pass in steps until the task ends; returns how much of it passed."""
    start_s = clock.monotonic_s()
    while not task.done():
        assert clock.monotonic_s() - start_s < most_s, "it did not end"
        clock.advance(step_s)
        for _ in range(20):
            await asyncio.sleep(0)
    return clock.monotonic_s() - start_s
