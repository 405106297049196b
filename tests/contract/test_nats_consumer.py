"""Streams of JetStream are consumed as the port promises, and what a server does to them is survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.contract.consuming import way
from tests.servers.nats import Nats, serving

from hookline.core.source import Source
from hookline.ports.consumer import ConsumerLost
from hookline.testing.consumer_contract import TestConsumer, bodies_of, consuming, numbered, opened, received

nats = pytest.importorskip("nats")

from hookline.adapters.consumers.nats import NatsBroker

__all__ = ["TestConsumer"]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Nats]:
    """One for this file: some tests end it."""
    yield from serving()


class NatsBench:
    """`Bench` with a real server."""

    has_coordinates = True
    keeps_over_restart = True
    settles_s = 0.3

    def __init__(self, server: Nats) -> None:
        self.server = server
        self.broker, self.other = NatsBroker(way()), NatsBroker(way("2"))

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(_NUMBERS)
        await self.make(f"stream-{number}")
        return consuming("nats", number, url=self.server.url, stream=f"stream-{number}", **config)

    async def make(self, name: str) -> None:
        client = await nats.connect(self.server.url)
        await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
        await client.close()

    async def delete(self, name: str) -> None:
        client = await nats.connect(self.server.url)
        await client.jetstream().delete_stream(name)
        await client.close()

    async def publish(
        self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str], subject: str = "new"
    ) -> None:
        client = await nats.connect(self.server.url)
        js = client.jetstream()
        for body in bodies:
            await js.publish(f"{source.config['stream']}.{subject}", body, headers=dict(properties) or None)
        await client.close()

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture
def bench(server: Nats) -> NatsBench:
    """Its other side."""
    return NatsBench(server)


async def test_a_stream_made_anew_has_other_coordinates(bench: NatsBench) -> None:
    """A stream that is deleted is lost; made anew it counts from 1 again, and its messages are new ones."""
    source = await bench.source()
    await bench.publish(source, [b"old"], {})
    async with opened(bench, source) as consumer:
        (old,) = await received(consumer, 1)
        await bench.delete(source.config["stream"])
        with pytest.raises(ConsumerLost):
            async with asyncio.timeout(20):
                await consumer.receive()
    with pytest.raises(ConsumerLost):
        await bench.broker.open(source)
    await bench.make(source.config["stream"])
    await bench.publish(source, [b"new"], {})
    async with opened(bench, source) as consumer:
        (new,) = await received(consumer, 1)
    assert (old.body, new.body) == (b"old", b"new")
    assert old.coordinates != new.coordinates


async def test_only_its_subject(bench: NatsBench) -> None:
    """A subject narrows what is consumed."""
    source = await bench.source()
    name = source.config["stream"]
    narrow = consuming("nats", 999, url=bench.server.url, stream=name, subject=f"{name}.mine", consumer="narrow")
    await bench.publish(source, numbered(2), {}, subject="theirs")
    await bench.publish(source, [b"mine"], {}, subject="mine")
    async with opened(bench, narrow) as consumer:
        (message,) = await received(consumer, 1)
    assert (message.body, message.topic) == (b"mine", f"{name}.mine")


async def test_latest_begins_behind_what_is_there(bench: NatsBench) -> None:
    """With `start: latest` a new consumer gets what comes after it."""
    source = await bench.source(start="latest")
    await bench.publish(source, [b"old"], {})
    async with opened(bench, source) as consumer:
        await bench.publish(source, [b"new"], {})
        assert bodies_of(await received(consumer, 1)) == [b"new"]
