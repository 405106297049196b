"""The queue over Kafka keeps what every queue promises, on a real one, also when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import cached_property

import pytest
from tests.contract.broker_faults import BrokerFaults, own_address, queue_over, warned
from tests.servers.kafka import Kafka, serving

confluent_kafka = pytest.importorskip("confluent_kafka")

from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from hookline.adapters.queues.broker import COMING_MAX, KEPT_S_MAX, BrokerQueue
from hookline.adapters.queues.kafka import PARTITION_BYTES_MAX, KafkaBroker
from hookline.core.broker_address import parse_broker_address
from hookline.testing.queue_contract import TestQueue, delivery_ids, received_until
from hookline.testing.queue_failures import Faults, ends_and_starts
from hookline.testing.queue_failures import TestQueueFailures as FailuresOfAll

__all__ = ["TestQueue"]
WAIT_S = 15.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """A server for these tests."""
    yield from serving()


@pytest.fixture
async def queue(kafka: Kafka) -> AsyncIterator[BrokerQueue]:
    """A queue on a topic of its own."""
    async with queue_over(KafkaBroker(own_address(kafka.url))) as made:
        yield made


class KafkaFaults(BrokerFaults):
    """What can be done to a topic."""

    server: Kafka

    def broker(self) -> KafkaBroker:
        """One more."""
        return KafkaBroker(self.address)

    @property
    def topic(self) -> str:
        """Its name."""
        return f"{self.address.name}-due"

    @cached_property
    def administrator(self) -> AdminClient:
        """A client beside the queues'. Kept: what it promises comes only while it is there."""
        return AdminClient({"bootstrap.servers": self.server.address, "log_level": 0})

    def ends(self) -> list[confluent_kafka.TopicPartition]:
        """Where each partition ends."""
        known = self.administrator.list_topics(self.topic, timeout=5).topics[self.topic].partitions
        partitions = [confluent_kafka.TopicPartition(self.topic, number) for number in known]
        found = self.administrator.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()))
        return [
            confluent_kafka.TopicPartition(self.topic, partition.partition, future.result(5).offset)
            for partition, future in found.items()
        ]

    async def purge(self) -> None:
        """The messages."""

        def delete() -> None:
            for future in self.administrator.delete_records(self.ends()).values():
                future.result(5)

        await asyncio.to_thread(delete)

    async def delete_queue(self) -> None:
        """The topic."""
        deleted = self.administrator.delete_topics([self.topic])[self.topic]
        await asyncio.to_thread(deleted.result, 5)

    async def delete_group(self) -> None:
        """A group with members cannot be deleted: nothing is done."""

    async def length(self) -> int:
        """How many messages were ever sent to it; Kafka's bound is one of bytes and age."""
        return await asyncio.to_thread(lambda: sum(end.offset for end in self.ends()))


@pytest.fixture
def faults(kafka: Kafka) -> Iterator[KafkaFaults]:
    """The server, which runs again afterwards."""
    yield KafkaFaults(kafka, kafka.url)
    kafka.restore()


class TestQueueFailures(FailuresOfAll):
    """A broker that loses all, goes away, stands still. What it keeps is bounded by Kafka itself."""

    @pytest.mark.rule(n=28)
    async def test_a_broker_that_restarts_or_is_killed_is_found_again(self, faults: Faults) -> None:
        """A SIGKILL and a start: publish never waits, and both consumers hear again within 30 s, once the sessions of
        before have run out."""
        await ends_and_starts(faults, faults.server.kill)

    async def test_a_broker_is_never_filled(self, faults: Faults) -> None:
        """The topic is made with a bound of an hour and of 16 MiB for a partition."""
        assert isinstance(faults, KafkaFaults)
        queue = faults.queue()
        queue.publish(delivery_ids(1))
        await received_until(queue, set(delivery_ids(1)))
        await queue.close()
        resource = ConfigResource(ResourceType.TOPIC, faults.topic)
        config = await asyncio.to_thread(faults.administrator.describe_configs([resource])[resource].result, 5)
        assert float(config["retention.ms"].value) == KEPT_S_MAX * 1000
        assert int(config["retention.bytes"].value) == PARTITION_BYTES_MAX
        assert float(config["segment.ms"].value) < KEPT_S_MAX * 1000
        assert int(config["segment.bytes"].value) < PARTITION_BYTES_MAX


def committed(faults: KafkaFaults) -> int:
    """The sum of the group's offsets."""
    request = confluent_kafka.ConsumerGroupTopicPartitions(faults.address.name)
    found = faults.administrator.list_consumer_group_offsets([request])[faults.address.name].result(5)
    return sum(max(0, one.offset) for one in found.topic_partitions)


@pytest.mark.rule(n=27)
async def test_what_was_acknowledged_does_not_come_again(faults: KafkaFaults) -> None:
    """What one process acknowledged is committed for the group; the next gets only what came after."""
    first = faults.queue()
    first.publish(delivery_ids(5))
    await received_until(first, set(delivery_ids(5)))
    async with asyncio.timeout(WAIT_S):
        while await asyncio.to_thread(committed, faults) < 1:
            await asyncio.sleep(0.1)
    await first.close()
    second = faults.queue()
    later = delivery_ids(3, first=100)
    second.publish(later)
    assert await received_until(second, set(later)) == [3]  # fails on a foreign id
    await second.close()


@pytest.mark.rule(n=28)
async def test_without_room_it_pauses_and_stays_a_member(faults: KafkaFaults) -> None:
    """A process that takes nothing more holds some messages in hand, leaves the others to Kafka, is no less a member
    of the group, and gets the others as soon as it takes again."""
    publisher, slow = faults.queue(), faults.queue()
    wanted = delivery_ids(10 * COMING_MAX)
    for one in wanted:
        publisher.publish([one])
    async with asyncio.timeout(WAIT_S):
        first = await slow.receive()
    await asyncio.sleep(2.0)
    assert isinstance(slow, BrokerQueue)
    assert slow.hears
    connects = faults.connects
    seen = set(first.delivery_ids)
    await slow.acknowledge(first)
    async with asyncio.timeout(WAIT_S):
        while seen != set(wanted):
            message = await slow.receive()
            seen.update(message.delivery_ids)
            await slow.acknowledge(message)
    assert faults.connects == connects
    await publisher.close()
    await slow.close()


async def test_what_others_send_is_ignored(faults: KafkaFaults) -> None:
    """A record of anybody else's is no message, and does not end the connection."""
    queue = faults.queue()
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    connects = faults.connects
    producer = confluent_kafka.Producer({"bootstrap.servers": faults.server.address, "log_level": 0})
    for payload in (None, b"", b"hello", b"\x02\x01x", b"\x01\xffx", b"\x01\x00"):
        producer.produce(faults.topic, payload)
    assert await asyncio.to_thread(producer.flush, 5) == 0
    queue.publish(delivery_ids(2))
    assert await received_until(queue, set(delivery_ids(2))) == [2]
    assert faults.connects == connects
    await queue.close()


@pytest.mark.rule(n=28)
async def test_a_topic_that_is_there_is_used_if_it_has_a_bound(faults: KafkaFaults) -> None:
    """An operator's own topic is used, whatever its partitions; one that grows for ever is refused, with the reason."""
    admin = faults.administrator
    endless = NewTopic(faults.topic, num_partitions=1, replication_factor=1, config={"retention.ms": "-1"})
    await asyncio.to_thread(admin.create_topics([endless])[faults.topic].result, 5)
    assert "give it retention.ms" in await warned(faults.broker(), WAIT_S)
    await faults.delete_queue()
    await asyncio.sleep(0.5)
    bounded = NewTopic(faults.topic, num_partitions=1, replication_factor=1, config={"retention.ms": "60000"})
    await asyncio.to_thread(admin.create_topics([bounded])[faults.topic].result, 5)
    queue = faults.queue()
    queue.publish(delivery_ids(3))
    assert await received_until(queue, set(delivery_ids(3))) == [3]
    await queue.close()


async def test_a_cluster_that_is_not_there_says_so() -> None:
    """The warning tells why, without the password."""
    said = await warned(KafkaBroker(parse_broker_address("kafka://me:hunter2-hunter2@127.0.0.1:1")), WAIT_S)
    assert "refused" in said
    assert "hunter2" not in said
