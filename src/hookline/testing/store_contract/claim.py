"""Claiming: what is due, oldest first, within slots and caps, each delivery by one process only."""

from __future__ import annotations

import asyncio

import pytest

from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.ports.store import NewDelivery
from hookline.testing.samples import sample_event
from hookline.testing.store_contract.case import HELD_STATES, LEASE_S, Case, StoreContract, entry


@pytest.mark.rule(n=9)
class TestClaim(StoreContract):
    """`claim` within what is due."""

    async def test_a_claim_leases_and_tells_everything(self, case: Case) -> None:
        """A claimed delivery is leased under a fence of its own and carries its event and its past."""
        endpoint = await case.endpoint()
        new = case.new(endpoint, data=b'{"n": 1}')
        await case.accept(new)
        claimed = await case.claim_one(endpoint)
        assert claimed.event == new.event
        assert claimed.endpoint_id == endpoint
        assert claimed.fence >= 1
        assert (claimed.tries, claimed.attempts, claimed.lost) == (0, 0, 0)
        assert (claimed.lease_s, claimed.lane, claimed.replay, claimed.early_s) == (LEASE_S, None, False, 0.0)
        assert await case.words(claimed.delivery_id) == ["leased"]

    async def test_what_is_leased_is_not_claimed_again(self, case: Case) -> None:
        """A second claim finds nothing of what the first one took."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.claim_one(endpoint)
        assert await case.claim(endpoint) == []

    async def test_oldest_due_first(self, case: Case) -> None:
        """Deliveries are claimed in the order in which they fell due, whatever the order they were made in."""
        endpoint = await case.endpoint()
        due_last = await case.one(endpoint, wait_s=30)
        due_first = await case.one(endpoint, wait_s=10)
        due_second = await case.one(endpoint, wait_s=20)
        case.clock.advance(60)
        made_last = await case.one(endpoint)
        claimed = await case.claim(endpoint)
        assert [c.delivery_id for c in claimed] == [due_first, due_second, due_last, made_last]

    async def test_slots_bound_a_claim(self, case: Case) -> None:
        """No more is claimed than there are free slots, the oldest of all, and the rest is said to be due now."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint) for _ in range(5)]
        result = await case.ask(entry(endpoint, slots=2))
        assert [c.delivery_id for c in result.claimed] == deliveries[:2]
        assert result.next_due_s == {endpoint: 0}
        assert len(await case.claim(endpoint, slots=0)) == 0

    async def test_next_due_tells_when_to_come_back(self, case: Case) -> None:
        """Per endpoint asked for: the seconds until its next pending delivery, or None where there is none."""
        later, idle, taken = await case.endpoints(3)
        await case.one(later, wait_s=45)
        await case.one(taken)
        result = await case.ask(entry(later), entry(idle), entry(taken))
        assert [c.endpoint_id for c in result.claimed] == [taken]
        assert result.next_due_s == {later: pytest.approx(45, abs=0.01), idle: None, taken: None}

    async def test_endpoints_in_the_order_given(self, case: Case) -> None:
        """One call claims for several endpoints, in the order of its entries, each within its own slots."""
        first, second, third = await case.endpoints(3)
        for _ in range(3):
            await case.publish(third, second, first)
        claimed = (await case.ask(entry(second, 2), entry(first, 1), entry(third, 3))).claimed
        assert [c.endpoint_id for c in claimed] == [second] * 2 + [first] + [third] * 3

    async def test_only_endpoints_asked_for(self, case: Case) -> None:
        """Nothing of another endpoint is claimed, and an endpoint that does not exist is passed over."""
        asked, other = await case.endpoints(2)
        await case.publish(asked, other)
        claimed = (await case.ask(entry(b"\x00" * 12), entry(asked))).claimed
        assert [c.endpoint_id for c in claimed] == [asked]
        assert len(await case.claim(other)) == 1

    async def test_replays_rank_behind_live_deliveries(self, case: Case) -> None:
        """A replay is claimed only after all live deliveries that are due, however long it has waited."""
        endpoint = await case.endpoint()
        old = case.new()
        await case.accept(old)
        await case.store.replay(None, old.event.id, case.new_id(), [NewDelivery(endpoint, 1)], await case.version())
        case.clock.advance(100)
        live = [await case.one(endpoint) for _ in range(2)]
        claimed = [*await case.claim(endpoint, slots=1), *await case.claim(endpoint, slots=5)]
        assert [c.delivery_id for c in claimed[:2]] == live
        assert [c.replay for c in claimed] == [False, False, True]
        assert claimed[2].event == old.event

    @pytest.mark.parametrize("state", HELD_STATES)
    async def test_an_endpoint_that_does_not_deliver_is_never_claimed(self, case: Case, state: EndpointState) -> None:
        """Of a paused, disabled or unverified endpoint nothing is claimed, probe or not, until it is active."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.store.set_endpoint_state(endpoint, state)
        assert await case.claim(endpoint) == []
        assert await case.claim(endpoint, probe=True) == []
        assert await case.claim_named([delivery], endpoint) == []
        await case.resume(endpoint)
        assert [c.delivery_id for c in await case.claim(endpoint)] == [delivery]

    async def test_a_deleted_endpoint_is_never_claimed(self, case: Case) -> None:
        """Of a deleted endpoint nothing is claimed, by endpoint or by id."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.store.delete_endpoint(endpoint)
        assert await case.claim(endpoint) == []
        assert await case.claim_named([delivery], endpoint) == []

    @pytest.mark.rule(n=4)
    async def test_bytes_bound_a_claim(self, case: Case) -> None:
        """A claim ends once its payloads pass bytes_max, over all its endpoints; the rest is due now."""
        first, second = await case.endpoints(2)
        for _ in range(4):
            await case.publish(first, second, data=b"x" * 10_000)
        result = await case.ask(entry(first), entry(second), bytes_max=55_000)
        assert 1 <= len(result.claimed) <= 6
        assert [c.endpoint_id for c in result.claimed[:4]] == [first] * 4
        assert result.next_due_s[second] == 0
        assert sum(len(c.event.data) for c in result.claimed) <= 55_000 + 10_512

    async def test_one_delivery_passes_any_bound_of_bytes(self, case: Case) -> None:
        """A delivery bigger than bytes_max is claimed, alone."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint, data=b"x" * 10_000) for _ in range(3)]
        assert [c.delivery_id for c in (await case.ask(entry(endpoint), bytes_max=1)).claimed] == deliveries[:1]

    async def test_parallel_claims_share_without_overlap(self, case: Case) -> None:
        """However many claim at once, each delivery goes to exactly one of them."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint) for _ in range(30)]
        results = await asyncio.gather(*(case.claim(endpoint, slots=4) for _ in range(12)))
        claimed = [c.delivery_id for result in results for c in result]
        assert sorted(claimed) == sorted(deliveries)


@pytest.mark.rule(n=10)
class TestCap(StoreContract):
    """`concurrency_max` over all processes."""

    async def test_a_cap_holds_over_several_claims(self, case: Case) -> None:
        """Claims together never hold more leases of an endpoint than its cap; a recorded one makes room."""
        endpoint = await case.endpoint()
        for _ in range(10):
            await case.one(endpoint)
        held = [*await case.claim(endpoint, slots=2, concurrency_max=3)]
        held += await case.claim(endpoint, concurrency_max=3)
        assert len(held) == 3
        result = await case.ask(entry(endpoint, concurrency_max=3))
        assert not result.claimed
        assert result.next_due_s == {endpoint: 0}
        await case.close(held[0])
        await case.close(held[1], State.PENDING, wait_s=60)
        assert len(await case.claim(endpoint, concurrency_max=3)) == 2
        assert await case.claim(endpoint, concurrency_max=3) == []

    async def test_a_cap_holds_for_parallel_claims(self, case: Case) -> None:
        """Eight claims at once with a cap of three get three deliveries together."""
        endpoint = await case.endpoint()
        for _ in range(20):
            await case.one(endpoint)
        results = await asyncio.gather(*(case.claim(endpoint, concurrency_max=3) for _ in range(8)))
        assert sum(map(len, results)) == 3

    async def test_released_and_lost_leases_make_room(self, case: Case) -> None:
        """A lease that was released, or taken back after its time, counts no more."""
        endpoint = await case.endpoint()
        for _ in range(4):
            await case.one(endpoint)
        first, second = await case.claim(endpoint, concurrency_max=2)
        await case.store.release([(first.delivery_id, first.fence)])
        assert len(await case.claim(endpoint, concurrency_max=2)) == 1
        case.clock.advance(LEASE_S + 16)
        for lost in await case.store.lost():
            assert await case.close(lost, State.PENDING, lost=1, tries=0, attempt=None)
        assert len(await case.claim(endpoint, concurrency_max=2)) == 2
        assert not await case.close(second)

    async def test_hand_offs_are_not_counted(self, case: Case) -> None:
        """What was handed off at acceptance takes no room of the claims' cap: its own process bounds it."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.handed_off(endpoint)
        for _ in range(3):
            await case.one(endpoint)
        assert len(await case.claim(endpoint, concurrency_max=2)) == 2

    async def test_a_hand_off_that_comes_back_is_counted_as_a_claim(self, case: Case) -> None:
        """Once handed off, released and claimed, a lease counts against the cap like any other."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        await case.store.release([(lease.delivery_id, lease.fence)])
        await case.claim_one(endpoint, concurrency_max=1)
        await case.one(endpoint)
        assert await case.claim(endpoint, concurrency_max=1) == []

    async def test_one_endpoint_leaves_the_others_alone(self, case: Case) -> None:
        """An endpoint at its cap takes nothing from another one of the same claim."""
        full, free = await case.endpoints(2)
        for _ in range(3):
            await case.publish(full, free)
        result = await case.ask(entry(full, concurrency_max=1), entry(free))
        assert [c.endpoint_id for c in result.claimed] == [full, free, free, free]


class TestClaimIds(StoreContract):
    """`claim_ids`: what a queue's message names."""

    @pytest.mark.rule(n=27)
    async def test_only_the_named(self, case: Case) -> None:
        """Of the due deliveries only the named ones are claimed; unknown ids are passed over."""
        endpoint = await case.endpoint()
        first, second, third = [await case.one(endpoint) for _ in range(3)]
        claimed = await case.claim_named([third, b"\xff" * 16, first], endpoint)
        assert {c.delivery_id for c in claimed} == {first, third}
        assert await case.words(first, second, third) == ["leased", "pending", "leased"]

    @pytest.mark.rule(n=27)
    async def test_only_what_is_pending_and_due(self, case: Case) -> None:
        """Leased, closed, waiting and not yet due deliveries are not claimed by their id."""
        endpoint = await case.endpoint()
        leased, closed = await case.one(endpoint), await case.one(endpoint)
        claimed = {c.delivery_id: c for c in await case.claim(endpoint)}
        await case.close(claimed[closed])
        later = await case.one(endpoint, wait_s=60)
        head, behind = [await case.one(endpoint, lane="k") for _ in range(2)]
        named = [leased, closed, later, behind, head]
        assert [c.delivery_id for c in await case.claim_named(named, endpoint)] == [head]

    async def test_only_endpoints_given(self, case: Case) -> None:
        """A named delivery of an endpoint that has no entry stays where it is."""
        given, other = await case.endpoints(2)
        named = await case.publish(given, other)
        assert [c.delivery_id for c in await case.claim_named(named, given)] == named[:1]

    @pytest.mark.rule(n=27)
    async def test_within_the_same_bounds(self, case: Case) -> None:
        """Slots, cap, bytes and a wait for Retry-After bound a claim by ids as they bound any other."""
        endpoint = await case.endpoint()
        named = [await case.one(endpoint, data=b"x" * 10_000) for _ in range(6)]
        assert len(await case.claim_named(named, endpoint, slots=1)) == 1
        assert len(await case.claim_named(named, endpoint, concurrency_max=2)) == 1
        assert len(await case.claim_named(named, endpoint, bytes_max=1)) == 1
        await case.change_health(endpoint, wait_s=60)
        assert await case.claim_named(named, endpoint) == []
        case.clock.advance(60)
        assert len(await case.claim_named(named, endpoint)) == 3

    async def test_a_failing_endpoint_gives_only_probes(self, case: Case) -> None:
        """By ids, too, nothing but a probe is claimed of a failing endpoint."""
        endpoint = await case.endpoint()
        named = [await case.one(endpoint) for _ in range(3)]
        await case.change_health(endpoint, probe_s=0)
        assert await case.claim_named(named, endpoint) == []


class TestDue(StoreContract):
    """`due` and `endpoints_of`: what a worker starts from."""

    async def test_every_endpoint_with_something_pending(self, case: Case) -> None:
        """Each endpoint with something pending, of any tenant, and the seconds until its earliest is due."""
        now, later, idle = await case.endpoints(3)
        other = await case.endpoint("other")
        assert await case.store.due() == {}
        await case.one(now)
        await case.one(now, wait_s=50)
        await case.one(later, wait_s=70)
        await case.one(later, wait_s=30)
        await case.one(other, tenant="other")
        await case.handed_off(idle)
        case.clock.advance(10)
        assert await case.store.due() == {now: 0, later: pytest.approx(20, abs=0.01), other: 0}

    async def test_due_after_a_kill(self, case: Case) -> None:
        """The next process finds what is pending, retries included, with the time that is left."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.close(await case.claim_one(endpoint), State.PENDING, wait_s=300)
        await case.restart()
        case.clock.advance(100)
        assert await case.store.due() == {endpoint: pytest.approx(200, abs=1)}

    async def test_endpoints_of_pending_deliveries(self, case: Case) -> None:
        """For ids the endpoints of those that are pending; leased, closed and unknown ones are left out."""
        endpoint, other = await case.endpoints(2)
        leased, closed = [await case.one(endpoint) for _ in range(2)]
        claimed = {c.delivery_id: c for c in await case.claim(endpoint)}
        await case.close(claimed[closed])
        mine, theirs = await case.publish(endpoint, other)
        unknown = sample_event(9).id + b"\x00\x00\x00\x01"
        assert await case.store.endpoints_of([leased, closed, mine, theirs, unknown]) == {
            mine: endpoint,
            theirs: other,
        }
