"""Dead processes, lost stores, drains: nothing is lost, nothing is doubled that need not be."""

from __future__ import annotations

import asyncio
import json

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.delivery import LOST_MAX
from hookline.core.errors import DataError, StoreUnavailable
from hookline.core.history import AttemptRecord
from tests.flow.rig import Rig

FAIL = Outcome(Kind.RETRY, reason="server_error", status=500)
ORDER = {"type": "order.created", "data": {"id": 1}}


@pytest.mark.rule(n=22)
@pytest.mark.rule(n=12)
async def test_outcomes_wait_for_the_store_and_sending_stops_meanwhile(rig: Rig, monkeypatch) -> None:
    """What cannot be recorded is kept, nothing further is sent, and all is recorded once the store is back."""
    endpoint = await rig.endpoint("a", concurrency_max=2)
    original = rig.store.record

    async def down(*args, **kwargs):
        raise StoreUnavailable("gone for a while")

    monkeypatch.setattr(rig.store, "record", down)
    await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(endpoint.url) == 1, "first sent")
    await rig.until(lambda: rig.engine.recorder.behind, "recording is behind")
    for _ in range(5):
        await rig.publish(ORDER)
    await asyncio.sleep(0.05)
    assert rig.sender.times(endpoint.url) == 1
    monkeypatch.setattr(rig.store, "record", original)
    rig.clock.advance(1)
    await rig.until(lambda: rig.sender.times(endpoint.url) == 6, "sending goes on")
    await rig.quiet()
    assert (await rig.counts()).delivered == 6


@pytest.mark.rule(n=3)
async def test_an_outcome_that_cannot_be_stored_is_kept_without_its_detail(rig: Rig, monkeypatch) -> None:
    """A data error halves the shared commit; the guilty outcome loses its exchange, the others lose nothing."""
    await rig.endpoint("a")
    original = rig.store.record

    async def picky(items, *args, **kwargs):
        for item in items:
            if item.attempt and (x := AttemptRecord.unpack(item.attempt).exchange) and bad in x.request_headers:
                raise DataError("cannot be stored")
        return await original(items, *args, **kwargs)

    monkeypatch.setattr(rig.store, "record", picky)
    bad = (b"webhook-id", b"?")
    answer = await rig.publishing([ORDER] * 10)
    bad = (b"webhook-id", json.loads(answer.body)["data"][4]["id"].encode())
    await rig.until(lambda: len(rig.sender.sent) == 10, "all sent")
    await rig.quiet()
    assert (await rig.counts()).delivered == 10
    assert any(name == "outcome_cut" for name, _ in rig.observer.warnings)


@pytest.mark.rule(n=16)
async def test_a_killed_process_loses_nothing(rig: Rig, tmp_path) -> None:
    """What was leased by a process that died is taken back at the next start and delivered."""
    endpoint = await rig.endpoint("a")
    rig.sender.gates[endpoint.url] = asyncio.Event()
    for _ in range(5):
        await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(endpoint.url) >= 1, "one is in flight")
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        source = rig.path.with_name(rig.path.name + suffix)
        if source.exists():
            copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
    after = Rig(copy, rig.clock)
    await after.start()
    try:
        await after.until(lambda: len(after.sender.sent) == 5, "all are sent again")
        await after.quiet()
        assert (await after.counts()).delivered == 5
    finally:
        await after.stop()


@pytest.mark.rule(n=18)
async def test_a_drain_finishes_what_is_in_flight_and_releases_the_rest(rig: Rig) -> None:
    """After stop nothing is leased; the next start delivers exactly what was not sent."""
    endpoint = await rig.endpoint("a", concurrency_max=1)
    gate = rig.sender.gates[endpoint.url] = asyncio.Event()
    for _ in range(4):
        await rig.publish(ORDER)
    await rig.until(lambda: rig.sender.times(endpoint.url) == 1, "one is in flight")
    stopping = asyncio.ensure_future(rig.engine.stop(grace_s=30))
    await asyncio.sleep(0.02)
    gate.set()
    for _ in range(200):
        rig.clock.advance(0.02)
        await asyncio.sleep(0.001)
        if stopping.done():
            break
    assert await stopping
    after = Rig(rig.path, rig.clock)
    await after.start()
    try:
        await after.until(lambda: len(after.sender.sent) == 3, "the rest is sent")
        await after.quiet()
        assert (await after.counts()).delivered == 4
    finally:
        await after.stop()
        rig.engine = rig._engine()
        await rig.engine.start()


async def test_operational_events_tell_of_a_failed_delivery_and_do_not_loop(rig: Rig) -> None:
    """A subscriber to `hookline.*` gets the failure as an event; its own failures make no further one."""
    bad = await rig.endpoint("bad", event_types=["order.*"], retry={"schedule_s": [1]})
    admin = await rig.endpoint("admin", event_types=["hookline.*"], retry={"schedule_s": [1]})
    rig.sender.default[bad.url] = FAIL
    rig.sender.default[admin.url] = FAIL
    answer = await rig.publish(ORDER)
    await rig.advance(10, 0.5)
    told = [json.loads(data) for url, data, _ in rig.sender.sent if url == admin.url]
    assert told
    assert told[0]["event_id"] == answer["id"]
    assert told[0]["reason"] == "server_error"
    counts = await rig.counts()
    assert (counts.events, counts.failed) == (2, 2)


@pytest.mark.rule(n=16)
async def test_a_poisonous_delivery_is_failed_after_twenty_losses(rig: Rig) -> None:
    """Each take-back counts; from the fifth on it waits longer, at the twentieth it is failed as poison."""
    await rig.endpoint("a")
    await rig.publish(ORDER)
    await rig.quiet()
    endpoint = await rig.endpoint("b")
    rig.sender.gates[endpoint.url] = asyncio.Event()
    await rig.publish({"type": "x", "data": 1})
    await rig.until(lambda: rig.sender.times(endpoint.url) == 1, "in flight")
    path, clock = rig.path, rig.clock
    image = path
    for n in range(25):
        copy = path.with_name(f"copy{n}.db")
        for suffix in ("", "-wal"):
            source = image.with_name(image.name + suffix)
            if source.exists():
                copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
        again = Rig(copy, clock)
        again.sender.gates[endpoint.url] = asyncio.Event()
        await again.start()
        rows = await again.deliveries(endpoint_id=endpoint.id)
        if rows[0].state == "failed":
            break
        clock.advance(2.0 ** (n + 1) + 1)
        again.engine.wake.ready(endpoint.id)
        sender = again.sender
        await again.until(lambda sender=sender: sender.times(endpoint.url) >= 1, "sent again")
        image = copy
        dead = path.with_name(f"dead{n}.db")
        for suffix in ("", "-wal"):
            source = image.with_name(image.name + suffix)
            if source.exists():
                dead.with_name(dead.name + suffix).write_bytes(source.read_bytes())
        image = dead
        for gate in again.sender.gates.values():
            gate.set()
        await again.stop()
    else:
        raise AssertionError("never failed")
    assert rows[0].reason == "poison"
    assert n + 1 == LOST_MAX
    await again.stop()
