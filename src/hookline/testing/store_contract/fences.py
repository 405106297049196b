"""Fences: who lost a lease changes nothing any more, and what is repeated happens once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hookline.core.delivery import State
from hookline.testing.store_contract.case import Case, StoreContract, outcome


@pytest.mark.rule(n=12)
class TestFence(StoreContract):
    """A zombie's late write changes nothing."""

    ZOMBIE_WRITES: tuple[dict[str, Any], ...] = (
        {"after": State.DELIVERED},
        {"after": State.FAILED, "reason": "timeout"},
        {"after": State.PENDING, "wait_s": 1.0, "reason": "timeout"},
        {"after": State.DISCARDED},
    )

    async def test_a_write_under_an_old_fence_changes_nothing(self, case: Case) -> None:
        """After somebody else claimed it, no outcome of the old lease leaves a trace, and the new one records."""
        endpoint, watcher = await case.endpoints(2)
        await case.one(endpoint)
        old = await case.claim_one(endpoint)
        await case.close(old, State.PENDING, lost=1, attempt=None, tries=0)
        new = await case.claim_one(endpoint)
        before = await case.counts()
        for write in self.ZOMBIE_WRITES:
            result = await case.record(outcome(old, events=[case.new(watcher)], **write))
            assert list(result.applied) == [False]
            assert result.due_s == {}
        assert list(await case.store.release([(old.delivery_id, old.fence)])) == [False]
        assert await case.counts() == before
        assert await case.words(new.delivery_id) == ["leased"]
        assert list(await case.store.attempts(new.delivery_id)) == []
        assert len(await case.listed_events()) == 1
        assert await case.close(new)

    async def test_a_write_after_the_take_back_changes_nothing(self, case: Case) -> None:
        """Between take-back and the next claim a zombie's attempt is as late as after it."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        old = await case.claim_one(endpoint)
        await case.restart()
        for lost in await case.store.lost():
            assert await case.close(lost, State.PENDING, lost=1, attempt=None, tries=0)
        before, row = await case.counts(), await case.row(delivery)
        for write in self.ZOMBIE_WRITES:
            assert not await case.close(old, **write)
        assert list(await case.store.release([(old.delivery_id, old.fence)])) == [False]
        assert await case.counts() == before
        assert await case.row(delivery) == row
        assert list(await case.store.attempts(delivery)) == []

    async def test_a_write_after_the_end_changes_nothing(self, case: Case) -> None:
        """A closed delivery is not touched by any outcome, nor by a fence that never was."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.close(claimed, State.FAILED, reason="timeout")
        row = await case.row(claimed.delivery_id)
        for fence in (claimed.fence, claimed.fence + 1, 0):
            for write in self.ZOMBIE_WRITES:
                assert not await case.close(msgspec.structs.replace(claimed, fence=fence), **write)
        assert await case.row(claimed.delivery_id) == row
        assert (await case.counts()).failed == 1

    async def test_an_unknown_delivery_is_not_made(self, case: Case) -> None:
        """An outcome of a delivery that does not exist applies nothing."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        assert not await case.close(msgspec.structs.replace(claimed, delivery_id=b"\x01" * 16))
        assert (await case.counts()).delivered == 0

    @pytest.mark.parametrize("after", [State.DELIVERED, State.FAILED, State.PENDING, State.DISCARDED])
    async def test_the_same_outcome_twice_is_applied_once(self, case: Case, after: State) -> None:
        """A repeated record, as after a lost answer, applies nothing more: books, attempts and events as before."""
        endpoint, watcher = await case.endpoints(2)
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        item = outcome(claimed, after, wait_s=60, events=[case.new(watcher)])
        assert list((await case.record(item)).applied) == [True]
        before, row = await case.counts(), await case.row(claimed.delivery_id)
        case.clock.advance(5)
        assert list((await case.record(item)).applied) == [False]
        assert await case.counts() == before
        assert await case.row(claimed.delivery_id) == row
        assert len(await case.store.attempts(claimed.delivery_id)) == 1
        assert len(await case.listed(endpoint_id=watcher)) == 1

    async def test_the_same_outcome_twice_in_one_call(self, case: Case) -> None:
        """Within one call, too, the first of two equal outcomes applies and the second does not."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        item = outcome(await case.claim_one(endpoint), State.PENDING, wait_s=60)
        assert list((await case.record(item, item)).applied) == [True, False]
        assert (await case.row(item.delivery_id)).attempts == 1


@pytest.mark.rule(n=11)
class TestRelease(StoreContract):
    """Given back unstarted."""

    async def test_released_is_as_before(self, case: Case) -> None:
        """A released delivery is pending again, due as before, with no try and no attempt used."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint, wait_s=5)
        before = await case.row(delivery)
        case.clock.advance(10)
        claimed = await case.claim_one(endpoint)
        assert list(await case.store.release([(delivery, claimed.fence)])) == [True]
        assert await case.row(delivery) == before
        again = await case.claim_one(endpoint)
        assert (again.delivery_id, again.tries, again.attempts, again.lost) == (delivery, 0, 0, 0)
        assert again.fence > claimed.fence

    async def test_a_released_hand_off_is_due_at_once(self, case: Case) -> None:
        """A handed-off delivery that is given back is pending and can be claimed now."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        assert list(await case.store.release([(lease.delivery_id, lease.fence)])) == [True]
        assert await case.words(lease.delivery_id) == ["pending"]
        assert (await case.claim_one(endpoint)).delivery_id == lease.delivery_id

    async def test_each_release_has_its_own_answer(self, case: Case) -> None:
        """Of several leases those under their fence are released, once; the others change nothing."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        first, second, third = await case.claim(endpoint)
        await case.close(third)
        leases = [
            (first.delivery_id, first.fence),
            (second.delivery_id, second.fence - 1),
            (third.delivery_id, third.fence),
            (b"\x01" * 16, 1),
        ]
        assert list(await case.store.release(leases)) == [True, False, False, False]
        assert list(await case.store.release(leases)) == [False] * 4
        deliveries = (first.delivery_id, second.delivery_id, third.delivery_id)
        assert await case.words(*deliveries) == ["pending", "leased", "delivered"]
