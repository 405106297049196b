"""Confirm: what receivers say of a delivery after they have taken it, and what becomes of it. Free of HTTP.

What is said is durable before it is answered; a step of the upkeep then records what follows from it, fenced like
every other change. Who says nothing in time is taken for a failed try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hookline.core.confirm import Tokens
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.errors import NotFound
from hookline.core.verdict import Verdict, judge_confirmation
from hookline.flow.channel import Channel
from hookline.flow.health import HealthKeeper
from hookline.flow.reading import read
from hookline.flow.record import Recorder
from hookline.flow.registry import Registry
from hookline.flow.tell import News, Tell
from hookline.ports.clock import Clock
from hookline.ports.store import Confirmations, RecordItem, Unconfirmed

BYTES_MAX: Final = 4 * 1024
"""A confirmation's body is at most so large."""
MESSAGE_CHARS_MAX: Final = 1024
STEP: Final = 500
_SPOKEN_MAX: Final = 10_000


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a receiver says: his work is done, or it failed; and a line for a person."""

    status: Literal["success", "error"]
    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""


_CONFIRMATION = msgspec.json.Decoder(Confirmation)


class Confirm:
    """The service behind `POST /v1/confirm/{token}`. It belongs to one event loop."""

    def __init__(self, store: Confirmations, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens
        self._spoken: dict[bytes, None] = {}
        """Said here and not recorded yet, so that what is said before the answer is recorded right after it. (What
        is said on another node, or beyond the bound, waits for the next step.)"""
        self.wanted: Callable[[], None] = lambda: None
        """Called when `Settle` has something to record."""

    def delivery(self, token: str) -> bytes:
        """The delivery that a token of ours speaks of. Raises `NotFound` for any other text."""
        delivery_id = self._tokens.read(token)
        if delivery_id is None:
            raise NotFound("no such token")
        return delivery_id

    async def confirm(self, delivery_id: bytes, body: bytes) -> bool:
        """Keep what the receiver says, in JSON; whether it counts: False for what is too late, or was said already.

        Raises `Refusal`: `malformed_json`, `unknown_field`, `invalid_confirmation`; `StoreUnavailable`.
        """
        said = read(_CONFIRMATION, body, code="invalid_confirmation", noun="confirmation")
        applied = await self._store.confirm(delivery_id, said.status == "success", said.message.encode())
        if applied:
            if len(self._spoken) >= _SPOKEN_MAX:
                del self._spoken[next(iter(self._spoken))]  # the oldest: perhaps its attempt failed all the same
            self._spoken[delivery_id] = None
            self.wanted()
        return applied

    def is_unconfirmed(self, delivery_id: bytes) -> None:
        """From now on the delivery waits for its confirmation: it may have been given already."""
        if delivery_id in self._spoken:
            self.wanted()

    def settled(self, delivery_id: bytes) -> None:
        """What was said of it is being recorded."""
        self._spoken.pop(delivery_id, None)


class Settle:
    """Records what was said. `channel_of` is `flow.deliver`'s, for endpoints whose rules disable them."""

    def __init__(
        self,
        store: Confirmations,
        registry: Registry,
        confirm: Confirm,
        recorder: Recorder,
        tell: Tell,
        health: HealthKeeper,
        channel_of: Callable[[bytes], Channel | None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._registry = registry
        self._confirm = confirm
        self._recorder = recorder
        self._tell = tell
        self._health = health
        self._channel_of = channel_of
        self._clock = clock
        self._first: bytes | None = None

    async def step(self) -> bool:
        """Record what was said, and what was not said in time; whether there may be more."""
        rows = await self._store.unconfirmed(STEP)
        for change in [self._record(row) for row in rows]:
            await change
        # What could not be recorded comes again: not at once, so that it does not keep this busy.
        first = rows[0].ref.delivery_id if rows else None
        more, self._first = first is not None and first != self._first, first
        return more

    def _record(self, row: Unconfirmed) -> asyncio.Future[None]:
        ref = row.ref
        self._confirm.settled(ref.delivery_id)
        endpoint = self._registry.endpoint(ref.endpoint_id)
        if endpoint is None:
            # Deleted: what is pending is closed with it (`Upkeep.close_deleted`).
            verdict = Verdict(State.DELIVERED) if row.success else Verdict(State.PENDING)
        else:
            verdict = judge_confirmation(row.success, endpoint, tries=row.tries, dice=self._clock.dice())
        item = RecordItem(
            delivery_id=ref.delivery_id,
            fence=ref.fence,
            endpoint_id=ref.endpoint_id,
            tenant=ref.tenant,
            after=verdict.after,
            wait_s=verdict.wait_s,
            reason=verdict.reason,
            lane_waits=endpoint is None or endpoint.lane != "skip",
        )
        if endpoint is None:
            return self._recorder.change(item)
        channel = self._channel_of(endpoint.id) if verdict.disable else None
        if channel is not None:
            self._health.disable(channel, endpoint, row.event, verdict.reason or "rule")
        return self._recorder.change(item, self._news(row, endpoint, verdict))

    def _news(self, row: Unconfirmed, endpoint: Endpoint, verdict: Verdict) -> News | None:
        if not self._tell.wanted(endpoint, row.event, verdict.after, escalate=verdict.escalate):
            return None
        return News(
            endpoint=endpoint,
            event=row.event,
            delivery_id=row.ref.delivery_id,
            after=verdict.after,
            attempts=row.attempts,
            reason=verdict.reason,
            escalate=verdict.escalate,
            message=row.message,
        )
