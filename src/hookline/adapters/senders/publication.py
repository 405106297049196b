"""An event on its way to a broker: the message that is published, and what is kept of it.

    of the binding   content type, the attributes of binary mode                    see `core.bindings`
    of each event    traceparent, tracestate where it has them
    of each attempt  webhook-id, webhook-timestamp, webhook-signature, hookline-attempt, and hookline-confirm-url where
                     a confirmation is asked for
    of the endpoint  its own headers

All of them are headers of the message (properties, fields), so that a consumer can verify, deduplicate and confirm as
the receiver of a webhook does. The signature is over the message's body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.attempt import Exchange, Kind
from hookline.core.bindings import Binding, encode, key_of
from hookline.core.broker import BrokerKind, BrokerUrl, Config, parse_broker_url, parse_config
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.signature import Signer
from hookline.ports.sender import Item

MASK: Final = b"***"
_CREDENTIAL = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
CONFIRM_URL: Final = "hookline-confirm-url"

Header = tuple[str, str | int | bool]


class Unpublished(Exception):
    """The broker did not take a message, or it is not known whether it did. The text is one line for a person."""

    def __init__(self, kind: Kind, reason: str, detail: str) -> None:
        """`kind` is RETRY or REJECTED, `reason` a key of `attempt.REASONS`."""
        super().__init__(detail)
        self.kind = kind
        self.reason = reason


def lost(detail: str = "The connection to the broker was lost before it confirmed the message.") -> Unpublished:
    """Nobody knows whether it arrived: it is tried again."""
    return Unpublished(Kind.RETRY, "connect", detail)


def said(text: object) -> str:
    """What a broker said, as one short line."""
    line = "".join(char if char.isprintable() else " " for char in str(text)).strip()
    return line if len(line) <= 300 else line[:299] + "…"


class Prepared(msgspec.Struct, frozen=True):
    """All about the messages of one version of an endpoint that stays the same."""

    url: BrokerUrl
    config: Config
    signer: Signer
    headers: list[Header]
    kept_headers: list[tuple[bytes, bytes]]


def prepare(kind: BrokerKind, endpoint: Endpoint) -> Prepared:
    """Raises `Refusal` or `ValueError` where today's rules do not allow what is stored."""
    headers: list[Header] = [(name.lower().decode("ascii"), value.decode("ascii")) for name, value in endpoint.headers]
    kept = [(name.encode(), MASK if _CREDENTIAL.search(name) else str(value).encode()) for name, value in headers]
    return Prepared(
        parse_broker_url(kind, endpoint.url),
        parse_config(kind, endpoint.config),
        Signer(endpoint.signing),
        headers,
        kept,
    )


class Publication(msgspec.Struct, frozen=True):
    """One message to be published."""

    event: Event
    config: Config
    timeout_s: float
    body: bytes
    content_type: str
    headers: list[Header]
    """All of them; values are texts, but for those of a binding that has types."""
    key: str | None
    message_id: str
    """The delivery's: the same over all attempts, another one for each endpoint."""
    exchange: Exchange
    """What is kept of it; the broker's answer is still to come."""


def publication(
    endpoint: Endpoint, prepared: Prepared, item: Item, now_ms: int, binding: Binding, method: str
) -> Publication:
    """The message of an attempt; `method` is what the protocol calls it."""
    event = item.event
    message = encode(event, endpoint.format, binding)
    body = message.body.render(event.data)
    identity, timestamp_s = event.public_id, now_ms // 1000
    headers: list[Header] = list(message.headers)
    if event.traceparent is not None and endpoint.format != "cloudevents-binary":
        headers.append(("traceparent", event.traceparent))
        if event.tracestate is not None:
            headers.append(("tracestate", event.tracestate))
    headers += (
        ("webhook-id", identity),
        ("webhook-timestamp", str(timestamp_s)),
        ("webhook-signature", prepared.signer.header(identity, timestamp_s, body, now_ms)),
        ("hookline-attempt", str(item.attempt)),
    )
    kept = [(name.encode(), str(value).encode()) for name, value in headers]
    if not binding.header:
        kept.insert(0, (b"content-type", message.content_type.encode()))
    if item.confirm_url is not None:
        headers.append((CONFIRM_URL, item.confirm_url))
        kept.append((CONFIRM_URL.encode(), MASK))
    exchange = Exchange(
        method,
        endpoint.url,
        [*kept, *prepared.kept_headers],
        message.body.prefix,
        message.body.suffix,
        message.body.encoding,
    )
    return Publication(
        event,
        prepared.config,
        endpoint.timeout_s,
        body,
        message.content_type,
        [*headers, *prepared.headers],
        key_of(event),
        ids.text(ids.DELIVERY, item.delivery_id),
        exchange,
    )


def answered(exchange: Exchange, answer: Sequence[tuple[bytes, bytes]]) -> Exchange:
    """With what the broker said."""
    return msgspec.structs.replace(exchange, response_headers=list(answer))
