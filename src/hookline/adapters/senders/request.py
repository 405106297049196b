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

from hookline.adapters.senders.connection import Idle
from hookline.core.address import HTTPS_ONLY, parse_url
from hookline.core.attempt import Body, BodyEncoding
from hookline.core.body import build_body
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.ourselves import OURS, Ourselves
from hookline.core.signature import Signer

MASK: Final = b"***"
_ENCODE: Final = msgspec.msgpack.Encoder().encode

CONTENT_TYPES_MAX: Final = 256
"""So many lines are remembered as bytes; a publisher may write any content type."""

_CONFIRM_URL = "hookline-confirm-url"
_OURS: Final = 5
"""Headers that each attempt has: length, id, timestamp, signature, number."""
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
    lines: bytes
    kept: bytes
    """The headers, packed one after the other."""
    kept_count: int
    kept_body: bytes
    """Prefix, suffix and encoding of the body, packed one after the other."""


class Prepared:
    """All about the requests to one version of an endpoint that stays the same. Not changed once made.

    It is kept in the endpoint's `__dict__`, and so does not refer to the endpoint itself.
    """

    __slots__ = (
        "_begin",
        "_common",
        "_format",
        "_head",
        "_kept",
        "_kept_count",
        "_signer",
        "idle",
        "refused",
        "target",
    )

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
        self.idle: Idle | None = None
        """Where its kept connections are, for the sender to set."""
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
        kept = [
            *common,
            *((name, MASK if _CREDENTIAL.search(name) else value) for name, value in own),
            *((name, MASK) for name, _ in credentials),
        ]
        # What is kept of a request is packed from the start, as `Exchange` is: an array of eight, of which the third
        # is an array of headers. Most of it is the same each time.
        self._begin = b"\x98" + _ENCODE(endpoint.method) + _ENCODE(endpoint.url)
        self._kept = _packed(kept)
        self._kept_count = len(kept)
        self._common = self._kept_head(1 + _OURS)
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
        lines, kept = _content_type(body.content_type)
        count = 1
        if extra or event.traceparent is not None:
            headers = list(extra)
            if event.traceparent is not None:
                headers.append((b"traceparent", event.traceparent.encode()))
                if event.tracestate is not None:
                    headers.append((b"tracestate", event.tracestate.encode()))
            lines += _lines(headers)
            kept += _packed(headers)
            count += len(headers)
        kept_body = _ENCODE((body.prefix, body.suffix, body.encoding))[1:]  # without the array around them
        return Content(event, body_format, body, body.render(event.data), lines, kept, count, kept_body)

    def _kept_head(self, more: int) -> bytes:
        """The beginning of what is kept of a request with so many headers that are not the endpoint's."""
        return b"%b\xdc%b%b" % (self._begin, (self._kept_count + more).to_bytes(2, "big"), self._kept)

    def handshake(self, rate: str, callback_url: str | None) -> tuple[bytes, bytes]:
        """A request without a body that asks for consent, as bytes, and what is kept of it, as in `request`. Raises
        `Unsendable`."""
        asking = [(b"webhook-request-rate", rate.encode("ascii"))]
        kept = list(asking)
        if callback_url is not None:
            if not callback_url.isascii():
                raise Unsendable("HOOKLINE_PUBLIC_URL is not ASCII: no callback can be named.")
            asking.append((_CALLBACK, callback_url.encode("ascii")))
            kept.append((_CALLBACK, MASK))  # whoever has it can consent
        no_body = _ENCODE((b"", b"", BodyEncoding.NONE))[1:]
        return b"%b%b\r\n" % (self._head, _lines(asking)), self._kept_head(len(kept)) + _packed(kept) + no_body

    def request(
        self, content: Content, attempt: int, now_ms: int, confirm_url: str | None = None
    ) -> tuple[bytes, bytes]:
        """The whole request as bytes, and what is kept of it, credentials masked: the first six members of an
        `Exchange`, packed, to which `AnswerReader.pack` adds the other two. Raises `Unsendable`."""
        data = content.data
        identity = content.event.public_id
        timestamp_s = now_ms // 1000
        timestamp = str(timestamp_s)
        signature = self._signer.header(identity, timestamp_s, data, now_ms)
        length = str(len(data))
        number = str(attempt)
        if confirm_url is None:
            confirm = kept_confirm = ""
            kept_head = self._common if content.kept_count == 1 else self._kept_head(content.kept_count + _OURS)
        else:
            confirm = f"{_CONFIRM_URL}: {confirm_url}\r\n"
            if not confirm_url.isascii() or _UNSAFE.search(confirm_url.encode()):
                raise Unsendable(f"The header {_CONFIRM_URL!r} is not ASCII, or has a control character.")
            # Whoever has it can speak for the receiver: it is a credential.
            kept_confirm = f"\x92{_bin(_CONFIRM_URL)}{_MASKED}"
            kept_head = self._kept_head(content.kept_count + _OURS + 1)
        head = (
            f"content-length: {length}\r\nwebhook-id: {identity}\r\nwebhook-timestamp: {timestamp}\r\n"
            f"webhook-signature: {signature}\r\nhookline-attempt: {number}\r\n{confirm}\r\n"
        )
        # The same five, packed: `bin` of less than 256 bytes is \xc4, its length, and itself.
        kept = (
            f"\x92\xc4\x0econtent-length{_BIN[len(length)]}{length}\x92\xc4\x0awebhook-id{_BIN[len(identity)]}{identity}"
            f"\x92\xc4\x11webhook-timestamp{_BIN[len(timestamp)]}{timestamp}"
            f"\x92\xc4\x11webhook-signature{_bin(signature)}"
            f"\x92\xc4\x10hookline-attempt{_BIN[len(number)]}{number}{kept_confirm}"
        )
        return (
            b"".join((self._head, content.lines, head.encode("ascii"), data)),
            b"".join((kept_head, content.kept, kept.encode("latin-1"), content.kept_body)),
        )


_BIN: Final = tuple(f"\xc4{chr(size)}" for size in range(256))
"""How MessagePack begins bytes of a length."""


def _bin(text: str) -> str:
    """A text of less than 64 kB as MessagePack's bytes; each character is one."""
    size = len(text)
    return f"{_BIN[size]}{text}" if size < 256 else f"\xc5{chr(size >> 8)}{chr(size & 255)}{text}"


_MASKED: Final = _bin(MASK.decode())


def _packed(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(_ENCODE(header) for header in headers)


@lru_cache(maxsize=CONTENT_TYPES_MAX)
def _content_type(content_type: str) -> tuple[bytes, bytes]:
    """The line, and what is kept of it."""
    headers = [(b"content-type", content_type.encode())]
    return _lines(headers), _packed(headers)


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = []
    for name, value in headers:
        if _UNSAFE.search(name) or _UNSAFE.search(value):
            # Checked where it came in; a hole there must not become request smuggling here.
            raise Unsendable(f"The header {name.decode('latin-1')!r} has a control character.")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
