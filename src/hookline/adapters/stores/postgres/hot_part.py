"""The way of an event, on PostgreSQL: `ports.store.Deliveries`. Each call is one statement."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from hookline.adapters.stores.postgres import rows
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.adapters.stores.postgres.new_events import Columns
from hookline.core import ids, quota
from hookline.core.delivery import State
from hookline.core.errors import DataError
from hookline.ports.store import (
    AcceptedItem,
    AcceptRequest,
    AcceptResult,
    Claimed,
    ClaimEntry,
    ClaimResult,
    HealthChange,
    RecordItem,
    RecordResult,
)

CLAIM_BYTES_MAX = 16 * 1024 * 1024
_ACCEPT = "SELECT * FROM hl_accept({})".format(", ".join(f"${n}" for n in range(1, 34)))
_CLAIM = "SELECT * FROM hl_claim({})".format(", ".join(f"${n}" for n in range(1, 13)))
_RECORD = "SELECT * FROM hl_record({})".format(", ".join(f"${n}" for n in range(1, 40)))
_RELEASE = "SELECT hl_release($1, $2, $3)"
_DUE = """
WITH RECURSIVE pending (endpoint_id) AS (
    (SELECT endpoint_id FROM open WHERE state = 0 ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.endpoint_id FROM open o WHERE o.state = 0 AND o.endpoint_id > pending.endpoint_id
            ORDER BY o.endpoint_id LIMIT 1)
    FROM pending WHERE pending.endpoint_id IS NOT NULL
)
SELECT endpoint_id, hl_next_due(endpoint_id, hl_now($1), 0) AS wait_ms FROM pending WHERE endpoint_id IS NOT NULL
"""
_ENDPOINTS_OF = "SELECT id, endpoint_id FROM open WHERE state = 0 AND id = ANY ($1)"
_BUSY_TRIES = 10
_BUSY_S = 0.02
_KIND_BUSY = 2
_KEPT, _FULL, _GONE = 1, 2, 3
_RECORDED = frozenset((State.PENDING, State.UNCONFIRMED, State.DELIVERED, State.FAILED, State.DISCARDED))
_MARK_BYTES = ids.ROOT_BYTES + 5


class HotPart(PostgresBase):
    """The way of an event."""

    async def accept(self, requests: Sequence[AcceptRequest], registry_version: int) -> Sequence[AcceptResult]:
        """`Deliveries.accept`."""
        columns = Columns()
        for number, request in enumerate(requests, 1):
            for item in request.items:
                columns.add(item, number)
        keyed = any(request.idempotency is not None for request in requests)
        keys = [request.idempotency for request in requests] if keyed else []
        values = (
            [None if key is None else key.key for key in keys],
            [b"" if key is None else key.body_hash for key in keys],
            [request.note for request in requests] if keyed else [],
            [0 if key is None else int(key.keep_s * 1000) for key in keys],
            columns.of,
            *columns.values(),
            *columns.quarantine(),
        )
        days = [item.event.id for item in columns.events]
        found = await self._leasing(
            lambda: self._one(_ACCEPT, registry_version, self.clock.told(), self.instance, *values, days=days)
        )
        return _accepted(requests, columns, found)

    async def claim(self, entries: Sequence[ClaimEntry], bytes_max: int = CLAIM_BYTES_MAX) -> ClaimResult:
        """`Deliveries.claim`."""
        return await self._claim(entries, bytes_max, None)

    async def claim_ids(
        self, delivery_ids: Sequence[bytes], entries: Sequence[ClaimEntry], bytes_max: int = CLAIM_BYTES_MAX
    ) -> ClaimResult:
        """`Deliveries.claim_ids`."""
        return await self._claim(entries, bytes_max, list(dict.fromkeys(delivery_ids)))

    async def _claim(self, entries: Sequence[ClaimEntry], bytes_max: int, named: list[bytes] | None) -> ClaimResult:
        claimed: list[Claimed] = []
        next_due_s: dict[bytes, float | None] = {}
        left = list(entries)
        for attempt in range(_BUSY_TRIES):
            asked = (bytes_max, *_asked(left), named)
            found = await self._leasing(partial(self._claim_once, asked))
            taken, busy = _claimed(found, left, next_due_s)
            claimed += taken
            bytes_max -= sum(len(one.event.data) for one in taken)
            left = [left[place - 1] for place in busy]
            if not left or bytes_max <= 0:
                break
            # Another process holds them for the time of its claim, which is short.
            await asyncio.sleep(random.uniform(0.001, 0.004) * (attempt + 1))  # noqa: S311  # nothing is guessed by it
        for entry in left:
            next_due_s[entry.endpoint_id] = _BUSY_S
        return ClaimResult(claimed, next_due_s)

    async def _claim_once(self, asked: tuple[Any, ...]) -> list[Any]:
        return await self._rows(_CLAIM, self.clock.told(), self.instance, *asked)

    async def record(
        self, items: Sequence[RecordItem], healths: Sequence[HealthChange] = (), registry_version: int = 0
    ) -> RecordResult:
        """`Deliveries.record`."""
        columns = Columns()
        for number, item in enumerate(items, 1):
            for event in item.events:
                columns.add(event, number)
        for number, change in enumerate(healths, 1):
            for event in change.events:
                columns.add(event, -number)
        seen: set[bytes] = set()
        for item in items:
            if item.after not in _RECORDED:
                raise DataError(f"{item.after.word} cannot be recorded")
        found = await self._one(
            _RECORD,
            registry_version,
            self.clock.told(),
            self.instance,
            [item.delivery_id for item in items],
            [item.fence for item in items],
            [int(item.after) for item in items],
            [int(item.wait_s * 1000) for item in items],
            [item.tries for item in items],
            [item.lost for item in items],
            [item.reason for item in items],
            [item.attempt for item in items],
            [item.lane_waits for item in items],
            [_plain(item, seen) for item in items],
            [change.row.endpoint_id for change in healths],
            [change.row.version for change in healths],
            [change.row.packed for change in healths],
            [None if change.row.wait_s is None else int(change.row.wait_s * 1000) for change in healths],
            [None if change.row.probe_s is None else int(change.row.probe_s * 1000) for change in healths],
            [change.disable for change in healths],
            columns.of,
            *columns.values(),
            days=[item.delivery_id for item in items] + [item.event.id for item in columns.events],
        )
        now_ms = found["now_ms"]
        due = zip(found["due_endpoint"], found["due_at"], strict=True)
        return RecordResult(
            list(found["applied"]),
            list(found["h_applied"]),
            {endpoint_id: max(0, due_ms - now_ms) / 1000 for endpoint_id, due_ms in due},
        )

    async def release(self, leases: Sequence[tuple[bytes, int]]) -> Sequence[bool]:
        """`Deliveries.release`."""
        wanted = ([lease[0] for lease in leases], [lease[1] for lease in leases])
        applied: list[bool] = (await self._one(_RELEASE, self.clock.told(), *wanted))[0]
        return applied

    async def due(self) -> dict[bytes, float]:
        """`Deliveries.due`."""
        found = await self._rows(_DUE, self.clock.told())
        return {row["endpoint_id"]: row["wait_ms"] / 1000 for row in found if row["wait_ms"] is not None}

    async def endpoints_of(self, delivery_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """`Deliveries.endpoints_of`."""
        return {row[0]: row[1] for row in await self._rows(_ENDPOINTS_OF, list(delivery_ids))}


def _asked(entries: Sequence[ClaimEntry]) -> tuple[Sequence[Any], ...]:
    """What is asked of a claim, in columns."""
    rates = [entry.rate for entry in entries]
    return (
        [entry.endpoint_id for entry in entries],
        [entry.slots for entry in entries],
        [int(entry.lease_s * 1000) for entry in entries],
        [entry.concurrency_max for entry in entries],
        [None if rate is None else rate.n for rate in rates],
        [None if rate is None else rate.per_s * 1000.0 for rate in rates],
        [None if rate is None else quota.burst_of(rate) for rate in rates],
        [entry.probe for entry in entries],
    )


def _claimed(
    found: Sequence[Any], entries: Sequence[ClaimEntry], next_due_s: dict[bytes, float | None]
) -> tuple[list[Claimed], list[int]]:
    """What a claim gave, and the places of the entries that somebody else was claiming of."""
    claimed: list[Claimed] = []
    busy: list[int] = []
    events: dict[bytes, Any] = {}
    for row in found:
        if row["kind"] == 0:
            wait_ms = row["wait_ms"]
            next_due_s[row["endpoint_id"]] = None if wait_ms is None else wait_ms / 1000
            continue
        if row["kind"] == _KIND_BUSY:
            busy.append(row["entry"])
            continue
        event_id = row["event_id"]
        event = events.get(event_id)
        if event is None:
            event = events[event_id] = rows.event(row, event_id)
        claimed.append(
            Claimed(
                delivery_id=row["id"],
                fence=row["fence"],
                endpoint_id=row["endpoint_id"],
                event=event,
                tries=row["tries"],
                attempts=row["attempts"],
                lost=row["lost"],
                lease_s=entries[row["entry"] - 1].lease_s,
                lane=row["lane"],
                replay=row["rank"] > 0,
                early_s=row["early_ms"] / 1000,
            )
        )
    return claimed, busy


def _plain(item: RecordItem, seen: set[bytes]) -> bool:
    """Whether it is delivered with an attempt and nothing hangs on it; of two for one delivery only the first is."""
    if item.delivery_id in seen:
        return False
    seen.add(item.delivery_id)
    return item.after is State.DELIVERED and item.attempt is not None and not item.events and item.reason is None


def _accepted(requests: Sequence[AcceptRequest], columns: Columns, found: Any) -> list[AcceptResult]:
    """What became of each request."""
    states = columns.states(found["d_state"])
    firsts = found["i_first"]
    special = dict(zip(columns.special, found["s_how"], strict=True))
    results: list[AcceptResult] = []
    by_key: dict[bytes, int] = {}
    at = 0
    for number, request in enumerate(requests):
        count = len(request.items)
        span, at = range(at, at + count), at + count
        how = found["r_state"][number] if found["r_state"] else 0
        key = request.idempotency
        if how and key is not None:
            if how == 1:
                same = found["r_hash_known"][number] == key.body_hash
                items, note = _marks(found["r_items"][number]), found["r_notes"][number]
            else:
                first = by_key[key.key]
                known = requests[first].idempotency
                assert known is not None
                same = known.body_hash == key.body_hash
                items = [AcceptedItem(i.event_id, i.deliveries, i.duplicate) for i in results[first].items]
                note = requests[first].note
            results.append(AcceptResult(items, repeated=True, note=note) if same else AcceptResult((), reused=True))
            continue
        if key is not None:
            by_key.setdefault(key.key, number)
        items = []
        for place in span:
            item = columns.events[place]
            how = special.get(place + 1, 0)
            if how:
                ends = {"quarantined": how == _KEPT, "full": how == _FULL, "gone": how == _GONE}
                items.append(AcceptedItem(item.event.id, 0, **ends))
            elif firsts[place] is None:
                items.append(AcceptedItem(item.event.id, item.deliveries_count, False, states[place]))  # noqa: FBT003
            else:
                items.append(_first(firsts[place]))
        results.append(AcceptResult(items, note=request.note))
    return results


def _first(value: bytes) -> AcceptedItem:
    count = int.from_bytes(value[ids.ROOT_BYTES : ids.ROOT_BYTES + 4], "big", signed=True)
    return AcceptedItem(value[: ids.ROOT_BYTES], max(0, count), duplicate=True, quarantined=count < 0)


def _marks(packed: bytes) -> list[AcceptedItem]:
    """The items of a stored answer."""
    found = []
    for start in range(0, len(packed), _MARK_BYTES):
        mark = packed[start : start + _MARK_BYTES]
        count = int.from_bytes(mark[ids.ROOT_BYTES : ids.ROOT_BYTES + 4], "big")
        found.append(AcceptedItem(mark[: ids.ROOT_BYTES], count, bool(mark[-1])))
    return found
