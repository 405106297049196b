"""What happened: lists and single rows, read-only, bounded (docs/reliability.md, rules 8 and 20)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.postgres import rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.ports.store import AttemptRow, DeliveryRow, Page, Query

ROWS_EXAMINED_MAX: Final = 10_000
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
ATTEMPTS_MAX: Final = 1000
_END: Final = b"\xff" * 16
_WORDS: Final = {state.word: int(state) for state in State}
_PENDING: Final = int(State.PENDING)
_HELD: Final = int(State.HELD)
_DELIVERED: Final = int(State.DELIVERED)
_FAILED: Final = int(State.FAILED)

_HISTORY: Final = ("open", "closed")
_DUE: Final = {"open": "d.due_ms", "closed": "NULL::bigint"}
_FINISHED: Final = {"open": "NULL::bigint", "closed": "d.finished_ms"}
# The reported state: what is pending of an endpoint that does not deliver is held.
_REPORTED: Final = f"CASE WHEN d.state = {_PENDING} AND e.state <> 'active' THEN {_HELD} ELSE d.state END"
_JOINS: Final = (
    " LEFT JOIN endpoints e ON e.id = d.endpoint_id"
    " LEFT JOIN every_event v ON v.id = coalesce(d.event_id, substr(d.id, 1, 12))"
)
_LISTED: Final = {
    table: (
        f"SELECT d.id, d.event_id, d.endpoint_id, d.tenant, v.type, {_REPORTED} AS state, d.attempts,"
        f" {_DUE[table]} AS due_ms, d.reason, {_FINISHED[table]} AS finished_ms, d.lane, v.encoding"
    )
    for table in _HISTORY
}


async def event(transaction: Transaction, tenant: str | None, event_id: bytes) -> Event | None:
    """`Archive.event`."""
    found = await transaction.row(f"SELECT {rows.EVENT_COLUMNS} FROM every_event WHERE id = $1", event_id)
    if found is None or (tenant is not None and found["tenant"] != tenant):
        return None
    return rows.event(found)


class _Conditions:
    """The WHERE of a list, and its parameters."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self.values: list[Any] = []

    def add(self, term: str, *values: Any) -> None:
        """One more term, `?` in it for each value."""
        for value in values:
            self.values.append(value)
            term = term.replace("?", f"${len(self.values)}", 1)
        self._terms.append(term)

    def equal(self, column: str, value: object) -> None:
        """Only where a value is asked for."""
        if value is not None:
            self.add(f"{column} = ?", value)

    @property
    def sql(self) -> str:
        """The clause."""
        return " WHERE " + " AND ".join(self._terms)


def _order(query: Query) -> str:
    return "ASC" if query.oldest_first else "DESC"


async def _window(
    transaction: Transaction, query: Query, source: str, index: _Conditions, key: str, rows_max: int
) -> bytes | None:
    """Bound the ids that a page may examine, in the order of one index: the last that may be; None: nothing lies beyond
    what may."""
    index.add(f"{key} < ?", _END if query.until_ms is None else ids.floor(query.until_ms))
    if query.since_ms is not None:
        index.add(f"{key} >= ?", ids.floor(query.since_ms))
    if query.before is not None:
        index.add(f"{key} {'>' if query.oldest_first else '<'} ?", query.before)
    sql = f"SELECT {key} FROM {source}{index.sql} ORDER BY {key} {_order(query)} LIMIT 1 OFFSET {rows_max - 1}"
    last: bytes | None = await transaction.value(sql, *index.values)
    if last is not None:
        index.add(f"{key} {'<=' if query.oldest_first else '>='} ?", last)
    return last


async def events(transaction: Transaction, query: Query) -> Page[Event]:
    """`Archive.events`."""
    where = _Conditions()
    where.equal("id", query.event_id)
    edge = await _window(transaction, query, "every_event", where, "id", ROWS_EXAMINED_MAX)
    where.equal("tenant", query.tenant)
    where.equal("type", query.type)
    where.equal("source", query.source)
    where.equal("source_id", query.source_id)
    where.equal("subject", query.subject)
    order = f"ORDER BY id {_order(query)} LIMIT {query.limit + 1}"
    sizes = f"SELECT id, octet_length(data) AS size FROM every_event{where.sql} {order}"
    wanted: list[bytes] = []
    size_bytes = 0
    more = False
    for row in await transaction.rows(sizes, *where.values):
        if len(wanted) == query.limit or (wanted and size_bytes + row["size"] > PAGE_BYTES_MAX):
            more = True
            break
        wanted.append(row["id"])
        size_bytes += row["size"]
    sql = f"SELECT {rows.EVENT_COLUMNS} FROM every_event WHERE id = ANY ($1) ORDER BY id {_order(query)}"
    found = [rows.event(row) for row in await transaction.rows(sql, wanted)]
    return Page(found, found[-1].id if more else edge)


async def deliveries(transaction: Transaction, query: Query) -> Page[DeliveryRow]:
    """`Archive.deliveries`: each index is read by itself in the order of its ids, and the results are merged here."""
    state = None if query.state is None else _WORDS.get(query.state, -1)
    tables = [table for table in _HISTORY if state is None or (table == "closed") == (state >= _DELIVERED)]
    walks = [
        (table, replays) for table in tables for replays in ((False,) if query.event_id is None else (False, True))
    ]
    found: list[Any] = []
    edges: list[bytes] = []
    for table, replays in walks:
        where = _Conditions()
        source, key = f"{table} d", "d.id"
        if replays:
            source, key = f"replays r JOIN {table} d ON d.id = r.delivery_id", "r.delivery_id"
            where.equal("r.event_id", query.event_id)
        elif query.event_id is not None:  # a range of keys
            where.add("d.id > ? AND d.id < ?", query.event_id, query.event_id + b"\xff" * 5)
        elif state == _FAILED and query.tenant is not None:
            where.add(f"d.state = {_FAILED} AND d.tenant = ?", query.tenant)
        edge = await _window(transaction, query, source, where, key, ROWS_EXAMINED_MAX // len(walks))
        if edge is not None:
            edges.append(edge)
        _filter(where, query, state)
        sql = (
            f"{_LISTED[table]} FROM {source}{_JOINS}{where.sql} ORDER BY {key} {_order(query)} LIMIT {query.limit + 1}"
        )
        found += await transaction.rows(sql, *where.values)
    # Beyond the nearest edge, something was not looked at.
    if query.oldest_first:
        last = min(edges, default=None)
        found = [row for row in found if last is None or row["id"] <= last]
    else:
        last = max(edges, default=None)
        found = [row for row in found if last is None or row["id"] >= last]
    found.sort(key=lambda row: row["id"], reverse=not query.oldest_first)
    if len(found) > query.limit:
        return Page([_delivery(row) for row in found[: query.limit]], found[query.limit - 1]["id"])
    return Page([_delivery(row) for row in found], last)


def _filter(where: _Conditions, query: Query, state: int | None) -> None:
    where.equal("d.tenant", query.tenant)
    where.equal("d.endpoint_id", query.endpoint_id)
    where.equal("d.reason", query.reason)
    where.equal("v.type", query.type)
    where.equal("v.source", query.source)
    where.equal("v.source_id", query.source_id)
    where.equal("v.subject", query.subject)
    if state is not None:
        where.add(f"{_REPORTED} = {state}")


def _delivery(row: Mapping[str, Any]) -> DeliveryRow:
    state = row["state"]
    return DeliveryRow(
        id=row["id"],
        event_id=rows.event_id(row),
        endpoint_id=row["endpoint_id"],
        tenant=row["tenant"],
        type=row["type"] or "",
        state=State(state).word,
        attempts=row["attempts"],
        next_at_ms=row["due_ms"] if state == _PENDING else None,
        reason=row["reason"],
        created_at_ms=ids.time_ms(row["id"]),
        finished_at_ms=row["finished_ms"],
        ordering_key=row["lane"],
        replay_of=row["event_id"],
        erased=row["encoding"] == ERASED,
    )


async def delivery(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
    """`Archive.delivery`."""
    for table in _HISTORY:
        row = await transaction.row(f"{_LISTED[table]} FROM {table} d{_JOINS} WHERE d.id = $1", delivery_id)
        if row is not None:
            return _delivery(row) if tenant is None or row["tenant"] == tenant else None
    return None


async def several(transaction: Transaction, delivery_ids: list[bytes]) -> dict[bytes, DeliveryRow]:
    """Deliveries by their ids."""
    found: dict[bytes, DeliveryRow] = {}
    for table in _HISTORY:
        sql = f"{_LISTED[table]} FROM {table} d{_JOINS} WHERE d.id = ANY ($1)"
        found |= {row["id"]: _delivery(row) for row in await transaction.rows(sql, delivery_ids)}
    return found


async def attempts(transaction: Transaction, delivery_id: bytes) -> list[AttemptRow]:
    """`Archive.attempts`."""
    sql = f"SELECT delivery_id, fence, packed FROM attempts WHERE delivery_id = $1 ORDER BY fence LIMIT {ATTEMPTS_MAX}"
    return [AttemptRow(*row) for row in await transaction.rows(sql, delivery_id)]


_RUNNABLE: Final = """
WITH RECURSIVE pending (endpoint_id) AS (
    (SELECT endpoint_id FROM open WHERE state = 0 ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.endpoint_id FROM open o WHERE o.state = 0 AND o.endpoint_id > pending.endpoint_id
            ORDER BY o.endpoint_id LIMIT 1)
    FROM pending WHERE pending.endpoint_id IS NOT NULL
), oldest AS (
    SELECT least((SELECT o.due_ms FROM open o WHERE o.state = 0 AND o.endpoint_id = e.id AND o.rank = 0
                  ORDER BY o.due_ms LIMIT 1),
                 (SELECT o.due_ms FROM open o WHERE o.state = 0 AND o.endpoint_id = e.id AND o.rank = 1
                  ORDER BY o.due_ms LIMIT 1)) AS due_ms
    FROM pending JOIN endpoints e ON e.id = pending.endpoint_id
    LEFT JOIN endpoint_states s ON s.endpoint_id = e.id
    WHERE e.state = 'active' AND e.deleted = 0
      AND coalesce(s.wait_until_ms, 0) <= $1 AND coalesce(s.probe_at_ms, 0) <= $1
)
SELECT count(*) AS count, min(due_ms) AS oldest_ms FROM oldest WHERE due_ms <= $1
"""


async def runnable_oldest_s(transaction: Transaction) -> tuple[int, float]:
    """`Archive.runnable_oldest_s`."""
    now_ms = transaction.now_ms
    found = await transaction.row(_RUNNABLE, now_ms)
    oldest_ms = found["oldest_ms"]
    return found["count"], 0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000)
