"""Queues of RabbitMQ are consumed as the port promises, and what a server does to them is survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.contract.consuming import way
from tests.servers.rabbitmq import RabbitMQ, serving

from hookline.core.source import Source
from hookline.ports.consumer import ConsumerLost
from hookline.testing.consumer_contract import TestConsumer, consuming, opened, received

aio_pika = pytest.importorskip("aio_pika")

from hookline.adapters.consumers.rabbitmq import RabbitmqBroker

__all__ = ["TestConsumer"]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    """One for this file: some tests end it."""
    yield from serving()


class RabbitmqBench:
    """`Bench` with a real server."""

    has_coordinates = False
    keeps_over_restart = True
    settles_s = 0.3

    def __init__(self, server: RabbitMQ) -> None:
        self.server = server
        self.broker, self.other = RabbitmqBroker(way()), RabbitmqBroker(way("2"))

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(_NUMBERS)
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(f"queue-{number}", durable=True)
        return consuming(
            "rabbitmq", number, url=f"amqp://127.0.0.1:{self.server.port}", queue=f"queue-{number}", **config
        )

    async def publish(
        self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str], **more: Any
    ) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            for body in bodies:
                message = aio_pika.Message(
                    body, headers=dict(properties), delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **more
                )
                await channel.default_exchange.publish(message, routing_key=source.config["queue"])

    async def delete(self, source: Source) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(source.config["queue"])

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture
def bench(server: RabbitMQ) -> RabbitmqBench:
    """Its other side."""
    return RabbitmqBench(server)


async def test_a_queue_that_goes_is_lost(bench: RabbitmqBench) -> None:
    """Who waits at a queue that is deleted is told; one that is not there is not made."""
    source = await bench.source()
    async with opened(bench, source) as consumer:
        waiting = asyncio.create_task(consumer.receive())
        await asyncio.sleep(0.2)
        await bench.delete(source)
        with pytest.raises(ConsumerLost):
            async with asyncio.timeout(10):
                await waiting
    with pytest.raises(ConsumerLost, match="queue"):
        await bench.broker.open(source)


async def test_its_properties_are_there(bench: RabbitmqBench) -> None:
    """The publisher's id, the content type and the type are where expressions find them; an array is left out."""
    source = await bench.source()
    await bench.publish(
        source, [b"{}"], {"x": "1"}, message_id="m-7", content_type="application/json", type="order", app_id="shop"
    )
    async with opened(bench, source) as consumer:
        (message,) = await received(consumer, 1)
    assert (message.id, message.content_type, message.topic) == ("m-7", "application/json", source.config["queue"])
    assert message.properties == {"x": "1", "amqp-type": "order", "amqp-app-id": "shop"}


async def test_a_wrong_password_is_said_without_it(bench: RabbitmqBench) -> None:
    """Who may not come in is told why, and the password is in no message."""
    config = {"url": f"amqp://127.0.0.1:{bench.server.port}", "queue": "q"}
    source = consuming("rabbitmq", 1, **config, username="guest", password="no-such-password")
    with pytest.raises(ConsumerLost) as told:
        await bench.broker.open(source)
    assert "no-such-password" not in str(told.value)
