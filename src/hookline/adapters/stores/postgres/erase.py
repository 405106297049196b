"""Erasing an event's payload for ever: from its row, from what was sent and answered. What is deleted is overwritten by
PostgreSQL's vacuum; backups and the write-ahead log keep it as long as the operator keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.adapters.stores.kept_attempt import without_exchange
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.postgres import again, kept_events, rows, upkeep
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound

ATTEMPTS_PER_STEP: Final = 100
_LEASED: Final = int(State.LEASED)
_ERASURE: Final = (
    "INSERT INTO meta (name, value) VALUES ('erasures', 1) ON CONFLICT (name) DO UPDATE SET value = meta.value + 1"
)
_OF_EVENT: Final = "(id > $1 AND id <= $2 OR id IN (SELECT r.delivery_id FROM replays r WHERE r.event_id = $1))"


async def erase(transaction: Transaction, tenant: str | None, event_id: bytes) -> int:
    """The first half of `Retention.erase`: from here on nothing of the event is sent or told; how many deliveries were
    discarded, those counted that a fan-out has not unfolded yet. What its receiver has confirmed is delivered."""
    found = await kept_events.locked(transaction, "tenant", event_id, "FOR UPDATE")
    if found is None or (tenant is not None and found["tenant"] != tenant):
        raise NotFound("no such event")
    own = (event_id, ids.last_delivery_id(event_id))
    lanes = await transaction.rows(f"SELECT endpoint_id, lane FROM open WHERE lane IS NOT NULL AND {_OF_EVENT}", *own)
    await transaction.lock_lanes(sorted((row["endpoint_id"], row["lane"]) for row in lanes))
    sql = f"SELECT {rows.OPEN_COLUMNS} FROM open WHERE {_OF_EVENT} ORDER BY id FOR UPDATE"
    opened = await transaction.rows(sql, *own)
    if any(row["state"] == _LEASED for row in opened):
        raise Conflict("a delivery of it is in flight", code="wrong_state")
    confirmed = {
        row["delivery_id"]
        for row in await transaction.rows(
            "SELECT delivery_id FROM confirmations WHERE success AND delivery_id = ANY ($1)",
            [row["id"] for row in opened],
        )
    }
    for table in ("events", "events_kept"):
        await transaction.run(f"UPDATE {table} SET data = ''::bytea, encoding = $1 WHERE id = $2", ERASED, event_id)
    for row in opened:
        if row["id"] in confirmed:
            await _end(transaction, row, State.DELIVERED, None)
    discarded = [row for row in opened if row["id"] not in confirmed]
    for row in discarded:
        await _end(transaction, row, State.DISCARDED, row["reason"])
    folded = await transaction.value(
        "SELECT coalesce(sum(count - done), 0)::bigint FROM fanouts WHERE event_id = $1", event_id
    )
    await transaction.run(_ERASURE)
    return len(discarded) + int(folded)


async def _end(transaction: Transaction, row: Mapping[str, Any], after: State, reason: str | None) -> None:
    if row["lane"] is not None:  # closing one may have promoted another
        row = await transaction.row(f"SELECT {rows.OPEN_COLUMNS} FROM open WHERE id = $1", row["id"])
    await upkeep.close(transaction, row, int(after), reason)
    if row["lane"] is not None:
        await again.settle(transaction, row, {}, closed=row["id"])
    words = (State(row["state"]).word, after.word, reason)
    transaction.changed(row["tenant"], row["endpoint_id"], row["id"], *words)


Range = tuple[bytes, int, bytes]
"""Attempts behind (delivery, fence), up to the last of a delivery."""


async def ranges(transaction: Transaction, event_id: bytes) -> list[Range]:
    """Where an event's attempts are: those of its own deliveries, and those of each replay."""
    replays = await transaction.rows("SELECT delivery_id FROM replays WHERE event_id = $1", event_id)
    return [
        (event_id, -1, ids.last_delivery_id(event_id)),
        *((row["delivery_id"], -1, row["delivery_id"]) for row in replays),
    ]


async def step(transaction: Transaction, left: list[Range]) -> list[Range]:
    """The second half of `Retention.erase`, some attempts per commit; what is left."""
    found = await transaction.rows(
        "SELECT delivery_id, fence, packed FROM attempts WHERE (delivery_id, fence) > ($1, $2) AND delivery_id <= $3"
        f" ORDER BY delivery_id, fence LIMIT {ATTEMPTS_PER_STEP}",
        *left[0],
    )
    for row in found:
        await transaction.run(
            "UPDATE attempts SET packed = $1 WHERE delivery_id = $2 AND fence = $3",
            without_exchange(row["packed"], row["delivery_id"], row["fence"]),
            row["delivery_id"],
            row["fence"],
        )
    if len(found) == ATTEMPTS_PER_STEP:
        return [(found[-1]["delivery_id"], found[-1]["fence"], left[0][2]), *left[1:]]
    return left[1:]
