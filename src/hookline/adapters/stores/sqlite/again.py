"""What a person asks for: retry, discard, replay."""

from __future__ import annotations

from collections.abc import Sequence

from hookline.adapters.stores.books import NEW
from hookline.adapters.stores.due import Due, sooner
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.sqlite import confirm, lanes, queries
from hookline.adapters.stores.sqlite.record import close, leave_lane
from hookline.adapters.stores.sqlite.rows import ClosedRow, OpenRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import NewDelivery, OpenRef

_PENDING = int(State.PENDING)
_LEASED = int(State.LEASED)
_HELD = int(State.HELD)
_DELIVERED = int(State.DELIVERED)
_FAILED = int(State.FAILED)
_DISCARDED = int(State.DISCARDED)


def _open(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> OpenRow | None:
    found = transaction.execute(queries.OPEN_FIND, (delivery_id,)).fetchone()
    if found is None:
        return None
    row = OpenRow(*found)
    if tenant is not None and row.tenant != tenant:
        raise NotFound("no such delivery")
    return row


def _closed(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> ClosedRow:
    found = transaction.execute(queries.CLOSED_FIND, (delivery_id,)).fetchone()
    if found is None or (tenant is not None and found[3] != tenant):
        raise NotFound("no such delivery")
    return ClosedRow(*found)


def _wrong(state: int, what: str) -> Conflict:
    return Conflict(f"a delivery that is {State(state).word} cannot be {what}", code="wrong_state")


def reopen(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> OpenRef:
    """`Upkeep.reopen`, in the writer's transaction."""
    row = _open(transaction, tenant, delivery_id)
    if row is not None:
        if row.state != _PENDING:
            raise _wrong(row.state, "retried")
        _refuse_deleted(transaction, row.endpoint_id)
        transaction.execute(queries.OPEN_DUE, (transaction.now_ms, delivery_id))
        return _ref(row, State.PENDING)
    closed = _closed(transaction, tenant, delivery_id)
    if closed.state == _DELIVERED:
        raise _wrong(closed.state, "retried")
    _refuse_deleted(transaction, closed.endpoint_id)
    found = transaction.execute(queries.EVENT_EXISTS, (closed.event_id,)).fetchone()
    if found is not None and found[2] == ERASED:
        raise Conflict("its event was erased", code="wrong_state")
    state = open_again(transaction, closed, 0 if closed.replay_of is None else 1, {})
    row = _open(transaction, tenant, delivery_id)
    assert row is not None
    return _ref(row, State(state))


def open_again(transaction: Transaction, closed: ClosedRow, rank: int, due_s: Due) -> int:
    """Move a failed or discarded delivery back to the open ones, at its place in its lane; its state."""
    state = _PENDING if closed.lane is None else _HELD
    transaction.execute(queries.CLOSED_DELETE, (closed.id,))
    transaction.execute(
        queries.OPEN_REOPEN,
        (
            closed.id,
            closed.replay_of,
            closed.endpoint_id,
            closed.tenant,
            state,
            rank,
            transaction.now_ms,
            closed.fence,
            closed.attempts,
            closed.size_bytes,
            closed.lane,
            closed.seq,
            closed.reason,
        ),
    )
    transaction.moved(closed.tenant, closed.endpoint_id, closed.state, state)
    if closed.lane is None:
        sooner(due_s, closed.endpoint_id, 0.0)
    else:
        lanes.unblock(transaction, closed.endpoint_id, closed.lane, closed.id)
        lanes.settle(transaction, closed.tenant, closed.endpoint_id, closed.lane, due_s)
        state = transaction.execute(queries.LANE_STATE, (closed.id,)).fetchone()[0]
    _tell(transaction, closed, state)
    return state


def _tell(transaction: Transaction, row: OpenRow | ClosedRow, after: int) -> None:
    """A person changed a delivery's state."""
    before, after_word = State(row.state).word, State(after).word
    transaction.changed(row.tenant, row.endpoint_id, row.id, before, after_word, row.reason)


def _refuse_deleted(transaction: Transaction, endpoint_id: bytes) -> None:
    found = transaction.execute(queries.ENDPOINT_DELETED, (endpoint_id,)).fetchone()
    if found is None or found[0]:
        raise Conflict("its endpoint is deleted", code="wrong_state")


def _ref(row: OpenRow, state: State) -> OpenRef:
    return OpenRef(row.id, row.fence, row.endpoint_id, row.tenant, row.event_id, state, row.lost)


def discard(transaction: Transaction, tenant: str | None, delivery_id: bytes) -> None:
    """`Upkeep.discard`, in the writer's transaction."""
    row = _open(transaction, tenant, delivery_id)
    if row is not None:
        if row.state == _LEASED:
            raise _wrong(row.state, "discarded")
        if confirm.is_success(transaction, row.id):
            raise Conflict("its receiver has confirmed it: it is about to be delivered", code="wrong_state")
        close(transaction, row, _DISCARDED, row.reason)
        leave_lane(transaction, row, {})
        _tell(transaction, row, _DISCARDED)
        return
    closed = _closed(transaction, tenant, delivery_id)
    if closed.state != _FAILED:
        raise _wrong(closed.state, "discarded")
    transaction.execute(queries.CLOSED_DELETE, (delivery_id,))
    transaction.execute(
        queries.CLOSED_ADD,
        (
            closed.id,
            closed.replay_of,
            closed.endpoint_id,
            closed.tenant,
            _DISCARDED,
            transaction.now_ms,
            closed.fence,
            closed.tries,
            closed.attempts,
            closed.size_bytes,
            closed.lane,
            closed.seq,
            closed.reason,
        ),
    )
    transaction.moved(closed.tenant, closed.endpoint_id, _FAILED, _DISCARDED)
    _tell(transaction, closed, _DISCARDED)
    if closed.lane is not None:
        lanes.unblock(transaction, closed.endpoint_id, closed.lane, closed.id)
        lanes.settle(transaction, closed.tenant, closed.endpoint_id, closed.lane, {})


def replay(
    transaction: Transaction,
    tenant: str | None,
    event_id: bytes,
    root: bytes,
    deliveries: Sequence[NewDelivery],
    registry_version: int,
) -> dict[bytes, float]:
    """`Upkeep.replay`, in the writer's transaction."""
    found = transaction.execute(queries.EVENT_EXISTS, (event_id,)).fetchone()
    if found is None or (tenant is not None and found[0] != tenant):
        raise NotFound("no such event")
    owner, size_bytes, encoding = found
    if encoding == ERASED:
        raise Conflict("the event was erased", code="wrong_state")
    transaction.require_registry(registry_version)
    due_s: Due = {}
    for delivery in deliveries:
        delivery_id = ids.delivery_id(root, delivery.ordinal)
        deliver_again(transaction, owner, event_id, size_bytes, delivery.endpoint_id, delivery_id, delivery.lane, due_s)
    return due_s


def deliver_again(
    transaction: Transaction,
    tenant: str,
    event_id: bytes,
    size_bytes: int,
    endpoint_id: bytes,
    delivery_id: bytes,
    lane: str | None,
    due_s: Due,
) -> None:
    """Make one new delivery of an old event, behind the live ones and at the end of its lane."""
    state, seq = _PENDING, None
    if lane is not None:
        head, seq = lanes.append(transaction, endpoint_id, lane, delivery_id)
        if not head:
            state = _HELD
    place = (1, transaction.now_ms, 0, 0, 0, size_bytes, lane, seq)
    transaction.execute(queries.OPEN_ADD_ANY, (delivery_id, event_id, endpoint_id, tenant, state, *place))
    transaction.execute(queries.REPLAY_ADD, (event_id, delivery_id))
    transaction.moved(tenant, endpoint_id, NEW, state)
    if state == _PENDING:
        sooner(due_s, endpoint_id, 0.0)
