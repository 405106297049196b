"""Topics of Kafka are consumed as the port promises, and what a cluster does to them is survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.contract.consuming import way
from tests.servers.kafka import Kafka, serving

from hookline.core.source import Source
from hookline.ports.consumer import ConsumerLost
from hookline.testing.consumer_contract import TestConsumer, consuming, numbered, opened, received

confluent_kafka = pytest.importorskip("confluent_kafka")

from confluent_kafka.admin import AdminClient, NewTopic

from hookline.adapters.consumers.kafka import KafkaBroker

__all__ = ["TestConsumer"]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Kafka]:
    """One for this file: some tests end it."""
    yield from serving()


class KafkaBench:
    """`Bench` with a real server."""

    has_coordinates = True
    keeps_over_restart = True
    settles_s = 6.0

    def __init__(self, server: Kafka) -> None:
        self.server = server
        self.broker, self.other = KafkaBroker(way()), KafkaBroker(way("2"))

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(_NUMBERS)
        await self.make(f"topic-{number}", 2 if shared else 1)
        return consuming(
            "kafka", number, url=self.server.url, topic=f"topic-{number}", group=f"group-{number}", **config
        )

    async def make(self, name: str, partitions: int = 1) -> None:
        admin = AdminClient({"bootstrap.servers": self.server.address, "log_level": 0})
        made = admin.create_topics([NewTopic(name, partitions, 1)])
        await asyncio.to_thread(made[name].result, 20)

    async def delete(self, name: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.server.address, "log_level": 0})
        await asyncio.to_thread(admin.delete_topics([name])[name].result, 20)

    async def publish(
        self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str], key: str | None = None
    ) -> None:
        def work() -> None:
            failed: list[object] = []
            producer = confluent_kafka.Producer(
                {"bootstrap.servers": self.server.address, "linger.ms": 1, "sticky.partitioning.linger.ms": 0}
            )
            for body in bodies:
                producer.produce(
                    source.config["topic"],
                    body,
                    key,
                    headers=dict(properties),
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
            assert producer.flush(20) == 0
            assert not failed

        await asyncio.to_thread(work)

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture
def bench(server: Kafka) -> KafkaBench:
    """Its other side."""
    return KafkaBench(server)


async def test_a_topic_made_anew_has_other_coordinates(bench: KafkaBench) -> None:
    """A topic that is deleted and made anew begins at offset 0 again, and its messages are new ones."""
    source = await bench.source()
    await bench.publish(source, [b"old"], {}, key="k")
    async with opened(bench, source) as consumer:
        (old,) = await received(consumer, 1)
    await bench.delete(source.config["topic"])
    with pytest.raises(ConsumerLost):
        async with asyncio.timeout(20):
            await bench.broker.open(source)
    await bench.make(source.config["topic"])
    await bench.publish(source, [b"new"], {})
    anew = consuming("kafka", 998, url=bench.server.url, topic=source.config["topic"], group="anew")
    async with opened(bench, anew) as consumer:
        (new,) = await received(consumer, 1)
    assert (old.body, old.key, new.body, new.key) == (b"old", "k", b"new", "")
    assert old.coordinates.partition("@")[0] == new.coordinates.partition("@")[0]
    assert old.coordinates != new.coordinates


async def test_a_hole_is_not_passed_over(bench: KafkaBench) -> None:
    """What was acknowledged behind something that was not is read again with it."""
    source = await bench.source()
    await bench.publish(source, numbered(4), {})
    async with opened(bench, source) as consumer:
        messages = await received(consumer, 4, acknowledge=False)
        await consumer.acknowledge([messages[0], messages[3]])
    async with opened(bench, source) as consumer:
        again = await received(consumer, 3)
    assert [message.body for message in again] == numbered(4)[1:]
