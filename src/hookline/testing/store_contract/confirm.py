"""Confirmation: after its answer a delivery waits for the receiver's word, until a deadline."""

from __future__ import annotations

import pytest

from hookline.core.delivery import State
from hookline.core.errors import Conflict
from hookline.ports.store import Claimed, NewEvent, OpenRef, Unconfirmed
from hookline.testing.store_contract.case import Case, StoreContract, outcome

WITHIN_S = 60.0


async def sent(case: Case, endpoint: bytes, lane: str | None = None) -> Claimed:
    """A delivery that is unconfirmed from now on; the lease it was sent under."""
    delivery = await case.one(endpoint, lane=lane)
    lease = next(claimed for claimed in await case.claim(endpoint) if claimed.delivery_id == delivery)
    assert await case.close(lease, State.UNCONFIRMED, wait_s=WITHIN_S)
    return lease


async def due(case: Case) -> Unconfirmed:
    """The one that is due, and there must be one."""
    (found,) = await case.store.unconfirmed()
    return found


async def settle(case: Case, ref: OpenRef, after: State, **changes: object) -> bool:
    """Record what becomes of an unconfirmed one: no attempt runs for it."""
    return await case.close(ref, after, attempt=None, tries=0, **changes)


class TestUnconfirmed(StoreContract):
    """The state between the answer and the confirmation."""

    async def test_a_delivery_waits_for_its_confirmation(self, case: Case) -> None:
        """Recorded as unconfirmed it is open, counted and listed as that, its attempt kept, and never claimed."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        row = await case.row(lease.delivery_id)
        assert (row.state, row.attempts, row.reason, row.finished_at_ms) == ("unconfirmed", 1, None, None)
        assert [row.id for row in await case.listed(state="unconfirmed")] == [lease.delivery_id]
        assert len(await case.store.attempts(lease.delivery_id)) == 1
        counts = await case.counts("default", endpoint)
        assert (counts.unconfirmed, counts.leased, counts.deliveries) == (1, 0, 1)
        assert await case.claim(endpoint) == []
        assert await case.claim_named([lease.delivery_id], endpoint) == []
        assert await case.store.due() == {}

    async def test_nothing_is_due_before_its_deadline(self, case: Case) -> None:
        """What the receiver is silent about is due at its deadline by the store's clock, and not before."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        case.clock.advance(WITHIN_S - 1)
        assert await case.store.unconfirmed() == []
        case.clock.advance(1)
        found = await due(case)
        assert (found.success, found.message, found.lane) == (None, b"", None)
        assert (found.tries, found.attempts, found.event) == (1, 1, lease.event)
        assert found.ref == OpenRef(
            lease.delivery_id, lease.fence, endpoint, "default", lease.event.id, State.UNCONFIRMED
        )

    async def test_the_oldest_deadline_comes_first(self, case: Case) -> None:
        """Those that are due are given by their deadlines, as many as asked for."""
        endpoint = await case.endpoint()
        leases = []
        for within_s in (30.0, 10.0, 20.0):
            await case.one(endpoint)
            leases.append(await case.claim_one(endpoint))
            assert await case.close(leases[-1], State.UNCONFIRMED, wait_s=within_s)
        case.clock.advance(40)
        order = [leases[1].delivery_id, leases[2].delivery_id, leases[0].delivery_id]
        assert [found.ref.delivery_id for found in await case.store.unconfirmed()] == order
        assert [found.ref.delivery_id for found in await case.store.unconfirmed(2)] == order[:2]

    @pytest.mark.parametrize("after", [State.PENDING, State.DELIVERED, State.FAILED, State.DISCARDED])
    async def test_what_becomes_of_it(self, case: Case, after: State) -> None:
        """It goes on to each state that the table allows, without an attempt, and its tries stay as counted."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        case.clock.advance(WITHIN_S)
        ref = (await due(case)).ref
        assert await settle(case, ref, after, reason=None if after is State.DELIVERED else "timeout")
        assert await case.store.unconfirmed() == []
        row = await case.row(lease.delivery_id)
        assert (row.state, row.attempts) == (after.word, 1)
        assert row.reason == (None if after is State.DELIVERED else "timeout")
        counts = await case.counts("default", endpoint)
        assert (counts.unconfirmed, getattr(counts, after.word)) == (0, 1)
        assert not await settle(case, ref, State.DELIVERED)
        if after is State.PENDING:
            again = await case.claim_one(endpoint)
            assert (again.tries, again.attempts, again.fence) == (1, 1, lease.fence + 1)

    async def test_it_is_fenced(self, case: Case) -> None:
        """A wrong fence, a second outcome of its attempt, and a take-back of its lease change nothing."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        assert not await case.close(lease)
        assert not await case.close(lease, State.UNCONFIRMED)
        assert not await case.close(lease, State.PENDING, attempt=None, tries=0, lost=1)
        assert list(await case.store.release([(lease.delivery_id, lease.fence)])) == [False]
        case.clock.advance(WITHIN_S)
        ref = (await due(case)).ref
        assert await settle(case, ref, State.PENDING)
        await case.claim_one(endpoint)
        assert not await settle(case, ref, State.DELIVERED)
        assert await case.words(lease.delivery_id) == ["leased"]

    async def test_a_person_may_discard_it_and_not_retry_it(self, case: Case) -> None:
        """An unconfirmed one is discarded on request; to retry it is refused."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        with pytest.raises(Conflict) as refused:
            await case.store.reopen(None, lease.delivery_id)
        assert refused.value.code == "wrong_state"
        await case.store.discard(None, lease.delivery_id)
        assert await case.words(lease.delivery_id) == ["discarded"]
        assert not await case.store.confirm(lease.delivery_id, success=True, message=b"")

    async def test_those_of_a_deleted_endpoint_are_closed(self, case: Case) -> None:
        """What a deleted endpoint has unconfirmed is discarded with the rest."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        await case.store.delete_endpoint(endpoint)
        assert await case.store.close_deleted() == 1
        row = await case.row(lease.delivery_id)
        assert (row.state, row.reason) == ("discarded", "endpoint_deleted")
        assert await case.store.close_deleted() == 0
        assert (await case.counts()).unconfirmed == 0

    async def test_it_survives_the_process(self, case: Case) -> None:
        """The next process finds it unconfirmed with what was said of it; it is no lost lease."""
        endpoint = await case.endpoint()
        silent, spoken = [await sent(case, endpoint) for _ in range(2)]
        assert await case.store.confirm(spoken.delivery_id, success=False, message=b"no")
        await case.restart()
        assert await case.store.lost() == []
        found = await due(case)
        assert (found.ref.delivery_id, found.success, found.message) == (spoken.delivery_id, False, b"no")
        assert await case.words(silent.delivery_id) == ["unconfirmed"]


class TestUnconfirmedInLane(StoreContract):
    """An unconfirmed head keeps its lane."""

    async def test_the_next_waits_for_the_confirmation(self, case: Case) -> None:
        """Nothing behind an unconfirmed head runs until it is closed."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint, lane="k")
        following = await case.one(endpoint, lane="k")
        assert await case.words(following) == ["held"]
        assert await case.store.sweep_lanes() == 0
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        found = await due(case)
        assert found.lane == "k"
        result = await case.record(outcome(found.ref, State.DELIVERED, attempt=None, tries=0))
        assert result.due_s == {endpoint: 0}
        assert (await case.claim_one(endpoint)).delivery_id == following

    async def test_retried_it_goes_before_the_next(self, case: Case) -> None:
        """Pending again it is still the head; failed it blocks its lane, or not, as told."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint, lane="k")
        following = await case.one(endpoint, lane="k")
        case.clock.advance(WITHIN_S)
        assert await settle(case, (await due(case)).ref, State.PENDING)
        assert await case.words(lease.delivery_id, following) == ["pending", "held"]
        again = await case.claim_one(endpoint)
        assert await case.close(again, State.UNCONFIRMED, wait_s=WITHIN_S)
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"")
        assert await settle(case, (await due(case)).ref, State.FAILED)
        assert await case.words(lease.delivery_id, following) == ["failed", "held"]
        await case.store.discard(None, lease.delivery_id)
        assert await case.words(following) == ["pending"]

    async def test_discarded_it_lets_the_next_go(self, case: Case) -> None:
        """A person who discards the unconfirmed head frees its lane."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint, lane="k")
        following = await case.one(endpoint, lane="k")
        await case.store.discard(None, lease.delivery_id)
        assert await case.words(following) == ["pending"]


class TestConfirm(StoreContract):
    """What the receiver says."""

    @pytest.mark.parametrize("success", [True, False])
    async def test_it_is_due_at_once(self, case: Case, success: bool) -> None:
        """A word before the deadline counts, makes the delivery due, and is given with its message, byte for byte."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        assert await case.store.confirm(lease.delivery_id, success, b"\x00\xff said")
        found = await due(case)
        assert (found.success, found.message) == (success, b"\x00\xff said")
        assert await case.words(lease.delivery_id) == ["unconfirmed"]

    async def test_the_first_word_counts(self, case: Case) -> None:
        """A second word changes nothing, whatever it says."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"first")
        for success in (True, False):
            assert not await case.store.confirm(lease.delivery_id, success, b"second")
        found = await due(case)
        assert (found.success, found.message) == (False, b"first")

    async def test_a_late_word_does_not_count(self, case: Case) -> None:
        """At its deadline it is too late, also before anybody looked."""
        endpoint = await case.endpoint()
        lease = await sent(case, endpoint)
        case.clock.advance(WITHIN_S)
        assert not await case.store.confirm(lease.delivery_id, success=True, message=b"")
        assert (await due(case)).success is None

    async def test_states_in_which_nothing_counts(self, case: Case) -> None:
        """Pending, held, closed and unknown deliveries hear nothing."""
        endpoint = await case.endpoint()
        delivered = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        failed, _ = await case.failed(endpoint)
        pending, held = [await case.one(endpoint, lane="k") for _ in range(2)]
        for delivery in (delivered, failed, pending, held, b"\x01" * 16):
            assert not await case.store.confirm(delivery, success=True, message=b"")
        assert await case.words(delivered, failed, pending, held) == ["delivered", "failed", "pending", "held"]
        lease = await case.claim_one(endpoint)
        assert await case.close(lease, State.UNCONFIRMED, wait_s=WITHIN_S)
        assert await case.store.unconfirmed() == []

    @pytest.mark.parametrize("success", [True, False])
    async def test_a_word_before_the_answer_is_kept(self, case: Case, success: bool) -> None:
        """Said while the attempt runs, it is kept, and the delivery is due as soon as it is unconfirmed."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        assert await case.store.confirm(lease.delivery_id, success, b"early")
        assert not await case.store.confirm(lease.delivery_id, not success, b"again")
        assert await case.store.unconfirmed() == []
        assert await case.close(lease, State.UNCONFIRMED, wait_s=WITHIN_S)
        found = await due(case)
        assert (found.success, found.message) == (success, b"early")
        assert not await case.store.confirm(lease.delivery_id, not success, b"again")

    @pytest.mark.parametrize("after", [State.PENDING, State.FAILED])
    @pytest.mark.parametrize("lane", [None, "k"])
    async def test_an_early_success_outlives_a_failed_attempt(self, case: Case, after: State, lane: str | None) -> None:
        """A success said while the attempt runs settles the delivery, though the attempt failed: due at once, its
        attempt kept, nothing told of the failure, its lane not blocked."""
        endpoint = await case.endpoint()
        await case.one(endpoint, lane=lane)
        lease = await case.claim_one(endpoint)
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"done")
        told = case.event()
        item = outcome(lease, after, reason="timeout", events=[NewEvent(told)])
        result = await case.record(item)
        assert (list(result.applied), result.due_s) == ([True], {})
        assert await case.store.event(None, told.id) is None
        found = await due(case)
        assert (found.success, found.message, found.tries, found.attempts) == (True, b"done", 1, 1)
        assert await settle(case, found.ref, State.DELIVERED)
        row = await case.row(lease.delivery_id)
        assert (row.state, row.attempts, row.reason) == ("delivered", 1, None)
        if lane is not None:
            following = await case.one(endpoint, lane=lane)
            assert await case.words(following) == ["pending"]

    async def test_an_early_success_outlives_its_lease(self, case: Case) -> None:
        """Released unstarted or taken back, a delivery of which a success was said is not sent again."""
        endpoint = await case.endpoint()
        for how in ("released", "taken back"):
            await case.one(endpoint)
            lease = await case.claim_one(endpoint)
            assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
            if how == "released":
                assert list(await case.store.release([(lease.delivery_id, lease.fence)])) == [True]
            else:
                assert await case.close(lease, State.PENDING, attempt=None, tries=0, lost=1)
            assert await case.claim(endpoint) == []
            assert await settle(case, (await due(case)).ref, State.DELIVERED)
        assert (await case.counts()).delivered == 2

    async def test_an_error_is_forgotten_when_it_is_pending_again(self, case: Case) -> None:
        """After a retry or a release the receiver is asked anew, and may say something else."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        lease = await case.claim_one(endpoint)
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"one")
        assert await case.close(lease, State.PENDING)
        lease = await case.claim_one(endpoint)
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"two")
        await case.store.release([(lease.delivery_id, lease.fence)])
        lease = await case.claim_one(endpoint)
        assert await case.close(lease, State.UNCONFIRMED, wait_s=WITHIN_S)
        assert await case.store.unconfirmed() == []
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"three")
        assert await settle(case, (await due(case)).ref, State.PENDING)
        assert await case.close(await case.claim_one(endpoint), State.UNCONFIRMED, wait_s=WITHIN_S)
        assert await case.store.unconfirmed() == []
        assert await case.store.confirm(lease.delivery_id, success=True, message=b"")
        assert (await due(case)).success is True

    async def test_an_error_is_forgotten_when_closed(self, case: Case) -> None:
        """An error that was said of a delivery that was closed does not count when it is open again."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        lease = await case.claim_one(endpoint)
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"")
        assert await case.close(lease, State.DISCARDED)
        await case.store.reopen(None, lease.delivery_id)
        assert await case.close(await case.claim_one(endpoint), State.UNCONFIRMED, wait_s=WITHIN_S)
        assert await case.store.unconfirmed() == []
        assert await case.store.confirm(lease.delivery_id, success=False, message=b"")
