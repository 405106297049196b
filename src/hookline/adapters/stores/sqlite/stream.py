"""What happens, in the order of its commits: events, attempts and changes, each read behind its table's last number.

A position is the stream's epoch and the highest number (rowid, or `n`) of each of the three tables that was read. With
one writer, whatever commits later has higher numbers, so positions are exact. Two things must hold for that:

* **A number never comes back.** SQLite gives a new row the highest rowid + 1, so the newest rows of `events` and
  `attempts` are never deleted: `purge` leaves the row with the highest rowid of each. (`changes` is AUTOINCREMENT.)
* **Nobody renumbers**: no VACUUM of the file, which may give rows new rowids.

The three tables do not say which of their commits came first. Rows are merged by the times in them, each table in its
own order, and nothing before the event that it is about.
"""

from __future__ import annotations

import itertools
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from hookline.adapters.stores.kept_attempt import shown
from hookline.adapters.stores.sqlite import archive, queries, rows
from hookline.core.errors import NotFound
from hookline.ports.store import Accepted, Attempted, Change, Entry

ENTRIES_MAX = 2500
ROWS_EXAMINED_MAX = 10_000
BYTES_MAX = 4 * 1024 * 1024
"""Of attempts with their exchanges, which are read whole to be shown without."""
_POSITION = struct.Struct(">IQQQ")
_EVENTS, _ATTEMPTS, _CHANGES = range(3)


class _Row(NamedTuple):
    """A row of one of the three, in sight."""

    number: int
    at_ms: int
    what: Accepted | Attempted | Change
    event_number: int = 0
    """Of the event that it is about."""
    size_bytes: int = 0


def stream_end(connection: sqlite3.Connection) -> bytes:
    """`Stream.stream_end`, from a reader."""
    return _POSITION.pack(*connection.execute(queries.STREAM_ENDS).fetchone())


def stream(connection: sqlite3.Connection, after: bytes, limit: int, until: bytes | None = None) -> list[Entry]:
    """`Stream.stream`, from a reader: one snapshot."""
    epoch, numbers = _resume(connection, after)
    bounds = None if until is None else _resume(connection, until)[1]
    limit = min(limit, ENTRIES_MAX)
    tables: list[Iterator[_Row]] = [
        _events(connection, numbers[_EVENTS], limit),
        _attempts(connection, numbers[_ATTEMPTS], ROWS_EXAMINED_MAX - 2 * limit),
        _changes(connection, numbers[_CHANGES], limit),
    ]
    if bounds is not None:
        tables = [_up_to(table, bound) for table, bound in zip(tables, bounds, strict=True)]
    heads = [next(table, None) for table in tables]
    entries: list[Entry] = []
    size_bytes = 0
    while len(entries) < limit and size_bytes < BYTES_MAX:
        table = _first(heads, numbers[_EVENTS])
        if table is None:
            break
        row = heads[table]
        assert row is not None
        numbers[table] = row.number
        size_bytes += row.size_bytes
        entries.append(Entry(_POSITION.pack(epoch, *numbers), row.what))
        heads[table] = next(tables[table], None)
    return entries


def _up_to(table: Iterator[_Row], bound: int) -> Iterator[_Row]:
    return itertools.takewhile(lambda row: row.number <= bound, table)


def _resume(connection: sqlite3.Connection, after: bytes) -> tuple[int, list[int]]:
    """The epoch and the numbers of a position. Raises `NotFound` when what follows it is not known."""
    if len(after) != _POSITION.size:
        raise NotFound("this is no position of the stream")
    epoch, *numbers = _POSITION.unpack(after)
    now_epoch, *ends = connection.execute(queries.STREAM_ENDS).fetchone()
    if epoch != now_epoch or any(number > end for number, end in zip(numbers, ends, strict=True)):
        raise NotFound("this position is of another history: a backup was restored")
    begins = connection.execute(queries.STREAM_BEGINS).fetchone()
    # An empty table has no first row: what it had is gone.
    first = [end + 1 if begin is None else begin for begin, end in zip(begins, ends, strict=True)]
    if any(number + 1 < begin for number, begin in zip(numbers, first, strict=True)):
        raise NotFound("what follows this position is not kept any more")
    return epoch, numbers


def _first(heads: Sequence[_Row | None], event_number: int) -> int | None:
    """The table whose row comes first; None: all are at their ends."""
    there = [(row.at_ms, table) for table, row in enumerate(heads) if row is not None]
    if not there:
        return None
    _, table = min(there)
    row = heads[table]
    assert row is not None
    if row.event_number > event_number and heads[_EVENTS] is not None:
        return _EVENTS
    return table


def _events(connection: sqlite3.Connection, after: int, limit: int) -> Iterator[_Row]:
    at_ms = 0
    for number, data_bytes, *columns in connection.execute(queries.STREAM_EVENTS, (after, limit)):
        event = rows.event(columns)
        # Of two that were accepted at once the later id may have been committed first.
        at_ms = max(at_ms, event.accepted_at_ms)
        yield _Row(number, at_ms, Accepted(event, data_bytes))


def _attempts(connection: sqlite3.Connection, after: int, limit: int) -> Iterator[_Row]:
    at_ms = 0
    for number, delivery_id, fence, packed in connection.execute(queries.STREAM_ATTEMPTS, (after, limit)):
        delivery = archive.delivery(connection, None, delivery_id)
        if delivery is None:  # `purge` removes a delivery with its attempts: never so, unless by hand
            continue
        record = shown(packed)
        at_ms = max(at_ms, record.at_ms + record.duration_us // 1000)
        event_number = _event_number(connection, delivery.event_id)
        yield _Row(number, at_ms, Attempted(fence, record, delivery), event_number, len(packed))


def _event_number(connection: sqlite3.Connection, event_id: bytes) -> int:
    found = connection.execute(queries.EVENT_NUMBER, (event_id,)).fetchone()
    return 0 if found is None else found[0]


def _changes(connection: sqlite3.Connection, after: int, limit: int) -> Iterator[_Row]:
    for number, *columns in connection.execute(queries.STREAM_CHANGES, (after, limit)):
        fields: list[Any] = columns
        change = Change(*fields)
        event_number = 0
        if change.delivery_id is not None:
            delivery = archive.delivery(connection, None, change.delivery_id)
            if delivery is not None:
                change = msgspec.structs.replace(change, event_id=delivery.event_id, type=delivery.type)
                event_number = _event_number(connection, delivery.event_id)
        yield _Row(number, change.at_ms, change, event_number)
