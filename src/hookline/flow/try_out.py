"""Trying an endpoint out: one event through its real sender, answered with the whole attempt. Free of HTTP.

Nothing is stored and no books change; the endpoint may be paused, disabled or unverified, and its patterns and
filter are not asked. Whoever has not agreed yet gets nothing that the caller wrote. Signature, credentials, format,
headers, `timeout_s` and success rules are those of deliveries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hookline.core import ids
from hookline.core.attempt import Outcome, cause_of
from hookline.core.endpoint import Endpoint, EndpointState
from hookline.core.errors import Conflict, NotFound, Refusal, StoreUnavailable
from hookline.core.event import EVENT_BYTES_MAX, Event
from hookline.core.event_type import check_type
from hookline.core.history import AttemptRecord
from hookline.core.ids import IdMaker
from hookline.flow.aside import FENCE, ORDINAL, Aside, succeeded, trial_event, usable
from hookline.flow.catalogue import Catalogue
from hookline.flow.deliveries import AttemptView, request_body
from hookline.flow.reading import read_optional
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.store import EndpointRow

Verified = Callable[[EndpointRow], Awaitable[None]]


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent: an event of `type` with the catalogue's example, or with `data`; by default a small test event."""

    type: str | None = None
    data: Raw | UnsetType = UNSET


class Tried(msgspec.Struct, frozen=True):
    """The attempt, and whether it was a success by the endpoint's own rules."""

    view: AttemptView
    success: bool


_TRIAL = msgspec.json.Decoder(Trial)


class TryOut:
    """The service behind `POST /v1/endpoints/{id}/test`. `verified` is told of the success of an endpoint that is
    verified by a test."""

    def __init__(
        self,
        registry: Registry,
        catalogue: Catalogue,
        aside: Aside,
        id_maker: IdMaker,
        now_ms: Callable[[], int],
        clock: Clock,
        verified: Verified,
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._aside = aside
        self._ids = id_maker
        self._now_ms = now_ms
        self._clock = clock
        self._verified = verified

    async def run(self, tenant: str, reference: str, body: bytes) -> Tried:
        """Send one event now. Raises `Refusal` for what is asked for wrongly, and `overloaded` where there is no room;
        `NotFound`; `Conflict` where the endpoint cannot be sent to, or not this."""
        trial = read_optional(_TRIAL, body, code="invalid_parameter", noun="test")
        row = await self._catalogue.endpoint(tenant, reference)
        event = await self._event(tenant, trial)
        endpoint = await usable(self._registry, row)
        if endpoint.state is EndpointState.UNVERIFIED and trial.data is not UNSET:
            detail = (
                "The endpoint is unverified: until its receiver has agreed, a test is sent without data of your own."
            )
            raise Conflict(detail, code="wrong_state")
        started_ms, started_s = self._now_ms(), self._clock.monotonic_s()
        outcome = await self._aside.send(endpoint, event)
        total_us = outcome.timing.total_us or int((self._clock.monotonic_s() - started_s) * 1e6)
        if succeeded(outcome) and endpoint.verify == "test":
            try:
                await self._verified(row)
            except (Conflict, NotFound, StoreUnavailable):
                pass  # changed meanwhile, or not now: it is asked again by itself, and the attempt is the answer
        record = _record(endpoint, outcome, started_ms, total_us)
        identifier = ids.attempt_id(ids.delivery_id(event.id, ORDINAL), FENCE)
        return Tried(AttemptView(identifier, record, request_body(record, event)), succeeded(outcome))

    async def _event(self, tenant: str, trial: Trial) -> Event:
        identifier = self._ids.make(self._now_ms())
        data = None if trial.data is UNSET else bytes(trial.data)
        if data is not None and len(data) > EVENT_BYTES_MAX:
            raise Refusal("event_too_large", f"A payload has at most {EVENT_BYTES_MAX:,} bytes.", pointer="/data")
        if trial.type is None:
            event = trial_event(identifier, tenant)
            return event if data is None else msgspec.structs.replace(event, data=data)
        try:
            check_type(trial.type)
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.detail, pointer="/type") from None
        if data is None:
            data = await self._example(tenant, trial.type)
        return Event(id=identifier, tenant=tenant, type=trial.type, data=data)

    async def _example(self, tenant: str, event_type: str) -> bytes:
        try:
            row = await self._catalogue.event_type(tenant, event_type)
        except NotFound:
            detail = "This type is not in the catalogue, so there is no example of it: give data."
            raise Refusal("unknown_event_type", detail, pointer="/type") from None
        if row.example is None:
            detail = "The catalogue has no example of this type: give data, or add an example to the type."
            raise Refusal("invalid_parameter", detail, pointer="/data")
        return row.example


def _record(endpoint: Endpoint, outcome: Outcome, started_ms: int, total_us: int) -> AttemptRecord:
    return AttemptRecord(
        number=1,
        at_ms=started_ms,
        kind=str(outcome.kind),
        status=outcome.status,
        reason=outcome.reason,
        cause=cause_of(outcome.reason, outcome.status),
        detail=outcome.detail,
        duration_us=total_us,
        timing=msgspec.structs.replace(outcome.timing, total_us=total_us),
        endpoint_version=endpoint.version,
        exchange=outcome.seen,
    )
