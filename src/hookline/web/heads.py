"""Answers of the front as bytes: the head is made once per second, status and content type, and then copied."""

from __future__ import annotations

import http
from typing import Final

from hookline.flow.answers import JSON, Answer

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""On every answer: nothing we say is to be sniffed, cached, framed or told on."""
_SHORT_BYTES: Final = 256
_BODILESS: Final = frozenset({204, 304})
_PHRASES: Final = {int(status): status.phrase for status in http.HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Heads:
    """Renders answers in one piece, so that one write sends them."""

    def __init__(self) -> None:
        self._prefixes: dict[tuple[int, bytes, bool], bytes] = {}
        self._usual: dict[int, bytes] = {}
        """Whole heads of a 202 in JSON on a connection that is kept, by the length of its short body."""
        self._date = b""

    def set_date(self, date: bytes) -> None:
        """The value of the Date header from now on (RFC 9110, 6.6.1); empty: none is sent."""
        self._date = date
        self._prefixes.clear()
        self._usual.clear()

    def render(self, answer: Answer, keep: bool, *, headless: bool = False) -> bytes:
        """The whole answer; `keep` is False when the connection closes after it. `headless`: to HEAD, without its
        body."""
        if answer.status in _BODILESS or headless:
            return self._without_body(answer, keep)
        status, body, length = answer.status, answer.body, len(answer.body)
        usual = keep and status == 202 and length <= _SHORT_BYTES and not answer.headers and answer.content_type == JSON
        head = self._usual.get(length) if usual else None
        if head is not None:
            return head + body
        key = (status, answer.content_type, keep)
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = self._prefixes[key] = self._prefix(*key)
        more = b"".join([b"%b: %b\r\n" % pair for pair in answer.headers])
        head = b"%b%d\r\n%b\r\n" % (prefix, length, more)
        if usual:
            self._usual[length] = head
        return head + body

    def _prefix(self, status: int, content_type: bytes, keep: bool) -> bytes:
        lines = self._lines(status, content_type, keep)
        lines.append(b"content-length: ")
        return b"\r\n".join(lines)

    def _lines(self, status: int, content_type: bytes, keep: bool) -> list[bytes]:
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}".encode("ascii")]
        if self._date:
            lines.append(b"date: " + self._date)
        if content_type:
            lines.append(b"content-type: " + content_type)
        lines.extend(b"%b: %b" % pair for pair in SECURITY_HEADERS)
        if not keep:
            lines.append(b"connection: close")
        return lines

    def _without_body(self, answer: Answer, keep: bool) -> bytes:
        """RFC 9110, 8.6: a status that has no body has no length either."""
        bodiless = answer.status in _BODILESS
        lines = self._lines(answer.status, b"" if bodiless else answer.content_type, keep)
        lines.extend(b"%b: %b" % pair for pair in answer.headers)
        if not bodiless:
            lines.append(b"content-length: %d" % len(answer.body))
        return b"\r\n".join((*lines, b"", b""))
