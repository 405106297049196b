"""Heads of publishes that were read and admitted before, byte for byte.

A publisher on a kept connection sends the same head with every event but for the length of the body, and reading it
costs more than all the rest of his request. So a head that the strict parser has read whole, and that asks for nothing
but what nearly all ask for, is remembered with what it came to: the same bytes again, at the start of a request, come
to the same. What may change between two requests (the key, its end and rate, the tenant) is asked again each time.

A head holds its key in clear, as the memory of any server does while it reads one. It is found by the keyed hash of all
its bytes, so the time of a look-up says nothing of a key.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hookline.web.publish import Admission

HEADS_MAX: Final = 512
HEAD_BYTES_MAX: Final = 2048
END: Final = b"\r\n\r\n"


class KnownHead(msgspec.Struct, frozen=True, gc=False):
    """What a head came to."""

    admission: Admission
    body_bytes: int
    """Its Content-Length."""


class KnownHeads:
    """Those of a front, bounded: when there are too many, all are forgotten."""

    def __init__(self, heads_max: int = HEADS_MAX) -> None:
        self._heads_max = heads_max
        self._known: dict[bytes, KnownHead] = {}
        self.find = self._known.get
        """The head that is exactly these bytes, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, fed: bytes, fields: dict[bytes, bytes], fields_count: int, admission: Admission) -> None:
        """Remember the head at the beginning of `fed`, which was admitted, if it is one that can be remembered.

        `fields` are its headers; the caller vouches that `fed` begins with this request, that it is a publish by
        HTTP/1.1, and that its connection is kept.
        """
        length = fields.get(b"content-length")
        if (
            length is None
            or len(fields) != fields_count
            or b"transfer-encoding" in fields
            or b"upgrade" in fields
            or admission.expects
            or admission.headers
            or not length.isdigit()
        ):
            return
        at = fed.find(END)
        if at < 0 or at + len(END) > HEAD_BYTES_MAX:
            return
        if len(self._known) >= self._heads_max:
            self._known.clear()
        self._known[fed[: at + len(END)]] = KnownHead(admission, int(length))
