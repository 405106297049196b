"""One try of one delivery: what came of it, why, and what a person can do about it.

A sender returns an `Outcome`; `flow.record` asks `judge` (see `core.verdict`) what that means for the delivery.
This file holds the words: kinds, reasons with their causes and remedies, and the record that is kept.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

import msgspec
from msgspec import Raw


class Kind(StrEnum):
    """What a sender says of one delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """It may work later."""
    REJECTED = "rejected"
    """It will never work: permanent."""
    GONE = "gone"
    """The receiver wants nothing more: the delivery fails and the endpoint is disabled."""
    UNCONFIRMED = "unconfirmed"


class Cause(StrEnum):
    """Whose business a failure is, for people."""

    CONFIGURATION = "configuration"
    NETWORK = "network"
    APPLICATION = "application"
    AUTHENTICATION = "authentication"
    RATE_LIMIT = "rate_limit"
    DATA_FORMAT = "data_format"
    OVERLOAD = "overload"


class Reason(msgspec.Struct, frozen=True):
    """A reason code, whose business it is, what it means and what to do about it."""

    code: str
    cause: Cause
    means: str
    remedy: str


REASONS: Final[Mapping[str, Reason]] = {
    r.code: r
    for r in (
        Reason(
            "redirect",
            Cause.CONFIGURATION,
            "The receiver answered 3xx. Redirects are never followed.",
            "Set the endpoint's url to the final address.",
        ),
        Reason(
            "client_error",
            Cause.APPLICATION,
            "The receiver answered 4xx.",
            "Look at the attempt's response; the receiver does not accept this request.",
        ),
        Reason(
            "server_error",
            Cause.APPLICATION,
            "The receiver answered 5xx, or the broker that it cannot take it now.",
            "Look at the receiver's own log at the attempt's time.",
        ),
        Reason(
            "rate_limited",
            Cause.RATE_LIMIT,
            "The receiver answered 429, or 502, 503, 504 with Retry-After: it asks for a pause.",
            "Set a rate on the endpoint, or raise the receiver's limit.",
        ),
        Reason(
            "gone",
            Cause.CONFIGURATION,
            "The receiver answered 410: it wants nothing more. The endpoint was disabled.",
            "Resume the endpoint if that was a mistake, then retry what failed.",
        ),
        Reason(
            "timeout",
            Cause.OVERLOAD,
            "The whole exchange did not end within the endpoint's timeout_s, or no confirmation came in time.",
            "Let the receiver answer first and work afterwards, or raise timeout_s (or confirm.within_s).",
        ),
        Reason(
            "dns",
            Cause.NETWORK,
            "The host's name did not resolve within 2 s.",
            "Check the name and its DNS records.",
        ),
        Reason(
            "connect",
            Cause.NETWORK,
            "No connection, or it broke before the answer ended.",
            "Check that the receiver listens there and that no firewall is in between.",
        ),
        Reason(
            "tls",
            Cause.CONFIGURATION,
            "The TLS handshake failed: certificate, name or version (1.2 at least).",
            "Renew or complete the receiver's certificate chain.",
        ),
        Reason(
            "address_refused",
            Cause.CONFIGURATION,
            "The host resolves to an address that is not public, or it is Hookline itself.",
            "Use a public address, or open the network with HOOKLINE_ALLOW_NETWORKS.",
        ),
        Reason(
            "protocol",
            Cause.DATA_FORMAT,
            "The answer was not correct HTTP/1.1 (or the broker's protocol), or its headers passed the limits.",
            "Check what really answers at this address.",
        ),
        Reason(
            "rejected",
            Cause.APPLICATION,
            "The receiver refused it for good, by the endpoint's retry rules or by its own word.",
            "Correct the cause, then retry the delivery.",
        ),
        Reason(
            "answer_rejected",
            Cause.APPLICATION,
            "The status was a success, but the answer did not meet success_when, or the confirmation said error.",
            "Look at the attempt's response, at success_when, and at what the receiver confirmed.",
        ),
        Reason(
            "unroutable",
            Cause.CONFIGURATION,
            "The broker has nowhere to put it: no such exchange, queue, stream or topic, or nobody subscribed.",
            "Make what the endpoint's config names, or correct the config; it is tried again until then.",
        ),
        Reason(
            "unauthorized",
            Cause.AUTHENTICATION,
            "The broker did not accept the credentials, or they do not allow to publish there.",
            "Correct the endpoint's auth, or the broker's permissions.",
        ),
        Reason(
            "too_large",
            Cause.DATA_FORMAT,
            "The message is larger than the broker takes.",
            "Raise the broker's limit, then retry the delivery.",
        ),
        Reason(
            "endpoint_deleted",
            Cause.CONFIGURATION,
            "The endpoint was deleted while this was open.",
            "Replay the event to another endpoint if it is still needed.",
        ),
        Reason(
            "expired",
            Cause.OVERLOAD,
            "It was open longer than its tenant's retention.",
            "Replay the event if it is still needed.",
        ),
        Reason(
            "overflow",
            Cause.OVERLOAD,
            "Its endpoint had more open deliveries than HOOKLINE_OPEN_MAX; the oldest are failed.",
            "Make the receiver faster or raise its concurrency, then retry what failed.",
        ),
        Reason(
            "poison",
            Cause.APPLICATION,
            "The process that worked on it died 20 times.",
            "Report it with the event; retry the delivery after an upgrade.",
        ),
    )
}
"""Every reason a delivery or attempt can carry. The reference page is made from this table."""


def cause_of(reason: str | None, status: int | None) -> str | None:
    """Whose business a failure is: the reason's cause, sharpened by the status (401, 403, 407: authentication)."""
    if reason is None:
        return None
    if reason in ("client_error", "rejected"):
        if status in (401, 403, 407):
            return Cause.AUTHENTICATION
        if status in (400, 406, 413, 415, 422):
            return Cause.DATA_FORMAT
        if status in (404, 405, 421):
            return Cause.CONFIGURATION
    return REASONS[reason].cause


class BodyEncoding(IntEnum):
    """How an attempt's request body holds the event's payload."""

    AS_IS = 0
    BASE64 = 1
    NONE = 2
    """The body does not hold the payload: it is `prefix` + `suffix`."""


class Body(msgspec.Struct, frozen=True, gc=False):
    """A request body as three pieces: the payload is spliced in byte for byte, so it need not be stored twice."""

    prefix: bytes
    suffix: bytes
    encoding: BodyEncoding
    content_type: str

    def render(self, data: bytes) -> bytes:
        """The bytes that are sent, given the event's payload."""
        if self.encoding == BodyEncoding.AS_IS:
            return b"".join((self.prefix, data, self.suffix)) if self.prefix or self.suffix else data
        if self.encoding == BodyEncoding.BASE64:
            return b"".join((self.prefix, binascii.b2a_base64(data, newline=False), self.suffix))
        return self.prefix + self.suffix


class Timing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an attempt's time went, in microseconds; None: the phase did not happen (kept-alive connection)."""

    dns_us: int | None = None
    connect_us: int | None = None
    tls_us: int | None = None
    first_byte_us: int | None = None
    total_us: int = 0


class Exchange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was sent and what came back, as it is kept. Credentials in `request_headers` are masked already.

    Everything from outside is bytes: a receiver may answer anything. `response_body` is cut to 1 KiB of a 2xx
    answer and 16 KiB of any other (never more than the endpoint's `response_bytes_max`).
    """

    method: str
    url: str
    request_headers: list[tuple[bytes, bytes]]
    body_prefix: bytes
    body_suffix: bytes
    body_encoding: int
    response_headers: list[tuple[bytes, bytes]] = []
    response_body: bytes = b""


class Outcome(msgspec.Struct, gc=False):
    """What a sender returns for one delivery. Free of HTTP, except for the optional `status` and `exchange`."""

    kind: Kind
    reason: str | None = None
    """A key of `REASONS`, unless delivered."""
    retry_after_s: float | None = None
    """The receiver asks the whole endpoint to wait so long (already bounded to 24 h)."""
    detail: str = ""
    """One line for a person; coarse about addresses (never tells what a port scan wants to know)."""
    status: int | None = None
    timing: Timing = Timing()
    exchange: Exchange | Raw | None = None
    """What was sent and what came back. `Raw`: packed already (`Exchange` as MessagePack), which is cheaper to keep."""
    started: bool = True
    """False: nothing was sent and no try was used up (the sender had no room or is closing)."""
    answer: bytes | None = None
    """All that was read of the answer's body, where the item asked for it (`ports.sender.Item.whole`)."""

    @property
    def seen(self) -> Exchange | None:
        """The exchange, to be looked at."""
        exchange = self.exchange
        return _EXCHANGE.decode(exchange) if isinstance(exchange, Raw) else exchange


_EXCHANGE: Final = msgspec.msgpack.Decoder(Exchange)


RESPONSE_KEPT_OK_BYTES: Final = 1024
RESPONSE_KEPT_OTHER_BYTES: Final = 16 * 1024
RETRY_AFTER_S_MAX: Final = 86_400.0
