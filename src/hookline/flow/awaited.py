"""Answers of endpoints that somebody waits for: a provider whose answer is the endpoint's."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from hookline.core.attempt import Kind, Outcome
from hookline.ports.clock import Clock

AWAITED_MAX: Final = 4096
"""So many wait at once; who comes then is answered without."""


class Given(msgspec.Struct, frozen=True):
    """What an endpoint answered to a delivery that it took."""

    status: int
    content_type: str
    body: bytes


class Awaited:
    """Deliveries by event and endpoint, each with who waits for its answer. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[tuple[bytes, bytes], asyncio.Future[Given | None]] = {}
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wants(self, event_id: bytes, endpoint_id: bytes) -> bool:
        """Whether the whole answer to this delivery is wanted."""
        return (event_id, endpoint_id) in self._waiting

    def tell(self, event_id: bytes, endpoint_id: bytes, outcome: Outcome) -> None:
        """An attempt has ended. One that failed is tried again, and its answer is not the last word."""
        waiter = self._waiting.get((event_id, endpoint_id))
        if waiter is None or waiter.done() or outcome.kind is not Kind.DELIVERED or outcome.status is None:
            return
        exchange = outcome.seen
        headers = () if exchange is None else exchange.response_headers
        content_type = next((value for name, value in headers if name == b"content-type"), b"")
        waiter.set_result(Given(outcome.status, content_type.decode("latin-1"), outcome.answer or b""))

    def begin(self, event_id: bytes, endpoint_id: bytes) -> asyncio.Future[Given | None] | None:
        """Wait for this delivery's answer, from now on; None: too many wait, or it ends."""
        if self._closed or len(self._waiting) >= AWAITED_MAX:
            return None
        waiter: asyncio.Future[Given | None] = asyncio.get_running_loop().create_future()
        self._waiting[event_id, endpoint_id] = waiter
        return waiter

    async def answer(
        self, event_id: bytes, endpoint_id: bytes, waiter: asyncio.Future[Given | None], within_s: float
    ) -> Given | None:
        """What came within so long, or None."""
        slept = asyncio.ensure_future(self._clock.sleep(within_s))
        try:
            await asyncio.wait((waiter, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
            self._waiting.pop((event_id, endpoint_id), None)
        return waiter.result() if waiter.done() and not waiter.cancelled() else None

    def close(self) -> None:
        """Nobody waits any longer: the process ends."""
        self._closed = True
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(None)
