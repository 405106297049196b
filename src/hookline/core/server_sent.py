"""Server-sent events (the HTML standard, section 9.2): how a stream of them is written, and how it is read.

A block is lines `field: value` and an empty line. The `id` that a reader saw last is what it sends as `Last-Event-ID`
when it comes back. A block without data tells a reader nothing but its place.
"""

from __future__ import annotations

from typing import Final

import msgspec

MEDIA_TYPE: Final = "text/event-stream"
LINE_BYTES_MAX: Final = 1024 * 1024
"""A reader gives up on longer lines."""
_BOM: Final = b"\xef\xbb\xbf"


def block(event: bytes, position: bytes, data: bytes) -> bytes:
    """One event. None of the three holds a line break (JSON is written without)."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event, position, data)


def place(position: bytes, comment: bytes = b"") -> bytes:
    """Only where the reader is: it dispatches nothing and remembers the id."""
    return b": %b\nid: %b\n\n" % (comment, position) if comment else b"id: %b\n\n" % position


def comment(text: bytes) -> bytes:
    """A line that means nothing: it keeps the connection alive."""
    return b": %b\n\n" % text


def retry(wait_ms: int) -> bytes:
    """How long a reader waits before it comes back."""
    return b"retry: %d\n\n" % wait_ms


class Message(msgspec.Struct, frozen=True, gc=False):
    """One event as it was read."""

    event: str
    data: bytes
    position: str
    """The last `id` seen, with this block or before it."""


class Reader:
    """Reads a stream piece by piece, wherever the pieces are cut. `position` and `retry_ms` are kept up."""

    def __init__(self) -> None:
        self.position = ""
        self.retry_ms: int | None = None
        self._rest = b""
        self._begun = False
        self._event = ""
        self._data: list[bytes] = []
        self._id = ""

    def feed(self, piece: bytes) -> list[Message]:
        """What the bytes so far complete. Raises `ValueError` for a line beyond 1 MiB."""
        text = self._rest + piece
        if not self._begun:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            self._begun = True
            text = text.removeprefix(_BOM)
        if b"\r" in text:
            held = text.endswith(b"\r")  # maybe half a line end
            text = (text[:-1] if held else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = text.split(b"\n")
            self._rest = lines.pop() + (b"\r" if held else b"")
        else:
            lines = text.split(b"\n")
            self._rest = lines.pop()
        if len(self._rest) > LINE_BYTES_MAX:
            raise ValueError("a line of the stream is longer than 1 MiB")
        messages: list[Message] = []
        for line in lines:
            if line:
                self._field(line)
            else:
                self._dispatch(messages)
        return messages

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)

    def _dispatch(self, messages: list[Message]) -> None:
        self.position = self._id
        if self._data:
            messages.append(Message(self._event or "message", b"\n".join(self._data), self.position))
        self._event = ""
        self._data = []
