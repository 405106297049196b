"""Outcomes: fenced changes of open deliveries with all that hangs on them, and leases given back unstarted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hookline.adapters.stores.due import Due, sooner
from hookline.adapters.stores.sqlite import confirm, lanes, queries
from hookline.adapters.stores.sqlite.accept import NewRows
from hookline.adapters.stores.sqlite.rows import OpenRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.delivery import TRANSITIONS, State
from hookline.core.endpoint import EndpointState
from hookline.core.errors import DataError
from hookline.ports.store import HealthChange, NewEvent, RecordItem, RecordResult

_PENDING = int(State.PENDING)
_LEASED = int(State.LEASED)
_DELIVERED = int(State.DELIVERED)
_FAILED = int(State.FAILED)
_UNCONFIRMED = int(State.UNCONFIRMED)
_UNSETTLED = frozenset((_PENDING, _FAILED, int(State.DISCARDED)))
"""Ends of an attempt that a receiver's success outlives."""
_ALLOWED = frozenset((int(before), int(after)) for before, after in TRANSITIONS if before is not None)
_RECORDED = frozenset(map(int, (State.PENDING, State.UNCONFIRMED, State.DELIVERED, State.FAILED, State.DISCARDED)))


def weigh(items: Sequence[RecordItem]) -> tuple[int, int]:
    """How much of a commit these take: (items, bytes)."""
    size_bytes = 0
    for item in items:
        if item.attempt is not None:
            size_bytes += len(item.attempt)
    return len(items), size_bytes


class _Record:
    """One call's work: the plain cases together, the others one by one, new events at the end."""

    def __init__(self, transaction: Transaction, items: Sequence[RecordItem]) -> None:
        self.transaction = transaction
        self.items = items
        self.applied = [False] * len(items)
        self.due_s: Due = {}
        self.events: list[NewEvent] = []
        self._attempts: list[Any] = []

    def run(self) -> None:
        plain: dict[tuple[int, int], dict[bytes, int]] = {}
        others: list[int] = []
        for index, item in enumerate(self.items):
            if item.after == _DELIVERED and item.attempt is not None and not item.events and item.reason is None:
                group = plain.setdefault((item.fence, item.tries), {})
                if group.setdefault(item.delivery_id, index) == index:
                    continue
            others.append(index)
        for (fence, tries), group in plain.items():
            others += self._plain(fence, tries, group)
        for index in others:
            self.applied[index] = self._single(self.items[index])
        queries.ATTEMPTS_ADD.run(self.transaction.connection, self._attempts)

    def _plain(self, fence: int, tries: int, group: dict[bytes, int]) -> list[int]:
        """Close those of a group (delivery → its item's index) that are leased under this fence and in no lane; the
        indices of the others are returned, to be looked at singly."""
        transaction = self.transaction
        connection = transaction.connection
        items = self.items
        left: list[int] = []
        keys = [bytearray(delivery_id) for delivery_id in group]
        if queries.PLAIN_CLOSE.run(connection, keys, transaction.now_ms, tries, fence) != len(keys):
            fitting = {row[0] for row in queries.PLAIN_FITTING.rows(connection, keys, fence)}
            left = [index for delivery_id, index in group.items() if delivery_id not in fitting]
            group = {delivery_id: index for delivery_id, index in group.items() if delivery_id in fitting}
            keys = [bytearray(delivery_id) for delivery_id in group]
        queries.PLAIN_DELETE.run(connection, keys, fence)
        moves = transaction.moves
        attempts = self._attempts
        applied = self.applied
        for index, key in zip(group.values(), keys, strict=True):
            item = items[index]
            applied[index] = True
            attempts += (key, fence, bytearray(item.attempt or b""))
            move = (item.tenant, item.endpoint_id, _LEASED, _DELIVERED)
            moves[move] = moves.get(move, 0) + 1
        return left

    def _single(self, item: RecordItem) -> bool:
        transaction = self.transaction
        key = bytearray(item.delivery_id)
        found = transaction.execute(queries.OPEN_FIND, (key,)).fetchone()
        if found is None:
            return False
        row = OpenRow(*found)
        after = int(item.after)
        if row.fence != item.fence or (row.state, after) not in _ALLOWED:
            return False
        # Taken back, reopened or unconfirmed, it still has the fence of its last lease: an attempt under that lease
        # comes too late, and so does who took the lease for lost.
        if (item.attempt is not None or item.lost) and row.state != _LEASED:
            return False
        if row.state == _UNCONFIRMED and after != _DELIVERED and confirm.is_success(transaction, row.id):
            return False  # confirmed meanwhile: it is due, and ends delivered
        row.tries += item.tries
        if item.attempt is not None:
            row.attempts += 1
            row.lost = 0
            self._attempts += (key, item.fence, bytearray(item.attempt))
        row.lost += item.lost
        if row.state == _LEASED and after in _UNSETTLED and confirm.succeeded(transaction, row):
            if item.attempt is None:
                transaction.changed(row.tenant, row.endpoint_id, row.id, "leased", "unconfirmed")
            return True
        if after == _PENDING:
            self._again(row, item)
        elif after == _UNCONFIRMED:
            confirm.wait(transaction, row, item.wait_s, item.reason)
        else:
            close(transaction, row, after, item.reason or (None if after == _DELIVERED else row.reason))
            if row.lane is not None:
                _left_lane(transaction, row, blocks=after == _FAILED and item.lane_waits, due_s=self.due_s)
        if item.attempt is None:
            before = State(row.state).word
            transaction.changed(row.tenant, row.endpoint_id, row.id, before, item.after.word, item.reason)
        self.events += item.events
        return True

    def _again(self, row: OpenRow, item: RecordItem) -> None:
        transaction = self.transaction
        due_ms = transaction.now_ms + int(item.wait_s * 1000)
        reason = item.reason or row.reason
        transaction.execute(queries.OPEN_RETRY, (due_ms, row.tries, row.attempts, row.lost, reason, bytearray(row.id)))
        transaction.moved(row.tenant, row.endpoint_id, row.state, _PENDING)
        confirm.forget_error(transaction, row.id)
        _is_pending(transaction, row, due_ms, self.due_s)


def close(transaction: Transaction, row: OpenRow, state: int, reason: str | None) -> None:
    """Move an open delivery to the closed ones. Its lane is the caller's business."""
    key = bytearray(row.id)
    parameters = (state, transaction.now_ms, row.tries, row.attempts, reason, key)
    transaction.execute(queries.CLOSE, parameters)
    transaction.execute(queries.OPEN_DELETE, (key,))
    transaction.moved(row.tenant, row.endpoint_id, row.state, state)
    confirm.forget(transaction, row.id)


def _left_lane(transaction: Transaction, row: OpenRow, *, blocks: bool, due_s: Due) -> None:
    assert row.lane is not None
    assert row.seq is not None
    if blocks:
        lanes.block(transaction, row.endpoint_id, row.lane, row.seq, row.id)
    lanes.settle(transaction, row.tenant, row.endpoint_id, row.lane, due_s, closed=row.id)


def leave_lane(transaction: Transaction, row: OpenRow, due_s: Due) -> None:
    """What a lane does when one of it was closed without failing."""
    if row.lane is not None:
        _left_lane(transaction, row, blocks=False, due_s=due_s)


def _is_pending(transaction: Transaction, row: OpenRow, due_ms: int, due_s: Due) -> None:
    """What follows from a delivery being pending again: its lane may have an older one now."""
    if row.lane is None:
        sooner(due_s, row.endpoint_id, (due_ms - transaction.now_ms) / 1000)
        return
    lanes.settle(transaction, row.tenant, row.endpoint_id, row.lane, due_s)
    state = transaction.execute(queries.LANE_STATE, (row.id,)).fetchone()[0]
    if state == _PENDING:
        sooner(due_s, row.endpoint_id, (due_ms - transaction.now_ms) / 1000)


def record(
    transaction: Transaction, items: Sequence[RecordItem], healths: Sequence[HealthChange], registry_version: int
) -> RecordResult:
    """`Deliveries.record`, in the writer's transaction."""
    if any(item.events for item in items) or any(change.events for change in healths):
        transaction.require_registry(registry_version)
    for item in items:
        if item.after not in _RECORDED:
            raise DataError(f"{item.after.word} cannot be recorded")
    work = _Record(transaction, items)
    work.run()
    health_applied = []
    for change in healths:
        state = _health(transaction, change)
        health_applied.append(state is not None)
        # What is unverified is another endpoint than the one that is to be disabled, and stays unverified.
        if state is not None and not (change.disable and state == EndpointState.UNVERIFIED.value):
            work.events += change.events
    # Last: what they append to lanes must see the heads that were closed above.
    if work.events:
        new = NewRows(transaction, work.events, hand_off=False)
        for event in work.events:
            new.add(event)
        new.write()
        for endpoint_id, wait_s in new.due_s.items():
            sooner(work.due_s, endpoint_id, wait_s)
    return RecordResult(work.applied, health_applied, work.due_s)


def _health(transaction: Transaction, change: HealthChange) -> str | None:
    """Store it; the endpoint's state before, or None where it is not applied."""
    row = change.row
    found = transaction.execute(queries.HEALTH_FIND, (row.endpoint_id,)).fetchone()
    if found is None or max(found[1], 0) != row.version:
        return None
    now_ms = transaction.now_ms
    wait_until_ms = None if row.wait_s is None else now_ms + int(row.wait_s * 1000)
    probe_at_ms = None if row.probe_s is None else now_ms + int(row.probe_s * 1000)
    parameters = (row.endpoint_id, abs(found[1]) + 1, row.packed, wait_until_ms, probe_at_ms)
    transaction.execute(queries.HEALTH_SET, parameters)
    state: str = found[0]
    if change.disable and state not in (EndpointState.DISABLED.value, EndpointState.UNVERIFIED.value):
        version = transaction.raise_registry()
        disabled = (EndpointState.DISABLED.value, now_ms, version, row.endpoint_id)
        transaction.execute(queries.ENDPOINT_STATE_SET, disabled)
        transaction.changed(found[2], row.endpoint_id, None, state, EndpointState.DISABLED.value)
    return state


def release(transaction: Transaction, leases: Sequence[tuple[bytes, int]]) -> list[bool]:
    """`Deliveries.release`, in the writer's transaction."""
    applied = []
    due_s: Due = {}
    for delivery_id, fence in leases:
        found = transaction.execute(queries.OPEN_FIND, (delivery_id,)).fetchone()
        if found is None:
            applied.append(False)
            continue
        row = OpenRow(*found)
        if row.fence != fence or row.state != _LEASED:
            applied.append(False)
            continue
        if confirm.succeeded(transaction, row):
            applied.append(True)
            continue
        transaction.execute(queries.OPEN_RELEASE, (delivery_id,))
        transaction.moved(row.tenant, row.endpoint_id, _LEASED, _PENDING)
        confirm.forget_error(transaction, row.id)
        if row.lane is not None:
            lanes.settle(transaction, row.tenant, row.endpoint_id, row.lane, due_s)
        applied.append(True)
    return applied
