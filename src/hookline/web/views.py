"""What the API shows: the documents of its answers, made from rows. Times are RFC 3339 UTC with milliseconds."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hookline.core import ids
from hookline.core.event import Event, Origin
from hookline.core.json_text import holds_json
from hookline.core.page import format_time, make_cursor
from hookline.flow.deliveries import AttemptView
from hookline.flow.endpoints import Described
from hookline.ports.store import Counts, DeliveryRow, EventTypeRow

T = TypeVar("T")


class PageDocument(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next` is the `cursor` of the following page; null: this was the last."""

    data: Sequence[T]
    next: str | None


def page_document(rows: Sequence[T], cursor: bytes | None) -> PageDocument[T]:
    """A page with its cursor as text; None: it was the last."""
    return PageDocument(rows, None if cursor is None else make_cursor(cursor))


class OpenDocument(msgspec.Struct, frozen=True):
    """Open deliveries by state."""

    pending: int
    leased: int
    held: int
    unconfirmed: int


class EndpointStatsDocument(msgspec.Struct, frozen=True):
    """An endpoint's books: deliveries = delivered + failed + discarded + open, at every moment."""

    deliveries: int
    delivered: int
    failed: int
    discarded: int
    open: OpenDocument


class StatsDocument(msgspec.Struct, frozen=True):
    """The books: deliveries = delivered + failed + discarded + open, at every moment."""

    events: int
    deliveries: int
    delivered: int
    failed: int
    discarded: int
    open: OpenDocument
    quarantined: int | UnsetType = UNSET
    """Inbound requests that wait for a person; not there where none do."""


class InboundDocument(msgspec.Struct, frozen=True):
    """The inbound request that an event came in by."""

    source: str
    request_id: str
    method: str
    headers: list[tuple[str, str]]


class EventDocument(msgspec.Struct, frozen=True):
    """An event. One alone has its payload: `data` where it is JSON, else `data_base64`; a list has neither, nor has
    one whose payload was `erased`."""

    id: str
    type: str
    source: str | None
    source_id: str | None
    subject: str | None
    time: str | None
    accepted_at: str
    content_type: str
    data_bytes: int
    ordering_key: str | None
    deliver_at: str | None
    correlation_id: str | None
    causation_id: str | None
    hops: int
    traceparent: str | None
    tracestate: str | None
    dataschema: str | None
    extensions: dict[str, str | int | bool]
    inbound: InboundDocument | None
    erased: bool
    data: Raw | UnsetType = UNSET
    data_base64: str | UnsetType = UNSET


class DeliveryDocument(msgspec.Struct, frozen=True):
    """One event on its way to one endpoint."""

    id: str
    event_id: str
    endpoint_id: str
    type: str
    state: str
    attempts: int
    next_at: str | None
    reason: str | None
    created_at: str
    finished_at: str | None
    ordering_key: str | None
    replay_of: str | None


class TimingDocument(msgspec.Struct, frozen=True):
    """Where an attempt's time went, in milliseconds; null: the phase did not happen (a kept connection)."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float


class AttemptDocument(msgspec.Struct, frozen=True):
    """One try of one delivery, the request exactly as sent, credentials masked.

    A body is text where it is UTF-8; else it is null and its bytes are in `…_base64`. Header fields of one name are
    joined by a comma.
    """

    id: str
    number: int
    at: str
    outcome: str
    status: int | None
    reason: str | None
    cause: str | None
    detail: str
    duration_ms: float
    timing: TimingDocument
    next_at: str | None
    method: str | None
    url: str | None
    request_headers: dict[str, str]
    request_body: str | None
    response_headers: dict[str, str]
    response_body: str | None
    request_body_base64: str | UnsetType = UNSET
    response_body_base64: str | UnsetType = UNSET


class EventTypeDocument(msgspec.Struct, frozen=True):
    """A version of an event type."""

    name: str
    version: int
    mode: str
    schema: Raw | None
    example: Raw | None
    description: str
    created_at: str


class EventTypeHistoryDocument(EventTypeDocument, frozen=True, kw_only=True):
    """An event type with all its versions, newest first; the members above are the current one's."""

    versions: list[EventTypeDocument]


class ReadyDocument(msgspec.Struct, frozen=True):
    """All is well."""

    status: str


def endpoint_document(described: Described) -> dict[str, Any]:
    """An endpoint: the members of its spec (credentials masked, no secret), and what we know of it."""
    row = described.row
    document: dict[str, Any] = {"id": ids.text(ids.ENDPOINT, row.id), "state": described.state}
    document.update(msgspec.structs.asdict(described.spec))
    del document["secret"]
    document["warnings"] = list(row.warnings)
    document["created_at"] = format_time(row.created_at_ms)
    document["updated_at"] = format_time(row.updated_at_ms)
    return document


def event_document(event: Event, *, payload: bool) -> EventDocument:
    """An event, with its payload or without."""
    document = EventDocument(
        id=event.public_id,
        type=event.type,
        source=event.source or None,
        source_id=event.source_id,
        subject=event.subject,
        time=event.time,
        accepted_at=format_time(event.accepted_at_ms),
        content_type=event.content_type,
        data_bytes=len(event.data),
        ordering_key=event.ordering_key,
        deliver_at=_time(event.deliver_at_ms),
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        hops=event.hops,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
        dataschema=event.dataschema,
        extensions=event.extensions or {},
        inbound=_inbound(event.inbound),
        erased=event.erased,
    )
    if not payload or event.erased:
        return document
    if holds_json(event.content_type, event.data):
        return msgspec.structs.replace(document, data=Raw(event.data))
    return msgspec.structs.replace(document, data_base64=base64.b64encode(event.data).decode("ascii"))


def _inbound(origin: Origin | None) -> InboundDocument | None:
    if origin is None:
        return None
    return InboundDocument(origin.source, origin.request_id, origin.method, list(origin.headers))


def delivery_document(row: DeliveryRow) -> DeliveryDocument:
    """A delivery as listed."""
    return DeliveryDocument(
        id=ids.text(ids.DELIVERY, row.id),
        event_id=ids.text(ids.EVENT, row.event_id),
        endpoint_id=ids.text(ids.ENDPOINT, row.endpoint_id),
        type=row.type,
        state=row.state,
        attempts=row.attempts,
        next_at=_time(row.next_at_ms),
        reason=row.reason,
        created_at=format_time(row.created_at_ms),
        finished_at=_time(row.finished_at_ms),
        ordering_key=row.ordering_key,
        replay_of=None if row.replay_of is None else ids.text(ids.EVENT, row.replay_of),
    )


def attempt_document(view: AttemptView) -> AttemptDocument:
    """An attempt as shown."""
    record, exchange = view.record, view.record.exchange
    timing = record.timing
    request, request_base64 = _text(view.request_body)
    response, response_base64 = _text(exchange.response_body if exchange is not None else None)
    next_at_ms = None
    if record.next_wait_s is not None:
        next_at_ms = record.at_ms + record.duration_us // 1000 + int(record.next_wait_s * 1000)
    return AttemptDocument(
        id=ids.text(ids.ATTEMPT, view.id),
        number=record.number,
        at=format_time(record.at_ms),
        outcome=record.kind,
        status=record.status,
        reason=record.reason,
        cause=record.cause,
        detail=record.detail,
        duration_ms=record.duration_us / 1000,
        timing=TimingDocument(
            dns_ms=_ms(timing.dns_us),
            connect_ms=_ms(timing.connect_us),
            tls_ms=_ms(timing.tls_us),
            first_byte_ms=_ms(timing.first_byte_us),
            total_ms=timing.total_us / 1000,
        ),
        next_at=_time(next_at_ms),
        method=exchange.method if exchange is not None else None,
        url=exchange.url if exchange is not None else None,
        request_headers=_headers(exchange.request_headers if exchange is not None else ()),
        request_body=request,
        response_headers=_headers(exchange.response_headers if exchange is not None else ()),
        response_body=response,
        request_body_base64=request_base64,
        response_body_base64=response_base64,
    )


def event_type_document(row: EventTypeRow) -> EventTypeDocument:
    """One version of an event type."""
    return EventTypeDocument(**_event_type(row))


def event_type_history(versions: Sequence[EventTypeRow]) -> EventTypeHistoryDocument:
    """All versions, newest first."""
    return EventTypeHistoryDocument(**_event_type(versions[0]), versions=[event_type_document(row) for row in versions])


def _event_type(row: EventTypeRow) -> Mapping[str, Any]:
    return {
        "name": row.name,
        "version": row.number,
        "mode": row.mode,
        "schema": None if row.schema is None else Raw(row.schema),
        "example": None if row.example is None else Raw(row.example),
        "description": row.description,
        "created_at": format_time(row.created_at_ms),
    }


def stats_document(counts: Counts) -> StatsDocument:
    """The books of a tenant, or of all."""
    return StatsDocument(
        counts.events,
        counts.deliveries,
        counts.delivered,
        counts.failed,
        counts.discarded,
        _open(counts),
        counts.quarantined or UNSET,
    )


def endpoint_stats_document(counts: Counts) -> EndpointStatsDocument:
    """The books of an endpoint."""
    return EndpointStatsDocument(counts.deliveries, counts.delivered, counts.failed, counts.discarded, _open(counts))


def _open(counts: Counts) -> OpenDocument:
    return OpenDocument(counts.pending, counts.leased, counts.held, counts.unconfirmed)


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time(ms)


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000


def _text(body: bytes | None) -> tuple[str | None, str | UnsetType]:
    """(text, UNSET) where the body is UTF-8 or absent, else (None, base64)."""
    if body is None:
        return None, UNSET
    try:
        return body.decode(), UNSET
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode("ascii")


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
