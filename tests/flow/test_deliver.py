"""Delivering: retries, caps, rates, pauses, lanes, health; by the told clock."""

from __future__ import annotations

import asyncio

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.core.history import AttemptRecord
from tests.flow.rig import OK, Rig

FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
GONE = Outcome(Kind.GONE, reason="gone", status=410)
ORDER = {"type": "order.created", "data": {"id": 1}}


async def test_a_failure_is_retried_by_schedule_until_it_is_delivered(rig: Rig) -> None:
    """Waits of 10 and 100 seconds (± 20 %) lead to tries 2 and 3 of the same delivery."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [10, 100]})
    rig.sender.script[endpoint.url] = [FAIL, FAIL]
    await rig.publish(ORDER)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1
    await rig.advance(7)
    assert rig.sender.times(endpoint.url) == 1
    await rig.advance(5.5, 1)
    assert rig.sender.times(endpoint.url) == 2
    await rig.advance(125, 5)
    assert [attempt for _, _, attempt in rig.sender.sent] == [1, 2, 3]
    assert (await rig.counts()).delivered == 1
    (row,) = await rig.deliveries()
    assert row.attempts == 3
    packed = [AttemptRecord.unpack(a.packed) for a in await rig.store.attempts(row.id)]
    assert [(a.number, a.status, a.reason) for a in packed] == [
        (1, 500, "server_error"),
        (2, 500, "server_error"),
        (3, 200, None),
    ]


async def test_used_up_tries_are_the_dead_letter_and_a_retry_reopens_it(rig: Rig) -> None:
    """After its last try a delivery is failed and listed; retried by a person, it is delivered with the same id."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [1]})
    rig.sender.script[endpoint.url] = [FAIL, FAIL]
    await rig.publish(ORDER)
    await rig.advance(3, 1)
    (row,) = await rig.deliveries(state="failed")
    assert row.reason == "server_error"
    assert (await rig.counts()).failed == 1
    await rig.store.reopen("default", row.id)
    rig.engine.wake.ready(endpoint.id)
    await rig.quiet()
    counts = await rig.counts()
    assert (counts.failed, counts.delivered, counts.deliveries) == (0, 1, 1)
    assert (await rig.deliveries())[0].id == row.id


async def test_gone_fails_the_delivery_and_disables_the_endpoint(rig: Rig) -> None:
    """A 410 ends both; what is published later is held, not lost."""
    endpoint = await rig.endpoint("a")
    rig.sender.script[endpoint.url] = [GONE]
    await rig.publish(ORDER)
    await rig.quiet()
    current = rig.engine.registry.endpoint(endpoint.id)
    assert current is not None
    assert current.state is EndpointState.DISABLED
    await rig.publish(ORDER)
    await rig.advance(100, 10)
    counts = await rig.counts()
    assert (counts.failed, counts.held) == (1, 1)
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.quiet()
    assert (await rig.counts()).delivered == 1


async def test_retry_after_makes_the_whole_endpoint_wait(rig: Rig) -> None:
    """While one answer's Retry-After runs, nothing else goes to that endpoint, and others are not delayed."""
    slow = await rig.endpoint("slow", retry={"schedule_s": [1, 1, 1]})
    quick = await rig.endpoint("quick")
    rig.sender.script[slow.url] = [Outcome(Kind.RETRY, reason="rate_limited", status=429, retry_after_s=60)]
    await rig.publish(ORDER)
    await rig.publish(ORDER)
    await rig.advance(50, 5)
    assert rig.sender.times(slow.url) == 1
    assert rig.sender.times(quick.url) == 2
    await rig.advance(20, 2)
    assert (await rig.counts()).delivered == 4


async def test_pause_holds_and_resume_lets_flow(rig: Rig) -> None:
    """Deliveries of a paused endpoint are reported held and go out after resume."""
    endpoint = await rig.endpoint("a")
    await rig.set_state(endpoint, EndpointState.PAUSED)
    for _ in range(5):
        await rig.publish(ORDER)
    await rig.advance(60, 10)
    assert rig.sender.sent == []
    assert (await rig.counts()).held == 5
    assert len(await rig.deliveries(state="held")) == 5
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.quiet()
    assert (await rig.counts()).delivered == 5


@pytest.mark.rule(n=14)
@pytest.mark.rule(n=10)
async def test_concurrency_never_passes_the_cap(rig: Rig) -> None:
    """At most `concurrency_max` attempts of an endpoint run at once, and it comes back slowly."""
    endpoint = await rig.endpoint("a", concurrency_max=4)
    await asyncio.gather(*(rig.publishing(ORDER) for _ in range(100)))
    await rig.until(lambda: len(rig.sender.sent) >= 100, "all sent")
    await rig.quiet()
    assert rig.sender.most[endpoint.url] <= 4
    assert (await rig.counts()).delivered == 100


async def test_rate_delays_without_using_tries(rig: Rig) -> None:
    """Over its rate an endpoint's deliveries wait as pending; others are not delayed."""
    limited = await rig.endpoint("limited", rate={"n": 2, "per_s": 1, "burst": 2})
    free = await rig.endpoint("free")
    await asyncio.gather(*(rig.publishing(ORDER) for _ in range(10)))
    await rig.quiet()
    assert rig.sender.times(limited.url) <= 2
    await rig.until(lambda: rig.sender.times(free.url) == 10, "the other is done")
    await rig.advance(2, 0.25)
    assert 4 <= rig.sender.times(limited.url) <= 6
    await rig.advance(4, 0.25)
    assert rig.sender.times(limited.url) == 10
    rows = await rig.deliveries(endpoint_id=limited.id)
    assert {row.attempts for row in rows} == {1}


@pytest.mark.rule(n=14)
async def test_ten_failures_in_a_row_make_it_failing_and_probes_use_no_try(rig: Rig) -> None:
    """A failing endpoint gets probes only; the others wait without using tries until one succeeds."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [1] * 50})
    rig.sender.default[endpoint.url] = FAIL
    for _ in range(3):
        await rig.publish(ORDER)
    await rig.advance(40, 0.5)
    assert rig.engine.registry.failing(endpoint.id)
    assert (endpoint.public_id, "failing") in rig.observer.changes
    before = rig.sender.times(endpoint.url)
    await rig.advance(300, 1)
    assert rig.sender.times(endpoint.url) - before <= 12
    rig.sender.default[endpoint.url] = OK
    await rig.advance(70, 1)
    assert not rig.engine.registry.failing(endpoint.id)
    assert (await rig.counts()).delivered == 3


async def test_a_dead_endpoint_is_disabled_after_five_days_and_its_deliveries_are_held(rig: Rig) -> None:
    """Without a success for five days an endpoint is disabled; what waits is held, and failed ones stay failed."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [3600] * 100})
    rig.sender.default[endpoint.url] = FAIL
    for _ in range(12):
        await rig.publish(ORDER)
    await rig.advance(30, 1)
    await rig.advance(6 * 86_400, 1800)
    current = rig.engine.registry.endpoint(endpoint.id)
    assert current is not None
    assert current.state is EndpointState.DISABLED
    counts = await rig.counts()
    assert counts.held == 12
    assert counts.failed == 0


@pytest.mark.parametrize("when_failed", ["wait", "skip"])
async def test_a_lane_keeps_its_order_across_retries(rig: Rig, when_failed: str) -> None:
    """Events with one key arrive one after the other in the order of their commit, though the first fails twice."""
    endpoint = await rig.endpoint("a", order={"by": "key", "when_failed": when_failed}, retry={"schedule_s": [5, 5]})
    rig.sender.script[endpoint.url] = [FAIL, FAIL]
    for n in range(5):
        await rig.publish({"type": "t", "data": n, "ordering_key": "k"})
    await rig.advance(20, 1)
    assert [data for _, data, _ in rig.sender.sent] == [b"0", b"0", b"0", b"1", b"2", b"3", b"4"]
    assert rig.sender.most[endpoint.url] == 1


async def test_a_failed_head_blocks_its_lane_until_it_is_discarded(rig: Rig) -> None:
    """With `wait` the lane stands behind its failed head; other lanes go on; discarding it lets the next go."""
    endpoint = await rig.endpoint("a", order="key", retry={"schedule_s": [1]})
    rig.sender.script[endpoint.url] = [FAIL, FAIL]
    for n in range(3):
        await rig.publish({"type": "t", "data": n, "ordering_key": "k"})
    await rig.advance(5, 0.5)
    await rig.publish({"type": "t", "data": 9, "ordering_key": "other"})
    await rig.quiet()
    assert [data for _, data, _ in rig.sender.sent] == [b"0", b"0", b"9"]
    assert (await rig.counts()).held == 2
    (failed,) = await rig.deliveries(state="failed")
    await rig.store.discard("default", failed.id)
    rig.engine.wake.notify(await rig.store.due())
    await rig.quiet()
    assert [data for _, data, _ in rig.sender.sent][3:] == [b"1", b"2"]


async def test_a_hanging_endpoint_does_not_slow_the_others(rig: Rig) -> None:
    """Fifty endpoints that never answer leave slots for a healthy one."""
    for n in range(50):
        hung = await rig.endpoint(f"hung{n}", event_types=["hang"])
        rig.sender.gates[hung.url] = asyncio.Event()
    healthy = await rig.endpoint("healthy", event_types=["order.*"])
    for _ in range(20):
        await rig.publish({"type": "hang", "data": 1})
    for _ in range(50):
        await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(healthy.url) == 50, "the healthy one is served")


@pytest.mark.rule(n=11)
async def test_what_cannot_start_is_released_and_comes_back(rig: Rig) -> None:
    """Handed off or claimed but unstarted after five seconds, a delivery is pending again and uses no try."""
    endpoint = await rig.endpoint("a", concurrency_max=1)
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    for _ in range(4):
        await rig.publish(ORDER)
    await rig.advance(8, 0.5)
    counts = await rig.counts()
    assert counts.leased == 1
    assert counts.pending == 3
    del rig.sender.gates[endpoint.url]
    gate.set()
    await rig.until(lambda: len(rig.sender.sent) == 4, "all sent")
    await rig.quiet()
    assert (await rig.counts()).delivered == 4
    assert {row.attempts for row in await rig.deliveries()} == {1}


async def test_deleting_an_endpoint_discards_what_is_open(rig: Rig) -> None:
    """Open deliveries of a deleted endpoint are discarded with the reason, and counted."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [100]})
    rig.sender.default[endpoint.url] = FAIL
    for _ in range(3):
        await rig.publish(ORDER)
    await rig.quiet()
    await rig.store.delete_endpoint(endpoint.id)
    await rig.engine.registry.refresh()
    await rig.advance(15, 5)
    counts = await rig.counts()
    assert (counts.discarded, counts.pending) == (3, 0)
    assert {row.reason for row in await rig.deliveries()} == {"endpoint_deleted"}
