"""Dead letters: what failed goes, with its history, to the endpoint that is named for it.

`dead_letter` of an endpoint, or else of its tenant, names that endpoint by id or uid. It gets one event of type
`hookline.dead_letter` for each delivery that is failed, in the commit that fails it, whatever it subscribes to. The
letter cannot loop: a delivery of an operational event makes none, and an endpoint gets none about itself.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hookline.core import ids
from hookline.core.endpoint import Endpoint
from hookline.core.event import HOPS_MAX, Event
from hookline.core.event_type import is_operational
from hookline.core.history import AttemptRecord
from hookline.core.ids import IdMaker
from hookline.core.json_text import holds_json
from hookline.core.page import format_time
from hookline.flow.registry import Registry
from hookline.flow.report import DEAD_LETTER
from hookline.flow.route import never_hand_off, new_event
from hookline.flow.seldom import Seldom
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Deliveries, NewEvent

ATTEMPTS_MAX: Final = 100
"""Of a delivery's attempts the letter has the last ones."""


class LetterEvent(msgspec.Struct, frozen=True):
    """The event that could not be delivered: `data` byte for byte where it is JSON, else `data_base64`."""

    id: str
    type: str
    source: str | None
    source_id: str | None
    subject: str | None
    time: str
    ordering_key: str | None
    correlation_id: str | None
    content_type: str
    data: Raw | UnsetType = UNSET
    data_base64: str | UnsetType = UNSET


class LetterDelivery(msgspec.Struct, frozen=True):
    """The delivery that failed. `message` is what the receiver said when he confirmed an error."""

    id: str
    endpoint_id: str
    endpoint_uid: str | None
    url: str
    reason: str | None
    attempts: int
    created_at: str
    failed_at: str
    message: str | UnsetType = UNSET


class LetterAttempt(msgspec.Struct, frozen=True):
    """One try."""

    number: int
    at: str
    status: int | None
    reason: str | None
    cause: str | None
    detail: str
    duration_ms: float


class DeadLetter(msgspec.Struct, frozen=True):
    """The `data` of `hookline.dead_letter`. `attempts` are the last 100, oldest first."""

    event: LetterEvent
    delivery: LetterDelivery
    attempts: list[LetterAttempt]


class DeadLetters:
    """Makes dead letters, addressed by the registry as it is now."""

    def __init__(
        self, store: Deliveries, registry: Registry, id_maker: IdMaker, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._registry = registry
        self._ids = id_maker
        self._observer = observer
        self._seldom = Seldom(clock)

    def wanted(self, endpoint: Endpoint, event: Event) -> bool:
        """Whether a letter is to be written when this event fails at this endpoint."""
        return self._reference(endpoint) is not None and not is_operational(event.type) and event.hops < HOPS_MAX

    def make(
        self,
        endpoint: Endpoint,
        event: Event,
        delivery_id: bytes,
        *,
        reason: str | None,
        history: Sequence[AttemptRecord],
        message: bytes = b"",
    ) -> tuple[NewEvent, ...]:
        """The letter; nothing where it has no address. `history` are the attempts, oldest first."""
        target = self._target(endpoint) if self.wanted(endpoint, event) else None
        if target is None:
            return ()
        now_ms = self._store.now_ms()
        data = DeadLetter(
            event=_letter_event(event),
            delivery=LetterDelivery(
                id=ids.text(ids.DELIVERY, delivery_id),
                endpoint_id=endpoint.public_id,
                endpoint_uid=endpoint.uid,
                url=endpoint.url,
                reason=reason,
                attempts=history[-1].number if history else 0,
                created_at=format_time(ids.time_ms(delivery_id)),
                failed_at=format_time(now_ms),
                message=message.decode("utf-8", "replace") if message else UNSET,
            ),
            attempts=[_letter_attempt(record) for record in history[-ATTEMPTS_MAX:]],
        )
        letter = Event(
            id=self._ids.make(now_ms),
            tenant=endpoint.tenant,
            type=DEAD_LETTER,
            data=msgspec.json.encode(data),
            source="/hookline",
            subject=endpoint.public_id,
            ordering_key=event.ordering_key,
            correlation_id=event.correlation_id or event.public_id,
            causation_id=event.public_id,
            hops=event.hops + 1,
        )
        return (new_event(letter, [target], never_hand_off),)

    def _reference(self, endpoint: Endpoint) -> str | None:
        if endpoint.dead_letter is not None:
            return endpoint.dead_letter
        tenant = self._registry.tenant(endpoint.tenant)
        return None if tenant is None else tenant.dead_letter

    def _target(self, endpoint: Endpoint) -> Endpoint | None:
        reference = self._reference(endpoint)
        target = None if reference is None else self._registry.endpoint_of(endpoint.tenant, reference)
        if target is None:
            if self._seldom.may_say(endpoint.id):
                self._observer.warn("dead_letter_unaddressed", endpoint=endpoint.public_id, dead_letter=reference)
            return None
        return None if target.id == endpoint.id else target


def _letter_event(event: Event) -> LetterEvent:
    embedded = holds_json(event.content_type, event.data)
    return LetterEvent(
        id=event.public_id,
        type=event.type,
        source=event.source or None,
        source_id=event.source_id,
        subject=event.subject,
        time=event.time or format_time(event.accepted_at_ms),
        ordering_key=event.ordering_key,
        correlation_id=event.correlation_id,
        content_type=event.content_type,
        data=Raw(event.data) if embedded else UNSET,
        data_base64=UNSET if embedded else base64.b64encode(event.data).decode("ascii"),
    )


def _letter_attempt(record: AttemptRecord) -> LetterAttempt:
    return LetterAttempt(
        number=record.number,
        at=format_time(record.at_ms),
        status=record.status,
        reason=record.reason,
        cause=record.cause,
        detail=record.detail,
        duration_ms=record.duration_us / 1000,
    )
