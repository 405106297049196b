"""What a person asks for: retry, discard, replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hookline.adapters.stores.books import NEW
from hookline.adapters.stores.due import Due, sooner
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.postgres import confirm, kept_events, rows, upkeep
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import NewDelivery, OpenRef

_PENDING: Final = int(State.PENDING)
_LEASED: Final = int(State.LEASED)
_HELD: Final = int(State.HELD)
_DELIVERED: Final = int(State.DELIVERED)
_FAILED: Final = int(State.FAILED)
_DISCARDED: Final = int(State.DISCARDED)


async def locked(transaction: Transaction, delivery_id: bytes) -> Any:
    """The row of an open delivery, its lane's row and its own locked in that order; None: it is not open."""
    found = await transaction.row("SELECT endpoint_id, lane FROM open WHERE id = $1", delivery_id)
    if found is None:
        return None
    if found["lane"] is not None:
        await transaction.lock_lanes([(found["endpoint_id"], found["lane"])])
    return await transaction.row(f"SELECT {rows.OPEN_COLUMNS} FROM open WHERE id = $1 FOR UPDATE", delivery_id)


async def _open(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> Any:
    row = await locked(transaction, delivery_id)
    if row is not None and tenant is not None and row["tenant"] != tenant:
        raise NotFound("no such delivery")
    return row


async def _closed(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> Any:
    sql = f"SELECT {rows.CLOSED_COLUMNS} FROM closed WHERE id = $1"
    found = await transaction.row(sql, delivery_id)
    if found is None or (tenant is not None and found["tenant"] != tenant):
        raise NotFound("no such delivery")
    if found["lane"] is not None:
        await transaction.lock_lanes([(found["endpoint_id"], found["lane"])])
    found = await transaction.row(f"{sql} FOR UPDATE", delivery_id)
    if found is None:
        raise Conflict("the delivery changed meanwhile", code="wrong_state")
    return found


def _wrong(state: int, what: str) -> Conflict:
    return Conflict(f"a delivery that is {State(state).word} cannot be {what}", code="wrong_state")


async def reopen(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> OpenRef:
    """`Upkeep.reopen`."""
    row = await _open(transaction, tenant, delivery_id)
    if row is not None:
        if row["state"] != _PENDING:
            raise _wrong(row["state"], "retried")
        await _refuse_deleted(transaction, row["endpoint_id"])
        await transaction.run("UPDATE open SET due_ms = $1 WHERE id = $2", transaction.now_ms, delivery_id)
        return _ref(row, State.PENDING)
    closed = await _closed(transaction, tenant, delivery_id)
    if closed["state"] == _DELIVERED:
        raise _wrong(closed["state"], "retried")
    await _refuse_deleted(transaction, closed["endpoint_id"])
    encoding = await transaction.value("SELECT encoding FROM every_event WHERE id = $1", rows.event_id(closed))
    if encoding == ERASED:
        raise Conflict("its event was erased", code="wrong_state")
    if closed["event_id"] is not None:
        await kept_events.keep(transaction, [closed["event_id"]])
    state = await open_again(transaction, closed, 0 if closed["event_id"] is None else 1, {})
    row = await transaction.row(f"SELECT {rows.OPEN_COLUMNS} FROM open WHERE id = $1", delivery_id)
    return _ref(row, State(state))


async def open_again(transaction: Transaction, closed: Mapping[str, Any], rank: int, due_s: Due) -> int:
    """Move a failed or discarded delivery, whose lane's row is locked, back to the open ones, at its place in its lane;
    its state."""
    lane, endpoint_id, tenant = closed["lane"], closed["endpoint_id"], closed["tenant"]
    state = _PENDING if lane is None else _HELD
    await transaction.run("DELETE FROM closed WHERE id = $1", closed["id"])
    await transaction.run(
        "INSERT INTO open (id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, attempts, size_bytes, lane,"
        " seq, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        closed["id"],
        closed["event_id"],
        endpoint_id,
        tenant,
        state,
        rank,
        transaction.now_ms,
        closed["fence"],
        closed["attempts"],
        closed["size_bytes"],
        lane,
        closed["seq"],
        closed["reason"],
    )
    transaction.moved(tenant, endpoint_id, closed["state"], state)
    if lane is None:
        sooner(due_s, endpoint_id, 0.0)
    else:
        await transaction.run("SELECT hl_unblock($1, $2, $3)", endpoint_id, lane, closed["id"])
        await settle(transaction, closed, due_s)
        state = await transaction.value("SELECT state FROM open WHERE id = $1", closed["id"])
    _tell(transaction, closed, state)
    return state


async def settle(transaction: Transaction, row: Mapping[str, Any], due_s: Due, closed: bytes | None = None) -> None:
    """Give the lane of a delivery the head it should have."""
    due_ms = await transaction.settle(row["tenant"], row["endpoint_id"], row["lane"], closed)
    if due_ms is not None:
        sooner(due_s, row["endpoint_id"], (due_ms - transaction.now_ms) / 1000)


def _tell(transaction: Transaction, row: Mapping[str, Any], after: int) -> None:
    """A person changed a delivery's state."""
    before, after_word = State(row["state"]).word, State(after).word
    transaction.changed(row["tenant"], row["endpoint_id"], row["id"], before, after_word, row["reason"])


async def _refuse_deleted(transaction: Transaction, endpoint_id: bytes) -> None:
    found = await transaction.value("SELECT deleted FROM endpoints WHERE id = $1", endpoint_id)
    if found is None or found:
        raise Conflict("its endpoint is deleted", code="wrong_state")


def _ref(row: Mapping[str, Any], state: State) -> OpenRef:
    return OpenRef(row["id"], row["fence"], row["endpoint_id"], row["tenant"], rows.event_id(row), state, row["lost"])


async def discard(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> None:
    """`Upkeep.discard`."""
    row = await _open(transaction, tenant, delivery_id)
    if row is not None:
        if row["state"] == _LEASED:
            raise _wrong(row["state"], "discarded")
        if await confirm.is_success(transaction, delivery_id):
            raise Conflict("its receiver has confirmed it: it is about to be delivered", code="wrong_state")
        await upkeep.close(transaction, row, _DISCARDED, row["reason"])
        if row["lane"] is not None:
            await settle(transaction, row, {}, closed=delivery_id)
        _tell(transaction, row, _DISCARDED)
        return
    closed = await _closed(transaction, tenant, delivery_id)
    if closed["state"] != _FAILED:
        raise _wrong(closed["state"], "discarded")
    await transaction.run(
        "UPDATE closed SET state = $1, finished_ms = $2 WHERE id = $3", _DISCARDED, transaction.now_ms, delivery_id
    )
    transaction.moved(closed["tenant"], closed["endpoint_id"], _FAILED, _DISCARDED)
    _tell(transaction, closed, _DISCARDED)
    if closed["lane"] is not None:
        await transaction.run("SELECT hl_unblock($1, $2, $3)", closed["endpoint_id"], closed["lane"], delivery_id)
        await settle(transaction, closed, {})


async def replay(
    transaction: Transaction,
    tenant: str | None,
    event_id: bytes,
    root: bytes,
    deliveries: Sequence[NewDelivery],
    registry_version: int,
) -> Due:
    """`Upkeep.replay`."""
    await transaction.require_registry(registry_version)
    columns = "tenant, octet_length(data) AS size, encoding"
    found = await kept_events.locked(transaction, columns, event_id, "FOR KEY SHARE")
    if found is None or (tenant is not None and found["tenant"] != tenant):
        raise NotFound("no such event")
    if found["encoding"] == ERASED:
        raise Conflict("the event was erased", code="wrong_state")
    await kept_events.keep(transaction, [event_id])
    due_s: Due = {}
    await transaction.lock_lanes([(one.endpoint_id, one.lane) for one in deliveries if one.lane is not None])
    for one in deliveries:
        delivery_id = ids.delivery_id(root, one.ordinal)
        to = (one.endpoint_id, delivery_id, one.lane)
        await deliver_again(transaction, found["tenant"], event_id, found["size"], *to, due_s)
    return due_s


async def deliver_again(
    transaction: Transaction,
    tenant: str,
    event_id: bytes,
    size_bytes: int,
    endpoint_id: bytes,
    delivery_id: bytes,
    lane: str | None,
    due_s: Due,
) -> None:
    """Make one new delivery of an old event, behind the live ones and at the end of its lane, whose row is locked."""
    state, seq = _PENDING, None
    if lane is not None:
        place = await transaction.row("SELECT * FROM hl_append($1, $2, $3)", endpoint_id, lane, delivery_id)
        seq = place["seq"]
        if not place["is_head"]:
            state = _HELD
    await transaction.run(
        "INSERT INTO open (id, event_id, endpoint_id, tenant, state, rank, due_ms, size_bytes, lane, seq)"
        " VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9)",
        delivery_id,
        event_id,
        endpoint_id,
        tenant,
        state,
        transaction.now_ms,
        size_bytes,
        lane,
        seq,
    )
    await transaction.run("INSERT INTO replays (event_id, delivery_id) VALUES ($1, $2)", event_id, delivery_id)
    transaction.moved(tenant, endpoint_id, NEW, state)
    if state == _PENDING:
        sooner(due_s, endpoint_id, 0.0)
