"""Nobody slows the others: tenants, endpoints, destinations, the process."""

from __future__ import annotations

import asyncio

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.flow.channel import Channel, Destination
from hookline.flow.limits import Limits
from hookline.flow.slots import SENDING_BYTES_MAX, Slots
from hookline.flow.wake import Wake
from hookline.testing.clock import ToldClock
from hookline.testing.samples import sample_endpoint
from tests.flow.rig import Rig

FAIL = Outcome(Kind.RETRY, reason="connect")


@pytest.mark.rule(n=9)
def test_tenants_take_turns() -> None:
    """However many endpoints of one tenant are ready, another tenant's comes within two turns."""
    owners = {bytes([1, n]): "noisy" for n in range(200)} | {b"quiet": "quiet"}
    wake = Wake(ToldClock(), owners.get)
    for endpoint_id in owners:
        wake.ready(endpoint_id)
    assert b"quiet" in wake.take(2)
    assert wake.ready_count == 199


def test_what_is_said_twice_is_taken_once_and_the_earliest_counts() -> None:
    """An endpoint that is due in 50, then in 5 seconds, is ready after 5 and only once."""
    clock = ToldClock()
    wake = Wake(clock, lambda _id: "t")
    wake.at(b"e", 50)
    wake.at(b"e", 5)
    assert wake.next_s() == 5
    clock.advance(6)
    wake.promote()
    assert wake.take(10) == [b"e"]
    clock.advance(60)
    wake.promote()
    assert wake.take(10) == []


def test_endpoints_that_hang_leave_room_for_others() -> None:
    """However many endpoints that never answered fill what they may, one that answers still gets slots."""
    slots = Slots(1024, 10_000, lambda _now_s: False)
    for n in range(3000):
        channel = Channel(sample_endpoint(number=n), Destination())
        while slots.free(channel, 0.0):
            slots.take(channel, 1000)
        assert channel.in_flight <= 1
    healthy = Channel(sample_endpoint(number=4000), Destination())
    healthy.slow.success()
    assert slots.in_flight == 1024 - 128
    assert slots.free(healthy, 0.0)


def test_large_events_at_endpoints_that_hang_are_bounded_in_bytes() -> None:
    """However many large events go to endpoints that never answered, what is in flight stays within its bytes, one that
    answers still gets its turn, and what ends makes room again."""
    slots = Slots(100_000, 10_000, lambda _now_s: False)
    size_bytes = 1024 * 1024
    running: list[Channel] = []
    for n in range(1000):
        channel = Channel(sample_endpoint(number=n), Destination())
        while slots.free(channel, 0.0):
            slots.take(channel, size_bytes)
            running.append(channel)
    assert slots.sending_bytes == SENDING_BYTES_MAX - SENDING_BYTES_MAX // 8
    healthy = Channel(sample_endpoint(number=4000), Destination())
    healthy.slow.success()
    assert slots.free(healthy, 0.0)
    for channel in running:
        slots.give(channel, channel.destination, size_bytes)
    assert (slots.sending_bytes, slots.in_flight) == (0, 0)
    assert slots.free(Channel(sample_endpoint(number=5000), Destination()), 0.0)


@pytest.mark.rule(n=9)
async def test_a_tenant_with_a_big_backlog_does_not_delay_another(tmp_path) -> None:
    """Two thousand waiting deliveries of one tenant leave the other's ten to go through among the first."""
    rig = Rig(tmp_path / "fair.db", limits=Limits(handoff_max=0, concurrency_max=64))
    await rig.start()
    try:
        await rig.endpoint("noisy", event_types=["noisy"])
        quiet = await rig.endpoint("quiet", event_types=["quiet"])
        await asyncio.gather(*(rig.publishing({"type": "noisy", "data": n}) for n in range(2000)))
        before = len(rig.sender.sent)
        for n in range(10):
            await rig.publish({"type": "quiet", "data": n})
        await rig.until(lambda: rig.sender.times(quiet.url) == 10, "the quiet one is served")
        assert len(rig.sender.sent) - before < 1500
        await rig.until(lambda: len(rig.sender.sent) == 2010, "everything is served")
    finally:
        await rig.stop()


@pytest.mark.rule(n=14)
async def test_a_destination_host_never_gets_more_than_its_share(tmp_path) -> None:
    """Many endpoints on one host together run at most `host_concurrency_max` attempts there."""
    rig = Rig(tmp_path / "host.db", limits=Limits(host_concurrency_max=3))
    running = most = 0
    original = rig.sender.send

    async def send(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        try:
            return await original(request)
        finally:
            running -= 1

    rig.sender.send = send  # type: ignore[method-assign]
    await rig.start()
    try:
        for n in range(12):
            await rig.endpoint(f"e{n}")
        for n in range(10):
            await rig.publish({"type": "t", "data": n})
        await rig.until(lambda: len(rig.sender.sent) == 120, "all sent")
        assert most <= 3
    finally:
        await rig.stop()


@pytest.mark.rule(n=9)
async def test_a_replay_ranks_behind_live_deliveries(rig: Rig) -> None:
    """What is replayed while an endpoint is busy waits for what is published meanwhile."""
    endpoint = await rig.endpoint("a", concurrency_max=1, rate={"n": 1, "per_s": 1, "burst": 1})
    first = await rig.publish({"type": "t", "data": "old"})
    await rig.quiet()
    event_id = bytes.fromhex(first["id"][4:])
    from hookline.ports.store import NewDelivery

    version = rig.engine.registry.version
    root = rig.engine.ids.make(rig.store.now_ms())
    await rig.store.replay("default", event_id, root, [NewDelivery(endpoint.id, 1)], version)
    await rig.publish({"type": "t", "data": "new"})
    await rig.advance(5, 0.25)
    assert [data for _, data, _ in rig.sender.sent] == [b'"old"', b'"new"', b'"old"']
    assert (await rig.counts()).delivered == 3
