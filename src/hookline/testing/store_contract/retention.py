"""Nothing grows for ever: what is open for too long is failed, then history is purged."""

from __future__ import annotations

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import NotFound
from hookline.ports.store import CHANGES_KEPT_S, EXPIRED_KEPT_S, Keep, NewDelivery, OpenRef, Purged, ReplayRow
from hookline.testing.store_contract.case import Case, StoreContract, outcome

KEPT_S = 1000.0
KEEP = Keep(KEPT_S)
LIMIT = 1000


async def circle(case: Case, keep: Keep = KEEP, limit: int = LIMIT) -> Purged:
    """Purge until the circle is closed; what was removed in all."""
    examined = deliveries = events = 0
    while True:
        step = await case.store.purge(keep, limit)
        assert step.examined <= limit
        if not step.examined:
            return Purged(examined, deliveries, events)
        examined, deliveries, events = (
            examined + step.examined,
            deliveries + step.deliveries,
            events + step.events,
        )


async def expire(case: Case, keep: Keep = KEEP) -> list[bytes]:
    """Fail what is open for too long, as a flow does; the deliveries that were failed."""
    refs = await case.store.expired(keep)
    result = await case.record(*(outcome(ref, State.FAILED, reason="expired", attempt=None, tries=0) for ref in refs))
    assert all(result.applied)
    return [ref.delivery_id for ref in refs]


async def age(case: Case, by_s: float = KEPT_S + 1) -> bytes:
    """Time passes, then something new happens, so that what is old is not also the newest; the new delivery."""
    case.clock.advance(by_s)
    endpoint = await case.endpoint()
    delivery = await case.one(endpoint)
    assert await case.close(await case.claim_one(endpoint))
    return delivery


@pytest.mark.rule(n=15)
class TestExpired(StoreContract):
    """Open work that outlives its tenant's retention."""

    async def test_what_is_open_for_too_long(self, case: Case) -> None:
        """Pending, held and unconfirmed ones older than the retention are given with their fence, leased ones not."""
        endpoint = await case.endpoint()
        head, held = [await case.one(endpoint, lane="k") for _ in range(2)]
        pending = await case.one(endpoint, wait_s=10 * KEPT_S)
        other = await case.endpoint()
        await case.publish(other)
        await case.publish(other)
        unconfirmed, leased = await case.claim(other)
        assert await case.close(unconfirmed, State.UNCONFIRMED, wait_s=10 * KEPT_S)
        closed = await case.one(other)
        await case.store.discard(None, closed)
        case.clock.advance(KEPT_S)
        assert await case.store.expired(KEEP) == []
        case.clock.advance(1)
        young = await case.one(endpoint)
        refs = {ref.delivery_id: ref for ref in await case.store.expired(KEEP)}
        assert set(refs) == {head, held, pending, unconfirmed.delivery_id}
        assert refs[held] == OpenRef(held, 0, endpoint, "default", held[: ids.ROOT_BYTES], State.HELD)
        assert (refs[unconfirmed.delivery_id].state, refs[unconfirmed.delivery_id].fence) == (State.UNCONFIRMED, 1)
        assert await case.words(young, leased.delivery_id) == ["pending", "leased"]

    async def test_in_a_circle(self, case: Case) -> None:
        """Bounded calls come to all of them, and again to those that were not recorded."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint) for _ in range(5)]
        case.clock.advance(KEPT_S + 1)
        found: list[bytes] = []
        for _ in range(8):
            refs = await case.store.expired(KEEP, 2)
            assert len(refs) <= 2
            found += [ref.delivery_id for ref in refs]
        assert found[:5] == deliveries
        assert found[5:10] == deliveries

    async def test_each_tenant_has_his_own_retention(self, case: Case) -> None:
        """A tenant's own retention counts instead of the default, shorter or longer; a replay's age is its own."""
        mine, short, long = await case.endpoint(), await case.endpoint("short"), await case.endpoint("long")
        await case.one(mine)
        new = case.new(short, tenant="short")
        await case.accept(new)
        await case.one(long, tenant="long")
        keep = Keep(KEPT_S, {"short": 10.0, "long": 10 * KEPT_S})
        case.clock.advance(11)
        assert [ref.tenant for ref in await case.store.expired(keep)] == ["short"]
        root = case.new_id()
        from_now = [NewDelivery(short, 1)]
        await case.store.replay("short", new.event.id, root, from_now, await case.version())
        assert await expire(case, keep) == [ids.delivery_id(new.event.id, 1)]
        assert await case.words(ids.delivery_id(root, 1)) == ["pending"]
        case.clock.advance(KEPT_S)
        assert {ref.tenant for ref in await case.store.expired(keep)} == {"default", "short"}

    async def test_an_expired_head_lets_the_next_go_or_not(self, case: Case) -> None:
        """Recorded as failed without an attempt, an expired head blocks its lane or not, like any other."""
        endpoint = await case.endpoint()
        await case.one(endpoint, lane="k")
        case.clock.advance(KEPT_S + 1)
        following = await case.one(endpoint, lane="k")
        await expire(case)
        assert await case.words(following) == ["held"]
        assert await case.store.sweep_lanes() == 0


@pytest.mark.rule(n=15)
class TestPurge(StoreContract):
    """History ends."""

    async def test_old_history_is_removed(self, case: Case) -> None:
        """Closed deliveries past the retention go with their attempts and events, younger ones stay, totals too."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        await case.close(await case.claim_one(endpoint), State.PENDING)
        await case.close(await case.claim_one(endpoint))
        alone = case.new()
        await case.accept(alone)
        before = await case.counts("default", endpoint)
        young = await age(case)
        removed = await circle(case)
        assert (removed.deliveries, removed.events) == (1, 2)
        delivery = ids.delivery_id(new.event.id, 1)
        assert await case.store.delivery(None, delivery) is None
        assert list(await case.store.attempts(delivery)) == []
        assert await case.store.event(None, new.event.id) is None
        assert await case.store.event(None, alone.event.id) is None
        assert await case.words(young) == ["delivered"]
        assert len(await case.store.attempts(young)) == 1
        assert [event.id for event in await case.listed_events()] == [young[: ids.ROOT_BYTES]]
        assert await case.counts("default", endpoint) == before
        assert (await case.counts()).deliveries == 2
        removed = await circle(case)
        assert (removed.deliveries, removed.events) == (0, 0)

    async def test_not_before_its_time(self, case: Case) -> None:
        """At its retention something is there still, after it it is not."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.close(await case.claim_one(endpoint))
        await age(case, KEPT_S)
        assert await circle(case) == Purged(0, 0, 0)
        await age(case, 1)
        assert (await circle(case)).deliveries == 1
        assert await case.store.delivery(None, delivery) is None

    async def test_nothing_open_is_removed(self, case: Case) -> None:
        """However old, an open delivery stays, and its event, and the event of an open replay."""
        endpoint = await case.endpoint()
        new = case.new(endpoint, endpoint, lane="k")
        await case.accept(new)
        replayed = case.new()
        await case.accept(replayed)
        root = case.new_id()
        deliveries = [NewDelivery(endpoint, 1)]
        await case.store.replay(None, replayed.event.id, root, deliveries, await case.version())
        leased, unconfirmed = await case.endpoints(2)
        await case.publish(leased, unconfirmed)
        await case.claim_one(leased)
        assert await case.close(await case.claim_one(unconfirmed), State.UNCONFIRMED, wait_s=10 * KEPT_S)
        before = await case.listed()
        young = await age(case)
        removed = await circle(case, Keep(0.0))
        assert (removed.deliveries, removed.events) == (0, 0)
        assert [row for row in await case.listed() if row.id != young] == before
        for event in (new.event, replayed.event):
            assert await case.store.event(None, event.id) == event

    async def test_a_replay_keeps_its_event(self, case: Case) -> None:
        """An event stays while one of its replays is kept, and goes with the last."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        await case.close(await case.claim_one(endpoint))
        case.clock.advance(KEPT_S / 2)
        root = case.new_id()
        deliveries = [NewDelivery(endpoint, 1)]
        await case.store.replay(None, new.event.id, root, deliveries, await case.version())
        await case.close(await case.claim_one(endpoint))
        await age(case, KEPT_S / 2 + 1)
        removed = await circle(case)
        assert (removed.deliveries, removed.events) == (1, 0)
        assert (await case.row(ids.delivery_id(root, 1))).event_id == new.event.id
        await age(case, KEPT_S)
        await circle(case)
        assert await case.store.delivery(None, ids.delivery_id(root, 1)) is None
        assert await case.store.event(None, new.event.id) is None

    async def test_what_expired_is_kept_for_a_day(self, case: Case) -> None:
        """A delivery that expired can be seen for a day after that, with its event, whatever the retention."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await age(case)
        assert await expire(case) == [delivery]
        await age(case, EXPIRED_KEPT_S - 1)
        await circle(case)
        assert (await case.row(delivery)).reason == "expired"
        assert await case.store.event(None, delivery[: ids.ROOT_BYTES]) is not None
        await age(case, 1)
        await circle(case)
        assert await case.store.delivery(None, delivery) is None
        assert await case.store.event(None, delivery[: ids.ROOT_BYTES]) is None
        assert (await case.counts("default", endpoint)).failed == 1

    async def test_in_bounded_steps(self, case: Case) -> None:
        """Steps go on where the last one ended, each within its limit, until nothing was examined."""
        endpoint = await case.endpoint()
        for _ in range(7):
            await case.publish(endpoint, endpoint)
        for claimed in await case.claim(endpoint):
            await case.close(claimed)
        await age(case)
        removed = await circle(case, limit=3)
        assert (removed.deliveries, removed.events) == (14, 7)
        assert len(await case.listed()) == 1

    async def test_a_delivery_with_many_attempts(self, case: Case) -> None:
        """One that was retried more often than a step is long goes all the same, with all its attempts."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        for _ in range(8):
            await case.close(await case.claim_one(endpoint), State.PENDING)
        await case.store.discard(None, delivery)
        await age(case)
        while (step := await case.store.purge(KEEP, 3)).examined:
            assert step.deliveries <= 1
        assert await case.store.delivery(None, delivery) is None
        assert list(await case.store.attempts(delivery)) == []

    async def test_each_tenant_has_his_own_retention(self, case: Case) -> None:
        """What one tenant keeps for longer does not keep another's, nor the other way round."""
        deliveries = {}
        for tenant in ("short", "default", "long"):
            endpoint = await case.endpoint(tenant)
            deliveries[tenant] = await case.one(endpoint, tenant=tenant)
            await case.close(await case.claim_one(endpoint))
        keep = Keep(KEPT_S, {"short": 10.0, "long": 10 * KEPT_S})
        for waited_s, gone in ((11, {"short"}), (KEPT_S, {"short", "default"}), (10 * KEPT_S, set(deliveries))):
            await age(case, waited_s)
            await circle(case, keep, limit=2)
            for tenant, delivery in deliveries.items():
                assert (await case.store.delivery(None, delivery) is None) == (tenant in gone)
                assert (await case.store.event(None, delivery[: ids.ROOT_BYTES]) is None) == (tenant in gone)

    async def test_a_fan_out_that_is_not_unfolded_keeps_its_event(self, case: Case) -> None:
        """The event of a fan-out row stays until the row is unfolded and its deliveries are gone."""
        first, second = await case.endpoints(2)
        new = case.new(fanout=[first, second])
        await case.accept(new)
        await age(case)
        assert (await circle(case)).events == 0
        await case.store.unfold()
        assert [claimed.event for claimed in await case.claim(first)] == [new.event]

    async def test_a_lane_goes_on_without_its_block(self, case: Case) -> None:
        """A failed delivery that blocked its lane is purged: the next one is promoted."""
        endpoint = await case.endpoint()
        await case.one(endpoint, lane="k")
        assert await case.close(await case.claim_one(endpoint), State.FAILED)
        await age(case)
        following = await case.one(endpoint, lane="k")
        assert await case.words(following) == ["held"]
        assert (await circle(case)).deliveries == 1
        assert await case.words(following) == ["pending"]
        assert (await case.claim_one(endpoint)).delivery_id == following
        assert await case.store.sweep_lanes() == 0

    async def test_what_was_retried_is_not_removed(self, case: Case) -> None:
        """One that is open again is open work, and its attempts stay with it."""
        endpoint = await case.endpoint()
        delivery, _ = await case.failed(endpoint)
        await age(case)
        await case.store.reopen(None, delivery)
        assert (await circle(case)).deliveries == 0
        assert await case.words(delivery) == ["pending"]
        assert len(await case.store.attempts(delivery)) == 1

    async def test_old_changes_are_forgotten(self, case: Case) -> None:
        """A reader can go on from a position for as long as changes are kept, and not for ever."""
        endpoint = await case.endpoint()
        await case.store.discard(None, await case.one(endpoint))
        position = await case.store.stream_end()
        await case.store.discard(None, await case.one(endpoint))
        keep = Keep(100 * CHANGES_KEPT_S)
        await age(case, CHANGES_KEPT_S - 1)
        await circle(case, keep)
        assert len(await case.store.stream(position)) > 1
        case.clock.advance(2)
        await case.store.discard(None, await case.one(endpoint))
        await circle(case, keep)
        with pytest.raises(NotFound):
            await case.store.stream(position)
        await case.store.stream(await case.store.stream_end())

    async def test_ended_replays_are_forgotten(self, case: Case) -> None:
        """A replay that has ended goes after the retention; one that runs stays."""
        rows = [ReplayRow(case.new_id(), "default", b"{}") for _ in range(2)]
        for row in rows:
            await case.store.put_replay(row)
        await case.store.end_replay(None, rows[0].id, "done")
        await age(case, KEPT_S)
        await circle(case)
        assert await case.store.replay_of(None, rows[0].id) is not None
        case.clock.advance(1)
        await circle(case)
        assert await case.store.replay_of(None, rows[0].id) is None
        assert await case.store.replay_of(None, rows[1].id) is not None

    async def test_endpoints_long_gone(self, case: Case) -> None:
        """Long after its deletion nothing of an endpoint is left, and the books of its tenant are as they were."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.change_health(endpoint, wait_s=1)
        await case.store.delete_endpoint(endpoint)
        while await case.store.close_deleted():
            pass
        version = await case.version()
        await case.store.fold()
        await age(case, KEPT_S + EXPIRED_KEPT_S + 1)
        await circle(case)
        assert await case.store.delivery(None, delivery) is None
        assert [row.id for row in (await case.store.changes(version - 1)).endpoints if row.deleted] == []
        counts = await case.counts("default")
        assert (counts.deliveries, counts.discarded, counts.delivered) == (2, 1, 1)

    async def test_purging_is_durable(self, case: Case) -> None:
        """What was purged is gone for the next process too, and it purges from the beginning."""
        endpoint = await case.endpoint()
        gone, left = [await case.one(endpoint) for _ in range(2)]
        for claimed in await case.claim(endpoint):
            await case.close(claimed)
        young = await age(case)
        assert (await case.store.purge(KEEP, 2)).deliveries == 1
        await case.restart()
        assert await case.store.delivery(None, gone) is None
        assert await case.words(left, young) == ["delivered", "delivered"]
        await circle(case)
        assert await case.store.delivery(None, left) is None
