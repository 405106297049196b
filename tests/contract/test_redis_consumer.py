"""Streams of Valkey are consumed as the port promises, and what a broker does to them is survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.contract.consuming import way
from tests.servers.valkey import Valkey, serving

from hookline.core.source import Source
from hookline.testing.consumer_contract import TestConsumer, bodies_of, consuming, numbered, opened, received

redis = pytest.importorskip("redis.asyncio")

from hookline.adapters.consumers.redis import RedisBroker

__all__ = ["TestConsumer"]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """One server for this file: some tests end it."""
    yield from serving()


class RedisBench:
    """`Bench` with a real server."""

    has_coordinates = True
    keeps_over_restart = False
    settles_s = 0.3

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.broker, self.other = RedisBroker(way()), RedisBroker(way("2"))
        self.client = redis.Redis.from_url(server.url)

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(_NUMBERS)
        return consuming("redis", number, url=self.server.url, stream=f"stream-{number}", **config)

    async def publish(self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str]) -> None:
        # A connection of its own: the server may have been another one in between.
        async with redis.Redis.from_url(self.server.url) as client, client.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.xadd(source.config["stream"], {"data": body, **properties})
            await pipeline.execute()

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture
async def bench(valkey: Valkey) -> AsyncIterator[RedisBench]:
    """A client of it."""
    bench = RedisBench(valkey)
    yield bench
    await bench.client.aclose()


async def test_what_a_dead_process_had_is_claimed(bench: RedisBench) -> None:
    """Two processes read with names of their own; what one of them had when it died is claimed by the other."""
    source = await bench.source()
    await bench.publish(source, numbered(4), {})
    consumer = await bench.other.open(source)
    assert bodies_of(await received(consumer, 4, acknowledge=False)) == numbered(4)
    await consumer.close()
    import hookline.adapters.consumers.redis as adapter

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "CLAIM_IDLE_MS", 100)
        async with opened(bench, source) as consumer:
            assert bodies_of(await received(consumer, 4)) == numbered(4)


async def test_a_flushed_server_is_survived(bench: RedisBench) -> None:
    """After FLUSHALL the group is made again, and what is added from then on comes."""
    source = await bench.source()
    await bench.publish(source, numbered(1), {})
    async with opened(bench, source) as consumer:
        await received(consumer, 1)
        await bench.client.flushall()
    await bench.publish(source, [b"after"], {})
    async with opened(bench, source) as consumer:
        assert bodies_of(await received(consumer, 1)) == [b"after"]


async def test_an_entry_without_the_field_is_the_object_of_its_fields(bench: RedisBench) -> None:
    """Where no field is the payload, all of them are, as JSON; content type and key are as any field."""
    source = await bench.source()
    await bench.client.xadd(source.config["stream"], {"order": "7", "total": "9.90"})
    async with opened(bench, source) as consumer:
        (message,) = await received(consumer, 1)
    assert message.body == b'{"order":"7","total":"9.90"}'
    assert message.id == message.coordinates.partition("@")[0]


async def test_latest_begins_behind_what_is_there(bench: RedisBench) -> None:
    """With `start: latest` a new group gets what comes after it."""
    source = await bench.source(start="latest")
    await bench.publish(source, [b"old"], {})
    async with opened(bench, source) as consumer:
        await bench.publish(source, [b"new"], {})
        assert bodies_of(await received(consumer, 1)) == [b"new"]
