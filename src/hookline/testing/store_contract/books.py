"""The books: deliveries = delivered + failed + discarded + open, at every moment, whatever happened."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import msgspec
import pytest

from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.ports.store import Claimed, Counts, NewDelivery, OpenRef
from hookline.testing.store_contract.case import LEASE_S, Case, StoreContract, outcome

TENANTS = ("default", "other")
WORDS = ("delivered", "failed", "discarded", "pending", "leased", "held", "unconfirmed")


@pytest.mark.rule(n=6)
class TestCounts(StoreContract):
    """`counts` and `fold`."""

    async def test_nothing_yet(self, case: Case) -> None:
        """Books of a store, a tenant and an endpoint that have nothing are all zero."""
        endpoint = await case.endpoint()
        for counts in (await case.counts(), await case.counts("nobody"), await case.counts("default", endpoint)):
            assert counts == Counts()

    async def test_each_step_of_a_delivery(self, case: Case) -> None:
        """A delivery is in exactly one column at each step of its way, in all the books it belongs to."""
        endpoint = await case.endpoint()
        await case.one(endpoint)

        async def column() -> str:
            books = [await case.counts(*who) for who in ((), ("default",), ("default", endpoint))]
            columns = {tuple(word for word in WORDS if getattr(counts, word)) for counts in books}
            assert len(columns) == 1
            return " ".join(columns.pop())

        assert await column() == "pending"
        claimed = await case.claim_one(endpoint)
        assert await column() == "leased"
        await case.close(claimed, State.PENDING)
        assert await column() == "pending"
        await case.close(await case.claim_one(endpoint), State.FAILED)
        assert await column() == "failed"
        await case.store.reopen(None, claimed.delivery_id)
        assert await column() == "pending"
        await case.store.discard(None, claimed.delivery_id)
        assert await column() == "discarded"
        await case.store.reopen(None, claimed.delivery_id)
        await case.close(await case.claim_one(endpoint))
        assert await column() == "delivered"
        assert (await case.counts()).deliveries == 1

    async def test_folding_changes_no_number(self, case: Case) -> None:
        """Folding moves deltas into totals: every book reads the same before and after, and a second finds none."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        books = [await case.counts(*who) for who in ((), ("default",), ("default", endpoint))]
        assert await case.store.fold() > 0
        assert [await case.counts(*who) for who in ((), ("default",), ("default", endpoint))] == books
        assert await case.store.fold() == 0
        await case.restart()
        assert [await case.counts(*who) for who in ((), ("default",), ("default", endpoint))] == books

    async def test_what_is_folded_and_what_is_not_are_one_number(self, case: Case) -> None:
        """Half folded, half not: the books have both."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.store.fold()
        await case.one(endpoint)
        assert (await case.counts("default", endpoint)).pending == 2

    async def test_duplicates_are_not_counted(self, case: Case) -> None:
        """A duplicate is no event and no delivery."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.accept(case.new(endpoint, dedupe_key=b"k" * 16))
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (1, 1)

    async def test_tenants_have_their_own_books(self, case: Case) -> None:
        """The books of all are the sum of the tenants', and a tenant's are not another's."""
        mine, theirs = await case.endpoint(), await case.endpoint("other")
        await case.one(mine)
        for _ in range(2):
            await case.one(theirs, tenant="other")
        assert (await case.counts("default")).deliveries == 1
        assert (await case.counts("other")).deliveries == 2
        assert (await case.counts()).deliveries == 3
        assert (await case.counts()).events == 3

    async def test_books_read_while_others_write(self, case: Case) -> None:
        """Each read of the books is of one moment: it adds up although accepts, claims and records run beside it."""
        endpoint = await case.endpoint()

        async def write() -> None:
            for _ in range(8):
                await case.one(endpoint, lane="k")
                for claimed in await case.claim(endpoint, slots=3):
                    await case.close(claimed, State.DELIVERED)

        async def read() -> None:
            for _ in range(20):
                for who in ((), ("default",), ("default", endpoint)):
                    await case.counts(*who)
                await case.store.fold()

        await asyncio.gather(write(), write(), write(), read(), read())
        counts = await case.counts("default", endpoint)
        assert counts.deliveries == 24
        assert counts.leased == 0


class BookWalk:
    """Everything that can happen to deliveries, at random, over two tenants, with what must be counted."""

    def __init__(self, case: Case, chance: random.Random) -> None:
        self.case = case
        self.chance = chance
        self.endpoints: dict[bytes, str] = {}
        self.made: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.packed: Counter[str] = Counter()
        self.leases: list[Claimed | OpenRef] = []

    async def prepare(self) -> None:
        """Some endpoints for each tenant."""
        for tenant in TENANTS:
            for _ in range(3):
                self.endpoints[await self.case.endpoint(tenant)] = tenant

    def endpoint(self) -> bytes:
        """One of the endpoints that were not deleted."""
        return self.chance.choice(sorted(self.endpoints))

    async def accept(self) -> None:
        """One event, perhaps in a lane, perhaps handed off, perhaps to many."""
        endpoint = self.endpoint()
        tenant = self.endpoints[endpoint]
        fanout: list[bytes] = []
        if self.chance.random() < 0.2:
            fanout = [other for other, owner in self.endpoints.items() if owner == tenant]
        new = self.case.new(
            endpoint,
            tenant=tenant,
            lane=self.chance.choice((None, "k")),
            lease_s=self.chance.choice((None, LEASE_S)),
            fanout=fanout,
        )
        accepted = (await self.case.accept(new))[0]
        self.made[tenant] += new.deliveries_count
        self.events[tenant] += 1
        if accepted.states == bytes([State.LEASED]):
            identifier = new.event.id + (1).to_bytes(4, "big")
            self.leases.append(OpenRef(identifier, 1, endpoint, tenant, new.event.id, State.LEASED))

    async def claim(self) -> None:
        """Whatever is due of one endpoint."""
        self.leases += await self.case.claim(self.endpoint(), slots=self.chance.randint(1, 4))

    async def record(self) -> None:
        """Some outcomes in one commit, one of them twice, some with a new event."""
        self.chance.shuffle(self.leases)
        leases = self.leases[: self.chance.randint(1, 4)]
        items = []
        for lease in leases:
            after = self.chance.choice((State.PENDING, State.DELIVERED, State.DELIVERED, State.FAILED))
            endpoint = self.endpoint()
            event = self.case.new(endpoint, tenant=self.endpoints[endpoint])
            events = [event] if self.chance.random() < 0.3 else []
            items.append(outcome(lease, after, events=events, lane_waits=self.chance.random() < 0.5, reason="timeout"))
        result = await self.case.record(*items, *items[:1])
        assert list(result.applied) == [True] * len(items) + [False] * len(items[:1])
        self.leases = self.leases[len(items) :]
        for item in items:
            for new in item.events:
                self.made[new.event.tenant] += 1
                self.events[new.event.tenant] += 1

    async def release(self) -> None:
        """One lease given back."""
        if self.leases:
            lease = self.leases.pop()
            assert list(await self.case.store.release([(lease.delivery_id, lease.fence)])) == [True]

    async def set_state(self) -> None:
        """Pause, disable or resume."""
        await self.case.store.set_endpoint_state(self.endpoint(), self.chance.choice(list(EndpointState)))

    async def retry_or_discard(self) -> None:
        """What a person does to one delivery."""
        reopen = self.chance.random() < 0.6
        word = self.chance.choice(("failed", "discarded") if reopen else ("failed", "pending"))
        rows = [row for row in await self.case.listed(state=word) if row.endpoint_id in self.endpoints]
        if rows:
            act = self.case.store.reopen if reopen else self.case.store.discard
            await act(None, self.chance.choice(rows).id)

    async def replay(self) -> None:
        """An old event once more."""
        endpoint = self.endpoint()
        tenant = self.endpoints[endpoint]
        if events := await self.case.listed_events(tenant=tenant, limit=5):
            event = self.chance.choice(events)
            deliveries = [NewDelivery(endpoint, number) for number in (1, 2)]
            await self.case.store.replay(tenant, event.id, self.case.new_id(), deliveries, await self.case.version())
            self.made[tenant] += 2

    async def delete(self) -> None:
        """An endpoint goes, another comes."""
        endpoint = self.endpoint()
        tenant = self.endpoints.pop(endpoint)
        await self.case.store.delete_endpoint(endpoint)
        self.endpoints[await self.case.endpoint(tenant)] = tenant

    async def upkeep(self) -> None:
        """A step of what runs beside."""
        store = self.case.store
        steps = (store.fold, store.unfold, store.close_deleted, store.sweep_lanes, store.purge_dedupe)
        await self.chance.choice(steps)()

    async def restart(self) -> None:
        """The process dies, and the next takes back what was leased."""
        await self.case.restart()
        lost = await self.case.store.lost()
        assert {ref.delivery_id for ref in lost} == {lease.delivery_id for lease in self.leases}
        for ref in lost:
            assert await self.case.close(ref, State.PENDING, lost=1, tries=0, attempt=None)
        self.leases = []

    async def step(self) -> str:
        """One random move; its name."""
        moves = {
            self.accept: 6.0,
            self.claim: 5.0,
            self.record: 6.0,
            self.release: 1.0,
            self.set_state: 1.5,
            self.retry_or_discard: 3.0,
            self.replay: 1.0,
            self.delete: 0.5,
            self.upkeep: 3.0,
            self.restart: 0.4,
        }
        move = self.chance.choices(list(moves), weights=list(moves.values()))[0]
        await move()
        return move.__name__

    async def check(self) -> None:
        """Every book adds up, and the tenants' have what was made."""
        for tenant in TENANTS:
            counts = await self.case.counts(tenant)
            assert (counts.events, counts.deliveries) == (self.events[tenant], self.made[tenant])
        for endpoint, tenant in self.endpoints.items():
            await self.case.counts(tenant, endpoint)
        total = await self.case.counts()
        assert (total.events, total.deliveries) == (self.events.total(), self.made.total())
        assert total.leased == len(self.leases)

    async def recount(self) -> None:
        """Unfold and close all that is to be; then the books are what a count of all rows gives."""
        while (await self.case.store.unfold())[1]:
            pass
        while await self.case.store.close_deleted():
            pass
        for tenant in TENANTS:
            rows = await self.case.listed(tenant=tenant, limit=250)
            assert counted(Counter(row.state for row in rows)) == words_of(await self.case.counts(tenant))
            for endpoint in {row.endpoint_id for row in rows}:
                counts = await self.case.counts(tenant, endpoint)
                mine = Counter(row.state for row in rows if row.endpoint_id == endpoint)
                assert counted(mine) == words_of(counts)


def counted(states: Counter[str]) -> dict[str, int]:
    """How many rows are in each state."""
    return {word: states[word] for word in WORDS}


def words_of(counts: Counts) -> dict[str, int]:
    """What the books say of each state."""
    return {word: number for word, number in msgspec.structs.asdict(counts).items() if word in WORDS}


@pytest.mark.rule(n=6)
class TestBooks(StoreContract):
    """The identity as a property."""

    @pytest.mark.parametrize("seed", range(5))
    async def test_the_books_add_up_whatever_happens(self, case: Case, seed: int) -> None:
        """After each of many random moves every book adds up, and a recount of all rows gives the same numbers."""
        walk = BookWalk(case, random.Random(seed))  # noqa: S311  repeated by its seed
        await walk.prepare()
        moves: list[str] = []
        for number in range(100):
            moves.append(await walk.step())
            await walk.check()
            if number % 20 == 19:
                await walk.recount()
        assert await case.store.sweep_lanes() == 0, (seed, moves)
