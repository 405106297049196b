"""Nothing grows for ever: what is too old is found, and removed in bounded steps, each looking again before it removes.

A circle visits one table after another, in the order of its keys, and removes row by row. Days of history are tables of
their own: what is kept for longest goes with its day (`history`), and only what is kept for less goes row by row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from hookline.adapters.stores.ages import Ages
from hookline.adapters.stores.postgres import again, kept_events, rows, sources
from hookline.adapters.stores.postgres.history import Horizon
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import CHANGES_KEPT_S, EXPIRED_KEPT_S, Keep, OpenRef, Purged

OPEN_EXAMINED_MAX: Final = 10_000
"""Rows that one call of `expired` looks at."""
_LEASED: Final = int(State.LEASED)
_UNCONFIRMED: Final = int(State.UNCONFIRMED)
_FAILED: Final = int(State.FAILED)
_EXPIRED_KEPT_MS: Final = int(EXPIRED_KEPT_S * 1000)
_CHANGES_KEPT_MS: Final = int(CHANGES_KEPT_S * 1000)


async def expired(transaction: Transaction, after: bytes, keep: Keep, limit: int) -> tuple[list[OpenRef], bytes]:
    """`Retention.expired`: what it found behind `after`, and where to go on."""
    ages = Ages(keep, transaction.now_ms)
    walked = await transaction.rows(
        "SELECT o.id, o.fence, o.endpoint_id, o.tenant, o.event_id, o.state, o.lost, c.success FROM open o"
        " LEFT JOIN confirmations c ON c.delivery_id = o.id WHERE o.id > $1 AND o.id < $2 ORDER BY o.id LIMIT $3",
        after,
        ages.highest,
        OPEN_EXAMINED_MAX,
    )
    found: list[OpenRef] = []
    for row in walked:
        after = row["id"]
        if row["state"] == _LEASED or after >= ages.bound(row["tenant"]):
            continue
        if row["state"] != _UNCONFIRMED or not row["success"]:
            found.append(rows.open_ref(row))
            if len(found) == limit:
                return found, after
    return found, after if len(walked) == OPEN_EXAMINED_MAX else b""


class Place(msgspec.Struct, frozen=True):
    """Where in its circle purging is."""

    stop: int = 0
    after: Any = b""


class _Found(msgspec.Struct):
    """What a look at a table found: keys of rows to be removed, and the last key looked at."""

    keys: list[Any]
    examined: int
    last: Any
    ended: bool


Look = Callable[[Transaction, Horizon, Any, int], Awaitable[_Found]]
Remove = Callable[[Transaction, Sequence[Any]], Awaitable[int]]


def _look_closed(
    highest: Callable[[Horizon], bytes], bound: Callable[[Horizon, str], bytes], further: str = ""
) -> Look:
    """Closed deliveries. Each attempt counts like a row: one that was retried a hundred times is as much work."""

    async def look(transaction: Transaction, horizon: Horizon, after: Any, limit: int) -> _Found:
        kept_ms = horizon.now_ms - _EXPIRED_KEPT_MS
        found = _Found([], 0, after, ended=True)
        walked = await transaction.rows(
            "SELECT id, tenant, finished_ms, attempts, reason FROM closed"
            f" WHERE id > $1 AND id < $2{further} ORDER BY id LIMIT $3",
            after,
            highest(horizon),
            limit,
        )
        for row in walked:
            if found.examined and found.examined + 1 + row["attempts"] > limit:
                found.ended = False
                break
            found.last = row["id"]
            found.examined += 1
            old = row["id"] < bound(horizon, row["tenant"])
            if old and (row["reason"] != "expired" or row["finished_ms"] <= kept_ms):
                found.keys.append(row["id"])
                found.examined += row["attempts"]
        found.ended = found.ended and found.examined < limit
        return found

    return look


async def _look_events(transaction: Transaction, horizon: Horizon, after: Any, limit: int) -> _Found:
    """Those that do not go with their day."""
    sql = "SELECT id, tenant FROM events WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3"
    found = await transaction.rows(sql, after, horizon.row_highest, limit)
    keys = [row["id"] for row in found if row["id"] < horizon.row_bound(row["tenant"])]
    return _Found(keys, len(found), found[-1]["id"] if found else after, len(found) < limit)


async def _look_replayed(transaction: Transaction, horizon: Horizon, after: Any, limit: int) -> _Found:
    """Events whose day goes before their replays do: they are kept apart."""
    found = await transaction.rows(
        "SELECT DISTINCT v.id FROM replays r JOIN events v ON v.id = r.event_id"
        " WHERE r.event_id > $1 AND r.event_id < $2 ORDER BY v.id LIMIT $3",
        after,
        horizon.past,
        limit,
    )
    return _Found([row["id"] for row in found], len(found), found[-1]["id"] if found else after, len(found) < limit)


def _look_ids(table: str, further: str = "") -> Look:
    """A table with an id and a tenant, whose rows are too old by their ids."""

    async def look(transaction: Transaction, ages: Ages, after: Any, limit: int) -> _Found:
        sql = f"SELECT id, tenant FROM {table} WHERE id > $1 AND id < $2{further} ORDER BY id LIMIT $3"
        found = await transaction.rows(sql, after, ages.highest, limit)
        keys = [row["id"] for row in found if row["id"] < ages.bound(row["tenant"])]
        return _Found(keys, len(found), found[-1]["id"] if found else after, len(found) < limit)

    return look


async def _look_tombstones(transaction: Transaction, ages: Ages, after: Any, limit: int) -> _Found:
    """An endpoint that was deleted goes after all that it ever had."""
    sql = "SELECT id, tenant, updated_at_ms FROM endpoints WHERE deleted = 2 AND id > $1 ORDER BY id LIMIT $2"
    found = await transaction.rows(sql, after, limit)
    keys = [
        row["id"] for row in found if ids.floor(row["updated_at_ms"] + _EXPIRED_KEPT_MS) < ages.bound(row["tenant"])
    ]
    return _Found(keys, len(found), found[-1]["id"] if found else after, len(found) < limit)


def _look_all(sql: str) -> Look:
    """A small table: its rows that are to go, by one statement with the instant up to which they are kept."""

    async def look(transaction: Transaction, ages: Ages, after: Any, limit: int) -> _Found:
        found = await transaction.rows(sql, ages.now_ms - _EXPIRED_KEPT_MS, limit)
        keys = [tuple(row) for row in found]
        return _Found(keys, len(keys), after, len(keys) < limit)

    return look


async def _look_quarantine(transaction: Transaction, ages: Ages, after: Any, limit: int) -> _Found:
    """What is too old, and what belongs to a source that is gone."""
    found = await transaction.rows(
        "SELECT q.id, q.tenant, coalesce(s.deleted, true) AS gone FROM quarantine q LEFT JOIN sources s"
        " ON s.id = q.source_id WHERE q.id > $1 ORDER BY q.id LIMIT $2",
        after,
        limit,
    )
    keys = [row["id"] for row in found if row["gone"] or row["id"] < ages.bound(row["tenant"])]
    return _Found(keys, len(found), found[-1]["id"] if found else after, len(found) < limit)


async def _remove_deliveries(transaction: Transaction, keys: Sequence[Any]) -> int:
    lanes = await transaction.rows(
        "SELECT endpoint_id, lane FROM closed WHERE lane IS NOT NULL AND state = 5 AND id = ANY ($1)", list(keys)
    )
    await transaction.lock_lanes(sorted((row["endpoint_id"], row["lane"]) for row in lanes))
    # One that was reopened meanwhile is no more there, and one that expired anew is kept anew.
    gone = await transaction.rows(
        "DELETE FROM closed WHERE id = ANY ($1) AND (reason IS DISTINCT FROM 'expired' OR finished_ms <= $2)"
        " RETURNING id, event_id, endpoint_id, tenant, state, lane",
        list(keys),
        transaction.now_ms - _EXPIRED_KEPT_MS,
    )
    await transaction.run("DELETE FROM attempts WHERE delivery_id = ANY ($1)", [row["id"] for row in gone])
    replays = [row for row in gone if row["event_id"] is not None]
    await transaction.run(
        "DELETE FROM replays r USING unnest($1::bytea[], $2::bytea[]) AS u (event_id, delivery_id)"
        " WHERE r.event_id = u.event_id AND r.delivery_id = u.delivery_id",
        [row["event_id"] for row in replays],
        [row["id"] for row in replays],
    )
    for row in gone:
        if row["lane"] is not None and row["state"] == _FAILED:
            await transaction.run("SELECT hl_unblock($1, $2, $3)", row["endpoint_id"], row["lane"], row["id"])
            await again.settle(transaction, row, {})
    return len(gone)


def _remove_events(table: str) -> Remove:
    async def remove(transaction: Transaction, keys: Sequence[Any]) -> int:
        own = "d.id > v.id AND d.id <= v.id || '\\xffffffff'::bytea"
        return await transaction.run(
            f"DELETE FROM {table} v WHERE v.id = ANY ($1)"
            f" AND NOT EXISTS (SELECT 1 FROM open d WHERE {own}) AND NOT EXISTS (SELECT 1 FROM closed d WHERE {own})"
            " AND NOT EXISTS (SELECT 1 FROM replays r WHERE r.event_id = v.id)"
            " AND NOT EXISTS (SELECT 1 FROM fanouts f WHERE f.event_id = v.id)",
            list(keys),
        )

    return remove


async def _keep_events(transaction: Transaction, keys: Sequence[Any]) -> int:
    await transaction.run(kept_events.MOVE, list(keys))
    return 0


async def _remove_tombstones(transaction: Transaction, keys: Sequence[Any]) -> int:
    await transaction.run("DELETE FROM endpoint_states WHERE endpoint_id = ANY ($1)", list(keys))
    await transaction.run("DELETE FROM endpoint_totals WHERE endpoint_id = ANY ($1)", list(keys))
    return await transaction.run("DELETE FROM endpoints WHERE deleted = 2 AND id = ANY ($1)", list(keys))


async def _remove_changes(transaction: Transaction, keys: Sequence[Any]) -> int:
    last = max(key[0] for key in keys)
    removed = await transaction.run("DELETE FROM changes WHERE xid <= $1::text::xid8", str(last))
    removed += await transaction.run("DELETE FROM journal WHERE xid <= $1::text::xid8", str(last))
    await transaction.run("UPDATE meta SET value = $1 WHERE name = 'journal_from'", last + 1)
    return removed


def _remove(sql: str) -> Remove:
    async def remove(transaction: Transaction, keys: Sequence[Any]) -> int:
        return await transaction.run(sql, [key[0] if isinstance(key, tuple) else key for key in keys])

    return remove


class _Table(msgspec.Struct, frozen=True):
    """One stop of the circle."""

    look: Look
    remove: Remove
    """Removes those that may still go; how many rows that were."""


_DELIVERIES: Final = _Table(
    _look_closed(lambda horizon: horizon.row_highest, lambda horizon, tenant: horizon.row_bound(tenant)),
    _remove_deliveries,
)
# Of days that are about to go: what lanes and replays hang on.
_TIED: Final = _Table(
    _look_closed(
        lambda horizon: horizon.past,
        lambda horizon, _tenant: horizon.past,
        " AND (event_id IS NOT NULL OR (state = 5 AND lane IS NOT NULL))",
    ),
    _remove_deliveries,
)
_OF_EVENTS: Final = _Table(_look_events, _remove_events("events"))
_OF_KEPT: Final = _Table(_look_ids("events_kept"), _remove_events("events_kept"))
_QUARANTINE: Final = _Table(_look_quarantine, sources.purge)
_CIRCLE: Final = (
    _DELIVERIES,
    _TIED,
    _OF_EVENTS,
    _Table(_look_replayed, _keep_events),
    _OF_KEPT,
    _Table(
        _look_ids("replay_jobs", " AND state <> 'running'"),
        _remove("DELETE FROM replay_jobs WHERE state <> 'running' AND id = ANY ($1)"),
    ),
    _Table(_look_tombstones, _remove_tombstones),
    _Table(
        _look_all("SELECT version FROM event_types WHERE number = 0 AND created_at_ms <= $1 ORDER BY version LIMIT $2"),
        _remove("DELETE FROM event_types WHERE number = 0 AND version = ANY ($1)"),
    ),
    _Table(
        _look_all("SELECT id FROM keys WHERE deleted AND created_at_ms <= $1 ORDER BY id LIMIT $2"),
        _remove("DELETE FROM keys WHERE deleted AND id = ANY ($1)"),
    ),
    _QUARANTINE,
    _Table(
        _look_all("SELECT id FROM sources WHERE deleted AND updated_at_ms <= $1 ORDER BY id LIMIT $2"),
        # Not while it has anything in quarantine: its totals say whose that is.
        _remove(
            "DELETE FROM sources s WHERE s.deleted AND s.id = ANY ($1)"
            " AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.source_id = s.id)"
        ),
    ),
    _Table(
        _look_all(
            "SELECT c.delivery_id FROM confirmations c WHERE $1::bigint IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM open o WHERE o.id = c.delivery_id) LIMIT $2"
        ),
        _remove(
            "DELETE FROM confirmations c WHERE c.delivery_id = ANY ($1)"
            " AND NOT EXISTS (SELECT 1 FROM open o WHERE o.id = c.delivery_id)"
        ),
    ),
    _Table(
        _look_all(
            "SELECT xid::text::bigint FROM"
            " (SELECT xid, at_ms FROM journal UNION ALL SELECT xid, at_ms FROM changes) AS j"
            " WHERE at_ms <= $1 ORDER BY xid LIMIT $2"
        ),
        _remove_changes,
    ),
)


class Step(msgspec.Struct):
    """What a look found to be done, and where to go on after it."""

    stop: int
    keys: list[Any]
    examined: int
    following: Place


async def look(transaction: Transaction, place: Place, horizon: Horizon, limit: int) -> Step:
    """The next step of `Retention.purge`; nothing examined: the circle is closed."""
    after = place.after
    for stop in range(place.stop, len(_CIRCLE)):
        found = await _CIRCLE[stop].look(transaction, horizon, after, limit)
        after = b""
        if found.examined:
            following = Place(stop + 1) if found.ended else Place(stop, found.last)
            return Step(stop, found.keys, found.examined, following)
    return Step(0, [], 0, Place())


async def remove(transaction: Transaction, step: Step) -> Purged:
    """Remove what a step found and may still be removed."""
    table = _CIRCLE[step.stop]
    removed = await table.remove(transaction, step.keys)
    deliveries = removed if table in (_DELIVERIES, _TIED) else 0
    events = removed if table in (_OF_EVENTS, _OF_KEPT) else 0
    quarantined = removed if table is _QUARANTINE else 0
    return Purged(step.examined, deliveries, events, quarantined)
