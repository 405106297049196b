"""What a publisher is answered, as bytes. Rendering is a function of the stored outcome alone, so that a repeat of
an Idempotency-Key gets the first answer byte for byte."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.errors import Refusal
from hookline.ports.store import AcceptedItem

PROBLEM = b"application/problem+json"
JSON = b"application/json"
_SINGLE: Final = b'{"id":"' + ids.EVENT.encode() + b'%b","deliveries":%d,"duplicate":%b}'


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An HTTP answer without the HTTP: status, body, further headers, content type."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON


Done = Callable[[Answer], None]


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What an answer needs besides the stored items: kept with the Idempotency-Key.

    `problems` are the refused items of a batch, by their place in it, as problem documents.
    """

    batch: bool
    problems: list[tuple[int, bytes]]


_NOTE = msgspec.msgpack.Decoder(Note)


def pack_note(note: Note) -> bytes:
    """A note as it is stored."""
    return msgspec.msgpack.encode(note)


def unpack_note(packed: bytes) -> Note:
    """The note of a stored answer."""
    return _NOTE.decode(packed)


def refused(refusal: Refusal) -> Answer:
    """The answer to a request that is refused as a whole."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if refusal.retry_after_s is not None:
        headers = ((b"retry-after", str(refusal.retry_after_s).encode()),)
    return Answer(refusal.status, msgspec.json.encode(refusal.problem()), headers, PROBLEM)


def accepted(items: Sequence[AcceptedItem], note: Note) -> Answer:
    """The 202."""
    if not note.batch:
        return Answer(202, _single(items[0]))
    rows: list[bytes] = []
    problems = dict(note.problems)
    taken = iter(items)
    for place in range(len(items) + len(problems)):
        problem = problems.get(place)
        if problem is None:
            rows.append(_row(next(taken)))
        else:
            rows.append(b'{"status":"invalid","problem":' + problem + b"}")
    return Answer(202, b'{"data":[' + b",".join(rows) + b"]}")


def _single(item: AcceptedItem) -> bytes:
    return _SINGLE % (hexlify(item.event_id), item.deliveries, b"true" if item.duplicate else b"false")


def _row(item: AcceptedItem) -> bytes:
    status = b"duplicate" if item.duplicate else b"accepted"
    return b'{"status":"' + status + b'",' + _single(item)[1:]
