"""Nothing grows for ever: what is too old is found by readers and removed by the writer, in bounded steps.

A circle visits one table after another, in the order of its keys. A reader looks at the next rows and picks those that
are old enough; only those are given to the writer, which looks again before it removes them: meanwhile a person may
have retried one. So history that stays costs the writer nothing.

The row with the highest rowid of `events` and of `attempts` is never removed, however old: SQLite gives the next row
the number after it, and the positions of `ports.store.Stream` rest on no number ever coming back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.ages import Ages
from hookline.adapters.stores.sqlite import lanes, source_queries, sources, upkeep, work_queries
from hookline.adapters.stores.sqlite.many import ManyKeys
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import CHANGES_KEPT_S, EXPIRED_KEPT_S, Keep, OpenRef, Purged

OPEN_EXAMINED_MAX = 10_000
"""Rows that one call of `expired` looks at."""
WRITER_S_MAX = 0.01
"""A step gives the writer back after about so long; what is left of it is the next one's."""
_CHUNK = 64
_LEASED = int(State.LEASED)
_UNCONFIRMED = int(State.UNCONFIRMED)
_FAILED = int(State.FAILED)
_EXPIRED_KEPT_MS = int(EXPIRED_KEPT_S * 1000)
_CHANGES_KEPT_MS = int(CHANGES_KEPT_S * 1000)
_FIRST_ID = b""
_FIRST_NUMBER = 0


def expired(
    connection: sqlite3.Connection, after: bytes, keep: Keep, now_ms: int, limit: int
) -> tuple[list[OpenRef], bytes]:
    """`Retention.expired`, from a reader: what it found behind `after`, and where to go on."""
    ages = Ages(keep, now_ms)
    found: list[OpenRef] = []
    examined = 0
    for row in connection.execute(work_queries.OPEN_WALK, (after, ages.highest, OPEN_EXAMINED_MAX)):
        ref = upkeep.open_ref(row)
        after = ref.delivery_id
        examined += 1
        if ref.state == _LEASED or after >= ages.bound(ref.tenant):
            continue
        if ref.state != _UNCONFIRMED or not _is_success(connection, after):
            found.append(ref)
            if len(found) == limit:
                return found, after
    return found, after if examined == OPEN_EXAMINED_MAX else _FIRST_ID


def _is_success(connection: sqlite3.Connection, delivery_id: bytes) -> bool:
    """Confirmed, it is about to be recorded as delivered."""
    found = connection.execute(work_queries.CONFIRMATION_FIND, (delivery_id,)).fetchone()
    return found is not None and bool(found[0])


# ------------------------------------------------------------------------------------------------------- looking


class _Found(msgspec.Struct):
    """What a look at a table found: keys of rows to be removed, and the last key looked at."""

    keys: list[Any]
    examined: int
    last: Any
    ended: bool


def _look_deliveries(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
    """Each attempt counts like a row: a delivery that was retried a hundred times is as much work as a hundred."""
    kept_ms = ages.now_ms - _EXPIRED_KEPT_MS
    found = _Found([], 0, after, ended=True)
    for identifier, tenant, finished_ms, attempts, reason in connection.execute(
        work_queries.CLOSED_WALK, (after, ages.highest, limit)
    ):
        if found.examined and found.examined + 1 + attempts > limit:
            found.ended = False
            break
        found.last = identifier
        found.examined += 1
        if identifier < ages.bound(tenant) and (reason != "expired" or finished_ms <= kept_ms):
            found.keys.append(identifier)
            found.examined += attempts
    found.ended = found.ended and found.examined < limit
    return found


def _look_ids(sql: str) -> Callable[[sqlite3.Connection, Ages, Any, int], _Found]:
    """A table with an id and a tenant, whose rows are too old by their ids."""

    def look(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
        rows = connection.execute(sql, (after, ages.highest, limit)).fetchall()
        keys = [identifier for identifier, tenant in rows if identifier < ages.bound(tenant)]
        return _Found(keys, len(rows), rows[-1][0] if rows else after, len(rows) < limit)

    return look


def _look_events(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
    found = _EVENTS(connection, ages, after, limit)
    folded = {row[0] for row in connection.execute(work_queries.FANOUT_EVENTS, (ages.highest,))}
    found.keys = [key for key in found.keys if key not in folded]
    return found


_EVENTS = _look_ids(work_queries.EVENTS_WALK)


def _look_tombstones(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
    """An endpoint that was deleted goes after all that it ever had."""
    rows = connection.execute(work_queries.TOMBSTONES_WALK, (after, limit)).fetchall()
    keys = [
        identifier
        for identifier, tenant, deleted_ms in rows
        if ids.floor(deleted_ms + _EXPIRED_KEPT_MS) < ages.bound(tenant)
    ]
    return _Found(keys, len(rows), rows[-1][0] if rows else after, len(rows) < limit)


def _look_buried(sql: str) -> Callable[[sqlite3.Connection, Ages, Any, int], _Found]:
    """A table of configuration, whose tombstones go a day after the deletion: everybody has read them."""

    def look(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
        rows = connection.execute(sql, (after, limit)).fetchall()
        kept_ms = ages.now_ms - _EXPIRED_KEPT_MS
        keys = [key for key, deleted, deleted_ms in rows if deleted and deleted_ms <= kept_ms]
        return _Found(keys, len(rows), rows[-1][0] if rows else after, len(rows) < limit)

    return look


def _look_changes(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
    """The old ones come first: the last of them stands for all."""
    kept_ms = ages.now_ms - _CHANGES_KEPT_MS
    rows = connection.execute(work_queries.CHANGES_WALK, (after, limit)).fetchall()
    old = [number for number, at_ms in rows if at_ms <= kept_ms]
    return _Found(old[-1:], len(old), old[-1] if old else after, len(old) < limit)


def _look_confirmations(connection: sqlite3.Connection, _: Ages, after: Any, limit: int) -> _Found:
    rows = connection.execute(work_queries.CONFIRMATIONS_WALK, (after, limit)).fetchall()
    keys = [identifier for identifier, is_open in rows if not is_open]
    return _Found(keys, len(rows), rows[-1][0] if rows else after, len(rows) < limit)


def _look_quarantine(connection: sqlite3.Connection, ages: Ages, after: Any, limit: int) -> _Found:
    """What is too old, and what belongs to a source that is gone."""
    rows = connection.execute(source_queries.QUARANTINE_WALK, (after, limit)).fetchall()
    keys = [identifier for identifier, tenant, gone in rows if gone or identifier < ages.bound(tenant)]
    return _Found(keys, len(rows), rows[-1][0] if rows else after, len(rows) < limit)


# ------------------------------------------------------------------------------------------------------ removing


def _remove_deliveries(transaction: Transaction, keys: Sequence[Any]) -> int:
    connection = transaction.connection
    newest = transaction.execute(work_queries.ATTEMPT_NEWEST).fetchone()
    wanted = [key for key in keys if newest is None or key != newest[0]]
    kept_ms = transaction.now_ms - _EXPIRED_KEPT_MS
    gone = work_queries.CLOSED_PURGE.rows(connection, wanted, kept_ms)
    work_queries.ATTEMPTS_PURGE.run(connection, [row[0] for row in gone])
    replays = [(event_id, identifier) for identifier, event_id, *_ in gone if event_id is not None]
    transaction.execute_many(work_queries.REPLAY_FORGET, replays)
    for identifier, _, endpoint_id, tenant, state, lane in gone:
        if lane is not None and state == _FAILED:
            lanes.unblock(transaction, endpoint_id, lane, identifier)
            lanes.settle(transaction, tenant, endpoint_id, lane, {})
    return len(gone)


def _remove_events(transaction: Transaction, keys: Sequence[Any]) -> int:
    newest = transaction.execute(work_queries.EVENT_NEWEST).fetchone()
    wanted = [key for key in keys if newest is None or key != newest[0]]
    return work_queries.EVENTS_PURGE.run(transaction.connection, wanted)


def _remove_tombstones(transaction: Transaction, keys: Sequence[Any]) -> int:
    connection = transaction.connection
    work_queries.ENDPOINT_STATES_PURGE.run(connection, keys)
    work_queries.ENDPOINT_TOTALS_PURGE.run(connection, keys)
    return work_queries.TOMBSTONES_PURGE.run(connection, keys)


def _remove_changes(transaction: Transaction, keys: Sequence[Any]) -> int:
    return transaction.execute(work_queries.CHANGES_PURGE, (keys[-1],)).rowcount


def _plain(query: ManyKeys) -> Callable[[Transaction, Sequence[Any]], int]:
    return lambda transaction, keys: query.run(transaction.connection, keys)


class _Table(msgspec.Struct, frozen=True):
    """One stop of the circle."""

    first: bytes | int
    look: Callable[[sqlite3.Connection, Ages, Any, int], _Found]
    remove: Callable[[Transaction, Sequence[Any]], int]
    """Removes those that may still go; how many rows that were."""


_DELIVERIES = _Table(_FIRST_ID, _look_deliveries, _remove_deliveries)
_OF_EVENTS = _Table(_FIRST_ID, _look_events, _remove_events)
_QUARANTINE = _Table(_FIRST_ID, _look_quarantine, sources.purge)
_CIRCLE = (
    _DELIVERIES,
    _OF_EVENTS,
    _Table(_FIRST_ID, _look_ids(work_queries.REPLAY_JOBS_WALK), _plain(work_queries.REPLAY_JOBS_PURGE)),
    _Table(_FIRST_ID, _look_tombstones, _remove_tombstones),
    _Table(
        _FIRST_NUMBER,
        _look_buried(work_queries.EVENT_TYPES_WALK),
        _plain(work_queries.EVENT_TYPE_TOMBSTONES_PURGE),
    ),
    _Table(_FIRST_ID, _look_buried(work_queries.KEYS_WALK), _plain(work_queries.KEYS_PURGE)),
    _QUARANTINE,
    _Table(_FIRST_ID, _look_buried(source_queries.SOURCES_WALK), _plain(source_queries.SOURCES_PURGE)),
    _Table(_FIRST_ID, _look_confirmations, _plain(work_queries.CONFIRMATIONS_PURGE)),
    _Table(_FIRST_NUMBER, _look_changes, _remove_changes),
)


class Place(msgspec.Struct, frozen=True):
    """Where in its circle purging is."""

    stop: int = 0
    after: Any = _CIRCLE[0].first


class Step(msgspec.Struct):
    """What a look found to be done, and where to go on after it."""

    stop: int
    keys: list[Any]
    examined: int
    following: Place


def look(connection: sqlite3.Connection, place: Place, keep: Keep, now_ms: int, limit: int) -> Step:
    """The next step of `Retention.purge`, from a reader; nothing examined: the circle is closed."""
    ages = Ages(keep, now_ms)
    after = place.after
    for stop in range(place.stop, len(_CIRCLE)):
        found = _CIRCLE[stop].look(connection, ages, after, limit)
        after = _CIRCLE[stop + 1].first if stop + 1 < len(_CIRCLE) else None
        if found.examined:
            following = Place(stop + 1, after) if found.ended else Place(stop, found.last)
            return Step(stop, found.keys, found.examined, following)
    return Step(0, [], 0, Place())


def remove(transaction: Transaction, step: Step, clock_s: Callable[[], float]) -> tuple[Purged, Place]:
    """Remove what a step found and may still be removed, in the writer's transaction: what that was, and where to go
    on: earlier than the step ends if it took too long."""
    table = _CIRCLE[step.stop]
    until_s = clock_s() + WRITER_S_MAX
    removed = 0
    following = step.following
    for start in range(0, len(step.keys), _CHUNK):
        if start and clock_s() > until_s:
            following = Place(step.stop, step.keys[start - 1])
            break
        removed += table.remove(transaction, step.keys[start : start + _CHUNK])
    deliveries = removed if table is _DELIVERIES else 0
    events = removed if table is _OF_EVENTS else 0
    quarantined = removed if table is _QUARANTINE else 0
    return Purged(step.examined, deliveries, events, quarantined), following
