"""Confirmations: what receivers say of a delivery after their answer, or before it is recorded."""

from __future__ import annotations

from typing import Final

from hookline.adapters.stores.postgres import rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core.delivery import State
from hookline.ports.store import OpenRef, Unconfirmed

BYTES_MAX: Final = 16 * 1024 * 1024
"""Of payload in one answer of `unconfirmed`, about."""
_LEASED: Final = int(State.LEASED)
_UNCONFIRMED: Final = int(State.UNCONFIRMED)
_OPEN: Final = ", ".join(f"o.{column}" for column in rows.OPEN_COLUMNS.split(", "))


async def confirm(transaction: Transaction, delivery_id: bytes, success: bool, message: bytes) -> bool:
    """`Confirmations.confirm`."""
    row = await transaction.row("SELECT state, due_ms FROM open WHERE id = $1 FOR UPDATE", delivery_id)
    if row is None:
        return False
    late = row["state"] == _UNCONFIRMED and row["due_ms"] <= transaction.now_ms
    if row["state"] not in (_LEASED, _UNCONFIRMED) or late:
        return False
    added = await transaction.run(
        "INSERT INTO confirmations (delivery_id, success, message) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        delivery_id,
        success,
        message,
    )
    if not added:
        return False  # it has spoken already
    if row["state"] == _UNCONFIRMED:
        await transaction.run("UPDATE open SET due_ms = $1 WHERE id = $2", transaction.now_ms, delivery_id)
    return True


async def is_success(transaction: Transaction, delivery_id: bytes) -> bool:
    """Whether the receiver of this open delivery has said that his work is done: then it ends delivered."""
    return bool(await transaction.value("SELECT hl_is_success($1)", delivery_id))


async def unconfirmed(transaction: Transaction, limit: int) -> list[Unconfirmed]:
    """`Confirmations.unconfirmed`: fewer than `limit` where their payloads are big."""
    found: list[Unconfirmed] = []
    bytes_left = BYTES_MAX
    due = await transaction.rows(
        f"SELECT {_OPEN}, c.success, c.message FROM open o LEFT JOIN confirmations c ON c.delivery_id = o.id"
        " WHERE o.state = 3 AND o.due_ms <= $1 ORDER BY o.due_ms, o.id LIMIT $2",
        transaction.now_ms,
        limit,
    )
    for row in due:
        bytes_left -= row["size_bytes"]
        if found and bytes_left < 0:
            break
        event_id = rows.event_id(row)
        event = await transaction.row(f"SELECT {rows.EVENT_COLUMNS} FROM every_event WHERE id = $1", event_id)
        found.append(
            Unconfirmed(
                ref=OpenRef(
                    row["id"],
                    row["fence"],
                    row["endpoint_id"],
                    row["tenant"],
                    event_id,
                    State.UNCONFIRMED,
                    row["lost"],
                ),
                event=rows.event(event),
                tries=row["tries"],
                attempts=row["attempts"],
                success=row["success"],
                message=row["message"] or b"",
                lane=row["lane"],
            )
        )
    return found
