"""Held: what an endpoint's state or a lane holds back, told truthfully, without an update of any delivery."""

from __future__ import annotations

import pytest

from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.testing.store_contract.case import HELD_STATES, Case, StoreContract


class TestHeld(StoreContract):
    """Reported alike in lists, filters and books."""

    @pytest.mark.parametrize("state", HELD_STATES)
    async def test_what_is_pending_is_reported_held(self, case: Case, state: EndpointState) -> None:
        """While its endpoint does not deliver, a pending one is held in its row, in lists and in all books."""
        endpoint, other = await case.endpoints(2)
        mine, elsewhere = await case.publish(endpoint, other)
        await case.store.set_endpoint_state(endpoint, state)
        assert await case.words(mine, elsewhere) == ["held", "pending"]
        assert (await case.row(mine)).next_at_ms is None
        assert [row.id for row in await case.listed(state="held")] == [mine]
        assert [row.id for row in await case.listed(state="pending")] == [elsewhere]
        for counts in (await case.counts(), await case.counts("default")):
            assert (counts.held, counts.pending) == (1, 1)
        counts = await case.counts("default", endpoint)
        assert (counts.held, counts.pending) == (1, 0)

    async def test_attempts_that_run_stay_leased(self, case: Case) -> None:
        """A pause leaves what is in flight leased, and its outcome is recorded."""
        endpoint = await case.endpoint()
        for _ in range(2):
            await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.pause(endpoint)
        counts = await case.counts("default", endpoint)
        assert (counts.leased, counts.held, counts.pending) == (1, 1, 0)
        assert await case.words(claimed.delivery_id) == ["leased"]
        assert await case.close(claimed)
        assert (await case.counts("default", endpoint)).delivered == 1

    async def test_a_retry_on_a_paused_endpoint_is_held(self, case: Case) -> None:
        """An attempt that ends in a pause with a retry is held until the endpoint runs again."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.pause(endpoint)
        await case.close(claimed, State.PENDING)
        assert await case.words(claimed.delivery_id) == ["held"]
        await case.resume(endpoint)
        assert await case.words(claimed.delivery_id) == ["pending"]

    async def test_resuming_brings_it_back(self, case: Case) -> None:
        """After resume all is pending as before, due as before, in lists and books, also across a restart."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint, wait_s=100)
        before = await case.row(delivery)
        await case.pause(endpoint)
        await case.restart()
        assert await case.words(delivery) == ["held"]
        assert (await case.counts("default", endpoint)).held == 1
        await case.resume(endpoint)
        assert await case.row(delivery) == before
        assert (await case.counts("default", endpoint)).held == 0

    async def test_accepting_goes_on(self, case: Case) -> None:
        """A paused endpoint gets its deliveries: accepted, counted and held."""
        endpoint = await case.endpoint()
        await case.pause(endpoint)
        delivery = await case.one(endpoint)
        assert await case.words(delivery) == ["held"]
        counts = await case.counts("default", endpoint)
        assert (counts.deliveries, counts.held) == (1, 1)

    async def test_failing_and_waiting_are_pending(self, case: Case) -> None:
        """What waits for Retry-After or for a probe is pending: the endpoint is active."""
        waiting, failing = await case.endpoints(2)
        deliveries = await case.publish(waiting, failing)
        await case.change_health(waiting, wait_s=60)
        await case.change_health(failing, probe_s=60)
        assert await case.words(*deliveries) == ["pending", "pending"]
        assert (await case.counts()).pending == 2

    async def test_a_lane_and_a_pause_are_held_alike(self, case: Case) -> None:
        """What waits in a lane is held while its endpoint is active, and all of the lane while it is not."""
        endpoint = await case.endpoint()
        deliveries = [await case.one(endpoint, lane="k") for _ in range(3)]
        assert [row.id for row in await case.listed(state="held")] == deliveries[:0:-1]
        assert (await case.counts()).held == 2
        await case.pause(endpoint)
        assert await case.words(*deliveries) == ["held"] * 3
        assert (await case.counts("default", endpoint)).held == 3
        await case.resume(endpoint)
        assert await case.words(*deliveries) == ["pending", "held", "held"]

    async def test_a_lane_moves_on_while_its_endpoint_is_paused(self, case: Case) -> None:
        """The head that was in flight at the pause ends, and its successor is the one that goes after resume."""
        endpoint = await case.endpoint()
        _, second, third = [await case.one(endpoint, lane="k") for _ in range(3)]
        head = await case.claim_one(endpoint)
        await case.pause(endpoint)
        await case.close(head)
        assert await case.words(second, third) == ["held", "held"]
        await case.resume(endpoint)
        assert await case.words(second, third) == ["pending", "held"]
        assert await case.store.sweep_lanes() == 0
