"""Owners that are gone, and the time by which that is judged."""

from __future__ import annotations

import pytest

from hookline.core.delivery import State
from hookline.testing.store_contract.case import LEASE_S, LIVE_MARGIN_S, Case, StoreContract


@pytest.mark.rule(n=16)
class TestLost(StoreContract):
    """`lost`: the leases that nobody holds any more."""

    async def test_a_dead_process_gives_its_leases_back_at_once(self, case: Case) -> None:
        """After a kill all that was claimed or handed off is lost, and nothing else is."""
        endpoint = await case.endpoint()
        handed_off = await case.handed_off(endpoint)
        delivery = await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.one(endpoint, wait_s=60)
        assert list(await case.store.lost()) == []
        await case.restart()
        lost = {ref.delivery_id: ref for ref in await case.store.lost()}
        assert set(lost) == {handed_off.delivery_id, delivery}
        ref = lost[delivery]
        assert (ref.fence, ref.endpoint_id, ref.tenant) == (claimed.fence, endpoint, "default")
        assert (ref.event_id, ref.state, ref.lost) == (claimed.event.id, State.LEASED, 0)

    async def test_what_is_taken_back_goes_again(self, case: Case) -> None:
        """A lost lease recorded as pending is claimed again, under a new fence, with one more take-back."""
        endpoint = await case.endpoint()
        handed_off = await case.handed_off(endpoint)
        for taken in range(1, 4):
            await case.restart()
            (ref,) = await case.store.lost()
            assert ref.lost == taken - 1
            assert await case.close(ref, State.PENDING, lost=1, tries=0, attempt=None)
            assert list(await case.store.lost()) == []
            claimed = await case.claim_one(endpoint)
            assert (claimed.delivery_id, claimed.lost) == (handed_off.delivery_id, taken)
            assert claimed.fence > ref.fence

    async def test_poison_is_recorded_as_failed(self, case: Case) -> None:
        """A lost lease may be recorded as failed without an attempt."""
        endpoint = await case.endpoint()
        await case.handed_off(endpoint)
        await case.restart()
        (ref,) = await case.store.lost()
        assert await case.close(ref, State.FAILED, reason="poison", lost=1, tries=0, attempt=None)
        row = await case.row(ref.delivery_id)
        assert (row.state, row.reason, row.attempts) == ("failed", "poison", 0)

    async def test_a_live_process_keeps_its_leases(self, case: Case) -> None:
        """Of a process that lives nothing is lost before the lease's end and 15 s more; after that it is."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        handed_off = await case.handed_off(endpoint)
        case.clock.advance(LEASE_S + LIVE_MARGIN_S - 0.1)
        assert list(await case.store.lost()) == []
        case.clock.advance(0.2)
        lost = {ref.delivery_id for ref in await case.store.lost()}
        assert lost == {claimed.delivery_id, handed_off.delivery_id}

    async def test_a_wall_that_is_set_forward_ends_no_lease(self, case: Case) -> None:
        """Of a process that lives nothing is lost because somebody set the clock: only real time ends its leases."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        handed_off = await case.handed_off(endpoint)
        case.clock.set_wall(case.clock.wall_ms() + 3_600_000)
        case.clock.advance(LEASE_S + LIVE_MARGIN_S - 0.1)
        assert list(await case.store.lost()) == []
        case.clock.advance(120)
        lost = {ref.delivery_id for ref in await case.store.lost()}
        assert lost == {claimed.delivery_id, handed_off.delivery_id}

    async def test_a_late_outcome_after_a_lease_was_taken_back(self, case: Case) -> None:
        """A living process whose lease ended by its time writes too late too: once taken back, nothing of it applies,
        neither before the next claim nor after it."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        old = await case.claim_one(endpoint)
        case.clock.advance(LEASE_S + LIVE_MARGIN_S + 1)
        (ref,) = await case.store.lost()
        assert await case.close(ref, State.PENDING, lost=1, tries=0, attempt=None)
        assert not await case.close(old)
        new = await case.claim_one(endpoint)
        assert not await case.close(old)
        assert list(await case.store.attempts(delivery)) == []
        assert await case.words(delivery) == ["leased"]
        assert await case.close(new)

    async def test_an_outcome_after_the_leases_end_still_counts(self, case: Case) -> None:
        """Until somebody takes it back, an expired lease is its owner's: the outcome applies."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        case.clock.advance(LEASE_S + 3600)
        assert await case.close(claimed)
        assert list(await case.store.lost()) == []

    async def test_what_ended_is_not_lost(self, case: Case) -> None:
        """Recorded and released leases are not found, neither after their time nor after a kill."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        first, second, third = await case.claim(endpoint)
        await case.close(first)
        await case.close(second, State.PENDING, wait_s=60)
        await case.store.release([(third.delivery_id, third.fence)])
        case.clock.advance(3600)
        assert list(await case.store.lost()) == []
        await case.restart()
        assert list(await case.store.lost()) == []

    async def test_a_bounded_look(self, case: Case) -> None:
        """At most `limit` are returned at once, and asking again finds the rest once those are recorded."""
        endpoint = await case.endpoint()
        for _ in range(5):
            await case.handed_off(endpoint)
        await case.restart()
        found: list[bytes] = []
        while lost := await case.store.lost(limit=2):
            assert len(lost) <= 2
            for ref in lost:
                assert await case.close(ref, State.PENDING, lost=1, tries=0, attempt=None)
                found.append(ref.delivery_id)
        assert len(found) == len(set(found)) == 5

    async def test_the_new_process_does_not_lose_its_own(self, case: Case) -> None:
        """What the process after a kill claims is not lost with what the dead one had."""
        endpoint = await case.endpoint()
        old = await case.handed_off(endpoint)
        await case.one(endpoint)
        await case.restart()
        mine = await case.claim_one(endpoint)
        assert [ref.delivery_id for ref in await case.store.lost()] == [old.delivery_id]
        assert await case.close(mine)

    async def test_a_clean_stop_keeps_everything(self, case: Case) -> None:
        """After stop and start again all is there, and a lease left behind is taken back."""
        endpoint = await case.endpoint()
        waiting, lease = await case.one(endpoint, wait_s=60), await case.handed_off(endpoint)
        await case.store.stop()
        await case.restart()
        assert await case.words(waiting) == ["pending"]
        assert [ref.delivery_id for ref in await case.store.lost()] == [lease.delivery_id]


@pytest.mark.rule(n=17)
class TestClock(StoreContract):
    """Instants are the store's: a wall clock that somebody sets changes no wait."""

    async def test_the_clock_runs_with_the_told_time(self, case: Case) -> None:
        """The store's clock advances as time does."""
        before = case.store.now_ms()
        case.clock.advance(12.5)
        assert case.store.now_ms() == before + 12_500

    async def test_a_wall_that_is_set_back_sets_nothing_back(self, case: Case) -> None:
        """A wall clock set back by a day neither turns the store's clock back nor delays what is due."""
        endpoint = await case.endpoint()
        await case.one(endpoint, wait_s=60)
        before = case.store.now_ms()
        case.clock.set_wall(case.clock.wall_ms() - 86_400_000)
        assert case.store.now_ms() >= before
        case.clock.advance(60)
        assert case.store.now_ms() >= before + 60_000
        assert len(await case.claim(endpoint)) == 1

    async def test_the_clock_does_not_go_back_over_a_restart(self, case: Case) -> None:
        """A process that starts with a wall clock behind what is stored goes on from what is stored."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        before = case.store.now_ms()
        case.clock.set_wall(case.clock.wall_ms() - 86_400_000)
        await case.restart()
        assert case.store.now_ms() >= before
        assert [c.delivery_id for c in await case.claim(endpoint)] == [delivery]

    async def test_ids_of_later_events_are_above_earlier_ones(self, case: Case) -> None:
        """Across a restart with a wall set back, later events still sort behind earlier ones."""
        first = case.new()
        await case.accept(first)
        case.clock.set_wall(case.clock.wall_ms() - 3_600_000)
        await case.restart()
        case.clock.advance(0.001)
        second = case.new()
        await case.accept(second)
        assert [event.id for event in await case.listed_events()] == [second.event.id, first.event.id]
