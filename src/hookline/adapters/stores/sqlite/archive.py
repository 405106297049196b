"""What happened: lists and single rows, read-only, a page examining at most 10,000 rows (docs/reliability.md, rule 20)."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from hookline.adapters.stores.sqlite import queries, rows
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.ports.store import AttemptRow, DeliveryRow, Page, Query

ROWS_EXAMINED_MAX = 10_000
PAGE_BYTES_MAX = 16 * 1024 * 1024
ATTEMPTS_MAX = 1000
_ID_BYTES_MAX = 16
_END = b"\xff" * _ID_BYTES_MAX
_WORDS = {state.word: int(state) for state in State}
_PENDING = int(State.PENDING)
_HELD = int(State.HELD)

_EVENTS = f"SELECT {queries.EVENT_COLUMNS} FROM events WHERE id < ? AND id >= ?"
_EVENTS_BOUND = "SELECT id FROM events WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT 1 OFFSET ?"
_NEWEST_FIRST = " ORDER BY id DESC LIMIT ?"

_OPEN = "SELECT id, event_id, endpoint_id, tenant, state, attempts, due_ms, reason, NULL AS finished_ms, lane FROM open"
_CLOSED = (
    "SELECT id, event_id, endpoint_id, tenant, state, attempts, NULL AS due_ms, reason, finished_ms, lane FROM closed"
)
_RANGE = " WHERE id < :before AND id >= :from"
# The reported state: what is pending of an endpoint that does not deliver is held.
_REPORTED = f"CASE WHEN d.state = {_PENDING} AND e.state <> 'active' THEN {_HELD} ELSE d.state END"
_LISTED = (
    f"SELECT d.id, d.event_id, d.endpoint_id, d.tenant, v.type, {_REPORTED} AS reported, d.attempts, d.due_ms,"
    " d.reason, d.finished_ms, d.lane"
    " FROM ({source}) d LEFT JOIN endpoints e ON e.id = d.endpoint_id"
    " LEFT JOIN events v ON v.id = coalesce(d.event_id, substr(d.id, 1, 12))"
)


def event(connection: sqlite3.Connection, tenant: str | None, event_id: bytes) -> Event | None:
    """`Archive.event`, from a reader."""
    found = queries.EVENTS_BY_ID.rows(connection, [event_id])
    if not found or (tenant is not None and found[0][1] != tenant):
        return None
    return rows.event(found[0])


def _range(query: Query) -> tuple[bytes, bytes]:
    """(before, from): the ids a query may look at."""
    before = _END if query.before is None else query.before
    if query.until_ms is not None:
        before = min(before, ids.floor(query.until_ms))
    return before, b"" if query.since_ms is None else ids.floor(query.since_ms)


def events(connection: sqlite3.Connection, query: Query) -> Page[Event]:
    """`Archive.events`, from a reader."""
    before, since = _range(query)
    conditions = []
    parameters: list[Any] = []
    for column, value in (
        ("tenant", query.tenant),
        ("type", query.type),
        ("source", query.source),
        ("source_id", query.source_id),
        ("subject", query.subject),
        ("id", query.event_id),
    ):
        if value is not None:
            conditions.append(f" AND {column} = ?")
            parameters.append(value)
    bound = connection.execute(_EVENTS_BOUND, (before, since, ROWS_EXAMINED_MAX - 1)).fetchone()
    examined_to = since if bound is None else bound[0]
    sql = _EVENTS + "".join(conditions) + _NEWEST_FIRST
    found: list[Event] = []
    size_bytes = 0
    for row in connection.execute(sql, (before, examined_to, *parameters, query.limit + 1)):
        if len(found) == query.limit or (found and size_bytes + len(row[-1]) > PAGE_BYTES_MAX):
            return Page(found, found[-1].id)
        found.append(rows.event(row))
        size_bytes += len(row[-1])
    return Page(found, None if bound is None else bound[0])


def _sources(query: Query) -> list[str]:
    """The tables a list needs, by the state asked for."""
    state = None if query.state is None else _WORDS.get(query.state, -1)
    closed = _CLOSED
    # Named, so that the partial index of failed ones is seen to fit.
    if state == int(State.FAILED) and query.tenant is not None:
        closed = f"{_CLOSED} INDEXED BY closed_failed"
    if state is None:
        return [_OPEN, closed]
    return [_OPEN] if state < int(State.DELIVERED) else [closed]


def _narrow(query: Query, parameters: dict[str, Any]) -> str:
    """What the tables themselves can filter before the joins."""
    conditions = []
    if query.tenant is not None:
        conditions.append(" AND tenant = :tenant")
        parameters["tenant"] = query.tenant
    if query.state is not None and _WORDS.get(query.state, -1) >= int(State.DELIVERED):
        conditions.append(f" AND state = {_WORDS[query.state]}")
    return "".join(conditions)


def _wide(query: Query, parameters: dict[str, Any]) -> str:
    """The other filters, on the joined row."""
    conditions = []
    if query.state is not None:
        conditions.append(f"{_REPORTED} = :state")
        parameters["state"] = _WORDS.get(query.state, -1)
    for name, column, value in (
        ("type", "v.type", query.type),
        ("source", "v.source", query.source),
        ("source_id", "v.source_id", query.source_id),
        ("subject", "v.subject", query.subject),
        ("endpoint", "d.endpoint_id", query.endpoint_id),
        ("reason", "d.reason", query.reason),
    ):
        if value is not None:
            conditions.append(f"{column} = :{name}")
            parameters[name] = value
    return " WHERE " + " AND ".join(conditions) if conditions else ""


def deliveries(connection: sqlite3.Connection, query: Query) -> Page[DeliveryRow]:
    """`Archive.deliveries`, from a reader."""
    before, since = _range(query)
    parameters: dict[str, Any] = {"before": before, "from": since}
    narrow = _narrow(query, parameters)
    where = _RANGE + narrow
    branches = [source + where for source in _sources(query)]
    if query.event_id is not None:
        # Its own deliveries are a range of keys; its replays have an index.
        parameters["event_from"] = query.event_id
        parameters["event_to"] = query.event_id + b"\xff" * 5
        parameters["event"] = query.event_id
        own = " AND id >= :event_from AND id < :event_to"
        replays = " AND id IN (SELECT delivery_id FROM replays WHERE replays.event_id = :event)"
        branches = [branch + condition for branch in branches for condition in (own, replays)]
    source = " UNION ALL ".join(branches)
    parameters["skip"] = ROWS_EXAMINED_MAX - 1
    bound = connection.execute(
        f"SELECT id FROM ({source}) ORDER BY id DESC LIMIT 1 OFFSET :skip", parameters
    ).fetchone()
    if bound is not None:
        parameters["from"] = bound[0]
    parameters["limit"] = query.limit + 1
    sql = _LISTED.format(source=source) + _wide(query, parameters) + " ORDER BY d.id DESC LIMIT :limit"
    found = [_delivery(row) for row in connection.execute(sql, parameters)]
    if len(found) > query.limit:
        del found[query.limit :]
        return Page(found, found[-1].id)
    return Page(found, None if bound is None else bound[0])


def _delivery(row: Sequence[Any]) -> DeliveryRow:
    identifier, replay_of, endpoint_id, tenant, kind, state, attempts, due_ms, reason, finished_ms, lane = row
    return DeliveryRow(
        id=identifier,
        event_id=identifier[: ids.ROOT_BYTES] if replay_of is None else replay_of,
        endpoint_id=endpoint_id,
        tenant=tenant,
        type=kind or "",
        state=State(state).word,
        attempts=attempts,
        next_at_ms=due_ms if state == _PENDING else None,
        reason=reason,
        created_at_ms=ids.time_ms(identifier),
        finished_at_ms=finished_ms,
        ordering_key=lane,
        replay_of=replay_of,
    )


def delivery(connection: sqlite3.Connection, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
    """`Archive.delivery`, from a reader."""
    source = f"{_OPEN} WHERE id = :id UNION ALL {_CLOSED} WHERE id = :id"
    row = connection.execute(_LISTED.format(source=source), {"id": delivery_id}).fetchone()
    if row is None or (tenant is not None and row[3] != tenant):
        return None
    return _delivery(row)


def attempts(connection: sqlite3.Connection, delivery_id: bytes) -> list[AttemptRow]:
    """`Archive.attempts`, from a reader."""
    sql = "SELECT delivery_id, fence, packed FROM attempts WHERE delivery_id = ? ORDER BY fence LIMIT ?"
    return [AttemptRow(*row) for row in connection.execute(sql, (delivery_id, ATTEMPTS_MAX))]


def runnable_oldest_s(connection: sqlite3.Connection, now_ms: int) -> tuple[int, float]:
    """`Archive.runnable_oldest_s`, from a reader."""
    count, oldest_ms = connection.execute(queries.RUNNABLE, (now_ms,)).fetchone()
    return count, 0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000)
