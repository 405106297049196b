"""A store under test, with the moves that a flow makes on it. The suites say what must hold after them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState, RateSpec
from hookline.core.event import TENANT_DEFAULT, Event
from hookline.ports.store import (
    AcceptedItem,
    AcceptRequest,
    Claimed,
    ClaimEntry,
    ClaimResult,
    Counts,
    DeliveryRow,
    HealthChange,
    HealthRow,
    NewDelivery,
    NewEvent,
    OpenRef,
    Query,
    RecordItem,
    RecordResult,
    Store,
)
from hookline.testing.clock import ToldClock
from hookline.testing.samples import PACKED_ATTEMPT, endpoint_row, sample_event

Reopen = Callable[[], Awaitable[Store]]
"""Kills the store's process in effect (nothing of `stop` runs) and returns a new, started store on the same data."""

LEASE_S = 30.0
"""The lease of claims in the suites."""
LIVE_MARGIN_S = 15.0
"""How much longer an expired lease of a living instance is left to it."""

HELD_STATES = (EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.UNVERIFIED)


class Case:
    """One store, its clock, and ids that never repeat."""

    def __init__(self, store: Store, clock: ToldClock, reopen: Reopen) -> None:
        self.store = store
        self.clock = clock
        self._reopen = reopen
        self._version = 0
        self._ids = ids.IdMaker(b"case")

    async def restart(self) -> Store:
        """Kill the process and start the next one on the same data; `store` is the new one."""
        self.store = await self._reopen()
        return self.store

    # ------------------------------------------------------------------------------------------ configuration

    async def endpoint(self, tenant: str = TENANT_DEFAULT, **changes: Any) -> bytes:
        """Create an endpoint; its id."""
        identifier = self.new_id()
        await self.store.put_endpoint(endpoint_row(id=identifier, tenant=tenant, **changes))
        return identifier

    async def endpoints(self, count: int, tenant: str = TENANT_DEFAULT) -> list[bytes]:
        """Create several."""
        return [await self.endpoint(tenant) for _ in range(count)]

    async def version(self) -> int:
        """The registry's version now."""
        self._version = (await self.store.changes(self._version)).version
        return self._version

    async def pause(self, endpoint: bytes) -> None:
        """Hold what the endpoint has."""
        await self.store.set_endpoint_state(endpoint, EndpointState.PAUSED)

    async def resume(self, endpoint: bytes) -> None:
        """Let it flow again."""
        await self.store.set_endpoint_state(endpoint, EndpointState.ACTIVE)

    # ------------------------------------------------------------------------------------------------- accept

    def new_id(self) -> bytes:
        """A 12-byte id of this moment, above all before."""
        return self._ids.make(self.store.now_ms())

    def event(self, **changes: Any) -> Event:
        """An event of this moment."""
        return sample_event(id=self.new_id(), **changes)

    def new(
        self,
        *endpoints: bytes,
        lane: str | None = None,
        lease_s: float | None = None,
        wait_s: float = 0.0,
        fanout: Sequence[bytes] = (),
        dedupe_key: bytes | None = None,
        dedupe_s: float = 86_400.0,
        **changes: Any,
    ) -> NewEvent:
        """An event on its way to `endpoints` (each with the same lane and lease) and to a packed fan-out."""
        return NewEvent(
            event=self.event(ordering_key=lane, **changes),
            deliveries=[
                NewDelivery(endpoint_id=endpoint, ordinal=ordinal, lane=lane, lease_s=lease_s)
                for ordinal, endpoint in enumerate(endpoints, 1)
            ],
            wait_s=wait_s,
            fanout=b"".join(fanout),
            dedupe_key=dedupe_key,
            dedupe_s=dedupe_s,
        )

    async def accept(self, *items: NewEvent) -> Sequence[AcceptedItem]:
        """Accept the items as one request of the first one's tenant."""
        request = AcceptRequest(tenant=items[0].event.tenant, items=items)
        return (await self.store.accept([request], await self.version()))[0].items

    async def publish(self, *endpoints: bytes, **changes: Any) -> list[bytes]:
        """Accept one event; the ids of its deliveries, in the order of `endpoints`."""
        new = self.new(*endpoints, **changes)
        await self.accept(new)
        return [ids.delivery_id(new.event.id, delivery.ordinal) for delivery in new.deliveries]

    async def one(self, endpoint: bytes, **changes: Any) -> bytes:
        """Accept one event for one endpoint; the delivery's id."""
        return (await self.publish(endpoint, **changes))[0]

    async def handed_off(self, endpoint: bytes, lease_s: float = LEASE_S, **changes: Any) -> OpenRef:
        """Accept one event whose delivery is leased in the same commit; the lease."""
        new = self.new(endpoint, lease_s=lease_s, **changes)
        accepted = (await self.accept(new))[0]
        assert accepted.states == bytes([State.LEASED])
        return OpenRef(
            delivery_id=ids.delivery_id(new.event.id, 1),
            fence=1,
            endpoint_id=endpoint,
            tenant=new.event.tenant,
            event_id=new.event.id,
            state=State.LEASED,
        )

    # -------------------------------------------------------------------------------------------------- claim

    async def ask(self, *entries: ClaimEntry, **limits: Any) -> ClaimResult:
        """Claim for several endpoints, with what the store says of the next time."""
        return await self.store.claim(entries, **limits)

    async def claim(self, endpoint: bytes, slots: int = 100, **changes: Any) -> list[Claimed]:
        """Claim for one endpoint."""
        return list((await self.ask(entry(endpoint, slots, **changes))).claimed)

    async def claim_named(
        self, deliveries: Sequence[bytes], endpoint: bytes, bytes_max: int = 2**24, **changes: Any
    ) -> list[Claimed]:
        """Claim of one endpoint what a queue's message names."""
        return list((await self.store.claim_ids(deliveries, [entry(endpoint, **changes)], bytes_max)).claimed)

    async def claim_one(self, endpoint: bytes, **changes: Any) -> Claimed:
        """Claim one delivery, which must be there."""
        claimed = await self.claim(endpoint, 1, **changes)
        assert len(claimed) == 1
        return claimed[0]

    # ------------------------------------------------------------------------------------------------- record

    async def record(self, *items: RecordItem, healths: Sequence[HealthChange] = ()) -> RecordResult:
        """Record the items in one commit."""
        return await self.store.record(items, healths, await self.version())

    async def close(self, lease: Claimed | OpenRef, after: State = State.DELIVERED, **changes: Any) -> bool:
        """Record one outcome; whether it applied."""
        result = await self.record(outcome(lease, after, **changes))
        return result.applied[0]

    async def change_health(
        self, endpoint: bytes, *, wait_s: float | None = None, probe_s: float | None = None, packed: bytes = b"health"
    ) -> None:
        """Set an endpoint's health over whatever version it has."""
        known = {row.endpoint_id: row.version for row in await self.store.healths()}
        row = HealthRow(endpoint, known.get(endpoint, 0), packed=packed, wait_s=wait_s, probe_s=probe_s)
        result = await self.record(healths=[HealthChange(row)])
        assert list(result.health_applied) == [True]

    async def failed(self, endpoint: bytes, **changes: Any) -> tuple[bytes, int]:
        """A delivery that was claimed and failed for good: its id and last fence."""
        delivery = await self.one(endpoint, **changes)
        claimed = next(c for c in await self.claim(endpoint) if c.delivery_id == delivery)
        assert await self.close(claimed, State.FAILED, reason="client_error")
        return delivery, claimed.fence

    # --------------------------------------------------------------------------------------------------- look

    async def row(self, delivery: bytes) -> DeliveryRow:
        """A delivery as listed; it must be there."""
        row = await self.store.delivery(None, delivery)
        assert row is not None
        return row

    async def words(self, *deliveries: bytes) -> list[str]:
        """The reported states, in order."""
        return [(await self.row(delivery)).state for delivery in deliveries]

    async def listed(self, **filters: Any) -> list[DeliveryRow]:
        """All pages of a list of deliveries."""
        query = Query(**{"tenant": None, **filters})
        rows: list[DeliveryRow] = []
        while True:
            page = await self.store.deliveries(query)
            assert len(page.rows) <= query.limit
            rows.extend(page.rows)
            if page.next is None:
                return rows
            query = msgspec.structs.replace(query, before=page.next)

    async def listed_events(self, **filters: Any) -> list[Event]:
        """All pages of a list of events."""
        query = Query(**{"tenant": None, **filters})
        events: list[Event] = []
        while True:
            page = await self.store.events(query)
            assert len(page.rows) <= query.limit
            events.extend(page.rows)
            if page.next is None:
                return events
            query = msgspec.structs.replace(query, before=page.next)

    async def counts(self, tenant: str | None = None, endpoint: bytes | None = None) -> Counts:
        """The books, which must add up whenever they are read."""
        counts = await self.store.counts(tenant, endpoint)
        assert balanced(counts), counts
        return counts


class StoreContract:
    """The base of the suites: their one fixture, made from the three that an adapter's test module defines."""

    @pytest.fixture
    def case(self, store: Store, clock: ToldClock, reopen: Reopen) -> Case:
        """The store under test with its moves."""
        return Case(store, clock, reopen)


def entry(
    endpoint: bytes,
    slots: int = 100,
    *,
    lease_s: float = LEASE_S,
    concurrency_max: int = 1000,
    rate: RateSpec | None = None,
    probe: bool = False,
) -> ClaimEntry:
    """How much may be claimed, wide open unless told."""
    return ClaimEntry(endpoint, slots, lease_s, concurrency_max, rate, probe)


def outcome(
    lease: Claimed | OpenRef,
    after: State = State.DELIVERED,
    *,
    tries: int = 1,
    attempt: bytes | None = PACKED_ATTEMPT,
    **changes: Any,
) -> RecordItem:
    """What a flow records after an attempt under `lease`; `changes` are fields of `RecordItem`."""
    return RecordItem(
        delivery_id=lease.delivery_id,
        fence=lease.fence,
        endpoint_id=lease.endpoint_id,
        tenant=lease.event.tenant if isinstance(lease, Claimed) else lease.tenant,
        after=after,
        tries=tries,
        attempt=attempt,
        **changes,
    )


def balanced(counts: Counts) -> bool:
    """Nothing is silent: what was made is closed or open, and no number is below zero."""
    numbers = msgspec.structs.asdict(counts)
    parts = ("delivered", "failed", "discarded", "pending", "leased", "held", "unconfirmed")
    return bool(counts.deliveries == sum(numbers[part] for part in parts) and min(numbers.values()) >= 0)
