"""The answer of a receiver: bytes in arbitrary pieces, with caps. The first byte of an input says what is asked.

What must hold: the reader never raises, keeps no more than it was allowed, and reads the same wherever the bytes are
cut, as long as no limit of the pieces themselves is passed. h11 must read the same body, as far as it reads it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable

import h11

from hookline.adapters.senders.answer import FIELDS_MAX, INTERIM_MAX, AnswerReader, kept_bytes
from hookline.core.success import answer

BODY_MAX = (0, 1, 16, 300, 16_384)
BYTEWISE_BYTES_MAX = 700
"""Fewer pieces than a body may come in."""

Read = tuple[object, ...]


def read(pieces: Iterable[bytes], body_max: int, *, whole: bool) -> tuple[AnswerReader, bool]:
    """The reader after as many pieces as it wants, and whether it wants no more."""
    reader = AnswerReader()
    reader.begin(body_max, whole=whole)
    return reader, any(reader.feed(piece) for piece in pieces)


def outcome(reader: AnswerReader) -> Read:
    """What may not depend on where the bytes were cut. (`reusable` may: bytes after the end are seen or not.)"""
    assert reader.fault is None or "\n" not in reader.fault
    faulty = reader.fault is not None
    complete = reader.complete and not reader.cut  # what came with the piece in which it was cut may be the rest
    return faulty, *(() if faulty else (complete, reader.cut, reader.status, reader.headers, reader.body))


def bounded(reader: AnswerReader, body_max: int, *, whole: bool) -> None:
    """Raise unless the reader kept no more than it was allowed."""
    body_bytes = len(reader.body)
    assert body_bytes <= body_max
    if not whole and reader.status is not None:
        assert body_bytes <= kept_bytes(reader.status)
    assert len(reader.headers) <= FIELDS_MAX
    assert not reader._begun or reader._interims <= INTERIM_MAX + 1
    assert reader.fault is not None or reader.status is None or 200 <= reader.status <= 599
    assert all(name == name.lower() for name, _ in reader.headers)


def by_h11(data: bytes) -> tuple[int, bytes] | None:
    """Status and body as another parser reads them; None where it reads no whole answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(data)
        while isinstance(head := connection.next_event(), h11.InformationalResponse):
            pass
        if not isinstance(head, h11.Response):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        return (head.status_code, body) if isinstance(event, h11.EndOfMessage) else None
    except h11.ProtocolError:
        return None


def check(data: bytes) -> None:
    """Raise unless these bytes are read as they must be."""
    if not data:
        return
    body_max, whole, data = BODY_MAX[data[0] % len(BODY_MAX)], data[0] >= 128, data[1:]
    once, _ = read([data] if data else [], body_max, whole=whole)
    bounded(once, body_max, whole=whole)
    ways = [_cut(data, zlib.crc32(data))]
    if len(data) <= BYTEWISE_BYTES_MAX:
        ways.append([data[at : at + 1] for at in range(len(data))])
    for pieces in ways:
        reader, enough = read(pieces, body_max, whole=whole)
        bounded(reader, body_max, whole=whole)
        assert outcome(reader) == outcome(once)
        # The connection ends, broken or not; an end completes only an answer that waits for it.
        complete, broken = reader.complete, enough or len(data) % 2 == 0
        reader.end(broken=broken)
        assert not reader.reusable
        assert reader.complete == complete or (not broken and reader.status is not None and reader.fault is None)
    if once.status is not None:
        answer(None, once.status, once.headers, once.body, 1_790_000_000.0)
    if once.complete and not once.cut and once.fault is None and whole:
        theirs = by_h11(data)
        assert theirs is None or theirs == (once.status, once.body), f"h11 reads {theirs!r}"


def _cut(data: bytes, seed: int) -> list[bytes]:
    dice, pieces, at = random.Random(seed), [], 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 9, 60))
        pieces.append(data[at : at + size])
        at += size
    return pieces
