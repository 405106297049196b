"""A file of the spool, as bytes.

    file     16 bytes of magic, 16 of salt, then records
    record   4 bytes of mark, 4 of the payload's length, 8 of time (ms), 16 of checksum, the payload

The checksum is keyed with the file's salt and covers the record's place in the file: bytes that somebody sends can
never pass for a record, wherever they come to lie. What is damaged or torn is passed over up to the next record that is
whole, and counted.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MAGIC: Final = b"HOOKLINE-SPOOL\x01\n"
SALT_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + SALT_BYTES
MARK: Final = b"\xf7\x1e\x8b\x5d"
OVER: Final = b"\xf7\x1e\x8b\x00"
"""In place of the mark: the record was set aside, and does not wait any more."""
_HEAD: Final = struct.Struct(">4sIQ16s")
RECORD_HEAD_BYTES: Final = _HEAD.size
PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024


class Place(NamedTuple):
    """Where a record is in its file."""

    offset: int
    at_ms: int
    payload_bytes: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + RECORD_HEAD_BYTES + self.payload_bytes


def header(salt: bytes) -> bytes:
    """What a file begins with."""
    return MAGIC + salt


def salt_of(data: bytes) -> bytes | None:
    """The salt of a file that begins so; None: it is no file of the spool, or torn within its header."""
    whole = len(data) >= HEADER_BYTES and data.startswith(MAGIC)
    return data[len(MAGIC) : HEADER_BYTES] if whole else None


def encode(salt: bytes, offset: int, at_ms: int, payload: bytes) -> bytes:
    """A record that is to stand at `offset`. Raises ValueError for a payload of more than 64 MiB."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError("the record is too large for the spool")
    return _HEAD.pack(MARK, len(payload), at_ms, _checksum(salt, offset, at_ms, payload)) + payload


def payload_at(salt: bytes, data: bytes, start: int, offset: int, marked: bytes = MARK) -> tuple[Place, bytes] | None:
    """The record at `offset` of a file of which `data` is what begins at `start`; None: no whole one, `marked` so,
    is there."""
    at = offset - start
    if at < 0 or len(data) - at < RECORD_HEAD_BYTES:
        return None
    mark, length, at_ms, checksum = _HEAD.unpack_from(data, at)
    begin = at + RECORD_HEAD_BYTES
    if mark != marked or length > PAYLOAD_BYTES_MAX or len(data) - begin < length:
        return None
    payload = data[begin : begin + length]
    if checksum != _checksum(salt, offset, at_ms, payload):
        return None
    return Place(offset, at_ms, length), payload


def places(data: bytes) -> Iterator[Place | int]:
    """The records of a whole file in order; for what is damaged or torn between or behind them, how many bytes."""
    salt = salt_of(data)
    if salt is None:
        if data:
            yield len(data)
        return
    offset = HEADER_BYTES
    while offset < len(data):
        found = payload_at(salt, data, 0, offset)
        if found is not None:
            yield found[0]
            offset = found[0].end
            continue
        over = payload_at(salt, data, 0, offset, OVER)
        if over is not None:
            offset = over[0].end
            continue
        after = _next(salt, data, offset + 1)
        yield after - offset
        offset = after


def _next(salt: bytes, data: bytes, offset: int) -> int:
    """Where the next whole record begins, or the end."""
    while (offset := data.find(MARK[:3], offset)) >= 0:
        if any(payload_at(salt, data, 0, offset, marked) is not None for marked in (MARK, OVER)):
            return offset
        offset += 1
    return len(data)


def _checksum(salt: bytes, offset: int, at_ms: int, payload: bytes) -> bytes:
    hashed = hashlib.blake2b(key=salt, digest_size=16)
    hashed.update(offset.to_bytes(8, "big") + at_ms.to_bytes(8, "big") + len(payload).to_bytes(4, "big"))
    hashed.update(payload)
    return hashed.digest()
