"""What runs beside: take back, unfold, close what belongs to nobody, sweep, purge. Every step is bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hookline.adapters.stores.books import UNFOLDED
from hookline.adapters.stores.due import by_age
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.postgres import counters, kept_events, rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import OpenRef

LEASE_LATE_MS: Final = 15_000
"""An expired lease of a living instance is left to it so much longer (docs/reliability.md, rule 16)."""
LANES_PER_SWEEP: Final = 1000
FOLD_ROWS_MAX: Final = 10_000
UNFOLD_LOCK: Final = 4846005
_DISCARDED: Final = int(State.DISCARDED)
_PENDING: Final = int(State.PENDING)
_REASON_DELETED: Final = "endpoint_deleted"
Lane = tuple[bytes, str]

_REF: Final = "id, fence, endpoint_id, tenant, event_id, state, lost"
# Of those that are dead or gone, then what is late of those that live.
_LOST: Final = (
    f"SELECT {_REF} FROM open WHERE state = 1 AND (owner IS NULL OR NOT EXISTS"
    " (SELECT 1 FROM instances i WHERE i.id = open.owner AND NOT i.dead)) ORDER BY id LIMIT $1"
)
_LATE: Final = f"SELECT {_REF} FROM open WHERE state = 1 AND lease_until_ms < $1 ORDER BY lease_until_ms LIMIT $2"
NO_SUCCESS: Final = "NOT EXISTS (SELECT 1 FROM confirmations c WHERE c.delivery_id = open.id AND c.success)"
_OLDEST_PENDING: Final = (
    f"SELECT {_REF} FROM open WHERE state = 0 AND endpoint_id = $1 ORDER BY rank, due_ms, id LIMIT $2"
)
_OLDEST_UNCONFIRMED: Final = (
    f"SELECT {_REF} FROM open WHERE state = 3 AND endpoint_id = $1 AND {NO_SUCCESS} ORDER BY id LIMIT $2"
)
_OLDEST_HELD: Final = (
    f"SELECT {_REF} FROM open WHERE lane IS NOT NULL AND endpoint_id = $1 AND state = 2 ORDER BY lane, seq LIMIT $2"
)


async def lost(transaction: Transaction, limit: int) -> list[OpenRef]:
    """`Upkeep.lost`."""
    found = [rows.open_ref(row) for row in await transaction.rows(_LOST, limit)]
    if len(found) < limit:
        known = {ref.delivery_id for ref in found}
        late = await transaction.rows(_LATE, transaction.now_ms - LEASE_LATE_MS, limit)
        found += [rows.open_ref(row) for row in late if row["id"] not in known]
    return found[:limit]


async def oldest(transaction: Transaction, endpoint_id: bytes, limit: int) -> list[OpenRef]:
    """`Upkeep.oldest`: pending ones by their due time, live ones first; among them the unconfirmed, by their age; then
    those that lanes hold, each lane from its beginning."""
    pending = [rows.open_ref(row) for row in await transaction.rows(_OLDEST_PENDING, endpoint_id, limit)]
    unconfirmed = [rows.open_ref(row) for row in await transaction.rows(_OLDEST_UNCONFIRMED, endpoint_id, limit)]
    found = by_age(pending, unconfirmed)
    if len(found) < limit:
        held = await transaction.rows(_OLDEST_HELD, endpoint_id, limit - len(found))
        found += [rows.open_ref(row) for row in held]
    return found[:limit]


async def unfold(transaction: Transaction, limit: int) -> tuple[dict[bytes, float], bool]:
    """`Upkeep.unfold`. One process unfolds at a time: what remains is its business."""
    if not await transaction.value("SELECT pg_try_advisory_xact_lock($1)", UNFOLD_LOCK):
        return {}, False
    found = await transaction.row("SELECT * FROM fanouts ORDER BY n LIMIT 1")
    if found is None:
        return {}, False
    width, done, event_id, tenant = ids.ROOT_BYTES, found["done"], found["event_id"], found["tenant"]
    step: bytes = await transaction.value(
        "SELECT substr(endpoint_ids, $2, $3) FROM fanout_lists WHERE n = $1",
        found["n"],
        done * width + 1,
        limit * width,
    )
    endpoint_ids = [step[at : at + width] for at in range(0, len(step), width)]
    event = await kept_events.locked(transaction, "encoding", event_id, "FOR KEY SHARE")
    living: set[bytes] = set()
    reason: str | None = None  # of an erased event nobody gets anything: discarded by who erased it
    if event is None or event["encoding"] != ERASED:
        sql = "SELECT id FROM endpoints WHERE deleted = 0 AND id = ANY ($1) FOR KEY SHARE"
        living = {row["id"] for row in await transaction.rows(sql, endpoint_ids)}
        reason = _REASON_DELETED
    pending: list[tuple[bytes, bytes]] = []
    discarded: list[tuple[bytes, bytes]] = []
    for at, endpoint_id in enumerate(endpoint_ids, done):
        delivery_id = ids.delivery_id(event_id, found["ordinal"] + at)
        lives = endpoint_id in living
        (pending if lives else discarded).append((delivery_id, endpoint_id))
        transaction.moved(tenant, endpoint_id, UNFOLDED, _PENDING if lives else _DISCARDED)
        if not lives:
            words = (State.PENDING.word, State.DISCARDED.word, reason)
            transaction.changed(tenant, endpoint_id, delivery_id, *words)
    await transaction.run(
        "INSERT INTO open (id, endpoint_id, tenant, state, due_ms, size_bytes)"
        " SELECT u.id, u.endpoint, $3, 0, $4, $5 FROM unnest($1::bytea[], $2::bytea[]) AS u (id, endpoint)",
        [one[0] for one in pending],
        [one[1] for one in pending],
        tenant,
        found["due_ms"],
        found["size_bytes"],
    )
    await transaction.run(
        "INSERT INTO closed (id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes, reason)"
        " SELECT u.id, u.endpoint, $3, 6, $4, 0, 0, 0, $5, $6"
        " FROM unnest($1::bytea[], $2::bytea[]) AS u (id, endpoint)",
        [one[0] for one in discarded],
        [one[1] for one in discarded],
        tenant,
        transaction.now_ms,
        found["size_bytes"],
        reason,
    )
    if done + len(endpoint_ids) >= found["count"]:
        await transaction.run("DELETE FROM fanouts WHERE n = $1", found["n"])
        await transaction.run("DELETE FROM fanout_lists WHERE n = $1", found["n"])
    else:
        await transaction.run("UPDATE fanouts SET done = $1 WHERE n = $2", done + len(endpoint_ids), found["n"])
    wait_s = max(0.0, (found["due_ms"] - transaction.now_ms) / 1000)
    remains = bool(await transaction.value("SELECT EXISTS (SELECT 1 FROM fanouts)"))
    return dict.fromkeys(living, wait_s), remains


async def close(transaction: Transaction, row: Mapping[str, Any], state: int, reason: str | None) -> None:
    """Move an open delivery, whose row is locked, to the closed ones. Its lane is the caller's business."""
    await transaction.run(
        f"INSERT INTO closed ({rows.CLOSED_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        row["id"],
        row["event_id"],
        row["endpoint_id"],
        row["tenant"],
        state,
        transaction.now_ms,
        row["fence"],
        row["tries"],
        row["attempts"],
        row["size_bytes"],
        row["lane"],
        row["seq"],
        reason,
    )
    await transaction.run("DELETE FROM open WHERE id = $1", row["id"])
    await transaction.run("DELETE FROM confirmations WHERE delivery_id = $1", row["id"])
    transaction.moved(row["tenant"], row["endpoint_id"], row["state"], state)


async def close_deleted(transaction: Transaction, limit: int) -> int:
    """`Upkeep.close_deleted`."""
    closed = 0
    for endpoint in await transaction.rows("SELECT id FROM endpoints WHERE deleted = 1 ORDER BY id"):
        endpoint_id = endpoint["id"]
        found = await transaction.rows(
            f"SELECT {rows.OPEN_COLUMNS} FROM open WHERE endpoint_id = $1 AND state <> 1"
            f" AND (state <> 3 OR {NO_SUCCESS}) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
            endpoint_id,
            limit - closed,
        )
        for row in found:
            await close(transaction, row, _DISCARDED, _REASON_DELETED)
            words = (State(row["state"]).word, State.DISCARDED.word, _REASON_DELETED)
            transaction.changed(row["tenant"], endpoint_id, row["id"], *words)
        closed += len(found)
        if closed >= limit:
            break
        # What is leased comes back first; counted is what was committed, not what this very transaction closed.
        if not found and await counters.open_of(transaction, endpoint_id) == 0:
            await transaction.run("DELETE FROM lanes WHERE endpoint_id = $1", endpoint_id)
            await transaction.run("UPDATE endpoints SET deleted = 2 WHERE id = $1", endpoint_id)
    return closed


async def lanes_in_doubt(transaction: Transaction, after: Lane, limit: int) -> tuple[list[tuple[str, Lane]], Lane]:
    """Walk up to `limit` lanes with open deliveries: (tenant, lane) of those without head and block, and where to go on
    (the beginning, once the end was reached)."""
    found = await transaction.rows(
        "WITH RECURSIVE walk (endpoint_id, lane, n) AS ("
        " (SELECT endpoint_id, lane, 1 FROM open WHERE lane IS NOT NULL AND (endpoint_id, lane) > ($1, $2)"
        "  ORDER BY endpoint_id, lane LIMIT 1)"
        " UNION ALL SELECT f.endpoint_id, f.lane, w.n + 1 FROM walk w, LATERAL ("
        "  SELECT o.endpoint_id, o.lane FROM open o"
        "  WHERE o.lane IS NOT NULL AND (o.endpoint_id, o.lane) > (w.endpoint_id, w.lane)"
        "  ORDER BY o.endpoint_id, o.lane LIMIT 1) AS f WHERE w.n < $3)"
        " SELECT w.endpoint_id, w.lane, f.tenant, f.seq, l.head, l.blocks, h.state AS head_state FROM walk w"
        " CROSS JOIN LATERAL (SELECT o.tenant, o.seq FROM open o"
        "  WHERE o.endpoint_id = w.endpoint_id AND o.lane = w.lane ORDER BY o.seq LIMIT 1) AS f"
        " LEFT JOIN lanes l ON l.endpoint_id = w.endpoint_id AND l.lane = w.lane LEFT JOIN open h ON h.id = l.head"
        " ORDER BY w.endpoint_id, w.lane",
        *after,
        limit,
    )
    doubtful: list[tuple[str, Lane]] = []
    for row in found:
        if row["head"] is None:
            blocks = row["blocks"]
            stuck = not blocks or int.from_bytes(blocks[:8], "big") > row["seq"]
        else:
            stuck = row["head_state"] is None or row["head_state"] == State.HELD
        if stuck:
            doubtful.append((row["tenant"], (row["endpoint_id"], row["lane"])))
    if len(found) < limit:
        return doubtful, (b"", "")
    return doubtful, (found[-1]["endpoint_id"], found[-1]["lane"])


async def settle_lanes(transaction: Transaction, doubtful: Sequence[tuple[str, Lane]]) -> int:
    """Promote the lanes that the walk found stuck, if they still are; how many were promoted."""
    await transaction.lock_lanes([lane for _, lane in doubtful])
    promoted = 0
    for tenant, (endpoint_id, lane) in sorted(doubtful, key=lambda one: one[1]):
        promoted += await transaction.settle(tenant, endpoint_id, lane) is not None
    return promoted


async def fold(transaction: Transaction) -> int:
    """`Upkeep.fold`."""
    return await counters.fold(transaction, FOLD_ROWS_MAX)


async def purge_dedupe(transaction: Transaction, limit: int) -> int:
    """Forget expired keys: how many."""
    forgotten = 0
    for table in ("dedupe", "idempotency"):
        forgotten += await transaction.run(
            f"DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE expires_ms <= $1"
            " ORDER BY expires_ms LIMIT $2 FOR UPDATE SKIP LOCKED)",
            transaction.now_ms,
            limit - forgotten,
        )
    return forgotten
