"""Lanes: one after the other, in the order of their commit, across retries, failures and restarts."""

from __future__ import annotations

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import NewDelivery
from hookline.testing.store_contract.case import LEASE_S, Case, StoreContract, outcome


class LaneContract(StoreContract):
    """What the suites on lanes share."""

    async def lane(self, case: Case, endpoint: bytes, count: int, lane: str = "k") -> list[bytes]:
        """So many deliveries in one lane, in this order."""
        return [await case.one(endpoint, lane=lane) for _ in range(count)]


@pytest.mark.rule(n=13)
class TestLane(LaneContract):
    """A lane's head is pending or leased, all behind it are held."""

    async def test_only_the_head_is_pending(self, case: Case) -> None:
        """The first of a lane is pending, the others are held, and a claim takes only the first."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 3)
        assert await case.words(*deliveries) == ["pending", "held", "held"]
        claimed = await case.claim(endpoint)
        assert [(c.delivery_id, c.lane) for c in claimed] == [(deliveries[0], "k")]
        assert await case.claim(endpoint) == []
        assert (await case.row(deliveries[1])).next_at_ms is None
        counts = await case.counts("default", endpoint)
        assert (counts.pending, counts.leased, counts.held) == (0, 1, 2)

    async def test_closing_the_head_promotes_the_next(self, case: Case) -> None:
        """Each end of a head makes the next pending in the same commit, in the order of their acceptance."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 4)
        sent = []
        for _ in deliveries:
            claimed = await case.claim_one(endpoint)
            sent.append(claimed.delivery_id)
            result = await case.record(outcome(claimed))
            assert result.due_s == ({endpoint: 0} if len(sent) < 4 else {})
        assert sent == deliveries
        assert await case.store.sweep_lanes() == 0

    async def test_lanes_of_other_keys_and_endpoints_run_beside(self, case: Case) -> None:
        """Another key, another endpoint, and what has no lane do not wait for a lane."""
        endpoint, other = await case.endpoints(2)
        first = [await case.one(endpoint, lane=key) for key in ("a", "b", "a")]
        free = await case.one(endpoint)
        elsewhere = await case.one(other, lane="a")
        assert await case.words(*first, free, elsewhere) == ["pending", "pending", "held", "pending", "pending"]
        assert len(await case.claim(endpoint)) == 3

    async def test_a_retry_holds_the_lane(self, case: Case) -> None:
        """While the head waits for its retry nothing behind it goes."""
        endpoint = await case.endpoint()
        head, behind = await self.lane(case, endpoint, 2)
        result = await case.record(outcome(await case.claim_one(endpoint), State.PENDING, wait_s=60))
        assert result.due_s == {endpoint: pytest.approx(60, abs=0.01)}
        assert await case.claim(endpoint) == []
        case.clock.advance(60)
        assert [c.delivery_id for c in await case.claim(endpoint)] == [head]
        assert await case.words(behind) == ["held"]

    async def test_a_released_head_stays_the_head(self, case: Case) -> None:
        """Given back unstarted, the head is pending again and the others stay behind it."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 2)
        claimed = await case.claim_one(endpoint)
        await case.store.release([(claimed.delivery_id, claimed.fence)])
        assert await case.words(*deliveries) == ["pending", "held"]

    async def test_one_accept_may_fill_a_lane(self, case: Case) -> None:
        """Events of one request, and of several requests of one call, keep their order in the lane."""
        endpoint = await case.endpoint()
        items = [case.new(endpoint, lane="k") for _ in range(3)]
        accepted = await case.accept(*items)
        assert b"".join(item.states for item in accepted) == bytes([State.PENDING, State.HELD, State.HELD])
        for item in items:
            claimed = await case.claim_one(endpoint)
            assert claimed.event == item.event
            await case.close(claimed)

    async def test_the_order_is_that_of_the_commit_not_of_the_ids(self, case: Case) -> None:
        """An event with a lower id that is accepted later stands behind."""
        endpoint = await case.endpoint()
        made_first, made_second = case.new(endpoint, lane="k"), case.new(endpoint, lane="k")
        await case.accept(made_second)
        await case.accept(made_first)
        claimed = await case.claim_one(endpoint)
        assert claimed.event == made_second.event

    async def test_a_wait_of_its_own_is_kept_behind_the_head(self, case: Case) -> None:
        """A promoted delivery that is to be delivered later is pending for its own time, not before."""
        endpoint = await case.endpoint()
        await case.one(endpoint, lane="k")
        later = await case.one(endpoint, lane="k", wait_s=100)
        case.clock.advance(10)
        result = await case.record(outcome(await case.claim_one(endpoint)))
        assert result.due_s == {endpoint: pytest.approx(90, abs=0.01)}
        assert await case.words(later) == ["pending"]
        assert await case.claim(endpoint) == []
        case.clock.advance(90)
        assert len(await case.claim(endpoint)) == 1

    async def test_a_lane_outlives_the_process(self, case: Case) -> None:
        """After a kill the head that was in flight is taken back, is still the head, and order goes on."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 3)
        await case.claim_one(endpoint)
        await case.restart()
        for lost in await case.store.lost():
            await case.close(lost, State.PENDING, lost=1, attempt=None, tries=0)
        assert await case.words(*deliveries) == ["pending", "held", "held"]
        for delivery in deliveries:
            claimed = await case.claim_one(endpoint)
            assert claimed.delivery_id == delivery
            await case.close(claimed)
        assert await case.store.sweep_lanes() == 0

    async def test_recording_appends_to_lanes(self, case: Case) -> None:
        """An event made by recording takes its place at the end of its lane."""
        endpoint, ordered = await case.endpoints(2)
        first = await case.one(ordered, lane="k")
        await case.one(endpoint)
        made = case.new(ordered, lane="k")
        await case.record(outcome(await case.claim_one(endpoint), events=[made]))
        second = ids.delivery_id(made.event.id, 1)
        assert await case.words(first, second) == ["pending", "held"]
        await case.close(await case.claim_one(ordered))
        assert await case.words(second) == ["pending"]

    async def test_a_replay_may_have_a_lane(self, case: Case) -> None:
        """A replayed event takes its place at the end of its lane."""
        endpoint = await case.endpoint()
        old = case.new()
        await case.accept(old)
        head = await case.one(endpoint, lane="k")
        root = case.new_id()
        await case.store.replay(None, old.event.id, root, [NewDelivery(endpoint, 1, lane="k")], await case.version())
        replayed = ids.delivery_id(root, 1)
        assert await case.words(head, replayed) == ["pending", "held"]
        await case.close(await case.claim_one(endpoint))
        assert (await case.claim_one(endpoint)).delivery_id == replayed


@pytest.mark.rule(n=13)
class TestHandOffInLanes(LaneContract):
    """Handed off only when nothing older of the lane is open and nothing blocks it."""

    async def test_the_first_of_a_free_lane_is_leased(self, case: Case) -> None:
        """Of two handed off together in one lane the first is leased and the second held."""
        endpoint = await case.endpoint()
        items = [case.new(endpoint, lane="k", lease_s=LEASE_S) for _ in range(2)]
        accepted = await case.accept(*items)
        assert [item.states for item in accepted] == [bytes([State.LEASED]), bytes([State.HELD])]

    async def test_a_lane_with_a_pending_head_is_not_free(self, case: Case) -> None:
        """Behind a delivery that waits nothing is handed off."""
        endpoint = await case.endpoint()
        await case.one(endpoint, lane="k")
        accepted = await case.accept(case.new(endpoint, lane="k", lease_s=LEASE_S))
        assert accepted[0].states == bytes([State.HELD])

    async def test_a_lane_that_emptied_is_free(self, case: Case) -> None:
        """After the last of a lane is closed the next one is handed off again."""
        endpoint = await case.endpoint()
        await case.close(await case.handed_off(endpoint, lane="k"))
        lease = await case.handed_off(endpoint, lane="k")
        assert await case.words(lease.delivery_id) == ["leased"]
        assert await case.store.sweep_lanes() == 0

    async def test_a_blocked_lane_is_not_free(self, case: Case) -> None:
        """Behind a failed head that blocks its lane nothing is handed off, nor pending."""
        endpoint = await case.endpoint()
        await case.failed(endpoint, lane="k")
        accepted = await case.accept(
            case.new(endpoint, lane="k", lease_s=LEASE_S), case.new(endpoint, lane="k"), case.new(endpoint, lane="z")
        )
        assert [item.states for item in accepted] == [
            bytes([State.HELD]),
            bytes([State.HELD]),
            bytes([State.PENDING]),
        ]
        assert await case.store.sweep_lanes() == 0

    async def test_without_a_lane_all_are_leased(self, case: Case) -> None:
        """Without a lane every delivery that is handed off is leased, whatever else is open."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        accepted = await case.accept(case.new(endpoint, endpoint, lease_s=LEASE_S))
        assert accepted[0].states == bytes([State.LEASED, State.LEASED])

    async def test_states_follow_each_delivery(self, case: Case) -> None:
        """In one event some deliveries may be handed off and others not; each tells its own state."""
        first, second, third = await case.endpoints(3)
        await case.one(third, lane="k")
        new = case.new(first)
        mixed = [
            NewDelivery(first, 1, lease_s=LEASE_S),
            NewDelivery(second, 2),
            NewDelivery(third, 3, lane="k", lease_s=LEASE_S),
        ]
        accepted = await case.accept(type(new)(new.event, mixed))
        assert accepted[0].states == bytes([State.LEASED, State.PENDING, State.HELD])


@pytest.mark.rule(n=13)
class TestFailedHead(LaneContract):
    """When the head fails the lane waits for it, or skips it."""

    async def test_skip_promotes_the_next(self, case: Case) -> None:
        """With lane_waits False the failed head is passed over at once."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 2)
        result = await case.record(outcome(await case.claim_one(endpoint), State.FAILED, lane_waits=False))
        assert result.due_s == {endpoint: 0}
        assert await case.words(*deliveries) == ["failed", "pending"]

    async def test_wait_blocks_the_lane(self, case: Case) -> None:
        """With lane_waits True nothing behind a failed head goes, not after days, not after a restart."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 3)
        result = await case.record(outcome(await case.claim_one(endpoint), State.FAILED))
        assert result.due_s == {}
        await case.restart()
        case.clock.advance(7 * 86_400)
        assert await case.store.sweep_lanes() == 0
        assert await case.claim(endpoint) == []
        assert await case.words(*deliveries) == ["failed", "held", "held"]

    async def test_a_delivered_retry_unblocks(self, case: Case) -> None:
        """The failed head retried is the head again; delivered, it lets the lane go on in order."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint, lane="k")
        behind = await self.lane(case, endpoint, 2)
        await case.store.reopen(None, failed)
        assert await case.words(failed, *behind) == ["pending", "held", "held"]
        for delivery in (failed, *behind):
            claimed = await case.claim_one(endpoint)
            assert claimed.delivery_id == delivery
            await case.close(claimed)
        assert await case.store.sweep_lanes() == 0

    async def test_a_retry_that_fails_blocks_again(self, case: Case) -> None:
        """A retried head that fails again blocks the lane as before."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint, lane="k")
        behind = await case.one(endpoint, lane="k")
        await case.store.reopen(None, failed)
        await case.close(await case.claim_one(endpoint), State.FAILED)
        assert await case.words(failed, behind) == ["failed", "held"]
        assert await case.claim(endpoint) == []
        assert await case.store.sweep_lanes() == 0

    async def test_discarding_the_failed_head_unblocks(self, case: Case) -> None:
        """Once a person discards the failed head the next is pending."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint, lane="k")
        behind = await case.one(endpoint, lane="k")
        await case.store.discard(None, failed)
        assert await case.words(failed, behind) == ["discarded", "pending"]
        assert (await case.claim_one(endpoint)).delivery_id == behind

    async def test_discarding_an_empty_blocked_lane_frees_it(self, case: Case) -> None:
        """A block with nothing behind it ends with its delivery, too: what comes later is pending."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint, lane="k")
        await case.store.discard(None, failed)
        assert await case.words(await case.one(endpoint, lane="k")) == ["pending"]

    async def test_other_ends_do_not_block(self, case: Case) -> None:
        """A head that is discarded while leased, its endpoint gone, blocks nothing."""
        endpoint = await case.endpoint()
        _, behind = await self.lane(case, endpoint, 2)
        await case.close(await case.claim_one(endpoint), State.DISCARDED, reason="endpoint_deleted")
        assert await case.words(behind) == ["pending"]


@pytest.mark.rule(n=13)
class TestReopenedInLane(LaneContract):
    """A reopened delivery keeps its place: before all that were accepted after it."""

    async def skipped(self, case: Case, endpoint: bytes, behind: int) -> tuple[bytes, list[bytes]]:
        """A lane whose head failed and was skipped, with so many behind it."""
        first, *rest = await self.lane(case, endpoint, 1 + behind)
        await case.close(await case.claim_one(endpoint), State.FAILED, lane_waits=False)
        return first, rest

    async def test_a_pending_head_goes_back(self, case: Case) -> None:
        """Reopened before a pending head, it is the head, and the other is held behind it."""
        endpoint = await case.endpoint()
        first, (second, third) = await self.skipped(case, endpoint, 2)
        await case.store.reopen(None, first)
        assert await case.words(first, second, third) == ["pending", "held", "held"]
        for delivery in (first, second, third):
            claimed = await case.claim_one(endpoint)
            assert claimed.delivery_id == delivery
            await case.close(claimed)
        assert await case.store.sweep_lanes() == 0

    @pytest.mark.parametrize("after", [State.DELIVERED, State.FAILED, State.PENDING])
    async def test_it_waits_for_what_is_in_flight(self, case: Case, after: State) -> None:
        """Reopened while another of its lane is leased it is held, and is next however that attempt ends."""
        endpoint = await case.endpoint()
        first, (second, third) = await self.skipped(case, endpoint, 2)
        running = await case.claim_one(endpoint)
        await case.store.reopen(None, first)
        assert await case.words(first, second, third) == ["held", "leased", "held"]
        result = await case.record(outcome(running, after, wait_s=60, lane_waits=False))
        assert result.due_s == {endpoint: 0}
        ended = {State.PENDING: "held"}.get(after, after.word)
        assert await case.words(first, second, third) == ["pending", ended, "held"]
        assert [c.delivery_id for c in await case.claim(endpoint)] == [first]
        assert await case.store.sweep_lanes() == 0

    async def test_it_is_next_after_a_release(self, case: Case) -> None:
        """The one in flight given back unstarted goes behind the reopened one."""
        endpoint = await case.endpoint()
        first, (second,) = await self.skipped(case, endpoint, 1)
        running = await case.claim_one(endpoint)
        await case.store.reopen(None, first)
        await case.store.release([(running.delivery_id, running.fence)])
        assert await case.words(first, second) == ["pending", "held"]
        assert await case.store.sweep_lanes() == 0

    async def test_several_reopened_keep_their_order(self, case: Case) -> None:
        """Reopened in any order, the failed ones of a lane go in the order of their first acceptance."""
        endpoint = await case.endpoint()
        deliveries = await self.lane(case, endpoint, 4)
        for _ in range(3):
            await case.close(await case.claim_one(endpoint), State.FAILED, lane_waits=False)
        for number in (1, 0, 2):
            await case.store.reopen(None, deliveries[number])
        for delivery in deliveries:
            claimed = await case.claim_one(endpoint)
            assert claimed.delivery_id == delivery
            await case.close(claimed)
        assert await case.store.sweep_lanes() == 0

    async def test_discarding_moves_a_lane_on(self, case: Case) -> None:
        """A pending head that is discarded promotes the next; a held one that is discarded is left out."""
        endpoint = await case.endpoint()
        first, second, third, fourth = await self.lane(case, endpoint, 4)
        await case.store.discard(None, second)
        assert await case.words(first, second, third) == ["pending", "discarded", "held"]
        await case.store.discard(None, first)
        assert await case.words(first, third, fourth) == ["discarded", "pending", "held"]
        assert await case.store.sweep_lanes() == 0

    async def test_a_block_holds_only_what_is_behind_it(self, case: Case) -> None:
        """Reopened before one that failed and blocks, a delivery goes; what is behind the block still waits."""
        endpoint = await case.endpoint()
        first, (second, third) = await self.skipped(case, endpoint, 2)
        running = await case.claim_one(endpoint)
        await case.store.reopen(None, first)
        await case.close(running, State.FAILED)
        assert await case.words(first, second, third) == ["pending", "failed", "held"]
        await case.close(await case.claim_one(endpoint))
        assert await case.words(third) == ["held"]
        await case.store.discard(None, second)
        assert await case.words(third) == ["pending"]
        assert await case.store.sweep_lanes() == 0

    async def test_of_two_blocks_the_last_to_go_frees_the_lane(self, case: Case) -> None:
        """Two failed deliveries that block one lane are two blocks: what is behind both waits for both."""
        endpoint = await case.endpoint()
        first, (second, third) = await self.skipped(case, endpoint, 2)
        running = await case.claim_one(endpoint)
        await case.store.reopen(None, first)
        await case.close(running, State.FAILED)
        await case.close(await case.claim_one(endpoint), State.FAILED)
        await case.store.discard(None, first)
        assert await case.words(first, second, third) == ["discarded", "failed", "held"]
        await case.store.discard(None, second)
        assert await case.words(third) == ["pending"]
        assert await case.store.sweep_lanes() == 0
