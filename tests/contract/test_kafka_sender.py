"""The sender of kind `kafka` keeps the promise of every sender, against librdkafka's own broker and Kafka itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest
from tests.contract.broker_senders import *  # noqa: F403  as below
from tests.contract.broker_senders import PASSWORD, Received, basic, one, sending
from tests.servers.kafka import Kafka, KafkaBroker, MockKafka, serving_mock
from tests.servers.kafka import serving as kafka_serving
from tests.servers.process import free_port

from hookline.core.attempt import Kind
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory

del test_tls_is_verified  # noqa: F821  a cluster advertises itself: what stands before it is not asked again

_NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[MockKafka]:
    """One for all of these tests."""
    yield from serving_mock()


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """Apache Kafka."""
    yield from kafka_serving()


@pytest.fixture
def kind_of_sender(server: MockKafka):
    """The adapter."""
    from hookline.adapters.senders.kafka import KafkaSender

    return KafkaSender


@pytest.fixture
def topic() -> str:
    """A new one for each test."""
    return f"events-{next(_NUMBERS)}"


@pytest.fixture
def accepting(server: MockKafka, topic: str) -> EndpointFactory:
    """A topic; this broker makes it when it is first named."""
    return partial(sample_endpoint, f"kafka://{server.address}", kind="kafka", config={"topic": topic})


@pytest.fixture
def failing() -> EndpointFactory:
    """Nobody listens there."""
    return partial(sample_endpoint, f"kafka://127.0.0.1:{free_port()}", kind="kafka", config={"topic": "events"})


@pytest.fixture
def hanging(silent: int) -> EndpointFactory:
    """A server that never answers."""
    return partial(sample_endpoint, f"kafka://127.0.0.1:{silent}", kind="kafka", config={"topic": "events"})


@pytest.fixture
def consenting(accepting: EndpointFactory) -> EndpointFactory:
    """There is no such server of this kind."""
    return accepting


def consumed(server: KafkaBroker, topic: str) -> list:
    """All records of a topic, without a group."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"bootstrap.servers": server.address, "group.id": "test", "receive.message.max.bytes": 100 << 20}
    consumer = Consumer({**settings, "log_level": 0})
    found: list = []
    try:
        partitions = consumer.list_topics(topic, timeout=5).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=5) for number in partitions]
        consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in zip(partitions, ends, strict=True)])
        end_s = time.monotonic() + 15
        while len(found) < sum(high - low for low, high in ends):
            assert time.monotonic() < end_s, f"{len(found)} of {ends}"
            record = consumer.poll(0.2)
            if record is not None and record.error() is None:
                found.append(record)
    finally:
        consumer.close()
    return found


@pytest.fixture
def received(server: MockKafka, topic: str) -> Received:
    """The records of the topic."""

    async def read():
        records = await asyncio.to_thread(consumed, server, topic)
        return [(dict(record.headers()), None, record.value() or b"", record.key()) for record in records]

    return read


async def test_an_attempt_tells_the_offset(sender, accepting, topic) -> None:
    """Where the event is can be read in its attempt."""
    outcome = await one(sender, accepting())
    answer = dict(outcome.seen.response_headers)
    assert answer[b"topic"] == topic.encode()
    assert int(answer[b"offset"]) >= 0


async def test_one_key_is_one_partition_in_order(sender, accepting, server, topic) -> None:
    """Events of one ordering key are in one partition, in the order in which they were sent."""
    for number in range(1, 21):
        outcome = await one(sender, accepting(format="raw"), sample_event(number, ordering_key=f"k{number % 3}"))
        assert outcome.kind is Kind.DELIVERED
    records = await asyncio.to_thread(consumed, server, topic)
    by_key: dict[bytes, list] = {}
    for record in records:
        by_key.setdefault(record.key(), []).append((record.partition(), record.offset(), record.value()))
    for key, places in by_key.items():
        assert len({partition for partition, _, _ in places}) == 1
        number = int(key.decode()[1:])
        expected = [sample_event(n).data for n in range(1, 21) if n % 3 == number]
        assert [value for _, _, value in sorted(places)] == expected


async def test_a_lost_cluster_is_found_again(sender, accepting, server: MockKafka) -> None:
    """While it is away attempts fail with a reason; when it is back, so are deliveries."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    server.kill()
    outcome = await one(sender, accepting(timeout_s=2.0))
    assert (outcome.kind, outcome.reason) in ((Kind.RETRY, "connect"), (Kind.RETRY, "timeout"))
    outcome = await one(sender, accepting(timeout_s=5.0))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "connect")
    server.start()
    async with asyncio.timeout(20):
        while (await one(sender, accepting())).kind is not Kind.DELIVERED:
            await asyncio.sleep(0.2)


async def test_what_a_cluster_advertises_is_guarded_too(kind_of_sender, server: MockKafka, topic) -> None:
    """Only the address that was named may be reached: the one the cluster names instead is not connected to."""
    # 127.0.0.2 is what is opened; the cluster advertises 127.0.0.1, which is not.
    async with sending(kind_of_sender, allow=("127.0.0.2/32",)) as made:
        listener = await asyncio.start_server(_way_to(server.port), "127.0.0.2", 0)
        port = listener.sockets[0].getsockname()[1]
        endpoint = sample_endpoint(f"kafka://127.0.0.2:{port}", kind="kafka", config={"topic": topic}, timeout_s=3.0)
        outcome = await one(made, endpoint)
        listener.close()
        await asyncio.sleep(0.1)
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "address_refused"), outcome.detail
    assert await asyncio.to_thread(consumed, server, topic) == []


def _way_to(port: int):
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while chunk := await source.read(65536):
                sink.write(chunk)
            sink.close()

        try:
            await asyncio.gather(way(reader, far_writer), way(far_reader, writer), return_exceptions=True)
        finally:
            far_writer.close()
            writer.close()

    return connected


@pytest.fixture
def real(kafka: Kafka, topic: str) -> EndpointFactory:
    """A topic of Kafka's own, that takes small records only."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka.address})
    for made in admin.create_topics([NewTopic(topic, 3, 1, config={"max.message.bytes": "100000"})]).values():
        made.result(30)
    return partial(sample_endpoint, f"kafka://{kafka.address}", kind="kafka", config={"topic": topic})


async def test_kafka_itself(sender, real, kafka: Kafka, topic) -> None:
    """Apache Kafka confirms what it has, says what is too large and what is not there; each record is there once."""
    outcomes = await asyncio.gather(*(one(sender, real(), sample_event(number)) for number in range(1, 201)))
    assert {outcome.kind for outcome in outcomes} == {Kind.DELIVERED}, outcomes[0].detail
    large = await one(sender, real(), sample_event(data=b'"' + b"x" * 300_000 + b'"'))
    assert (large.kind, large.reason) == (Kind.REJECTED, "too_large"), large.detail
    missing = await one(sender, real(config={"topic": "not-there"}))
    assert (missing.kind, missing.reason) == (Kind.RETRY, "unroutable"), missing.detail
    records = await asyncio.to_thread(consumed, kafka, topic)
    assert sorted(dict(record.headers())["webhook-id"].decode() for record in records) == sorted(
        sample_event(number).public_id for number in range(1, 201)
    )


async def test_wrong_credentials(sender, real) -> None:
    """A cluster that knows no such proof is not delivered to, and the password is shown nowhere."""
    outcome = await one(sender, real(credentials=basic("shop"), timeout_s=5.0))
    assert outcome.kind is Kind.RETRY
    assert PASSWORD not in repr((outcome, outcome.seen))
