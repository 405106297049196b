"""Confirmations: what receivers say of a delivery after their answer, or before it is recorded."""

from __future__ import annotations

import sqlite3

from hookline.adapters.stores.sqlite import queries, rows, work_queries
from hookline.adapters.stores.sqlite.rows import OpenRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.delivery import State
from hookline.ports.store import OpenRef, Unconfirmed

BYTES_MAX = 16 * 1024 * 1024
"""Of payload in one answer of `unconfirmed`, about."""
_LEASED = int(State.LEASED)
_UNCONFIRMED = int(State.UNCONFIRMED)
_OPEN_COLUMNS = len(OpenRow.__struct_fields__)


def confirm(transaction: Transaction, delivery_id: bytes, success: bool, message: bytes) -> bool:
    """`Confirmations.confirm`, in the writer's transaction."""
    found = transaction.execute(queries.OPEN_FIND, (delivery_id,)).fetchone()
    if found is None:
        return False
    row = OpenRow(*found)
    late = row.state == _UNCONFIRMED and row.due_ms <= transaction.now_ms
    if row.state not in (_LEASED, _UNCONFIRMED) or late:
        return False
    if transaction.execute(work_queries.CONFIRMATION_ADD, (delivery_id, int(success), message)).rowcount == 0:
        return False  # it has spoken already
    transaction.spoken = True
    if row.state == _UNCONFIRMED:
        transaction.execute(queries.OPEN_DUE, (transaction.now_ms, delivery_id))
    return True


def wait(transaction: Transaction, row: OpenRow, wait_s: float, reason: str | None) -> None:
    """A leased delivery is unconfirmed until a deadline; due at once where the receiver has spoken already. In its
    lane it stays the head."""
    due_ms = transaction.now_ms
    if not (_any(transaction) and transaction.execute(work_queries.CONFIRMATION_FIND, (row.id,)).fetchone()):
        due_ms += int(wait_s * 1000)
    parameters = (due_ms, row.tries, row.attempts, row.lost, reason, bytearray(row.id))
    transaction.execute(work_queries.OPEN_UNCONFIRMED, parameters)
    transaction.moved(row.tenant, row.endpoint_id, _LEASED, _UNCONFIRMED)


def succeeded(transaction: Transaction, row: OpenRow) -> bool:
    """If the receiver of this leased delivery has said that his work is done, that settles it, whatever became of the
    attempt: it is unconfirmed and due at once. Whether that was so."""
    if not is_success(transaction, row.id):
        return False
    wait(transaction, row, 0.0, None)
    return True


def is_success(transaction: Transaction, delivery_id: bytes) -> bool:
    """Whether the receiver of this open delivery has said that his work is done: then it ends delivered."""
    if not _any(transaction):
        return False
    found = transaction.execute(work_queries.CONFIRMATION_FIND, (delivery_id,)).fetchone()
    return found is not None and bool(found[0])


def forget(transaction: Transaction, delivery_id: bytes) -> None:
    """The delivery is closed: what was said of it counts no more."""
    if _any(transaction):
        transaction.execute(work_queries.CONFIRMATION_FORGET, (delivery_id,))


def forget_error(transaction: Transaction, delivery_id: bytes) -> None:
    """The delivery is pending again: an error was said of an attempt that is over."""
    if _any(transaction):
        transaction.execute(work_queries.CONFIRMATION_FORGET_ERROR, (delivery_id,))


def _any(transaction: Transaction) -> bool:
    """Whether any receiver has spoken: looked up once per commit, so that nobody pays for it who does not use it."""
    if transaction.spoken is None:
        transaction.spoken = bool(transaction.execute(work_queries.CONFIRMATION_ANY).fetchone()[0])
    return transaction.spoken


def unconfirmed(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[Unconfirmed]:
    """`Confirmations.unconfirmed`, from a reader: fewer than `limit` where their payloads are big."""
    found: list[Unconfirmed] = []
    bytes_left = BYTES_MAX
    for columns in connection.execute(work_queries.UNCONFIRMED_DUE, (now_ms, limit)).fetchall():
        row = OpenRow(*columns[:_OPEN_COLUMNS])
        success, message = columns[_OPEN_COLUMNS:]
        bytes_left -= row.size_bytes
        if found and bytes_left < 0:
            break
        (event,) = queries.EVENTS_BY_ID.rows(connection, [row.event_id])
        found.append(
            Unconfirmed(
                ref=OpenRef(row.id, row.fence, row.endpoint_id, row.tenant, row.event_id, State.UNCONFIRMED, row.lost),
                event=rows.event(event),
                tries=row.tries,
                attempts=row.attempts,
                success=None if success is None else bool(success),
                message=message or b"",
                lane=row.lane,
            )
        )
    return found
