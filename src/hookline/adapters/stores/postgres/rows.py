"""Rows as the core's words, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import DataError
from hookline.core.event import Event, Origin
from hookline.ports.store import KeyRow, OpenRef, SourceRow, TenantRow

AS_IS: Final = 0
"""`events.encoding`: the payload is kept as it is."""
ERASED: Final = 1
"""`events.encoding`: the payload was erased on request."""
EVENT_COLUMNS: Final = "id, tenant, type, source, source_id, subject, content_type, attributes, encoding, data"
OPEN_COLUMNS: Final = (
    "id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, lease_until_ms, tries, attempts, lost, size_bytes,"
    " lane, seq, reason"
)
CLOSED_COLUMNS: Final = (
    "id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes, lane, seq, reason"
)


class Attributes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What of an event has no column of its own. New fields go to the end."""

    time: str | None = None
    ordering_key: str | None = None
    deliver_at_ms: int | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    hops: int = 0
    traceparent: str | None = None
    tracestate: str | None = None
    dataschema: str | None = None
    extensions: dict[str, str | int | bool] | None = None
    inbound: Origin | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Attributes).decode


def attributes(event: Event) -> bytes:
    """An event's attributes as stored. Raises `DataError`."""
    try:
        return _encode(
            (
                event.time,
                event.ordering_key,
                event.deliver_at_ms,
                event.correlation_id,
                event.causation_id,
                event.hops,
                event.traceparent,
                event.tracestate,
                event.dataschema,
                event.extensions,
                event.inbound,
            )
        )
    except (OverflowError, ValueError, TypeError) as error:
        raise DataError(str(error)[:500]) from error


def event(row: Mapping[str, Any], identifier: bytes | None = None) -> Event:
    """The event of a row with `EVENT_COLUMNS`."""
    rest = _decode(row["attributes"])
    return Event(
        id=row["id"] if identifier is None else identifier,
        tenant=row["tenant"],
        type=row["type"],
        data=row["data"],
        content_type=row["content_type"],
        source=row["source"],
        source_id=row["source_id"],
        subject=row["subject"],
        time=rest.time,
        ordering_key=rest.ordering_key,
        deliver_at_ms=rest.deliver_at_ms,
        correlation_id=rest.correlation_id,
        causation_id=rest.causation_id,
        hops=rest.hops,
        traceparent=rest.traceparent,
        tracestate=rest.tracestate,
        dataschema=rest.dataschema,
        extensions=rest.extensions,
        inbound=rest.inbound,
        erased=row["encoding"] == ERASED,
    )


def tenant(row: Mapping[str, Any]) -> TenantRow:
    """The tenant of a row."""
    return TenantRow(row["id"], row["spec"], row["created_at_ms"], row["updated_at_ms"], row["version"], row["deleted"])


def key(row: Mapping[str, Any]) -> KeyRow:
    """The key of a row."""
    return KeyRow(
        row["id"],
        row["tenant"],
        row["digest"],
        row["hint"],
        row["spec"],
        row["created_at_ms"],
        row["version"],
        row["deleted"],
    )


def source(row: Mapping[str, Any]) -> SourceRow:
    """The source of a row."""
    return SourceRow(**dict(row))


def event_id(row: Mapping[str, Any]) -> bytes:
    """The event that a row of `open` or `closed` delivers."""
    replay_of: bytes | None = row["event_id"]
    identifier: bytes = row["id"]
    return identifier[: ids.ROOT_BYTES] if replay_of is None else replay_of


def open_ref(row: Mapping[str, Any]) -> OpenRef:
    """The reference of a row of `open`."""
    return OpenRef(
        row["id"], row["fence"], row["endpoint_id"], row["tenant"], event_id(row), State(row["state"]), row["lost"]
    )
