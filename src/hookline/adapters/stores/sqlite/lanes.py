"""Lanes: the deliveries of one endpoint with the same key, one after the other, in the order of their commit.

A lane's row names its head, the one delivery of it that may be pending, leased or unconfirmed; all others are held.
A failed delivery whose endpoint waits is a block: nothing with a later place runs. The one writer makes the lock of
docs/reliability.md, rule 13, unnecessary here. The places (`seq`) are one sequence of the whole file, so that a
reopened delivery keeps its place although its lane's row was deleted meanwhile.
"""

from __future__ import annotations

from hookline.adapters.stores.due import Due, sooner
from hookline.adapters.stores.sqlite import queries
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.delivery import State

_PENDING = int(State.PENDING)
_LEASED = int(State.LEASED)
_HELD = int(State.HELD)
_UNCONFIRMED = int(State.UNCONFIRMED)
_SEQ_BYTES = 8
_BLOCK_BYTES = _SEQ_BYTES + 16


def append(transaction: Transaction, endpoint_id: bytes, lane: str, delivery_id: bytes | bytearray) -> tuple[bool, int]:
    """Put a new delivery at the end of its lane: whether it is the head, and its place."""
    seq = transaction.next_seq()
    parameters = (bytearray(endpoint_id), lane, bytearray(delivery_id))
    return transaction.execute(queries.LANE_APPEND, parameters).rowcount == 1, seq


def block(transaction: Transaction, endpoint_id: bytes, lane: str, seq: int, delivery_id: bytes) -> None:
    """A failed delivery keeps its place: nothing behind it runs."""
    head, blocks = transaction.execute(queries.LANE_FIND, (endpoint_id, lane)).fetchone() or (None, None)
    entries = _entries(blocks)
    entries.append(seq.to_bytes(_SEQ_BYTES, "big") + delivery_id)
    transaction.execute(queries.LANE_SET, (endpoint_id, lane, head, b"".join(sorted(entries))))


def unblock(transaction: Transaction, endpoint_id: bytes, lane: str, delivery_id: bytes) -> None:
    """A failed delivery was reopened or discarded: it blocks no more."""
    found = transaction.execute(queries.LANE_FIND, (endpoint_id, lane)).fetchone()
    if found is None:
        return
    head, blocks = found
    entries = [entry for entry in _entries(blocks) if entry[_SEQ_BYTES:] != delivery_id]
    transaction.execute(queries.LANE_SET, (endpoint_id, lane, head, b"".join(entries) or None))


def _entries(blocks: bytes | None) -> list[bytes]:
    if not blocks:
        return []
    return [blocks[start : start + _BLOCK_BYTES] for start in range(0, len(blocks), _BLOCK_BYTES)]


def settle(
    transaction: Transaction, tenant: str, endpoint_id: bytes, lane: str, due_s: Due, *, closed: bytes | None = None
) -> bool:
    """Give the lane the head it should have, after anything of it was opened, closed (`closed`), or is pending again.

    Returns whether a held delivery was promoted; then it is also noted in `due_s`.
    """
    place = (bytearray(endpoint_id), lane)
    head, blocks = transaction.execute(queries.LANE_FIND, place).fetchone() or (None, None)
    first = transaction.execute(queries.LANE_FIRST, place).fetchone()
    if head not in (None, closed) and (first is None or head != first[0]):
        found = transaction.execute(queries.LANE_STATE, (head,)).fetchone()
        if found is not None and found[0] in (_LEASED, _UNCONFIRMED):
            return False  # it is in flight: when it comes back, the older one goes first
        if found is not None and found[0] == _PENDING:
            _hold(transaction, tenant, endpoint_id, head)
    if first is None:
        if blocks:
            transaction.execute(queries.LANE_SET, (*place, None, blocks))
        else:
            transaction.execute(queries.LANE_DELETE, place)
        return False
    identifier, seq, state, due_ms = first
    if state in (_LEASED, _UNCONFIRMED):
        return False
    key = bytearray(identifier)
    if blocks and int.from_bytes(blocks[:_SEQ_BYTES], "big") < seq:
        if state == _PENDING:
            _hold(transaction, tenant, endpoint_id, identifier)
        transaction.execute(queries.LANE_SET, (*place, None, blocks))
        return False
    if identifier != head:
        transaction.execute(queries.LANE_SET, (*place, key, blocks))
    if state != _HELD:
        return False
    transaction.execute(queries.OPEN_STATE, (_PENDING, key))
    transaction.moved(tenant, endpoint_id, _HELD, _PENDING)
    sooner(due_s, endpoint_id, (due_ms - transaction.now_ms) / 1000)
    return True


def _hold(transaction: Transaction, tenant: str, endpoint_id: bytes, delivery_id: bytes) -> None:
    transaction.execute(queries.OPEN_STATE, (_HELD, delivery_id))
    transaction.moved(tenant, endpoint_id, _PENDING, _HELD)
