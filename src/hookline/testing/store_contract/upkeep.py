"""What runs beside, and what a person does: retry, discard, replay."""

from __future__ import annotations

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound, StaleRegistry
from hookline.ports.store import AcceptRequest, IdempotencyKey, NewDelivery
from hookline.testing.store_contract.case import Case, StoreContract, outcome


@pytest.mark.rule(n=8)
class TestReopen(StoreContract):
    """Retry: the same delivery again."""

    @pytest.mark.parametrize("after", [State.FAILED, State.DISCARDED])
    async def test_a_closed_one_is_open_again(self, case: Case, after: State) -> None:
        """A failed or discarded one is pending, due now, its tries at 0, its attempts and its fence going on."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint), State.PENDING, tries=1)
        last = await case.claim_one(endpoint)
        await case.close(last, after, reason="timeout")
        case.clock.advance(3600)
        ref = await case.store.reopen("default", delivery)
        assert (ref.delivery_id, ref.endpoint_id, ref.tenant) == (delivery, endpoint, "default")
        assert (ref.event_id, ref.state) == (last.event.id, State.PENDING)
        row = await case.row(delivery)
        assert (row.state, row.attempts, row.finished_at_ms) == ("pending", 2, None)
        assert row.next_at_ms == case.store.now_ms()
        again = await case.claim_one(endpoint)
        assert (again.delivery_id, again.tries, again.attempts) == (delivery, 0, 2)
        assert again.fence > last.fence
        await case.close(again)
        assert len(await case.store.attempts(delivery)) == 3
        counts = await case.counts("default", endpoint)
        assert (counts.deliveries, counts.delivered) == (1, 1)

    async def test_a_pending_one_is_due_now(self, case: Case) -> None:
        """Retried by a person, one that waits for its time is due at once."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint, wait_s=3600)
        await case.store.reopen(None, delivery)
        assert (await case.row(delivery)).next_at_ms == case.store.now_ms()
        assert (await case.claim_one(endpoint)).delivery_id == delivery

    async def test_a_zombie_of_its_first_life_is_fenced_off(self, case: Case) -> None:
        """An outcome of before it was closed changes nothing after it was reopened."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        first = await case.claim_one(endpoint)
        await case.close(first, State.FAILED)
        await case.store.reopen(None, first.delivery_id)
        assert not await case.close(first)
        assert not await case.close(first, State.FAILED)
        assert await case.words(first.delivery_id) == ["pending"]
        assert len(await case.store.attempts(first.delivery_id)) == 1

    async def test_what_cannot_be_retried(self, case: Case) -> None:
        """Leased, held and delivered ones, and those of a deleted endpoint, raise Conflict and stay as they are."""
        endpoint, gone = await case.endpoints(2)
        delivered = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        leased = await case.one(endpoint)
        await case.claim_one(endpoint)
        _, held = [await case.one(endpoint, lane="k") for _ in range(2)]
        failed, _ = await case.failed(gone)
        await case.store.delete_endpoint(gone)
        deliveries = (delivered, leased, held, failed)
        before = await case.counts()
        for delivery in deliveries:
            with pytest.raises(Conflict) as refused:
                await case.store.reopen(None, delivery)
            assert refused.value.code == "wrong_state"
        assert await case.words(*deliveries) == ["delivered", "leased", "held", "failed"]
        assert await case.counts() == before

    async def test_only_its_own_tenant(self, case: Case) -> None:
        """Unknown deliveries, and another tenant's, are not found by retry and discard."""
        failed, _ = await case.failed(await case.endpoint())
        for tenant, delivery in (("other", failed), ("default", b"\x01" * 16), (None, b"\x01" * 16)):
            with pytest.raises(NotFound):
                await case.store.reopen(tenant, delivery)
            with pytest.raises(NotFound):
                await case.store.discard(tenant, delivery)
        assert await case.words(failed) == ["failed"]

    async def test_a_retry_is_durable(self, case: Case) -> None:
        """A reopened delivery is pending in the next process."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        await case.store.reopen(None, failed)
        await case.restart()
        assert await case.words(failed) == ["pending"]
        assert await case.store.due() == {endpoint: 0}


class TestDiscard(StoreContract):
    """A person decided that it is not to be delivered."""

    async def test_open_and_failed_ones(self, case: Case) -> None:
        """A pending, a held and a failed one are discarded, finished now, and never claimed."""
        endpoint = await case.endpoint()
        failed, _ = await case.failed(endpoint)
        pending = await case.one(endpoint)
        head, held = [await case.one(endpoint, lane="k") for _ in range(2)]
        case.clock.advance(5)
        for delivery in (failed, pending, held):
            await case.store.discard("default", delivery)
            row = await case.row(delivery)
            assert (row.state, row.next_at_ms) == ("discarded", None)
            assert row.finished_at_ms is not None
        assert [c.delivery_id for c in await case.claim(endpoint)] == [head]
        counts = await case.counts("default", endpoint)
        assert (counts.discarded, counts.failed, counts.leased, counts.deliveries) == (3, 0, 1, 4)

    async def test_what_cannot_be_discarded(self, case: Case) -> None:
        """Leased, delivered and discarded ones raise Conflict and stay as they are."""
        endpoint = await case.endpoint()
        delivered = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        discarded = await case.one(endpoint)
        await case.store.discard(None, discarded)
        leased = await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        for delivery in (delivered, discarded, leased):
            with pytest.raises(Conflict) as refused:
                await case.store.discard(None, delivery)
            assert refused.value.code == "wrong_state"
        assert await case.words(delivered, discarded, leased) == ["delivered", "discarded", "leased"]
        assert await case.close(claimed)

    async def test_one_of_a_paused_endpoint(self, case: Case) -> None:
        """What a paused endpoint holds can be discarded."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.pause(endpoint)
        await case.store.discard(None, delivery)
        assert await case.words(delivery) == ["discarded"]
        assert (await case.counts("default", endpoint)).held == 0


class TestReplay(StoreContract):
    """New deliveries of an old event."""

    async def test_a_replay_is_a_new_delivery_of_the_same_event(self, case: Case) -> None:
        """A replay makes deliveries with ids of their own, due now, of the event as it was, counted."""
        first, second = await case.endpoints(2)
        new = case.new(first)
        await case.accept(new)
        await case.close(await case.claim_one(first))
        root = case.new_id()
        due_s = await case.store.replay(
            "default", new.event.id, root, [NewDelivery(first, 1), NewDelivery(second, 2)], await case.version()
        )
        assert due_s == {first: 0, second: 0}
        for ordinal, endpoint in enumerate((first, second), 1):
            claimed = await case.claim_one(endpoint)
            assert claimed.delivery_id == ids.delivery_id(root, ordinal)
            assert claimed.event == new.event
            assert claimed.replay
            await case.close(claimed)
        counts = await case.counts()
        assert (counts.events, counts.deliveries, counts.delivered) == (1, 3, 3)

    async def test_what_cannot_be_replayed(self, case: Case) -> None:
        """An unknown event, or another tenant's, is not found; a stale registry is told; nothing is made."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        before = await case.version()
        await case.endpoint()
        deliveries = [NewDelivery(endpoint, 1)]
        with pytest.raises(NotFound):
            await case.store.replay("other", new.event.id, case.new_id(), deliveries, await case.version())
        with pytest.raises(NotFound):
            await case.store.replay(None, b"\x01" * 12, case.new_id(), deliveries, await case.version())
        with pytest.raises(StaleRegistry):
            await case.store.replay(None, new.event.id, case.new_id(), deliveries, before)
        assert (await case.counts()).deliveries == 1

    async def test_a_replayed_failure_can_be_retried(self, case: Case) -> None:
        """A replay that failed is a delivery like any other: reopened it is still a replay."""
        endpoint = await case.endpoint()
        new = case.new()
        await case.accept(new)
        root = case.new_id()
        await case.store.replay(None, new.event.id, root, [NewDelivery(endpoint, 1)], await case.version())
        await case.close(await case.claim_one(endpoint), State.FAILED)
        await case.store.reopen(None, ids.delivery_id(root, 1))
        claimed = await case.claim_one(endpoint)
        assert (claimed.event, claimed.replay) == (new.event, True)


class TestCleaning(StoreContract):
    """Nothing grows for ever."""

    @pytest.mark.rule(n=7)
    async def test_expired_keys_are_forgotten(self, case: Case) -> None:
        """Only keys whose time is over are forgotten, both kinds, and how many is told."""
        for number in range(3):
            await case.accept(case.new(dedupe_key=bytes([number]) * 16, dedupe_s=60))
        await case.accept(case.new(dedupe_key=b"\xff" * 16, dedupe_s=6000))
        request = AcceptRequest("default", [case.new()], IdempotencyKey(b"k" * 16, b"h" * 16, keep_s=60))
        await case.store.accept([request], await case.version())
        case.clock.advance(59)
        assert await case.store.purge_dedupe() == 0
        case.clock.advance(2)
        steps = [await case.store.purge_dedupe(2) for _ in range(8)]
        assert max(steps) <= 2
        assert sum(steps) == 4
        assert (await case.accept(case.new(dedupe_key=b"\xff" * 16)))[0].duplicate
        assert not (await case.accept(case.new(dedupe_key=bytes(16))))[0].duplicate

    @pytest.mark.rule(n=15)
    async def test_open_ones_of_a_deleted_endpoint_are_closed(self, case: Case) -> None:
        """What a deleted endpoint has open is discarded in bounded steps, endpoint_deleted, lanes included."""
        deleted, kept = await case.endpoints(2)
        for _ in range(3):
            await case.publish(deleted, kept)
            await case.publish(deleted, lane="k")
        await case.pause(deleted)
        await case.store.delete_endpoint(deleted)
        steps = []
        while step := await case.store.close_deleted(4):
            steps.append(step)
        assert steps == [4, 2]
        rows = await case.listed(endpoint_id=deleted)
        assert {(row.state, row.reason) for row in rows} == {("discarded", "endpoint_deleted")}
        assert len(rows) == 6
        counts = await case.counts("default")
        assert (counts.discarded, counts.pending, counts.held) == (6, 3, 0)
        assert await case.store.sweep_lanes() == 0

    async def test_an_attempt_of_a_deleted_endpoint_ends_first(self, case: Case) -> None:
        """What is leased is not closed by a delete: its outcome counts, and only what it leaves open is discarded."""
        endpoint = await case.endpoint()
        for _ in range(2):
            await case.one(endpoint)
        delivered, retried = await case.claim(endpoint)
        await case.store.delete_endpoint(endpoint)
        assert await case.store.close_deleted() == 0
        assert await case.close(delivered)
        assert await case.close(retried, State.PENDING)
        assert await case.store.close_deleted() == 1
        assert await case.words(delivered.delivery_id, retried.delivery_id) == ["delivered", "discarded"]

    @pytest.mark.rule(n=15)
    async def test_endpoints_with_too_much(self, case: Case) -> None:
        """Endpoints above a number of open deliveries are told with that number, whatever states those are in."""
        much, enough, closed = await case.endpoints(3)
        for _ in range(4):
            await case.publish(much, enough, closed)
        await case.one(much, lane="k")
        await case.one(much, lane="k")
        await case.claim_one(much)
        for claimed in await case.claim(closed):
            await case.close(claimed)
        assert await case.store.open_by_endpoint(4) == {much: 6}
        assert await case.store.open_by_endpoint(3) == {much: 6, enough: 4}
        assert await case.store.open_by_endpoint(6) == {}

    @pytest.mark.rule(n=15)
    async def test_the_oldest_can_be_failed_without_a_lease(self, case: Case) -> None:
        """The oldest pending ones are given with their fence, and recorded as failed, overflow, without an attempt."""
        endpoint = await case.endpoint()
        first = await case.one(endpoint)
        leased = await case.claim_one(endpoint)
        await case.store.release([(leased.delivery_id, leased.fence)])
        case.clock.advance(1)
        second, third = [await case.one(endpoint) for _ in range(2)]
        refs = await case.store.oldest(endpoint, 2)
        assert [ref.delivery_id for ref in refs] == [first, second]
        assert {(ref.endpoint_id, ref.tenant, ref.state) for ref in refs} == {(endpoint, "default", State.PENDING)}
        result = await case.record(
            *(outcome(ref, State.FAILED, reason="overflow", attempt=None, tries=0) for ref in refs)
        )
        assert list(result.applied) == [True, True]
        assert await case.words(first, second, third) == ["failed", "failed", "pending"]
        row = await case.row(first)
        assert (row.reason, row.attempts) == ("overflow", 0)
        assert (await case.counts("default", endpoint)).failed == 2

    async def test_the_oldest_are_of_every_open_state(self, case: Case) -> None:
        """An endpoint that waits for confirmations, or for the head of a lane, has oldest ones too."""
        endpoint = await case.endpoint()
        unconfirmed = await case.one(endpoint)
        await case.record(outcome(await case.claim_one(endpoint), State.UNCONFIRMED, wait_s=1000.0))
        case.clock.advance(1)
        lane = [await case.one(endpoint, lane="k") for _ in range(3)]
        await case.record(outcome(await case.claim_one(endpoint), State.UNCONFIRMED, wait_s=1000.0))
        pending = await case.one(endpoint)
        expected = [unconfirmed, lane[0], pending, lane[1], lane[2]]
        for limit in (5, 3, 1):
            refs = await case.store.oldest(endpoint, limit)
            assert [ref.delivery_id for ref in refs] == expected[:limit]
        refs = await case.store.oldest(endpoint, 5)
        words = [State.UNCONFIRMED, State.UNCONFIRMED, State.PENDING, State.HELD, State.HELD]
        assert [ref.state for ref in refs] == words
        result = await case.record(
            *(outcome(ref, State.FAILED, reason="overflow", attempt=None, tries=0) for ref in refs)
        )
        assert list(result.applied) == [True] * 5
        assert (await case.counts("default", endpoint)).failed == 5

    async def test_what_was_claimed_meanwhile_is_not_failed(self, case: Case) -> None:
        """A reference taken before a claim does not apply after it."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        (ref,) = await case.store.oldest(endpoint, 10)
        claimed = await case.claim_one(endpoint)
        assert not await case.close(ref, State.FAILED, reason="overflow", attempt=None, tries=0)
        assert await case.close(claimed)

    async def test_a_store_that_works_says_so(self, case: Case) -> None:
        """A store that can be written has no complaint."""
        assert await case.store.check() is None
