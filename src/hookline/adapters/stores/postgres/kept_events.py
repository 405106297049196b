"""Where an event is: in its range of history, or kept apart because a replay of it outlives that range.

An event in the last day of the longest retention is moved by whoever replays it, in the same transaction; one that was
replayed before that is moved when its range is about to be dropped (docs/reliability.md, rule 23).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids

HISTORY_LOCK: Final = 4846006
"""Shared by those who replay, alone for who says which events go soon."""
MOVE: Final = (
    "WITH moved AS (DELETE FROM events WHERE id = ANY ($1) RETURNING *) INSERT INTO events_kept SELECT * FROM moved"
)


async def locked(transaction: Transaction, columns: str, event_id: bytes, lock: str) -> Any:
    """These columns of an event, its row locked; None: there is none. Events are moved in one direction only, so who
    waited for a row that was moved finds it in the other place."""
    for table in ("events", "events_kept"):
        found = await transaction.row(f"SELECT {columns} FROM {table} WHERE id = $1 {lock}", event_id)
        if found is not None:
            return found
    return None


async def keep(transaction: Transaction, event_ids: Sequence[bytes]) -> None:
    """Something is about to be sent of these events again: those that go soon stay."""
    if not event_ids:
        return
    await transaction.run("SELECT pg_advisory_xact_lock_shared($1)", HISTORY_LOCK)
    from_ms = await transaction.value("SELECT value FROM meta WHERE name = 'keep_from'")
    old = [event_id for event_id in event_ids if ids.time_ms(event_id) < from_ms]
    if old:
        await transaction.run(MOVE, sorted(old))


async def go_before(transaction: Transaction, instant_ms: int) -> None:
    """Events made before this instant go soon; who replays one after this has committed knows it."""
    await transaction.run("SELECT pg_advisory_xact_lock($1)", HISTORY_LOCK)
    await transaction.run("UPDATE meta SET value = $1 WHERE name = 'keep_from' AND value < $1", instant_ms)
