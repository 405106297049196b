"""Looking: lists with filters and cursors, newest first, true at any time."""

from __future__ import annotations

from typing import Any

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.ports.store import NewDelivery, Query
from hookline.testing.samples import full_event
from hookline.testing.store_contract.case import Case, StoreContract, outcome


class TestEvents(StoreContract):
    """Lists of events."""

    async def published(self, case: Case, count: int, **changes: Any) -> list[Event]:
        """So many events, 1 s apart, newest first."""
        events = []
        for _ in range(count):
            new = case.new(**changes)
            await case.accept(new)
            events.append(new.event)
            case.clock.advance(1)
        return events[::-1]

    async def test_newest_first(self, case: Case) -> None:
        """Events are listed newest first, whole."""
        events = await self.published(case, 4)
        assert await case.listed_events() == events

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 250])
    async def test_pages_follow_each_other(self, case: Case, limit: int) -> None:
        """Whatever the limit, the pages together are the list: nothing twice, nothing missing."""
        events = await self.published(case, 7)
        assert await case.listed_events(limit=limit) == events

    async def test_a_page_does_not_move(self, case: Case) -> None:
        """What is accepted between two pages does not shift the second."""
        events = await self.published(case, 4)
        first = await case.store.events(Query(tenant=None, limit=2))
        await self.published(case, 3)
        second = await case.store.events(Query(tenant=None, limit=2, before=first.next))
        assert [*first.rows, *second.rows] == events

    async def test_filters(self, case: Case) -> None:
        """Each filter alone, and all together, list exactly the events that have those values."""
        plain = case.new()
        filled = full_event(7, case.store.now_ms() + 1)
        await case.accept(plain)
        await case.accept(type(plain)(filled), type(plain)(full_event(8, case.store.now_ms() + 1, type="other")))
        filters: dict[str, Any] = {
            "type": filled.type,
            "source_id": filled.source_id,
            "tenant": "default",
        }
        assert await case.listed_events(type=filled.type) == [filled]
        assert await case.listed_events(source_id=filled.source_id) == [filled]
        assert len(await case.listed_events(source=filled.source)) == 2
        assert len(await case.listed_events(subject=filled.subject)) == 2
        assert await case.listed_events(**filters, source=filled.source, subject=filled.subject) == [filled]
        assert await case.listed_events(type="nobody.said") == []
        assert await case.listed_events(tenant="nobody") == []

    async def test_since_is_inclusive_and_until_exclusive(self, case: Case) -> None:
        """A span lists the events accepted at its beginning and none accepted at its end."""
        newest, middle, oldest = await self.published(case, 3)
        since = {"since_ms": middle.accepted_at_ms}
        until = {"until_ms": middle.accepted_at_ms}
        assert await case.listed_events(**since) == [newest, middle]
        assert await case.listed_events(**until) == [oldest]
        assert await case.listed_events(since_ms=oldest.accepted_at_ms, until_ms=newest.accepted_at_ms) == [
            middle,
            oldest,
        ]
        assert await case.listed_events(**since, **until) == []

    async def test_one_event(self, case: Case) -> None:
        """An event is found by its id in its own tenant, or in any, and an unknown id is None."""
        (event,) = await self.published(case, 1)
        assert await case.store.event("default", event.id) == event
        assert await case.store.event(None, event.id) == event
        assert await case.store.event("other", event.id) is None
        assert await case.store.event(None, b"\x01" * 12) is None


class TestDeliveries(StoreContract):
    """Lists of deliveries: open and closed are one list."""

    async def one_in_each_state(self, case: Case, endpoint: bytes) -> dict[str, bytes]:
        """A delivery in each state but unconfirmed, by its word."""
        made: dict[str, bytes] = {}
        for word, after in (("delivered", State.DELIVERED), ("failed", State.FAILED)):
            made[word] = await case.one(endpoint)
            await case.close(await case.claim_one(endpoint), after, reason=None if word == "delivered" else "gone")
        made["leased"] = await case.one(endpoint)
        await case.claim_one(endpoint)
        made["pending"] = await case.one(endpoint, lane="k")
        made["held"] = await case.one(endpoint, lane="k")
        made["discarded"] = await case.one(endpoint)
        await case.store.discard(None, made["discarded"])
        return made

    async def test_every_state_has_its_word(self, case: Case) -> None:
        """Open and closed are listed together, newest first, and each state's filter lists its own."""
        made = await self.one_in_each_state(case, await case.endpoint())
        rows = await case.listed()
        assert [row.id for row in rows] == sorted(made.values(), reverse=True)
        assert {row.state: row.id for row in rows} == made
        for word, delivery in made.items():
            assert [row.id for row in await case.listed(state=word)] == [delivery]
        assert await case.listed(state="unconfirmed") == []

    @pytest.mark.parametrize("limit", [1, 2, 4, 250])
    async def test_pages_follow_each_other(self, case: Case, limit: int) -> None:
        """Whatever the limit, open and closed ones in turn, the pages together are the list."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint) for _ in range(9)]
        for claimed in (await case.claim(endpoint))[::2]:
            await case.close(claimed)
        assert [row.id for row in await case.listed(limit=limit)] == deliveries[::-1]
        assert len(await case.listed(limit=limit, state="delivered")) == 5
        assert len(await case.listed(limit=limit, state="leased")) == 4

    async def test_a_row_tells_where_it_stands(self, case: Case) -> None:
        """A row has its event's type, its times and its key, from acceptance to the end."""
        endpoint = await case.endpoint("other")
        new = case.new(endpoint, tenant="other", type="stock.low", lane="sku-1")
        created_ms = case.store.now_ms()
        await case.accept(new)
        row = await case.row(ids.delivery_id(new.event.id, 1))
        assert (row.tenant, row.type, row.ordering_key, row.replay_of) == ("other", "stock.low", "sku-1", None)
        assert (row.event_id, row.endpoint_id) == (new.event.id, endpoint)
        assert (row.created_at_ms, row.next_at_ms, row.finished_at_ms) == (created_ms, created_ms, None)
        case.clock.advance(3)
        await case.close(await case.claim_one(endpoint))
        row = await case.row(row.id)
        assert (row.created_at_ms, row.next_at_ms, row.finished_at_ms) == (created_ms, None, created_ms + 3000)
        assert (row.tenant, row.type, row.ordering_key) == ("other", "stock.low", "sku-1")

    async def test_filters(self, case: Case) -> None:
        """Each filter lists exactly the deliveries that have those values, open or closed."""
        first, second = await case.endpoints(2)
        theirs = await case.endpoint("other")
        one = case.new(first, second)
        await case.accept(one)
        case.clock.advance(1)
        two, other = case.new(second, type="user.created"), case.new(theirs, tenant="other")
        await case.accept(two)
        await case.accept(other)
        claimed = await case.claim(second)
        await case.close(claimed[0], State.FAILED, reason="timeout")
        await case.close(claimed[1], State.PENDING, reason="connect")

        async def found(**filters: Any) -> set[bytes]:
            return {row.id for row in await case.listed(**filters)}

        one_first, one_second = ids.delivery_id(one.event.id, 1), ids.delivery_id(one.event.id, 2)
        two_second, other_theirs = ids.delivery_id(two.event.id, 1), ids.delivery_id(other.event.id, 1)
        assert await found(tenant="default") == {one_first, one_second, two_second}
        assert await found(tenant="other") == {other_theirs}
        assert await found(endpoint_id=second) == {one_second, two_second}
        assert await found(event_id=one.event.id) == {one_first, one_second}
        assert await found(type="user.created") == {two_second}
        assert await found(reason="timeout") == {one_second}
        assert await found(reason="connect", state="pending") == {two_second}
        assert await found(reason="connect", state="failed") == set()
        assert await found(since_ms=two.event.accepted_at_ms) == {two_second, other_theirs}
        assert await found(until_ms=two.event.accepted_at_ms) == {one_first, one_second}
        assert await found(tenant="other", endpoint_id=second) == set()
        assert await found(tenant="other", event_id=one.event.id) == set()

    async def test_filters_hold_over_pages(self, case: Case) -> None:
        """A filter with a small limit finds all that match, however many do not lie between."""
        rare, common = await case.endpoints(2)
        wanted = []
        for number in range(40):
            delivery = await case.one(rare if number % 8 == 0 else common)
            if number % 8 == 0:
                wanted.append(delivery)
        assert [row.id for row in await case.listed(endpoint_id=rare, limit=2)] == wanted[::-1]

    async def test_one_delivery(self, case: Case) -> None:
        """A delivery is found by its id in its own tenant, or in any, and an unknown id is None."""
        delivery = await case.one(await case.endpoint())
        assert await case.store.delivery("default", delivery) == await case.row(delivery)
        assert await case.store.delivery("other", delivery) is None
        assert await case.store.delivery(None, b"\x01" * 16) is None
        assert list(await case.store.attempts(b"\x01" * 16)) == []

    async def test_a_replay_is_listed_by_its_own_time(self, case: Case) -> None:
        """A replayed delivery is listed with its event, names it, and was made when it was replayed."""
        endpoint = await case.endpoint()
        new = case.new(endpoint)
        await case.accept(new)
        case.clock.advance(3600)
        root = case.new_id()
        await case.store.replay(None, new.event.id, root, [NewDelivery(endpoint, 1)], await case.version())
        replayed, original = await case.listed(event_id=new.event.id)
        assert (replayed.id, replayed.replay_of) == (ids.delivery_id(root, 1), new.event.id)
        assert replayed.event_id == original.event_id == new.event.id
        assert replayed.type == new.event.type
        assert replayed.created_at_ms == original.created_at_ms + 3_600_000
        assert [row.id for row in await case.listed(since_ms=replayed.created_at_ms)] == [replayed.id]


@pytest.mark.rule(n=19)
class TestRunnable(StoreContract):
    """`runnable_oldest_s`: only what could start now, so that one dead endpoint does not scale the fleet."""

    async def expect(self, case: Case, endpoints: int, oldest_s: float) -> None:
        """So many endpoints, and the oldest for so long."""
        found, found_s = await case.store.runnable_oldest_s()
        assert (found, round(found_s, 1)) == (endpoints, oldest_s)

    async def test_nothing(self, case: Case) -> None:
        """With nothing to do no endpoint is runnable."""
        await case.endpoint()
        assert await case.store.runnable_oldest_s() == (0, 0)

    async def test_what_is_due_counts_from_its_time(self, case: Case) -> None:
        """Endpoints with something due are counted, and the oldest tells how long it has been due."""
        first, second = await case.endpoints(2)
        await case.one(first, wait_s=5)
        for _ in range(3):
            await case.one(second, wait_s=8)
        assert await case.store.runnable_oldest_s() == (0, 0)
        case.clock.advance(6)
        await self.expect(case, 1, 1)
        case.clock.advance(6)
        await self.expect(case, 2, 7)

    async def test_what_may_not_start_is_not_counted(self, case: Case) -> None:
        """Paused, deleted, waiting and failing endpoints, leased and held deliveries are not runnable."""
        paused, deleted, waiting, failing, busy = await case.endpoints(5)
        await case.publish(paused, deleted, waiting, failing)
        for _ in range(2):
            await case.one(busy, lane="k")
        await case.claim_one(busy)
        await case.pause(paused)
        await case.store.delete_endpoint(deleted)
        await case.change_health(waiting, wait_s=3600)
        await case.change_health(failing, probe_s=3600)
        case.clock.advance(60)
        assert await case.store.runnable_oldest_s() == (0, 0)
        await case.resume(paused)
        await self.expect(case, 1, 60)

    async def test_what_was_closed_is_not_counted(self, case: Case) -> None:
        """A store that has delivered everything has nothing runnable."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.record(outcome(await case.claim_one(endpoint)))
        assert await case.store.runnable_oldest_s() == (0, 0)
