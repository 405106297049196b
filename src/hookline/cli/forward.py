"""A request that came in from outside, made again for a program on this machine: same method, headers and bytes."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hookline.cli.exits import usage

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""So much of an answer is read, so that its connection could end well; nothing of it is kept."""
_NOT_PASSED_ON: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Of the connection they came on, not of the message (RFC 9110, 7.6.1)."""


_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try."""

    status: int | None
    """None: no answer came."""
    duration_ms: float
    detail: str = ""
    """Why no answer came."""
    reached: bool = True
    """False: nobody was there to take the request."""


class Forwarder:
    """Sends to one address, each request on a connection of its own."""

    def __init__(
        self, url: str, timeout_s: float, context: ssl.SSLContext | None, headers: Mapping[str, str] | None = None
    ) -> None:
        """`context` is for https; `headers` are sent instead of those of their names. Raises `CommandError` for an
        address or a header that cannot be used."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise usage(f"--forward {url!r} is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise usage(f"--forward must be http://host:port/path (or https), not {url!r}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not target.isascii() or not target.isprintable() or " " in target:
            raise usage("the path of --forward has characters that must be percent-encoded")
        self._own = dict(headers or {})
        for name, value in self._own.items():
            if not _NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise usage(f"--header {name!r} cannot be sent")
        self.url = url
        self._context = context if parts.scheme == "https" else None
        self._host, self._port, self._target = parts.hostname, port, target
        self._host_field = parts.netloc
        self._timeout_s = timeout_s

    def send(self, method: str, headers: Sequence[tuple[str, str]], body: bytes) -> Outcome:
        """One try; never raises for what the other side does."""
        began_s = time.monotonic()
        own = {name.lower() for name in self._own}
        headers = [*(pair for pair in headers if pair[0].lower() not in own), *self._own.items()]
        connection = self._connection()
        try:
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                return _failed(began_s, error, reached=False)
            try:
                _write(connection, method, self._target, self._host_field, headers, body)
                answer = connection.getresponse()
                answer.read(ANSWER_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                return _failed(began_s, error, reached=True)
            return Outcome(answer.status, _since_ms(began_s))
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._context)


def _write(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    host: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> None:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host)
    for name, value in headers:
        if name.lower() not in _NOT_PASSED_ON:
            connection.putheader(name, value.encode("latin-1", "replace"))
    if body or method not in ("GET", "HEAD", "OPTIONS"):
        connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Connection", "close")
    connection.endheaders(body or None)


def _failed(began_s: float, error: Exception, *, reached: bool) -> Outcome:
    if isinstance(error, TimeoutError):
        why = "no answer in time" if reached else "no connection in time"
    elif isinstance(error, OSError):
        why = error.strerror or str(error) or type(error).__name__
    else:
        why = str(error) or "the connection ended without an answer"
    return Outcome(None, _since_ms(began_s), why, reached)


def _since_ms(began_s: float) -> float:
    return round((time.monotonic() - began_s) * 1000, 1)
