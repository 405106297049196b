"""The head of a connection's publish, known again: a client sends the same one each time, but for its length. Pure.

Only what the parser read and the front admitted is ever known, on the connection that sent it, and only when the two
readings of it agree: the parser's fields, and ours of its lines. The next request is taken without the parser if its
bytes are the same ones, with the length of the body that came with it written as we would write it. Whatever differs
in a single byte goes to the parser as before, and so does what comes in pieces or several at once. Nothing that time
can change is known: the key, its end and its rates, the tenant and the address are asked about at each request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.web.publish import Admission

HEAD_BYTES_MAX: Final = 1024
"""Longer heads are left to the parser."""
LESSONS_MAX: Final = 4
"""A connection whose heads are others than before so often is not looked at again: its client numbers them."""
_END: Final = b"\r\n\r\n"


class KnownHead(msgspec.Struct, frozen=True, gc=False):
    """A head, cut where the digits of its Content-Length stand."""

    before: bytes
    after: bytes
    """With the empty line."""
    before_bytes: int
    after_bytes: int
    admission: Admission
    client: str
    """The address that was believed."""

    def body_at(self, data: bytes) -> int:
        """Where the body begins, if `data` is this head and one whole body; else 0."""
        if not data.startswith(self.before):
            return 0
        digits_at = self.before_bytes
        end = data.find(b"\r", digits_at)
        at = end + self.after_bytes
        if data.startswith(self.after, end) and data[digits_at:end] == b"%d" % (len(data) - at):
            return at
        return 0


def learn(data: bytes, headers: Sequence[tuple[bytes, bytes]], admission: Admission, client: str) -> KnownHead | None:
    """The head that `data` begins with; `headers` are the parser's, names in lower case. None: better not."""
    end = data.find(_END, 0, HEAD_BYTES_MAX)
    if end < 0:
        return None
    line, *lines = data[:end].split(b"\r\n")
    if len(lines) != len(headers):
        return None
    at = len(line) + 2
    digits_at = digits_end = 0
    for line, (name, value) in zip(lines, headers, strict=True):
        own, _, rest = line.partition(b":")
        if own.lower() != name or rest.strip(b" \t") != value:
            return None
        if name == b"content-length":
            if digits_at or not value.isdigit():
                return None
            digits_at = at + len(own) + 1 + rest.index(value)
            digits_end = digits_at + len(value)
        at += len(line) + 2
    if not digits_at:
        return None
    before, after = data[:digits_at], data[digits_end : end + len(_END)]
    return KnownHead(before, after, len(before), len(after), admission, client)
