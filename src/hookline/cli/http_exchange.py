"""One HTTP request as it is, byte for byte, and its answer: no redirect is followed, nothing is added but the frame."""

from __future__ import annotations

import http.client
import select
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""So much of an answer is read."""
PIECE_BYTES: Final = 64 * 1024
PIECES_PER_S: Final = 4
"""Of a body that is sent slowly."""


class NoAnswerError(Exception):
    """No answer came; the text says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; a repeated one is joined by commas."""
    body: bytes
    elapsed_ms: float


class Exchange:
    """A way to one server, that stays open from one request to the next where the server lets it. For one thread."""

    def __init__(self, url: str, timeout_s: float, context: ssl.SSLContext | None) -> None:
        self._parts = urlsplit(url)
        self._timeout_s = timeout_s
        self._context = context
        self._connection: http.client.HTTPConnection | None = None

    def send(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes, slow_s: float = 0.0
    ) -> Answered:
        """One request; with `slow_s` its body takes so long. Raises `NoAnswerError`, and `ValueError` for what cannot
        be written in a request."""
        start_s = time.perf_counter()
        fresh = self._connection is None
        try:
            self._open_request(method, url, headers, body)
            whole = self._send_body(body, slow_s)
            response = self._connected().getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if fresh:
                raise NoAnswerError("the connection was closed without an answer") from None
            # It was left open by an earlier request, and the server has had enough of it.
            return self.send(method, url, headers, body, slow_s)
        except TimeoutError:
            self.close()
            raise NoAnswerError(f"nothing came within {self._timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswerError(_why(error)) from None
        except BaseException:
            self.close()
            raise
        answered = self._read(response, start_s)
        if not whole:
            self.close()
        return answered

    def close(self) -> None:
        """Let it go; a next request opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_request(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        connection = self._connected()
        parts = urlsplit(url)
        target = parts.path or "/"
        connection.putrequest(
            method, f"{target}?{parts.query}" if parts.query else target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", parts.netloc.rpartition("@")[2])
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        if body or method not in ("GET", "HEAD", "OPTIONS"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()

    def _send_body(self, body: bytes, slow_s: float) -> bool:
        """Whether all of it was sent. Who is refused early (413) is answered while it still sends; to go on would end
        in a reset that takes the answer with it."""
        connection = self._connected()
        for piece in _pieces(body, slow_s):
            if self._context is None and select.select([connection.sock], [], [], 0)[0]:
                return False
            try:
                connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._parts.hostname or "", self._parts.port
            if self._context is None:
                connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            else:
                connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
            connection.connect()
            self._connection = connection
        return self._connection

    def _read(self, response: http.client.HTTPResponse, start_s: float) -> Answered:
        try:
            body = response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswerError(f"the answer broke off: {_why(error)}") from None
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        if not response.isclosed() or headers.get("connection", "").lower() == "close":
            self.close()
        body = _unpacked(body, headers.get("content-encoding", ""))
        return Answered(response.status, headers, body, (time.perf_counter() - start_s) * 1000)


def _pieces(body: bytes, slow_s: float) -> Iterator[bytes]:
    """The body in pieces; slowly, with a rest before each."""
    if not body:
        return
    count = max(1, min(len(body), round(slow_s * PIECES_PER_S))) if slow_s else 0
    size = -(-len(body) // count) if count else PIECE_BYTES
    for place in range(0, len(body), size):
        if slow_s:
            time.sleep(slow_s / count)
        yield body[place : place + size]


def _unpacked(body: bytes, encoding: str) -> bytes:
    """What an answer says, if it is packed as some providers allow it; what cannot be unpacked stays as it is."""
    if encoding.lower() not in ("gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, ANSWER_BYTES_MAX)
    except zlib.error:
        return body


def _why(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{text}" if text else type(error).__name__
