"""An event as every store keeps it: columns for what is asked for, and one packed value for the rest."""

from __future__ import annotations

import msgspec

from hookline.core.event import Event, Origin

AS_IS = 0
"""`events.encoding`: the payload is kept as it is."""
ERASED = 1
"""`events.encoding`: the payload was erased on request."""


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


def pack_attributes(event: Event) -> bytes:
    """Its `Attributes` as they are stored. Raises what msgpack raises for what it cannot hold (`OverflowError`,
    `ValueError`, `TypeError`)."""
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


def event_of(
    identifier: bytes,
    tenant: str,
    kind: str,
    source: str,
    source_id: str | None,
    subject: str | None,
    content_type: str,
    attributes: bytes,
    encoding: int,
    data: bytes,
) -> Event:
    """The event of a row: its values in the order of the table's columns."""
    assert encoding in (AS_IS, ERASED), "a payload encoding that this release does not write"
    rest = _decode(attributes)
    return Event(
        id=identifier,
        tenant=tenant,
        type=kind,
        data=data,
        content_type=content_type,
        source=source,
        source_id=source_id,
        subject=subject,
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
        erased=encoding == ERASED,
    )
