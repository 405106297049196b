"""Consuming, on SQLite with a told clock and a broker in memory: durable, then acknowledged; nothing lost, nothing
twice; poison is put away; whatever is away is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hookline.core.errors import StoreUnavailable
from hookline.core.source import Source
from hookline.flow.sources import Sources
from hookline.ports.store import Query
from hookline.testing.memory_broker import MemoryBroker
from tests.flow.receiving import Provider
from tests.flow.rig import Rig

URL = "redis://127.0.0.1"


@pytest.fixture
def broker() -> MemoryBroker:
    """What is consumed."""
    return MemoryBroker()


@pytest.fixture
async def rig(tmp_path: Path, broker: MemoryBroker) -> AsyncIterator[Rig]:
    """An engine that consumes from it."""
    rig = Rig(tmp_path / "hookline.db", brokers={"redis": broker})
    await rig.start()
    yield rig
    await rig.stop()


class Consuming(Provider):
    """Makes sources that consume, and looks at what came of their messages."""

    async def made(self, name: str = "in", **spec: Any) -> Source:
        config = {"url": URL, "stream": name, **spec.pop("config", {})}
        body = {"name": name, "kind": "redis", "config": config, **spec}
        described = await self.sources.create("default", json.dumps(body).encode())
        source = self.rig.engine.registry.source(described.row.id)
        assert source is not None
        return source

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until it holds."""
        async with asyncio.timeout(10):
            while not condition():
                self.rig.clock.advance(0.05)
                await asyncio.sleep(0.002)

    async def count(self, number: int) -> None:
        """Let time pass until there are so many events."""
        async with asyncio.timeout(10):
            while len((await self.rig.store.events(Query(tenant="default", limit=250))).rows) < number:
                self.rig.clock.advance(0.05)
                await asyncio.sleep(0.002)


@pytest.fixture
async def consuming(rig: Rig) -> Consuming:
    """The rig's."""
    return Consuming(rig)


def outcomes(rig: Rig, name: str = "in") -> dict[str, int]:
    """How many messages became what."""
    return {outcome: count for (source, outcome), count in rig.observer.outcomes.items() if source == name}


async def test_a_message_is_an_event_and_then_acknowledged(consuming: Consuming, broker: MemoryBroker):
    """Its bytes, its properties, its place and its key are those of the message; then the broker holds it no more."""
    await consuming.made()
    await broker.publish("in", b'{"a": 1}', {"X-Kind": "order", "authorization": "secret"}, key="k-1")
    await consuming.count(1)
    (event,) = await consuming.events()
    assert (event.data, event.content_type, event.type) == (b'{"a": 1}', "application/json", "message")
    assert (event.source, event.source_id, event.ordering_key) == ("/in/in", "1@in", "k-1")
    assert event.inbound is not None
    assert event.inbound.method == "CONSUME"
    assert dict(event.inbound.headers) == {
        "x-kind": "order",
        "message-topic": "in",
        "message-key": "k-1",
        "message-id": "m-1",
    }
    await consuming.until(lambda: broker.left("in") == [])


async def test_it_is_read_as_the_source_says(consuming: Consuming, broker: MemoryBroker):
    """Type, id, subject and time are found by expressions; an array is split, each item an event known by its own."""
    reading = {"type": "header:x-kind", "id": "item:id", "subject": "item:who", "split": "body:all"}
    await consuming.made(reading=reading)
    body = b'{"all": [{"id": "a", "who": "x"}, {"id": "b", "who": "y"}]}'
    await broker.publish("in", body, {"x-kind": "order.created"})
    await broker.publish("in", body, {"x-kind": "order.created"})
    await consuming.until(lambda: broker.left("in") == [])
    events = await consuming.events()
    assert [(e.type, e.source_id, e.subject) for e in events] == [
        ("order.created", "a", "x"),
        ("order.created", "b", "y"),
    ]
    assert outcomes(consuming.rig) == {"accepted": 2, "duplicate": 2}


async def test_a_cloudevent_is_understood(consuming: Consuming, broker: MemoryBroker):
    """Binary mode and structured mode give the event that was meant, whatever the source's reading says."""
    await consuming.made(reading={"type": "header:x-kind"})
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": "e-1",
        "ce_source": "/shop",
        "ce_type": "order.paid",
        "ce_mine": "7",
    }
    await broker.publish("in", b'{"n":1}', {**attributes, "content-type": "application/json"})
    structured = {"specversion": "1.0", "id": "e-2", "source": "/shop", "type": "order.paid", "data": {"n": 2}}
    await broker.publish("in", json.dumps(structured).encode(), {"content-type": "application/cloudevents+json"})
    await consuming.count(2)
    first, second = await consuming.events()
    assert (first.type, first.source, first.source_id, first.extensions) == (
        "order.paid",
        "/shop",
        "e-1",
        {"mine": "7"},
    )
    assert (second.source_id, json.loads(second.data)) == ("e-2", {"n": 2})
    assert first.inbound is not None
    assert first.inbound.source == "in"


async def test_what_comes_again_is_no_second_event(consuming: Consuming, broker: MemoryBroker):
    """A broker that lost an acknowledgement brings the message again; its coordinates are known."""
    await consuming.made()
    await broker.publish("in", b"1")
    await consuming.count(1)
    await consuming.until(lambda: broker.left("in") == [])
    await broker.again("in", b"1", "1@in")
    await consuming.until(lambda: broker.left("in") == [])
    assert len(await consuming.events()) == 1
    assert outcomes(consuming.rig) == {"accepted": 1, "duplicate": 1}


@pytest.mark.parametrize(
    ("body", "properties"),
    [
        (b"{broken", {"content-type": "application/json"}),
        (b'{"total": "much"}', {}),
        (b"x" * 1_100_000, {}),
        (b"{}", {"content-type": "application/cloudevents+json"}),
        (b"1", {"ce_specversion": "1.0", "ce_id": "", "ce_source": "/s", "ce_type": "hookline.mine"}),
        (b"\x00\xff", {"content-type": "application/cloudevents-batch+json"}),
    ],
)
async def test_poison_waits_for_a_person(consuming: Consuming, broker: MemoryBroker, body: bytes, properties: Any):
    """What cannot be read or may not pass is in quarantine, whole, once; it is acknowledged, and what follows comes."""
    schema = {"type": "object", "properties": {"total": {"type": "number"}}}
    await consuming.made(schemas={"message": schema})
    await broker.publish("in", body, properties)
    await broker.publish("in", b'{"total": 1}')
    await consuming.count(1)
    await consuming.until(lambda: broker.left("in") == [])
    page = await consuming.rig.engine.quarantine.page("default", "in", 10, None)
    (row,) = page.rows
    whole = await consuming.rig.engine.quarantine.get("default", "in", row.id)
    assert whole.event.data == body
    assert json.loads(row.problem)["detail"]
    assert outcomes(consuming.rig) == {"accepted": 1, "quarantined": 1}


async def test_a_store_that_is_away_is_waited_for(consuming: Consuming, broker: MemoryBroker, monkeypatch):
    """While nothing can be committed nothing is acknowledged; afterwards everything is there once."""
    await consuming.made()
    accept = consuming.rig.store.accept
    refusals = 0

    async def away(*_args: Any) -> Any:
        nonlocal refusals
        refusals += 1
        raise StoreUnavailable("The disk is full.", code="disk_full")

    monkeypatch.setattr(consuming.rig.store, "accept", away)
    for number in range(3):
        await broker.publish("in", b"%d" % number)
    await consuming.until(lambda: refusals >= 3)
    assert broker.left("in") == [b"0", b"1", b"2"]
    monkeypatch.setattr(consuming.rig.store, "accept", accept)
    await consuming.count(3)
    await consuming.until(lambda: broker.left("in") == [])
    assert [event.data for event in await consuming.events()] == [b"0", b"1", b"2"]
    assert ("source_held", "disk_full") in {
        (name, fields.get("code")) for name, fields in consuming.rig.observer.warnings
    }


async def test_a_broker_that_is_away_is_waited_for(consuming: Consuming, broker: MemoryBroker):
    """It is tried again, not in a hot loop, and what was not acknowledged comes again."""
    await consuming.made()
    await broker.publish("in", b"1")
    await consuming.until(lambda: broker.left("in") == [])
    await broker.set_away(True)
    before, opens = consuming.rig.clock.monotonic_s(), broker.opens
    await consuming.until(lambda: consuming.rig.clock.monotonic_s() - before > 60)
    assert 4 <= broker.opens - opens <= 30
    await broker.publish("in", b"2")
    await broker.set_away(False)
    await consuming.count(2)
    assert "source_lost" in {name for name, _ in consuming.rig.observer.warnings}


async def test_it_is_read_while_it_is_enabled(consuming: Consuming, broker: MemoryBroker):
    """Created, disabled, enabled, changed and deleted: what is read follows at once."""
    await consuming.made()
    await consuming.until(lambda: len(broker.consumers) == 1)
    sources: Sources = consuming.sources
    await sources.patch("default", "in", b'{"enabled": false}')
    await consuming.until(lambda: broker.consumers == [])
    await broker.publish("in", b"1")
    await asyncio.sleep(0.05)
    assert broker.left("in") == [b"1"]
    await sources.patch("default", "in", b'{"enabled": true, "reading": {"default_type": "changed"}}')
    await consuming.count(1)
    assert [event.type for event in await consuming.events()] == ["changed"]
    await sources.patch("default", "in", b'{"config": {"stream": "other"}}')
    await broker.publish("other", b"2")
    await consuming.count(2)
    await sources.delete("default", "in")
    await consuming.until(lambda: broker.consumers == [])


async def test_a_drain_ends_it_in_order(consuming: Consuming, broker: MemoryBroker):
    """When the process drains nothing more is read, and what was read is stored and acknowledged."""
    await consuming.made()
    await consuming.until(lambda: len(broker.consumers) == 1)
    await broker.publish("in", b"1")
    await consuming.count(1)
    await consuming.until(lambda: broker.left("in") == [])
    consuming.rig.engine.start_drain()
    await consuming.until(lambda: broker.consumers == [])
    await broker.publish("in", b"2")
    await asyncio.sleep(0.05)
    assert broker.left("in") == [b"2"]


async def test_it_has_no_address(consuming: Consuming):
    """A source that consumes takes no requests at /in/…."""
    await consuming.made()
    answer = await consuming.call(b"{}", to="in")
    assert answer.status == 404
