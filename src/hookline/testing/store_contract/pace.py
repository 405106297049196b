"""The pace of an endpoint: its rate, the receiver's Retry-After, and probes while it is failing."""

from __future__ import annotations

import asyncio

import pytest

from hookline.core.delivery import State
from hookline.core.endpoint import RateSpec
from hookline.ports.store import HealthChange, HealthRow
from hookline.testing.store_contract.case import LEASE_S, Case, StoreContract, entry, outcome


@pytest.mark.rule(n=10)
class TestRate(StoreContract):
    """A token bucket per endpoint, in the store, so that every process takes from the same one."""

    async def test_a_burst_then_one_by_one(self, case: Case) -> None:
        """With 2 per second two go at once, then one each half second, and the missing token is told as wait."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=2, per_s=1.0)
        for _ in range(6):
            await case.one(endpoint)
        result = await case.ask(entry(endpoint, rate=rate))
        assert len(result.claimed) == 2
        assert result.next_due_s[endpoint] == pytest.approx(0.5, abs=0.01)
        assert await case.claim(endpoint, rate=rate) == []
        for _ in range(3):
            case.clock.advance(0.5)
            assert len(await case.claim(endpoint, rate=rate)) == 1
            assert await case.claim(endpoint, rate=rate) == []

    async def test_a_burst_of_its_own(self, case: Case) -> None:
        """The burst says how many go at once, whatever the rate, and a long silence earns no more than it."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=1, per_s=10.0, burst=3)
        for _ in range(12):
            await case.one(endpoint)
        assert len(await case.claim(endpoint, rate=rate)) == 3
        case.clock.advance(3600)
        assert len(await case.claim(endpoint, rate=rate)) == 3
        case.clock.advance(10)
        assert len(await case.claim(endpoint, rate=rate)) == 1

    async def test_slots_use_only_the_tokens_they_take(self, case: Case) -> None:
        """A claim that takes fewer than the tokens there are leaves the others."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=5, per_s=60.0)
        for _ in range(6):
            await case.one(endpoint)
        taken = [len(await case.claim(endpoint, slots=2, rate=rate)) for _ in range(4)]
        assert taken == [2, 2, 1, 0]

    async def test_a_claim_of_nothing_uses_no_token(self, case: Case) -> None:
        """Asking while nothing is due, or the cap is full, costs no token."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=2, per_s=60.0)
        for _ in range(3):
            assert await case.claim(endpoint, rate=rate) == []
        for _ in range(3):
            await case.one(endpoint)
        first = await case.claim(endpoint, rate=rate, concurrency_max=1)
        assert await case.claim(endpoint, rate=rate, concurrency_max=1) == []
        await case.close(first[0])
        assert len(await case.claim(endpoint, rate=rate, concurrency_max=1)) == 1

    async def test_a_rate_over_time(self, case: Case) -> None:
        """Over a minute an endpoint with 3 per second gets its burst and 3 per second, not one more."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=3, per_s=1.0)
        await case.accept(*(case.new(endpoint) for _ in range(250)))
        claimed = 0
        for _ in range(200):
            claimed += len(await case.claim(endpoint, rate=rate))
            case.clock.advance(0.3)
        assert 3 + 59.7 * 3 - 1 <= claimed <= 3 + 59.7 * 3

    async def test_parallel_claims_share_the_tokens(self, case: Case) -> None:
        """Eight claims at once get the burst once."""
        endpoint = await case.endpoint()
        for _ in range(20):
            await case.one(endpoint)
        rate = RateSpec(n=4, per_s=60.0)
        results = await asyncio.gather(*(case.claim(endpoint, rate=rate) for _ in range(8)))
        assert sum(map(len, results)) == 4

    async def test_a_restart_earns_no_new_burst(self, case: Case) -> None:
        """The bucket is the store's: a process that dies and starts again finds it as empty as it left it."""
        endpoint = await case.endpoint()
        rate = RateSpec(n=2, per_s=3600.0)
        for _ in range(4):
            await case.one(endpoint)
        assert len(await case.claim(endpoint, rate=rate)) == 2
        await case.restart()
        assert await case.claim(endpoint, rate=rate) == []

    async def test_a_rate_delays_nobody_else(self, case: Case) -> None:
        """An endpoint without tokens takes nothing from the others of the same claim."""
        limited, free = await case.endpoints(2)
        for _ in range(3):
            await case.publish(limited, free)
        result = await case.ask(entry(limited, rate=RateSpec(n=1, per_s=60.0)), entry(free))
        assert [c.endpoint_id for c in result.claimed] == [limited, free, free, free]


@pytest.mark.rule(n=9)
class TestRetryAfter(StoreContract):
    """The receiver asked the whole endpoint to wait."""

    async def test_nothing_is_claimed_before(self, case: Case) -> None:
        """While an endpoint waits nothing of it is claimed, and the rest of the wait is told."""
        endpoint = await case.endpoint()
        delivery = await case.one(endpoint)
        await case.change_health(endpoint, wait_s=30)
        case.clock.advance(10)
        result = await case.ask(entry(endpoint))
        assert not result.claimed
        assert result.next_due_s == {endpoint: pytest.approx(20, abs=0.01)}
        assert await case.claim(endpoint, probe=True) == []
        assert await case.words(delivery) == ["pending"]
        case.clock.advance(20)
        assert len(await case.claim(endpoint)) == 1

    async def test_the_wait_outlives_the_process(self, case: Case) -> None:
        """A restart does not end the wait."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.change_health(endpoint, wait_s=300)
        await case.restart()
        assert await case.claim(endpoint) == []
        case.clock.advance(300)
        assert len(await case.claim(endpoint)) == 1

    async def test_a_later_due_time_counts(self, case: Case) -> None:
        """A delivery that is due after the wait's end is told with its own time."""
        endpoint = await case.endpoint()
        await case.one(endpoint, wait_s=100)
        await case.change_health(endpoint, wait_s=30)
        assert (await case.ask(entry(endpoint))).next_due_s == {endpoint: pytest.approx(100, abs=0.01)}


@pytest.mark.rule(n=14)
class TestProbe(StoreContract):
    """A failing endpoint gets one delivery at a time, at its probe's time, until one succeeds."""

    async def test_nothing_but_a_probe_at_its_time(self, case: Case) -> None:
        """Before the probe's time nothing is claimed, and from it on only by an entry that is a probe."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        await case.change_health(endpoint, probe_s=5)
        result = await case.ask(entry(endpoint))
        assert not result.claimed
        assert result.next_due_s == {endpoint: pytest.approx(5, abs=0.01)}
        assert await case.claim(endpoint, probe=True) == []
        case.clock.advance(5)
        assert await case.claim(endpoint) == []
        assert len(await case.claim(endpoint, probe=True)) == 1

    async def test_a_probe_is_the_oldest_and_says_how_early_it_is(self, case: Case) -> None:
        """A probe takes the oldest delivery even before its own time, and tells by how much it is early."""
        endpoint = await case.endpoint()
        oldest = await case.one(endpoint, wait_s=100)
        await case.one(endpoint, wait_s=200)
        await case.change_health(endpoint, probe_s=5)
        case.clock.advance(5)
        probe = await case.claim_one(endpoint, probe=True)
        assert probe.delivery_id == oldest
        assert probe.early_s == pytest.approx(95, abs=0.01)

    async def test_a_probe_in_time_is_not_early(self, case: Case) -> None:
        """A probe of a delivery that was due anyway is early by nothing."""
        endpoint = await case.endpoint()
        await case.one(endpoint, wait_s=3)
        await case.change_health(endpoint, probe_s=5)
        case.clock.advance(5)
        assert (await case.claim_one(endpoint, probe=True)).early_s == 0

    async def test_only_a_failing_endpoint_is_probed(self, case: Case) -> None:
        """Of an endpoint that is not failing, or no longer, a probe takes nothing before its time."""
        endpoint = await case.endpoint()
        await case.one(endpoint, wait_s=100)
        assert await case.claim(endpoint, probe=True) == []
        await case.change_health(endpoint, probe_s=0)
        await case.change_health(endpoint)
        assert await case.claim(endpoint, probe=True) == []
        case.clock.advance(100)
        assert len(await case.claim(endpoint)) == 1

    async def test_only_one_probe_at_a_time(self, case: Case) -> None:
        """Whatever the slots, a probe is one delivery, and while it or any other lease runs there is no other."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        running = await case.claim_one(endpoint)
        await case.change_health(endpoint, probe_s=0)
        assert await case.claim(endpoint, probe=True) == []
        await case.close(running, State.PENDING, wait_s=0)
        results = await asyncio.gather(*(case.claim(endpoint, probe=True) for _ in range(4)))
        assert sum(map(len, results)) == 1
        assert await case.claim(endpoint, probe=True) == []

    async def test_a_hand_off_in_flight_is_a_lease_too(self, case: Case) -> None:
        """While a handed-off delivery runs there is no probe."""
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        await case.one(endpoint)
        await case.change_health(endpoint, probe_s=0)
        assert await case.claim(endpoint, probe=True) == []
        await case.close(lease)
        assert len(await case.claim(endpoint, probe=True)) == 1

    async def test_a_failed_probe_waits_for_the_next_time(self, case: Case) -> None:
        """After a probe was recorded with a later probe time, nothing is claimed before that."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.change_health(endpoint, probe_s=1)
        case.clock.advance(1)
        await case.close(await case.claim_one(endpoint, probe=True), State.PENDING, wait_s=1, tries=0)
        await case.change_health(endpoint, probe_s=2)
        case.clock.advance(1.9)
        assert await case.claim(endpoint, probe=True) == []
        case.clock.advance(0.1)
        assert len(await case.claim(endpoint, probe=True)) == 1

    async def test_success_opens_the_endpoint(self, case: Case) -> None:
        """Once health says it is not failing any more, claims take what is due as before."""
        endpoint = await case.endpoint()
        for _ in range(3):
            await case.one(endpoint)
        await case.change_health(endpoint, probe_s=0)
        await case.close(await case.claim_one(endpoint, probe=True))
        await case.change_health(endpoint)
        assert len(await case.claim(endpoint)) == 2

    async def test_failing_outlives_the_process(self, case: Case) -> None:
        """The next process knows that an endpoint is failing and when its probe is due."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.change_health(endpoint, probe_s=60)
        await case.restart()
        assert await case.claim(endpoint) == []
        assert await case.claim(endpoint, probe=True) == []
        case.clock.advance(60)
        assert len(await case.claim(endpoint, probe=True)) == 1

    async def test_a_probe_is_leased_like_any_other(self, case: Case) -> None:
        """A probe's lease is fenced and runs out like any other."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await case.change_health(endpoint, probe_s=0)
        probe = await case.claim_one(endpoint, probe=True)
        case.clock.advance(LEASE_S + 16)
        assert [lost.delivery_id for lost in await case.store.lost()] == [probe.delivery_id]


class TestHealth(StoreContract):
    """Health is compared and set: of two who judge by the same version one is heard."""

    async def test_health_is_kept(self, case: Case) -> None:
        """What was set is read back, the waits counted from now, and another endpoint's is its own."""
        endpoint, other = await case.endpoints(2)
        await case.change_health(endpoint, wait_s=30, probe_s=60, packed=b"\x00packed\xff")
        await case.change_health(other, packed=b"fine")
        case.clock.advance(10)
        rows = {row.endpoint_id: row for row in await case.store.healths()}
        assert set(rows) == {endpoint, other}
        assert (rows[endpoint].version, rows[endpoint].packed) == (1, b"\x00packed\xff")
        assert rows[endpoint].wait_s == pytest.approx(20, abs=0.01)
        assert rows[endpoint].probe_s == pytest.approx(50, abs=0.01)
        assert (rows[other].wait_s, rows[other].probe_s) == (None, None)

    async def test_health_by_an_old_version_is_not_heard(self, case: Case) -> None:
        """A change by a version that is not the stored one applies nothing of itself, and the next can."""
        endpoint = await case.endpoint()

        async def change(version: int, packed: bytes) -> bool:
            result = await case.record(healths=[HealthChange(HealthRow(endpoint, version, packed))])
            return result.health_applied[0]

        assert await change(0, b"first")
        assert not await change(0, b"late")
        assert not await change(7, b"ahead")
        assert await change(1, b"second")
        assert [(row.version, row.packed) for row in await case.store.healths()] == [(2, b"second")]

    async def test_outcomes_apply_beside_health_that_does_not(self, case: Case) -> None:
        """In one record an outcome and a stale health change do not depend on each other."""
        endpoint = await case.endpoint()
        await case.one(endpoint)
        claimed = await case.claim_one(endpoint)
        await case.change_health(endpoint)
        from_old = HealthChange(HealthRow(endpoint, 0, b"late"))
        result = await case.record(outcome(claimed), healths=[from_old])
        assert (list(result.applied), list(result.health_applied)) == ([True], [False])
        assert await case.words(claimed.delivery_id) == ["delivered"]
