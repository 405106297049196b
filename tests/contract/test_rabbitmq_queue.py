"""The queue over RabbitMQ keeps what every queue promises, on a real server, also when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.contract.broker_faults import BrokerFaults, own_address
from tests.servers.rabbitmq import RabbitMQ, serving

aio_pika = pytest.importorskip("aio_pika")

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.broker import BrokerQueue
from hookline.adapters.queues.rabbitmq import RabbitBroker
from hookline.testing.queue_contract import TestQueue
from hookline.testing.queue_failures import TestQueueFailures

__all__ = ["TestQueue", "TestQueueFailures"]
WAIT_S = 10.0


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A server for these tests."""
    yield from serving()


@pytest.fixture
async def queue(rabbitmq: RabbitMQ) -> AsyncIterator[BrokerQueue]:
    """A queue on one of its own there."""
    made = BrokerQueue(RabbitBroker(own_address(rabbitmq.url)), SystemClock())
    yield made
    await made.close()


@asynccontextmanager
async def administrator(server: RabbitMQ) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A channel beside the queues'."""
    connection = await aio_pika.connect(server.url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


class RabbitFaults(BrokerFaults):
    """What can be done to a queue."""

    server: RabbitMQ

    def broker(self) -> RabbitBroker:
        """One more."""
        return RabbitBroker(self.address)

    @property
    def name(self) -> str:
        """Of the queue."""
        return f"{self.address.name}.due"

    async def purge(self) -> None:
        """The messages."""
        async with administrator(self.server) as channel:
            await (await channel.get_queue(self.name, ensure=False)).purge()

    async def delete_queue(self) -> None:
        """All of it."""
        async with administrator(self.server) as channel:
            await channel.queue_delete(self.name)

    async def delete_group(self) -> None:
        """Nobody knows who has received what but by their connections: these are ended."""
        await asyncio.to_thread(self.server.control, "close_all_connections", "by the test")

    async def length(self) -> int:
        """Of the queue."""
        async with administrator(self.server) as channel:
            try:
                found = await channel.declare_queue(self.name, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return 0  # not made yet
            return found.declaration_result.message_count or 0


@pytest.fixture
def faults(rabbitmq: RabbitMQ) -> Iterator[RabbitFaults]:
    """The server, which runs again afterwards."""
    yield RabbitFaults(rabbitmq, rabbitmq.url)
    rabbitmq.restore()
