"""Big fan-outs: one row at acceptance, all of its deliveries in the books at once, unfolded in small commits."""

from __future__ import annotations

import pytest

from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import NewDelivery, NewEvent
from hookline.testing.store_contract.case import Case, StoreContract


@pytest.mark.rule(n=5)
class TestFanout(StoreContract):
    """`NewEvent.fanout` and `unfold`."""

    async def unfold_all(self, case: Case, limit: int = 500) -> list[int]:
        """Unfold to the end; how many endpoints each step touched."""
        steps = []
        remains = True
        while remains:
            due_s, remains = await case.store.unfold(limit)
            steps.append(len(due_s))
        return steps

    async def test_the_full_number_at_once(self, case: Case) -> None:
        """The answer and the tenant's books have the full number, as pending, before anything is unfolded."""
        endpoints = await case.endpoints(12)
        accepted = (await case.accept(case.new(fanout=endpoints)))[0]
        assert (accepted.deliveries, accepted.states) == (12, b"")
        for counts in (await case.counts("default"), await case.counts()):
            assert (counts.events, counts.deliveries, counts.pending) == (1, 12, 12)
        assert (await case.counts("default", endpoints[0])).deliveries == 0

    async def test_unfolding_in_steps(self, case: Case) -> None:
        """Each step makes at most `limit` deliveries and tells whether more remain; the books stay as they are."""
        endpoints = await case.endpoints(12)
        new = case.new(fanout=endpoints)
        await case.accept(new)
        seen: list[bytes] = []
        for expected in (5, 5, 2):
            due_s, remains = await case.store.unfold(5)
            assert len(due_s) == expected
            assert set(due_s.values()) == {0}
            seen += due_s
            assert remains == (len(seen) < 12)
            counts = await case.counts("default")
            assert (counts.deliveries, counts.pending) == (12, 12)
        assert sorted(seen) == sorted(endpoints)
        assert await case.store.unfold() == ({}, False)
        for endpoint in endpoints:
            counts = await case.counts("default", endpoint)
            assert (counts.deliveries, counts.pending) == (1, 1)
        rows = await case.listed(event_id=new.event.id)
        assert {row.id: row.endpoint_id for row in rows} == {
            ids.delivery_id(new.event.id, number): endpoint for number, endpoint in enumerate(endpoints, 1)
        }

    async def test_what_is_unfolded_is_delivered_like_any_other(self, case: Case) -> None:
        """An unfolded delivery is claimed with its event, recorded and counted."""
        endpoints = await case.endpoints(3)
        new = case.new(fanout=endpoints)
        await case.accept(new)
        await self.unfold_all(case)
        for endpoint in endpoints:
            claimed = await case.claim_one(endpoint)
            assert claimed.event == new.event
            await case.close(claimed)
        counts = await case.counts("default")
        assert (counts.deliveries, counts.delivered, counts.pending) == (3, 3, 0)

    async def test_a_kill_in_between(self, case: Case) -> None:
        """Killed between two steps the fan-out goes on from its cursor: each endpoint gets one, none two."""
        endpoints = await case.endpoints(10)
        new = case.new(fanout=endpoints)
        await case.accept(new)
        await case.store.unfold(4)
        await case.restart()
        assert (await case.counts("default")).pending == 10
        await self.unfold_all(case, 4)
        rows = await case.listed(event_id=new.event.id)
        assert sorted(row.endpoint_id for row in rows) == sorted(endpoints)

    async def test_an_endpoint_deleted_meanwhile(self, case: Case) -> None:
        """A deleted endpoint gets its delivery closed as discarded, endpoint_deleted, and nothing is due for it."""
        kept, deleted = await case.endpoints(2)
        new = case.new(fanout=[deleted, kept])
        await case.accept(new)
        await case.store.delete_endpoint(deleted)
        assert await case.store.unfold() == ({kept: 0}, False)
        row = await case.row(ids.delivery_id(new.event.id, 1))
        assert (row.endpoint_id, row.state, row.reason) == (deleted, "discarded", "endpoint_deleted")
        assert row.finished_at_ms == case.store.now_ms()
        counts = await case.counts("default")
        assert (counts.deliveries, counts.pending, counts.discarded) == (2, 1, 1)

    async def test_an_endpoint_paused_meanwhile(self, case: Case) -> None:
        """A paused endpoint gets its delivery as usual: held."""
        running, paused = await case.endpoints(2)
        new = case.new(fanout=[running, paused])
        await case.accept(new)
        await case.pause(paused)
        await self.unfold_all(case)
        deliveries = [ids.delivery_id(new.event.id, number) for number in (1, 2)]
        assert await case.words(*deliveries) == ["pending", "held"]
        await case.resume(paused)
        assert len(await case.claim(paused)) == 1

    async def test_rows_of_lanes_beside_a_fan_out(self, case: Case) -> None:
        """What belongs to lanes is a row at once, with its state; the packed ones are numbered after them."""
        ordered, *endpoints = await case.endpoints(4)
        head = await case.one(ordered, lane="k")
        new = NewEvent(case.event(ordering_key="k"), [NewDelivery(ordered, 1, lane="k")], fanout=b"".join(endpoints))
        accepted = (await case.accept(new))[0]
        assert (accepted.deliveries, accepted.states) == (4, bytes([State.HELD]))
        assert await case.words(head, ids.delivery_id(new.event.id, 1)) == ["pending", "held"]
        await self.unfold_all(case)
        rows = await case.listed(event_id=new.event.id)
        assert {row.id: row.endpoint_id for row in rows} == {
            ids.delivery_id(new.event.id, number): endpoint for number, endpoint in enumerate([ordered, *endpoints], 1)
        }
        assert [(await case.counts("default", endpoint)).pending for endpoint in endpoints] == [1] * 3

    async def test_a_wait_counts_from_acceptance(self, case: Case) -> None:
        """Deliveries to be delivered later are due so long after acceptance, whenever they are unfolded."""
        endpoints = await case.endpoints(2)
        await case.accept(case.new(fanout=endpoints, wait_s=100))
        case.clock.advance(40)
        due_s, _ = await case.store.unfold()
        assert due_s == {endpoint: pytest.approx(60, abs=0.01) for endpoint in endpoints}
        assert await case.claim(endpoints[0]) == []
        case.clock.advance(60)
        assert len(await case.claim(endpoints[0])) == 1

    async def test_the_oldest_first(self, case: Case) -> None:
        """Of two fan-outs the one accepted first is unfolded first."""
        first, second = await case.endpoints(2)
        await case.accept(case.new(fanout=[first]))
        await case.accept(case.new(fanout=[second]))
        assert await case.store.unfold(1) == ({first: 0}, True)
        assert await case.store.unfold(1) == ({second: 0}, False)

    async def test_nothing_to_unfold(self, case: Case) -> None:
        """Without a fan-out there is nothing due and nothing remains."""
        assert await case.store.unfold() == ({}, False)

    async def test_tenants_have_their_own_numbers(self, case: Case) -> None:
        """A fan-out is in the books of its own tenant only."""
        endpoints = [await case.endpoint("other") for _ in range(3)]
        await case.accept(case.new(fanout=endpoints, tenant="other"))
        assert (await case.counts("default")).deliveries == 0
        assert (await case.counts("other")).deliveries == 3
        await self.unfold_all(case)
        assert (await case.counts("other")).pending == 3
