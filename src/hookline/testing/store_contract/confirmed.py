"""A receiver whose success counts finds his delivery delivered."""

from __future__ import annotations

import pytest

from hookline.core.delivery import State
from hookline.core.errors import Conflict
from hookline.ports.store import Keep, NewDelivery, NewEvent
from hookline.testing.store_contract.case import Case, StoreContract, outcome
from hookline.testing.store_contract.confirm import WITHIN_S, due, sent, settle
from hookline.testing.store_contract.stream import changes_behind


class TestSuccessIsKept(StoreContract):
    """Whoever was told that his success counts finds it delivered, whatever happens meanwhile."""

    async def delivered(self, case: Case, delivery: bytes) -> None:
        """Settled, it is delivered, and the books say so."""
        assert await settle(case, (await due(case)).ref, State.DELIVERED)
        row = await case.row(delivery)
        assert (row.state, row.reason) == ("delivered", None)
        counts = await case.counts()
        assert (counts.delivered, counts.failed, counts.discarded, counts.unconfirmed) == (1, 0, 0, 0)

    async def test_nobody_can_discard_it(self, case: Case) -> None:
        """To discard what was confirmed is refused with that reason; what failed by its receiver's word is not."""
        endpoint = await case.endpoint()
        lease, other = [await sent(case, endpoint) for _ in range(2)]
        assert await case.store.confirm(other.delivery_id, success=False, message=b"")
        await case.store.discard(None, other.delivery_id)
        await case.store.reopen(None, other.delivery_id)
        assert await case.close(await case.claim_one(endpoint), State.PENDING, wait_s=1000)
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        with pytest.raises(Conflict, match="confirmed") as refused:
            await case.store.discard(None, lease.delivery_id)
        assert refused.value.code == "wrong_state"
        await self.delivered(case, lease.delivery_id)

    @pytest.mark.parametrize("after", [State.PENDING, State.FAILED, State.DISCARDED])
    async def test_only_delivered_can_be_recorded(self, case: Case, after: State) -> None:
        """Another end that was decided before the word came changes nothing and tells nothing."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        case.clock.advance(WITHIN_S / 2)
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        told = case.event()
        item = outcome((await due(case)).ref, after, reason="expired", attempt=None, tries=0, events=[NewEvent(told)])
        assert list((await case.record(item)).applied) == [False]
        assert await case.store.event(None, told.id) is None
        await self.delivered(case, lease.delivery_id)

    async def test_it_outlives_an_attempt_that_was_the_last(self, case: Case) -> None:
        """A success said while the attempt runs settles the delivery, though its endpoint was deleted meanwhile."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        lease = await case.claim_one(endpoint)
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        await case.store.delete_endpoint(endpoint)
        assert await case.close(lease, State.DISCARDED, reason="endpoint_deleted")
        await self.delivered(case, lease.delivery_id)

    async def test_it_outlives_its_endpoint(self, case: Case) -> None:
        """Of a deleted endpoint what was confirmed is left to be delivered, and all else is discarded."""
        endpoint = await case.endpoint()
        lease, silent = [await sent(case, endpoint) for _ in range(2)]
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        await case.store.delete_endpoint(endpoint)
        assert await case.store.close_deleted() == 1
        assert await case.store.close_deleted() == 0
        assert await case.words(lease.delivery_id, silent.delivery_id) == ["unconfirmed", "discarded"]
        assert await settle(case, (await due(case)).ref, State.DELIVERED)
        assert await case.store.close_deleted() == 0
        counts = await case.counts("default")
        assert (counts.delivered, counts.discarded, counts.unconfirmed) == (1, 1, 0)

    async def test_it_neither_expires_nor_is_overflow(self, case: Case) -> None:
        """However old, it is not given to be failed; what nobody has spoken of, or of which an error was said, is."""
        endpoint = await case.endpoint()
        lease, silent, failing = [await sent(case, endpoint) for _ in range(3)]
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        assert await case.store.confirm(failing.delivery_id, success=False, message=b"")
        case.clock.advance(1000)
        others = {silent.delivery_id, failing.delivery_id}
        assert {ref.delivery_id for ref in await case.store.oldest(endpoint, 10)} == others
        assert {ref.delivery_id for ref in await case.store.expired(Keep(100.0))} == others

    @pytest.mark.parametrize("lane", [None, "k"])
    async def test_erasing_its_event_delivers_it(self, case: Case, lane: str | None) -> None:
        """What was confirmed is delivered with the erasure, replays too, nobody else's is; it is told, lanes go on,
        and nothing of what was said is left."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint, lane=lane)
        root = case.new_id()
        await case.store.replay(None, lease.event.id, root, [NewDelivery(endpoint, 1)], await case.version())
        again = await case.claim_one(endpoint)
        assert await case.close(again, State.UNCONFIRMED, wait_s=WITHIN_S)
        following = None if lane is None else await case.one(endpoint, lane=lane)
        for one in (lease, again):
            assert await case.store.confirm(one.delivery_id, success=True, message=b"")
        position = await case.store.stream_end()
        assert await case.store.erase(None, lease.event.id) == 0
        changes = {change.delivery_id: change for change in await changes_behind(case, position)}
        for one in (lease, again):
            change = changes[one.delivery_id]
            assert (change.before, change.after, change.reason) == ("unconfirmed", "delivered", None)
        assert await case.words(lease.delivery_id, again.delivery_id) == ["delivered", "delivered"]
        assert (await case.row(lease.delivery_id)).reason is None
        assert await case.store.unconfirmed() == []
        if following is not None:
            assert await case.words(following) == ["pending"]
        counts = await case.counts("default")
        assert (counts.delivered, counts.discarded, counts.unconfirmed) == (2, 0, 0)
