"""What runs beside: take back, unfold, close what belongs to nobody, sweep, purge. Every step is bounded."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from hookline.adapters.stores.books import UNFOLDED
from hookline.adapters.stores.due import Due, by_age
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.sqlite import counters, lanes, queries, work_queries
from hookline.adapters.stores.sqlite.record import close
from hookline.adapters.stores.sqlite.rows import OpenRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import OpenRef

LEASE_LATE_MS = 15_000
"""An expired lease of a living instance is left to it so much longer (docs/reliability.md, rule 16)."""
LANES_PER_SWEEP = 1000
FOLD_ROWS_MAX = 10_000
IDLE_CLOCK_MS = 60_000
_PENDING = int(State.PENDING)
_HELD = int(State.HELD)
_DISCARDED = int(State.DISCARDED)
_REASON_DELETED = "endpoint_deleted"
Lane = tuple[bytes, str]


def open_ref(row: Sequence[Any]) -> OpenRef:
    """The reference of a row of id, fence, endpoint_id, tenant, event_id, state, lost."""
    delivery_id, fence, endpoint_id, tenant, event_id, state, lost = row
    return OpenRef(
        delivery_id=delivery_id,
        fence=fence,
        endpoint_id=endpoint_id,
        tenant=tenant,
        event_id=delivery_id[: ids.ROOT_BYTES] if event_id is None else event_id,
        state=State(state),
        lost=lost,
    )


class Orphans:
    """The leases that were there at the start: no instance survives one, this process holds the file's lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._left: dict[bytes, int] = dict(connection.execute(queries.LEASED_AT_START).fetchall())

    def lost(self, connection: sqlite3.Connection, now_ms: int, limit: int) -> list[OpenRef]:
        """`Upkeep.lost`, from a reader: orphans that nobody has claimed or recorded since, then expired leases."""
        found: list[OpenRef] = []
        for start in range(0, len(self._left), 256):
            if len(found) >= limit:
                return found[:limit]
            wanted = list(self._left)[start : start + 256]
            still = {row[0]: row for row in queries.LEASED_AMONG.rows(connection, wanted)}
            found += [open_ref(still[key]) for key in wanted if key in still and still[key][1] == self._left[key]]
        if len(found) >= limit:
            return found[:limit]
        self._left = {ref.delivery_id: ref.fence for ref in found}
        late = connection.execute(queries.LEASES_EXPIRED, (now_ms - LEASE_LATE_MS, limit))
        known = set(self._left)
        found += [open_ref(row) for row in late if row[0] not in known]
        return found[:limit]


def oldest(connection: sqlite3.Connection, endpoint_id: bytes, limit: int) -> list[OpenRef]:
    """`Upkeep.oldest`, from a reader: pending ones by their due time, live ones first; among them the unconfirmed, by
    their age; then those that lanes hold, each lane from its beginning."""
    place = (endpoint_id, limit)
    pending = [open_ref(row) for row in connection.execute(queries.OLDEST_PENDING, place)]
    unconfirmed = [open_ref(row) for row in connection.execute(queries.OLDEST_UNCONFIRMED, place)]
    found = by_age(pending, unconfirmed)
    if len(found) < limit:
        found += [open_ref(row) for row in connection.execute(queries.OLDEST_HELD, (endpoint_id, limit - len(found)))]
    return found[:limit]


def unfold(transaction: Transaction, limit: int) -> tuple[dict[bytes, float], bool]:
    """`Upkeep.unfold`, in the writer's transaction."""
    found = transaction.execute(queries.FANOUT_OLDEST).fetchone()
    if found is None:
        return {}, False
    number, event_id, tenant, ordinal, due_ms, size_bytes, packed_bytes, done, encoding = found
    width = ids.ROOT_BYTES
    # Only this step's part of the long value is read.
    with transaction.connection.blobopen("fanouts", "endpoint_ids", number, readonly=True) as packed:
        packed.seek(done * width)
        step = packed.read(limit * width)
    endpoint_ids = [step[at : at + width] for at in range(0, len(step), width)]
    living: set[bytes] = set()
    reason: str | None = None  # of an erased event nobody gets anything: discarded by who erased it
    if encoding != ERASED:
        living = {row[0] for row in queries.ENDPOINTS_LIVING.rows(transaction.connection, endpoint_ids)}
        reason = _REASON_DELETED
    pending: list[Any] = []
    discarded: list[tuple[Any, ...]] = []
    for at, endpoint_id in enumerate(endpoint_ids, done):
        delivery_id = ids.delivery_id(event_id, ordinal + at)
        if endpoint_id in living:
            key = bytearray(delivery_id)
            pending += (key, bytearray(endpoint_id), tenant, _PENDING, due_ms, 0, 0, 0, size_bytes)
            transaction.moved(tenant, endpoint_id, UNFOLDED, _PENDING)
        else:
            now_ms = transaction.now_ms
            end = (_DISCARDED, now_ms, 0, 0, 0, size_bytes, None, None, reason)
            discarded.append((delivery_id, None, endpoint_id, tenant, *end))
            transaction.moved(tenant, endpoint_id, UNFOLDED, _DISCARDED)
            words = (State.PENDING.word, State.DISCARDED.word, reason)
            transaction.changed(tenant, endpoint_id, delivery_id, *words)
    queries.OPEN_ADD.run(transaction.connection, pending)
    transaction.execute_many(queries.CLOSED_ADD, discarded)
    if (done + len(endpoint_ids)) * width >= packed_bytes:
        transaction.execute(queries.FANOUT_DELETE, (number,))
        transaction.execute(queries.FANOUT_CURSOR_DELETE, (number,))
    else:
        transaction.execute(queries.FANOUT_DONE, (done + len(endpoint_ids), number))
    wait_s = max(0.0, (due_ms - transaction.now_ms) / 1000)
    remains = bool(transaction.execute(queries.FANOUT_ANY).fetchone()[0])
    return dict.fromkeys(living, wait_s), remains


def close_deleted(transaction: Transaction, limit: int) -> int:
    """`Upkeep.close_deleted`, in the writer's transaction."""
    closed = 0
    for endpoint_id, _ in transaction.execute(queries.ENDPOINTS_TO_CLOSE).fetchall():
        found: list[Any] = []
        for statement in (queries.PENDING_OF, queries.HELD_OF, work_queries.UNCONFIRMED_OF):
            found += transaction.execute(statement, (endpoint_id, limit - closed - len(found))).fetchall()
        for row in [OpenRow(*columns) for columns in found]:
            close(transaction, row, _DISCARDED, _REASON_DELETED)
            words = (State(row.state).word, State.DISCARDED.word, _REASON_DELETED)
            transaction.changed(row.tenant, endpoint_id, row.id, *words)
        closed += len(found)
        if closed >= limit:
            break
        # What is leased comes back first; `open_of` counts it, and not what this very transaction closed.
        if not found and counters.open_of(transaction.connection, endpoint_id) == 0:
            transaction.execute(queries.LANES_DELETE_OF, (endpoint_id,))
            transaction.execute(queries.ENDPOINT_CLOSED, (endpoint_id,))
    return closed


def lanes_in_doubt(connection: sqlite3.Connection, after: Lane, limit: int) -> tuple[list[tuple[str, Lane]], Lane]:
    """Walk up to `limit` lanes with open deliveries, from a reader: (tenant, lane) of those without head and block,
    and where to go on (the beginning, once the end was reached)."""
    doubtful: list[tuple[str, Lane]] = []
    lane = after
    for _ in range(limit):
        found = connection.execute(queries.LANE_NEXT, lane).fetchone()
        if found is None:
            return doubtful, (b"", "")
        lane = (found[0], found[1])
        first = connection.execute(queries.LANE_FIRST_WITH_TENANT, lane).fetchone()
        head, blocks = connection.execute(queries.LANE_FIND, lane).fetchone() or (None, None)
        if head is None:
            stuck = not blocks or int.from_bytes(blocks[:8], "big") > first[1]
        else:
            state = connection.execute(queries.LANE_STATE, (head,)).fetchone()
            stuck = state is None or state[0] == _HELD
        if stuck:
            doubtful.append((first[0], lane))
    return doubtful, lane


def settle_lanes(transaction: Transaction, doubtful: Sequence[tuple[str, Lane]]) -> int:
    """Promote the lanes that the walk found stuck, if they still are; how many were promoted."""
    due_s: Due = {}
    return sum(lanes.settle(transaction, tenant, endpoint_id, lane, due_s) for tenant, (endpoint_id, lane) in doubtful)


def fold(transaction: Transaction) -> int:
    """`Upkeep.fold`, in the writer's transaction: also keeps the clock, but when idle only once a minute."""
    folded = counters.fold(transaction.connection, FOLD_ROWS_MAX)
    stored_ms = transaction.execute(queries.META, ("clock_ms",)).fetchone()[0]
    if folded or transaction.now_ms - stored_ms >= IDLE_CLOCK_MS:
        keep_clock(transaction)
    return folded


def keep_clock(transaction: Transaction) -> None:
    """Store the clock, so that it does not go back over a restart."""
    transaction.execute(queries.META_RAISE, (transaction.now_ms, "clock_ms"))


def purge_dedupe(transaction: Transaction, after: tuple[bytes, int], limit: int) -> tuple[int, tuple[bytes, int]]:
    """Forget expired keys among the next `limit` in key order: how many, and where to go on."""
    examined = transaction.execute(queries.DEDUPE_WALK, (*after, limit)).fetchall()
    expired = [(key, kind) for key, kind, expires_ms in examined if expires_ms <= transaction.now_ms]
    transaction.execute_many(queries.DEDUPE_FORGET, expired)
    return len(expired), (examined[-1][0], examined[-1][1]) if len(examined) == limit else (b"", -1)
