"""One HTTP/1.1 answer, read strictly and within limits. No I/O: bytes go in, in any pieces.

The syntax is checked by llhttp (RFC 9112, nothing lenient); this adds what a hostile receiver makes necessary:
bounds on everything, no upgrade, no HTTP/0.9 or 2, only `chunked` as a transfer coding, and a body that is cut where
the endpoint's limit is. Nothing is decompressed and no redirect is read beyond its headers.
"""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from hookline.core.attempt import RESPONSE_KEPT_OK_BYTES, RESPONSE_KEPT_OTHER_BYTES

HEAD_BYTES_MAX: Final = 64 * 1024
"""For the status line and headers, interim answers included; the same again for trailers and chunk extensions."""
FIELDS_MAX: Final = 100
INTERIM_MAX: Final = 16
FRAMING_FACTOR_MAX: Final = 8
"""A body may be this many times its size on the wire (chunks of one byte are six), then it is cut."""
PIECES_MAX: Final = 1024
"""A body may come in so many chunks, and one more for each 256 bytes of its limit, then it is cut: a million chunks of
one byte would keep the event loop busy for half a second."""

REMEMBERED_BYTES_MAX: Final = 1024
"""So long an answer may be, to be remembered."""
VARYING_MAX: Final = 8
"""After so many answers on a connection of which none was the one before, only each sixteenth is remembered."""
NOTHING: Final = b"\x90\xc4\x00"
"""What `AnswerReader.pack` makes of no answer."""

_NOTED: Final = frozenset({b"transfer-encoding", b"keep-alive"})


class _Enough(Exception):
    """Stops the parser inside a callback; the reader knows already why."""


class _Known(msgspec.Struct, frozen=True, gc=False):
    """An answer that was read once, and what was read in it."""

    data: bytes
    body_bytes: int
    body: list[bytes]
    status: int
    headers: list[tuple[bytes, bytes]]
    keep_alive_s: float | None
    packed: bytes


_NONE_KNOWN: Final = _Known(b"", 0, [], 0, [], None, NOTHING)
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class AnswerReader:
    """Reads the answers of one connection, one after the other: `begin`, then `feed` until it returns True.

    A receiver mostly says the same again. The last answer that came as one piece of known length, and left the
    connection to be used again, is remembered: the same bytes as the first piece of a later answer are the same
    answer, and are not parsed again.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_body_left",
        "_body_max",
        "_fields",
        "_head_done",
        "_interim",
        "_interims",
        "_keep_left",
        "_known",
        "_packed",
        "_parser",
        "_pieces_left",
        "_remembered_bytes_max",
        "_varying",
        "_whole",
        "_wire_bytes",
        "complete",
        "cut",
        "fault",
        "headers",
        "keep_alive_s",
        "reusable",
        "status",
    )

    def __init__(self, *, remembered_bytes_max: int = REMEMBERED_BYTES_MAX) -> None:
        """An answer of more than `remembered_bytes_max` is not remembered."""
        self._remembered_bytes_max = remembered_bytes_max
        self._varying = 0
        self._parser = HttpResponseParser(self)
        self._known = _NONE_KNOWN
        self.begin(0, whole=False)

    def begin(self, body_max: int, *, whole: bool) -> None:
        """Expect the next answer, with a body of at most `body_max` bytes; more than that is not read.

        `whole`: keep all that is read of the body, not only what an attempt's record holds of it.
        """
        self._whole = whole
        self._body_max = body_max
        self._begun = self._head_done = False
        self._body: list[bytes] = []
        self._packed: bytes | None = None
        self.status: int | None = None
        """Of the final answer, once its headers have come."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Of the final answer, names in lower case, in the order they came; no trailers."""
        self.keep_alive_s: float | None = None
        """How long the receiver says that it keeps an idle connection."""
        self.fault: str | None = None
        """Why this is not a correct answer: one line for a person."""
        self.complete = False
        """It ended where it said that it would."""
        self.cut = False
        """It was not read to its end, and need not be: the status counts."""
        self.reusable = False
        """Another request may follow on this connection, if the answer is complete."""

    def _start(self) -> None:
        """What is needed only where the parser is asked."""
        self._begun = True
        self._body_left = self._body_max
        self._pieces_left = PIECES_MAX + self._body_max // 256
        self._keep_left = 0
        self._wire_bytes = 0
        self._interims = 0
        self._interim = False
        self._fields: list[tuple[bytes, bytes]] = []

    @property
    def body(self) -> bytes:
        """The beginning of the body, as much as is kept."""
        return b"".join(self._body)

    def pack(self) -> bytes:
        """Headers and body as the last two members of a packed `Exchange`, the body as much as an attempt's record
        holds of it."""
        if self._packed is not None:
            return self._packed
        body = self.body if self.status is None else self.body[: kept_bytes(self.status)]
        return _ENCODE(self.headers) + _ENCODE(body)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes. True: nothing more is expected or wanted (see `complete`, `cut`, `fault`)."""
        if self._begun:
            return self._parse(data)
        known = self._known
        if data == known.data and known.body_bytes <= self._body_max:
            self._begun = self.complete = self.reusable = True
            self._body = known.body
            self._packed = known.packed
            self.status = known.status
            self.headers = known.headers
            self.keep_alive_s = known.keep_alive_s
            self._varying = 0
            return True
        self._start()
        ended = self._parse(data)
        if self.complete and self.reusable and len(data) <= self._remembered_bytes_max:
            self._varying += 1
            if self._varying <= VARYING_MAX or not self._varying & 15:
                self._remember(data)
        return ended

    def _remember(self, data: bytes) -> None:
        """A whole answer came as this one piece."""
        body_bytes = self._body_max - self._body_left
        # Its head, and as much body as was read: no chunks, no interim answer, nothing behind it.
        if data.find(b"\r\n\r\n") + 4 + body_bytes != len(data) or self._interims or self.cut:
            return
        assert self.status is not None
        if body_bytes <= kept_bytes(self.status):
            self._packed = packed = self.pack()
            self._known = _Known(data, body_bytes, self._body, self.status, self.headers, self.keep_alive_s, packed)

    def _parse(self, data: bytes) -> bool:
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # What follows a complete answer, or one that is cut, cannot spoil it, only the connection.
            self.reusable = False
            if not self.complete and not self.cut and self.fault is None:
                self.fault = f"The answer is not correct HTTP/1.1: {error}."
        if self.complete or self.cut or self.fault is not None:
            return True
        if not self._head_done:
            if self._wire_bytes > HEAD_BYTES_MAX:
                self.fault = "The answer's headers are too large."
                return True
        elif self._wire_bytes > 2 * HEAD_BYTES_MAX + FRAMING_FACTOR_MAX * self._body_max:
            self.cut = True
            return True
        return False

    def end(self, *, broken: bool) -> None:
        """The connection ended, the last call. An end that is not `broken` completes an answer without a length of
        its own; it breaks any other."""
        self.reusable = False
        del self._parser  # it refers back to this reader
        if broken:
            return
        if self._head_done and not any(name in {b"content-length", b"transfer-encoding"} for name, _ in self.headers):
            self.complete = True

    # ------------------------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        """The first byte of a head; after a complete answer, nobody asked for another."""
        if self.complete:
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer (which goes nowhere)."""
        if self._head_done:
            self._count_piece()
            return
        self._fields.append((name.lower(), value))
        if len(self._fields) > FIELDS_MAX:
            self._fail("The answer has too many headers.")

    def on_headers_complete(self) -> None:
        """The head has ended, of an interim answer or of the final one."""
        status: int = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        if status < 200:
            self._interims += 1
            self._interim = True
            if status < 100 or status == 101 or self._interims > INTERIM_MAX:
                self._fail("The answer's status is not one that was asked for.")
            return
        self._head_done = True
        self.status = status
        self.headers = fields
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"} or status > 599:
            self._fail("The answer's version or status is not one of HTTP/1.1.")
        # The bytes that came so far may belong to the body as well: then the head is measured.
        if self._wire_bytes > HEAD_BYTES_MAX and sum(len(n) + len(v) + 4 for n, v in fields) > HEAD_BYTES_MAX:
            self.headers = []
            self._fail("The answer's headers are too large.")
        for field in fields:
            if field[0] in _NOTED:
                self._note(field[0], field[1], version)
        self.reusable = version == "1.1" and self._parser.should_keep_alive()
        if 300 <= status < 400:
            self.cut = True  # never followed, so its body tells nothing
        else:
            self._keep_left = self._body_max if self._whole else min(self._body_max, kept_bytes(status))

    def _note(self, name: bytes, value: bytes, version: str) -> None:
        if name == b"keep-alive":
            self.keep_alive_s = _keep_alive_s(value)
        elif version != "1.1" or value.strip().lower() != b"chunked":
            # RFC 9112, 6.1: not in HTTP/1.0; and no coding but the framing itself was asked for.
            self._fail("The answer has a transfer coding that was not asked for.")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._keep_left:
            kept = data[: self._keep_left]
            self._keep_left -= len(kept)
            self._body.append(kept)
        self._body_left -= len(data)
        if self._body_left < 0:
            self.cut = True
            raise _Enough
        self._count_piece()

    def on_message_complete(self) -> None:
        """The end of an interim answer, or of the final one."""
        if self._interim:
            self._interim = False
        else:
            self.complete = True

    def _count_piece(self) -> None:
        self._pieces_left -= 1
        if self._pieces_left < 0:
            self.cut = True
            raise _Enough

    def _fail(self, fault: str) -> NoReturn:
        self.fault = fault
        raise _Enough


def kept_bytes(status: int) -> int:
    """How much of an answer's body an attempt's record holds."""
    return RESPONSE_KEPT_OK_BYTES if 200 <= status < 300 else RESPONSE_KEPT_OTHER_BYTES


def _keep_alive_s(value: bytes) -> float | None:
    """The `timeout` of a `Keep-Alive: timeout=5, max=100`, as several servers send it."""
    for part in value.split(b","):
        name, _, number = part.strip().partition(b"=")
        if name.lower() == b"timeout" and number.isdigit() and len(number) <= 6:
            return float(number)
    return None
