"""Recording: an outcome with all that hangs on it, once, and only under the fence it ran under."""

from __future__ import annotations

import msgspec
import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import DataError, StaleRegistry
from hookline.ports.store import HealthChange, HealthRow
from hookline.testing.samples import HOSTILE_DATA
from hookline.testing.store_contract.accept import UNSTORABLE
from hookline.testing.store_contract.case import Case, StoreContract, balanced, outcome


class TestRecord(StoreContract):
    """What each outcome does to its delivery."""

    async def test_delivered(self, case: Case) -> None:
        """A delivered one is closed, finished now, with its attempt kept byte for byte under its fence."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        case.clock.advance(2)
        result = await case.record(outcome(claimed, attempt=HOSTILE_DATA))
        assert list(result.applied) == [True]
        assert result.due_s == {}
        row = await case.row(claimed.delivery_id)
        assert (row.state, row.attempts, row.reason, row.next_at_ms) == ("delivered", 1, None, None)
        assert row.finished_at_ms == case.store.now_ms()
        attempts = await case.store.attempts(claimed.delivery_id)
        assert [(a.delivery_id, a.fence, a.packed) for a in attempts] == [
            (claimed.delivery_id, claimed.fence, HOSTILE_DATA)
        ]
        assert await case.claim(endpoint) == []

    @pytest.mark.parametrize(
        ("after", "word", "reason"),
        [(State.FAILED, "failed", "server_error"), (State.DISCARDED, "discarded", "endpoint_deleted")],
    )
    async def test_closed_otherwise(self, case: Case, after: State, word: str, reason: str) -> None:
        """A failed or discarded one is closed with its reason and counted as such."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        assert await case.close(claimed, after, reason=reason)
        row = await case.row(claimed.delivery_id)
        assert (row.state, row.reason, row.attempts) == (word, reason, 1)
        assert getattr(await case.counts("default", endpoint), word) == 1

    async def test_tried_again_later(self, case: Case) -> None:
        """A pending one is due after its wait and carries tries, attempts and reason into its next claim."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        first = await case.claim_one(endpoint)
        result = await case.record(outcome(first, State.PENDING, wait_s=300, reason="timeout"))
        assert result.due_s == {endpoint: pytest.approx(300, abs=0.01)}
        row = await case.row(first.delivery_id)
        assert (row.state, row.attempts, row.reason, row.finished_at_ms) == ("pending", 1, "timeout", None)
        assert row.next_at_ms == case.store.now_ms() + 300_000
        case.clock.advance(299)
        assert await case.claim(endpoint) == []
        case.clock.advance(1)
        again = await case.claim_one(endpoint)
        assert again.delivery_id == first.delivery_id
        assert again.fence > first.fence
        assert (again.tries, again.attempts) == (1, 1)

    @pytest.mark.rule(n=14)
    async def test_a_probe_uses_up_no_try(self, case: Case) -> None:
        """Tries and attempts are counted apart: an attempt with no try raises only the attempts."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        for tries in (0, 1, 0):
            await case.close(await case.claim_one(endpoint), State.PENDING, tries=tries)
        claimed = await case.claim_one(endpoint)
        assert (claimed.tries, claimed.attempts) == (1, 3)
        assert len(await case.store.attempts(claimed.delivery_id)) == 3

    async def test_without_an_attempt(self, case: Case) -> None:
        """What is recorded without an attempt leaves none and counts none."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.close(claimed, State.PENDING, attempt=None, tries=0)
        assert (await case.row(claimed.delivery_id)).attempts == 0
        assert list(await case.store.attempts(claimed.delivery_id)) == []

    async def test_attempts_in_their_order(self, case: Case) -> None:
        """All attempts of a delivery are kept, oldest first, each under its own fence."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        fences = []
        for number in range(5):
            claimed = await case.claim_one(endpoint)
            fences.append(claimed.fence)
            await case.close(claimed, State.PENDING, attempt=b"attempt %d" % number)
        attempts = await case.store.attempts(delivery)
        assert [a.packed for a in attempts] == [b"attempt %d" % number for number in range(5)]
        assert [a.fence for a in attempts] == fences == sorted(set(fences))

    @pytest.mark.rule(n=16)
    async def test_take_backs_are_counted_until_an_attempt_ran(self, case: Case) -> None:
        """Take-backs add up over claims; an attempt that ran sets them back to none."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        for taken in (0, 1, 2):
            claimed = await case.claim_one(endpoint)
            assert claimed.lost == taken
            await case.close(claimed, State.PENDING, lost=1, attempt=None, tries=0)
        await case.close(await case.claim_one(endpoint), State.PENDING)
        assert (await case.claim_one(endpoint)).lost == 0

    async def test_a_handed_off_delivery_is_recorded_like_a_claimed_one(self, case: Case) -> None:
        """A hand-off's lease, fence 1, records its outcome and its attempt."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        assert await case.close(lease)
        assert await case.words(lease.delivery_id) == ["delivered"]
        assert [a.fence for a in await case.store.attempts(lease.delivery_id)] == [1]

    async def test_outcomes_share_a_commit(self, case: Case) -> None:
        """Outcomes of several endpoints and tenants are one commit, each with its own answer."""
        mine, theirs = await case.endpoint(), await case.endpoint("other")
        await case.publish(mine)
        await case.publish(theirs, tenant="other")
        first, second = await case.claim_one(mine), await case.claim_one(theirs)
        zombie = msgspec.structs.replace(first, fence=first.fence + 5)
        result = await case.record(outcome(zombie), outcome(first), outcome(second, State.FAILED, reason="gone"))
        assert list(result.applied) == [False, True, True]
        assert (await case.counts("default")).delivered == 1
        assert (await case.counts("other")).failed == 1

    @pytest.mark.rule(n=1)
    async def test_recorded_means_durable(self, case: Case) -> None:
        """What record returned holds after a kill, and its delivery is not taken back."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.close(claimed)
        await case.restart()
        assert await case.words(claimed.delivery_id) == ["delivered"]
        assert len(await case.store.attempts(claimed.delivery_id)) == 1
        assert list(await case.store.lost()) == []

    @pytest.mark.rule(n=3)
    async def test_a_bad_item_commits_nothing(self, case: Case) -> None:
        """An outcome whose event cannot be stored raises DataError, and the outcome beside it did not happen."""
        endpoint = await case.endpoint()
        for _ in range(2):
            await case.one(endpoint)
        good, bad = await case.claim(endpoint)
        with pytest.raises(DataError):
            await case.record(outcome(good), outcome(bad, events=[case.new(**UNSTORABLE[0])]))
        assert await case.words(good.delivery_id, bad.delivery_id) == ["leased", "leased"]
        assert list(await case.store.attempts(good.delivery_id)) == []
        assert await case.close(good)


@pytest.mark.rule(n=12)
class TestRecordMakesEvents(StoreContract):
    """Recording can make events: operational ones, chains, alerts."""

    async def test_events_are_made_with_their_outcome(self, case: Case) -> None:
        """An event made by recording is there with its deliveries, pending, due after its wait, counted."""
        endpoint, first, second = await case.endpoints(3)
        await case.one(endpoint)
        made, later = case.new(first, second, lease_s=30), case.new(second, wait_s=50)
        item = outcome(await case.claim_one(endpoint), events=[made, later])
        result = await case.record(item)
        assert result.due_s == {first: 0, second: 0}
        assert await case.store.event(None, made.event.id) == made.event
        assert await case.store.event(None, later.event.id) == later.event
        deliveries = [ids.delivery_id(made.event.id, 1), ids.delivery_id(made.event.id, 2)]
        assert await case.words(*deliveries) == ["pending", "pending"]
        assert [c.delivery_id for c in await case.claim(second)] == deliveries[1:]
        counts = await case.counts()
        assert (counts.events, counts.deliveries) == (3, 4)

    async def test_events_of_what_did_not_apply_are_not_made(self, case: Case) -> None:
        """An outcome under an old fence makes no event, while its neighbour in the same call does."""
        endpoint, watcher = await case.endpoints(2)
        for _ in range(2):
            await case.one(endpoint)
        first, second = await case.claim(endpoint)
        zombie = msgspec.structs.replace(first, fence=first.fence + 1)
        not_made, made = case.new(watcher), case.new(watcher)
        await case.record(outcome(zombie, events=[not_made]), outcome(second, events=[made]))
        assert await case.store.event(None, not_made.event.id) is None
        assert await case.store.event(None, made.event.id) == made.event

    async def test_a_stale_registry_stops_events_but_not_outcomes(self, case: Case) -> None:
        """By an older version nothing of a record with events is committed; without events it is."""
        endpoint, watcher = await case.endpoints(2)
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        before = await case.version()
        await case.endpoint()
        made = case.new(watcher)
        with pytest.raises(StaleRegistry):
            await case.store.record([outcome(claimed, events=[made])], (), before)
        assert await case.words(claimed.delivery_id) == ["leased"]
        assert await case.store.event(None, made.event.id) is None
        assert list((await case.store.record([outcome(claimed)], (), before)).applied) == [True]

    async def test_a_health_change_makes_its_events_only_if_it_applies(self, case: Case) -> None:
        """An event announced with a health change exists exactly when that change was heard."""
        endpoint, watcher = await case.endpoints(2)
        announced, unheard = case.new(watcher), case.new(watcher)
        row = HealthRow(endpoint, 0, b"failing", probe_s=1.0)
        result = await case.record(healths=[HealthChange(row, events=[announced])])
        assert list(result.health_applied) == [True]
        assert result.due_s == {watcher: 0}
        result = await case.record(healths=[HealthChange(row, events=[unheard])])
        assert list(result.health_applied) == [False]
        assert await case.listed_events() == [announced.event]

    async def test_a_known_key_makes_no_second_event(self, case: Case) -> None:
        """An event with a dedupe key that is known is not made again by recording."""
        endpoint, watcher = await case.endpoints(2)
        await case.accept(case.new(dedupe_key=b"k" * 16))
        await case.one(endpoint)
        repeat = case.new(watcher, dedupe_key=b"k" * 16)
        await case.record(outcome(await case.claim_one(endpoint), events=[repeat]))
        assert await case.store.event(None, repeat.event.id) is None
        assert await case.listed(endpoint_id=watcher) == []

    @pytest.mark.rule(n=5)
    async def test_a_big_fan_out_made_by_recording(self, case: Case) -> None:
        """An event made by recording may have a packed fan-out, counted at once and unfolded like any other."""
        endpoint, *watchers = await case.endpoints(5)
        await case.one(endpoint)
        await case.record(outcome(await case.claim_one(endpoint), events=[case.new(fanout=watchers)]))
        assert (await case.counts()).deliveries == 5
        assert await case.store.unfold() == (dict.fromkeys(watchers, 0), False)
        assert len(await case.claim(watchers[3])) == 1

    async def test_disabling_is_part_of_the_record(self, case: Case) -> None:
        """A change that disables sets the state, raises the registry's version and stops claims in one commit."""
        endpoint = await case.endpoint()
        for _ in range(2):
            await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        before = await case.version()
        change = HealthChange(HealthRow(endpoint, 0, b"gone"), disable=True)
        result = await case.record(outcome(claimed, State.FAILED, reason="gone"), healths=[change])
        assert (list(result.applied), list(result.health_applied)) == ([True], [True])
        changes = await case.store.changes(before)
        assert [(row.id, row.state.value, row.version) for row in changes.endpoints] == [
            (endpoint, "disabled", before + 1)
        ]
        assert await case.claim(endpoint) == []
        counts = await case.counts("default", endpoint)
        assert (counts.failed, counts.held, counts.pending) == (1, 1, 0)
        assert balanced(counts)

    async def test_a_disabling_that_is_not_heard_disables_nothing(self, case: Case) -> None:
        """A stale health change leaves state and registry version as they are."""
        endpoint = await case.endpoint()
        before = await case.version()
        change = HealthChange(HealthRow(endpoint, 4, b"gone"), disable=True)
        assert list((await case.record(healths=[change])).health_applied) == [False]
        assert await case.version() == before
