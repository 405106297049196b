"""Leasing what is due, within slots, caps, rates, waits and probes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.sqlite import queries, rows
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids, quota
from hookline.core.delivery import State
from hookline.ports.store import Claimed, ClaimEntry, ClaimResult

_PENDING = int(State.PENDING)
_LEASED = int(State.LEASED)


class _Due(msgspec.Struct, gc=False):
    """A row of `queries.CLAIM_DUE`: something that may be claimed."""

    id: bytes
    replay_of: bytes | None
    fence: int
    tries: int
    attempts: int
    lost: int
    size_bytes: int
    lane: str | None
    due_ms: int
    rank: int

    @property
    def event_id(self) -> bytes:
        return self.replay_of if self.replay_of is not None else self.id[: ids.ROOT_BYTES]


class _Claim:
    """One call's work."""

    def __init__(self, transaction: Transaction, bytes_max: int, named: dict[bytes, list[_Due]] | None) -> None:
        self._transaction = transaction
        self._bytes_left = bytes_max
        self._named = named
        self._taken: list[tuple[ClaimEntry, _Due]] = []
        self.next_due_s: dict[bytes, float | None] = {}

    def entry(self, entry: ClaimEntry) -> None:
        """Take what this endpoint may have, and note when to come back."""
        transaction = self._transaction
        now_ms = transaction.now_ms
        key = bytearray(entry.endpoint_id)
        state = transaction.execute(queries.CLAIM_STATE, (key,)).fetchone()
        if state is None or state[0] != "active" or state[1]:
            self.next_due_s[entry.endpoint_id] = None
            return
        _, _, wait_until_ms, probe_at_ms, tat_ms, leases = state
        # Nothing of it starts before this, whatever is due.
        from_ms = max(now_ms, wait_until_ms or 0, probe_at_ms or 0)
        failing = probe_at_ms is not None
        if from_ms > now_ms or (failing and not entry.probe):
            self._later(entry, key, from_ms)
            return
        free = min(entry.slots, entry.concurrency_max - leases)
        if failing:
            lease_ends_ms = transaction.execute(queries.LEASE_ENDS, (key,)).fetchone()[0]
            if lease_ends_ms is not None:
                self._later(entry, key, lease_ends_ms)
                return
            free = min(free, 1)
        full = self._bytes_left <= 0 and self._taken
        found = self._find(entry, key, free, probe=failing) if free > 0 and not full else []
        self._later(entry, key, self._take(entry, found, tat_ms, probe=failing))

    def _find(self, entry: ClaimEntry, key: bytearray, free: int, *, probe: bool) -> list[_Due]:
        transaction = self._transaction
        if self._named is not None:
            return self._named.pop(entry.endpoint_id, [])[:free]
        if probe:
            return [_Due(*row) for row in transaction.execute(queries.CLAIM_OLDEST, (key,))]
        found: list[_Due] = []
        for rank in (0, 1):
            parameters = (key, rank, transaction.now_ms, free - len(found))
            found += [_Due(*row) for row in transaction.execute(queries.CLAIM_DUE, parameters)]
            if len(found) >= free:
                break
        return found

    def _take(self, entry: ClaimEntry, found: list[_Due], tat_ms: float, *, probe: bool) -> int:
        """Lease of `found` what bytes and tokens allow; from when on there may be more."""
        transaction = self._transaction
        now_ms = transaction.now_ms
        fitting = self._fitting(found)
        wait_s = 0.0
        if entry.rate is not None and fitting:
            fitting, tat_ms, wait_s = quota.take(tat_ms, now_ms, entry.rate, fitting)
            transaction.execute(queries.TAT_SET, (entry.endpoint_id, tat_ms))
        if not fitting:
            return now_ms + math.ceil(wait_s * 1000)
        lease_until_ms = now_ms + int(entry.lease_s * 1000)
        leased = found[:fitting]
        self._bytes_left -= sum(due.size_bytes for due in leased)
        queries.CLAIM_LEASE.run(transaction.connection, [bytearray(due.id) for due in leased], lease_until_ms)
        if probe:
            transaction.execute(queries.PROBE_SET, (lease_until_ms, entry.endpoint_id))
        self._taken += [(entry, due) for due in leased]
        if probe:
            return lease_until_ms
        return now_ms + math.ceil(wait_s * 1000)

    def _fitting(self, found: list[_Due]) -> int:
        """How many of `found` the bytes left allow: at least one of all that is claimed, however big."""
        fitting = 0
        bytes_left = self._bytes_left
        for due in found:
            if due.size_bytes > bytes_left and (fitting or self._taken):
                break
            bytes_left -= due.size_bytes
            fitting += 1
        return fitting

    def _later(self, entry: ClaimEntry, key: bytearray, from_ms: int) -> None:
        now_ms = self._transaction.now_ms
        live_ms, replay_ms = self._transaction.execute(queries.NEXT_DUE, (key,)).fetchone()
        if live_ms is None or (replay_ms is not None and replay_ms < live_ms):
            live_ms = replay_ms
        wait_s = None if live_ms is None else (max(live_ms, from_ms, now_ms) - now_ms) / 1000
        self.next_due_s[entry.endpoint_id] = wait_s

    def result(self) -> ClaimResult:
        """Read the events of what was taken, and count it."""
        transaction = self._transaction
        now_ms = transaction.now_ms
        wanted = list({due.event_id: None for _, due in self._taken})
        found = queries.EVENTS_BY_ID.rows(transaction.connection, [bytearray(event_id) for event_id in wanted])
        events = {row[0]: rows.event(row) for row in found}
        claimed = []
        for entry, due in self._taken:
            event = events[due.event_id]
            transaction.moved(event.tenant, entry.endpoint_id, _PENDING, _LEASED)
            claimed.append(
                Claimed(
                    delivery_id=due.id,
                    fence=due.fence + 1,
                    endpoint_id=entry.endpoint_id,
                    event=event,
                    tries=due.tries,
                    attempts=due.attempts,
                    lost=due.lost,
                    lease_s=entry.lease_s,
                    lane=due.lane,
                    replay=due.rank > 0,
                    early_s=max(0, due.due_ms - now_ms) / 1000,
                )
            )
        return ClaimResult(claimed, self.next_due_s)


def claim(
    transaction: Transaction,
    entries: Sequence[ClaimEntry],
    bytes_max: int,
    delivery_ids: Sequence[bytes] | None = None,
) -> ClaimResult:
    """`Deliveries.claim`, and with `delivery_ids` `Deliveries.claim_ids`, in the writer's transaction."""
    named = None if delivery_ids is None else _named(transaction, delivery_ids)
    work = _Claim(transaction, bytes_max, named)
    for entry in entries:
        work.entry(entry)
    return work.result()


def _named(transaction: Transaction, delivery_ids: Sequence[bytes]) -> dict[bytes, list[_Due]]:
    """endpoint → those of `delivery_ids` that are pending and due, in the order given, each once."""
    keys = list(dict.fromkeys(delivery_ids))
    found: dict[bytes, Any] = {
        row[0]: row
        for row in queries.CLAIM_IDS.rows(transaction.connection, [bytearray(key) for key in keys], transaction.now_ms)
    }
    by_endpoint: dict[bytes, list[_Due]] = {}
    for key in keys:
        row = found.get(key)
        if row is not None:
            by_endpoint.setdefault(row[-1], []).append(_Due(*row[:-1]))
    return by_endpoint


def due(connection: sqlite3.Connection, now_ms: int) -> dict[bytes, float]:
    """`Deliveries.due`, from a reader."""
    found = {}
    for endpoint_id, live_ms, replay_ms in connection.execute(queries.DUE_BY_ENDPOINT):
        earliest_ms = min(due_ms for due_ms in (live_ms, replay_ms) if due_ms is not None)
        found[endpoint_id] = max(0.0, (earliest_ms - now_ms) / 1000)
    return found
