"""What goes on the wire: an endpoint's head, prepared once, and what each attempt adds to it.

    once per endpoint   request line, host, user-agent, accept-encoding, the endpoint's own headers, its credentials
    once per event      content-type, the CloudEvents headers of binary mode, traceparent, tracestate; the body
    per attempt         content-length, webhook-id, webhook-timestamp, webhook-signature, hookline-attempt; and
                        hookline-confirm-url where a confirmation is asked for, masked where the request is kept

Names are in lower case. The request has a `content-length`, is never chunked, and is one piece of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from hookline.core.address import HTTPS_ONLY, parse_url
from hookline.core.attempt import Body
from hookline.core.body import build_body
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.ourselves import OURS, Ourselves
from hookline.core.signature import Signer

MASK: Final = b"***"
Headers = list[tuple[bytes, bytes]]

CONTENT_TYPES_MAX: Final = 256
"""So many lines are remembered as bytes; a publisher may write any content type."""

_CONFIRM_URL = b"hookline-confirm-url"
_CALLBACK = b"webhook-request-callback"
_UNSAFE = re.compile(rb"[\r\n\0]")
_CREDENTIAL = re.compile(rb"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)


class Unsendable(ValueError):
    """A request that must not or cannot be made. The text is one line for a person, without a secret."""


class Content(msgspec.Struct, frozen=True):
    """An event as the body of a request, with the headers that depend on the event alone."""

    event: Event
    format: str
    body: Body
    data: bytes
    headers: Headers
    lines: bytes


class Prepared:
    """All about the requests to one version of an endpoint that stays the same. Not changed once made.

    It is kept in the endpoint's `__dict__`, and so does not refer to the endpoint itself.
    """

    __slots__ = ("_format", "_head", "_headers", "_signer", "key", "refused", "target")

    def __init__(
        self,
        endpoint: Endpoint,
        version: str,
        *,
        https_only: bool,
        origin: str = "",
        ourselves: Ourselves | None = None,
    ) -> None:
        """`origin` is our own host name. Raises `Unsendable`, or the `Refusal` of an address that cannot be read."""
        target = endpoint.target or parse_url(endpoint.url)
        self.target = target
        self.key = (target.scheme, target.host, target.port)
        self.refused = ""
        """Why nothing may be sent to it any more, although it was made when something might."""
        if https_only and not target.tls:
            self.refused = HTTPS_ONLY
        elif ourselves is not None and ourselves.names(target):
            self.refused = OURS
        own = [(name.lower(), value) for name, value in endpoint.headers]
        credentials = [(name.lower(), value) for name, value in endpoint.auth_headers]
        common = [
            (b"host", target.authority.encode("ascii")),
            (b"user-agent", f"Hookline/{version}".encode("ascii")),
            (b"accept-encoding", b"identity"),
        ]
        if endpoint.verify == "cloudevents" and origin:
            # What its receiver consented to: every delivery says from whom it comes.
            common.append((b"webhook-request-origin", origin.encode("ascii")))
        request_line = f"{endpoint.method} {target.path} HTTP/1.1\r\n".encode("ascii")
        self._head = request_line + _lines([*common, *own, *credentials])
        self._headers = [
            *common,
            *((name, MASK if _CREDENTIAL.search(name) else value) for name, value in own),
            *((name, MASK) for name, _ in credentials),
        ]
        self._format = endpoint.format
        try:
            self._signer = Signer(endpoint.signing)
        except ValueError:
            raise Unsendable("A signing key of the endpoint cannot be used.") from None

    def content(self, event: Event, before: Content | None) -> Content:
        """The event as this endpoint gets it; `before` again if it is just that (one event goes to many).

        Raises `Unsendable`.
        """
        body_format = self._format
        if before is not None and before.event is event and before.format == body_format:
            return before
        body, extra = build_body(event, body_format)
        headers, lines = _content_type(body.content_type)
        if extra or event.traceparent is not None:
            headers = [*headers, *extra]
            if event.traceparent is not None:
                headers.append((b"traceparent", event.traceparent.encode()))
                if event.tracestate is not None:
                    headers.append((b"tracestate", event.tracestate.encode()))
            lines = _lines(headers)
        return Content(event, body_format, body, body.render(event.data), headers, lines)

    def handshake(self, rate: str, callback_url: str | None) -> tuple[bytes, Headers]:
        """A request without a body that asks for consent, as bytes, and its headers as they are kept. Raises
        `Unsendable`."""
        asking = [(b"webhook-request-rate", rate.encode("ascii"))]
        kept = list(asking)
        if callback_url is not None:
            if not callback_url.isascii():
                raise Unsendable("HOOKLINE_PUBLIC_URL is not ASCII: no callback can be named.")
            asking.append((_CALLBACK, callback_url.encode("ascii")))
            kept.append((_CALLBACK, MASK))  # whoever has it can consent
        return b"%b%b\r\n" % (self._head, _lines(asking)), [*self._headers, *kept]

    def request(
        self, content: Content, attempt: int, now_ms: int, confirm_url: str | None = None
    ) -> tuple[bytes, Headers]:
        """The whole request as bytes, and its headers as they are kept: credentials masked."""
        data = content.data
        webhook_id = content.event.public_id
        timestamp_s = now_ms // 1000
        signature = self._signer.header(webhook_id, timestamp_s, data, now_ms).encode("ascii")
        identity = webhook_id.encode("ascii")
        length = b"%d" % len(data)
        timestamp = b"%d" % timestamp_s
        number = b"%d" % attempt
        confirm = b"" if confirm_url is None else _lines([(_CONFIRM_URL, confirm_url.encode("ascii"))])
        wire = (
            b"%b%bcontent-length: %b\r\nwebhook-id: %b\r\nwebhook-timestamp: %b\r\nwebhook-signature: %b\r\n"
            b"hookline-attempt: %b\r\n%b\r\n%b"
            % (self._head, content.lines, length, identity, timestamp, signature, number, confirm, data)
        )
        headers = [
            *self._headers,
            *content.headers,
            (b"content-length", length),
            (b"webhook-id", identity),
            (b"webhook-timestamp", timestamp),
            (b"webhook-signature", signature),
            (b"hookline-attempt", number),
        ]
        if confirm:
            # Whoever has it can speak for the receiver: it is a credential.
            headers.append((_CONFIRM_URL, MASK))
        return wire, headers


@lru_cache(maxsize=CONTENT_TYPES_MAX)
def _content_type(content_type: str) -> tuple[Headers, bytes]:
    headers = [(b"content-type", content_type.encode())]
    return headers, _lines(headers)


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = []
    for name, value in headers:
        if _UNSAFE.search(name) or _UNSAFE.search(value):
            # Checked where it came in; a hole there must not become request smuggling here.
            raise Unsendable(f"The header {name.decode('latin-1')!r} has a control character.")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
