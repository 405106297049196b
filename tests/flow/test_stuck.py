"""Nothing that can go waits for the ten-second poll: lines, lanes, health, claims that were full; nothing leaks."""

from __future__ import annotations

import asyncio

import msgspec

from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import EndpointState
from hookline.core.errors import StoreUnavailable
from hookline.flow.limits import Limits
from hookline.flow.wake import Wake
from hookline.testing.clock import ToldClock
from tests.flow.rig import OK, FaultyRig, Rig

ORDER = {"type": "order.created", "data": {"id": 1}}
FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
GONE = Outcome(Kind.GONE, reason="gone", status=410)
BUSY = Outcome(Kind.RETRY, reason="rate_limited", status=429, retry_after_s=3600)


async def test_the_health_of_a_resumed_endpoint_is_stored_again(rig: Rig) -> None:
    """After pause and resume the store forgot the health; what comes later is kept there as before."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [1] * 50})
    rig.sender.script[endpoint.url] = [FAIL]
    await rig.publish(ORDER)
    await rig.quiet()
    await rig.set_state(endpoint, EndpointState.PAUSED)
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    rig.sender.default[endpoint.url] = FAIL
    await rig.publish(ORDER)
    await rig.advance(30, 0.5)
    assert rig.engine.registry.failing(endpoint.id)
    (row,) = await rig.store.healths()
    assert row.probe_s is not None


async def test_resuming_an_endpoint_that_waits_lets_it_go_at_once(rig: Rig) -> None:
    """A person's resume ends the wait that a Retry-After asked for, also where the endpoint was never paused."""
    endpoint = await rig.endpoint("a")
    rig.sender.script[endpoint.url] = [BUSY]
    await rig.publish(ORDER)
    await rig.quiet()
    await rig.publish(ORDER)
    await rig.advance(5, 1)
    assert rig.sender.times(endpoint.url) == 1
    await rig.set_state(endpoint, EndpointState.ACTIVE)
    await rig.advance(1, 0.5)
    assert rig.sender.times(endpoint.url) == 2


async def test_nothing_further_starts_after_a_410(rig: Rig, monkeypatch) -> None:
    """What was queued behind the attempt that got it is held, not sent, even before the store knows."""
    endpoint = await rig.endpoint("a", concurrency_max=1)
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    rig.sender.default[endpoint.url] = GONE
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    channel.finished_last_s = 10
    channel._second = int(rig.clock.monotonic_s())
    for _ in range(5):
        await rig.publish(ORDER)
    assert channel.queued
    gate.set()
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 1
    counts = await rig.counts()
    assert (counts.failed, counts.held) == (1, 4)


async def test_an_endpoint_disabled_and_resumed_unseen_goes_on(tmp_path) -> None:
    """An endpoint that a 410 disabled and a person resumed, both while the registry could not be read, is sent to."""
    rig = FaultyRig(tmp_path / "unseen.db")
    await rig.start()
    try:
        endpoint = await rig.endpoint("a")
        rig.sender.script[endpoint.url] = [GONE]
        rig.faults.fail("changes", StoreUnavailable("away"))
        await rig.publish(ORDER)
        await rig.until(lambda: rig.faults.raised["changes"] == 1, "the registry was not read")
        assert (await rig.counts()).failed == 1
        await rig.store.set_endpoint_state(endpoint.id, EndpointState.ACTIVE)
        await rig.publish(ORDER)
        rig.clock.advance(1)  # the recorder looks at the registry again
        await rig.advance(30, 1)
        assert rig.sender.times(endpoint.url) == 2
        assert (await rig.counts()).delivered == 1
    finally:
        await rig.stop()


async def test_an_event_told_while_another_is_on_its_way_is_not_lost(rig: Rig, monkeypatch) -> None:
    """Failing and recovered are both told, although the second happens while the first is being committed."""
    admin = await rig.endpoint("admin", event_types=["hookline.endpoint.*"])
    endpoint = await rig.endpoint("a", event_types=["order.*"], retry={"schedule_s": [1] * 50})
    health = rig.engine.health
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    await rig.publish(ORDER)
    await rig.quiet()
    made = rig.engine.report.endpoint
    health._events[endpoint.id] = [lambda: made("hookline.endpoint.failing", endpoint)]
    health._mark(channel)
    entries = health.changes()
    health._events[endpoint.id].append(lambda: made("hookline.endpoint.recovered", endpoint))
    health._mark(channel)
    await rig.engine.recorder._commit_some([], entries)
    await rig.engine.recorder.tidy()
    await rig.quiet()
    assert rig.sender.times(admin.url) == 2


async def test_room_that_was_asked_for_and_not_used_goes_to_the_next(tmp_path) -> None:
    """An endpoint put in line because others asked for its host's room is served at once when they need none."""
    rig = Rig(tmp_path / "room.db", limits=Limits(host_concurrency_max=2))
    await rig.start()
    try:
        first = [await rig.endpoint(f"e{n}", event_types=["none"]) for n in range(2)]
        last = await rig.endpoint("last", event_types=["order.*"], rate={"n": 9, "per_s": 1})
        rig.engine.queue.publish = lambda ids: None
        ready, rig.engine.wake.ready = rig.engine.wake.ready, lambda _id: None
        await rig.publish(ORDER)
        rig.engine.wake.ready = ready
        for endpoint in first:
            channel = rig.engine.deliver.channel(endpoint.id)
            assert channel is not None
            channel.slow.cap = 2
            rig.engine.wake.ready(endpoint.id)
        rig.engine.wake.ready(last.id)
        await rig.quiet()
        assert rig.sender.times(last.url) == 1
    finally:
        await rig.stop()


async def test_more_than_a_claim_looks_at_are_all_looked_at(rig: Rig) -> None:
    """Three hundred endpoints that cannot be claimed for do not leave the last ready one lying."""
    paused = [await rig.endpoint(f"p{n}", event_types=["none"]) for n in range(300)]
    for endpoint in paused:
        await rig.store.set_endpoint_state(endpoint.id, EndpointState.PAUSED)
    await rig.engine.registry.refresh()
    await rig.quiet()
    for endpoint in paused:
        rig.engine.wake.ready(endpoint.id)
    for _ in range(200):
        await asyncio.sleep(0)
    assert rig.engine.wake.ready_count == 0


async def test_what_is_handed_off_is_sent_as_wide_as_the_cap_has_grown(rig: Rig) -> None:
    """With every success there is a slot more, also for what waits in the queue and no new event comes."""
    endpoint = await rig.endpoint("a")
    channel = rig.engine.deliver.channel(endpoint.id)
    assert channel is not None
    channel.finished_last_s = 50
    channel._second = int(rig.clock.monotonic_s())
    await rig.publish([ORDER] * 40)
    await rig.quiet()
    assert rig.sender.times(endpoint.url) == 40
    assert rig.sender.most[endpoint.url] > 4


async def test_endpoints_that_come_and_go_leave_nothing_behind(rig: Rig) -> None:
    """After two hundred endpoints were used and deleted, no channel, destination or health of theirs is kept."""
    for n in range(200):
        endpoint = await rig.endpoint("a")
        row = msgspec.structs.replace(endpoint, url=f"http://h{n}.example/")
        rig.engine.deliver._endpoint_changed(endpoint, row)
        rig.sender.script[endpoint.url] = [FAIL]
        if n % 10 == 0:
            await rig.publish(ORDER)
            await rig.quiet()
        await rig.store.delete_endpoint(endpoint.id)
    await rig.engine.registry.refresh()
    await rig.advance(20, 1)
    deliver, health = rig.engine.deliver, rig.engine.health
    assert (len(deliver._channels), len(deliver.destinations)) == (0, 0)
    assert (health._dirty, health._events, health._disable) == ({}, {}, set())


def test_times_that_were_overtaken_are_forgotten() -> None:
    """An endpoint that is due tomorrow and sooner again and again does not fill the memory."""
    clock = ToldClock()
    wake = Wake(clock, lambda _id: "t")
    for _ in range(5000):
        wake.at(b"e", 86_400)
        wake.at(b"e", 1)
        clock.advance(1)
        wake.promote()
        wake.take(1)
    assert len(wake._heap) < 2500


async def test_the_next_of_a_lane_is_woken_when_a_lease_is_given_back(rig: Rig) -> None:
    """A lease that is released unstarted makes its endpoint ready, whichever of the lane is the head then."""
    endpoint = await rig.endpoint("a", order="key", retry={"schedule_s": [1]})
    rig.sender.script[endpoint.url] = [FAIL, FAIL]
    await rig.publish({"type": "t", "data": 0, "ordering_key": "k"})
    await rig.publish({"type": "t", "data": 1, "ordering_key": "k"})
    await rig.advance(3, 0.5)
    (failed,) = await rig.deliveries(state="failed")
    await rig.store.reopen("default", failed.id)
    rig.engine.recorder.release([(failed.id, 99, endpoint.id)])
    await rig.quiet()
    assert (await rig.counts()).delivered == 2
    assert OK.kind is Kind.DELIVERED


async def test_a_deleted_endpoint_closes_its_open_deliveries_at_once(rig: Rig) -> None:
    """Nobody waits for a sweep: what was open is discarded as soon as the endpoint is gone, without time passing."""
    endpoint = await rig.endpoint("a", retry={"schedule_s": [1000]})
    rig.sender.default[endpoint.url] = Outcome(Kind.RETRY, reason="server_error", status=500)
    for _ in range(3):
        await rig.publish({"type": "t", "data": 1})
    await rig.quiet()
    await rig.store.delete_endpoint(endpoint.id)
    await rig.engine.registry.refresh()
    discarded = 0
    for _ in range(500):
        discarded = (await rig.counts()).discarded
        if discarded == 3:
            break
        await asyncio.sleep(0.002)
    assert discarded == 3
