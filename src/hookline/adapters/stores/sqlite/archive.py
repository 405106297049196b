"""What happened: lists and single rows, read-only, bounded (docs/reliability.md, rule 20)."""

# ruff: noqa: S608  # statements are put together from this file's own constants; values are always parameters
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from hookline.adapters.stores.kept_event import ERASED
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
_DELIVERED = int(State.DELIVERED)
_FAILED = int(State.FAILED)

_HISTORY = ("open", "closed")
_DUE = {"open": "d.due_ms", "closed": "NULL"}
_FINISHED = {"open": "NULL", "closed": "d.finished_ms"}
# The reported state: what is pending of an endpoint that does not deliver is held.
_REPORTED = f"CASE WHEN d.state = {_PENDING} AND e.state <> 'active' THEN {_HELD} ELSE d.state END"
_JOINS = (
    " LEFT JOIN endpoints e ON e.id = d.endpoint_id"
    " LEFT JOIN events v ON v.id = coalesce(d.event_id, substr(d.id, 1, 12))"
)
_LISTED = {
    table: (
        f"SELECT d.id, d.event_id, d.endpoint_id, d.tenant, v.type, {_REPORTED}, d.attempts, {_DUE[table]}, d.reason,"
        f" {_FINISHED[table]}, d.lane, v.encoding"
    )
    for table in _HISTORY
}


def event(connection: sqlite3.Connection, tenant: str | None, event_id: bytes) -> Event | None:
    """`Archive.event`, from a reader."""
    found = queries.EVENTS_BY_ID.rows(connection, [event_id])
    if not found or (tenant is not None and found[0][1] != tenant):
        return None
    return rows.event(found[0])


class _Conditions:
    """The WHERE of a list, and its parameters."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self.parameters: list[Any] = []

    def add(self, term: str, *parameters: Any) -> None:
        self._terms.append(term)
        self.parameters += parameters

    def equal(self, column: str, value: object) -> None:
        """Only where a value is asked for."""
        if value is not None:
            self.add(f"{column} = ?", value)

    @property
    def sql(self) -> str:
        return " WHERE " + " AND ".join(self._terms)


class _Window:
    """The ids that a page may examine, in the order of one index."""

    def __init__(
        self, connection: sqlite3.Connection, query: Query, source: str, index: _Conditions, key: str, rows_max: int
    ) -> None:
        index.add(f"{key} < ?", _END if query.until_ms is None else ids.floor(query.until_ms))
        if query.since_ms is not None:
            index.add(f"{key} >= ?", ids.floor(query.since_ms))
        if query.before is not None:
            index.add(f"{key} {'>' if query.oldest_first else '<'} ?", query.before)
        sql = f"SELECT {key} FROM {source}{index.sql} ORDER BY {key} {_order(query)} LIMIT 1 OFFSET ?"
        last = connection.execute(sql, (*index.parameters, rows_max - 1)).fetchone()
        self.edge: bytes | None = None if last is None else last[0]
        """The last id that may be examined; None: nothing lies beyond what may."""
        if last is not None:
            index.add(f"{key} {'<=' if query.oldest_first else '>='} ?", last[0])


def _order(query: Query) -> str:
    return "ASC" if query.oldest_first else "DESC"


def events(connection: sqlite3.Connection, query: Query) -> Page[Event]:
    """`Archive.events`, from a reader."""
    where = _Conditions()
    where.equal("id", query.event_id)
    window = _Window(connection, query, "events", where, "id", ROWS_EXAMINED_MAX)
    where.equal("tenant", query.tenant)
    where.equal("type", query.type)
    where.equal("source", query.source)
    where.equal("source_id", query.source_id)
    where.equal("subject", query.subject)
    sql = f"SELECT {queries.EVENT_COLUMNS} FROM events{where.sql} ORDER BY id {_order(query)} LIMIT ?"
    found: list[Event] = []
    size_bytes = 0
    for row in connection.execute(sql, (*where.parameters, query.limit + 1)):
        if len(found) == query.limit or (found and size_bytes + len(row[-1]) > PAGE_BYTES_MAX):
            return Page(found, found[-1].id)
        found.append(rows.event(row))
        size_bytes += len(row[-1])
    return Page(found, window.edge)


def deliveries(connection: sqlite3.Connection, query: Query) -> Page[DeliveryRow]:
    """`Archive.deliveries`, from a reader.

    Each index is read by itself in the order of its ids, and the results are merged here: a UNION would be sorted
    whole, with all of history in it.
    """
    state = None if query.state is None else _WORDS.get(query.state, -1)
    tables = [table for table in _HISTORY if state is None or (table == "closed") == (state >= _DELIVERED)]
    walks = [
        (table, replays) for table in tables for replays in ((False,) if query.event_id is None else (False, True))
    ]
    found: list[Sequence[Any]] = []
    edges: list[bytes] = []
    for table, replays in walks:
        where = _Conditions()
        source, key = f"{table} d", "d.id"
        if replays:
            source, key = f"replays r CROSS JOIN {table} d ON d.id = r.delivery_id", "r.delivery_id"
            where.equal("r.event_id", query.event_id)
        elif query.event_id is not None:  # a range of keys
            where.add("d.id > ? AND d.id < ?", query.event_id, query.event_id + b"\xff" * 5)
        elif state == _FAILED and query.tenant is not None:
            # Named, for the planner does not dare: few are failed, and they may be far apart.
            source = "closed d INDEXED BY closed_failed"
            where.add(f"d.state = {_FAILED} AND d.tenant = ?", query.tenant)
        window = _Window(connection, query, source, where, key, ROWS_EXAMINED_MAX // len(walks))
        if window.edge is not None:
            edges.append(window.edge)
        _filter(where, query, state)
        sql = f"{_LISTED[table]} FROM {source}{_JOINS}{where.sql} ORDER BY {key} {_order(query)} LIMIT ?"
        found += connection.execute(sql, (*where.parameters, query.limit + 1)).fetchall()
    # Beyond the nearest edge, something was not looked at.
    if query.oldest_first:
        edge = min(edges, default=None)
        found = [row for row in found if edge is None or row[0] <= edge]
    else:
        edge = max(edges, default=None)
        found = [row for row in found if edge is None or row[0] >= edge]
    found.sort(key=lambda row: row[0], reverse=not query.oldest_first)
    if len(found) > query.limit:
        return Page([_delivery(row) for row in found[: query.limit]], found[query.limit - 1][0])
    return Page([_delivery(row) for row in found], edge)


def _filter(where: _Conditions, query: Query, state: int | None) -> None:
    where.equal("d.tenant", query.tenant)
    where.equal("d.endpoint_id", query.endpoint_id)
    where.equal("d.reason", query.reason)
    where.equal("v.type", query.type)
    where.equal("v.source", query.source)
    where.equal("v.source_id", query.source_id)
    where.equal("v.subject", query.subject)
    if state is not None:
        where.add(f"{_REPORTED} = ?", state)


def _delivery(row: Sequence[Any]) -> DeliveryRow:
    identifier, replay_of, endpoint_id, tenant, kind, state, attempts, due_ms, reason, finished_ms, lane, encoding = row
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
        erased=encoding == ERASED,
    )


def delivery(connection: sqlite3.Connection, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
    """`Archive.delivery`, from a reader."""
    for table in _HISTORY:
        sql = f"{_LISTED[table]} FROM {table} d{_JOINS} WHERE d.id = ?"
        row = connection.execute(sql, (delivery_id,)).fetchone()
        if row is not None:
            return _delivery(row) if tenant is None or row[3] == tenant else None
    return None


def attempts(connection: sqlite3.Connection, delivery_id: bytes) -> list[AttemptRow]:
    """`Archive.attempts`, from a reader."""
    sql = "SELECT delivery_id, fence, packed FROM attempts WHERE delivery_id = ? ORDER BY fence LIMIT ?"
    return [AttemptRow(*row) for row in connection.execute(sql, (delivery_id, ATTEMPTS_MAX))]


def runnable_oldest_s(connection: sqlite3.Connection, now_ms: int) -> tuple[int, float]:
    """`Archive.runnable_oldest_s`, from a reader."""
    count, oldest_ms = connection.execute(queries.RUNNABLE, (now_ms,)).fetchone()
    return count, 0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000)
