"""The queue over RabbitMQ keeps what every queue promises, on a real server, also when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.contract.broker_faults import BrokerFaults, own_address, queue_over, warned
from tests.servers.rabbitmq import RabbitMQ, serving

aio_pika = pytest.importorskip("aio_pika")

from hookline.adapters.queues.broker import BrokerQueue
from hookline.adapters.queues.rabbitmq import RabbitBroker
from hookline.core.broker_address import parse_broker_address
from hookline.testing.queue_contract import TestQueue, delivery_ids, received_until
from hookline.testing.queue_failures import Faults, ends_and_starts
from hookline.testing.queue_failures import TestQueueFailures as FailuresOfAll

__all__ = ["TestQueue"]
WAIT_S = 10.0


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A server for these tests."""
    yield from serving()


@pytest.fixture
async def queue(rabbitmq: RabbitMQ) -> AsyncIterator[BrokerQueue]:
    """A queue on one of its own there."""
    async with queue_over(RabbitBroker(own_address(rabbitmq.url))) as made:
        yield made


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


class TestQueueFailures(FailuresOfAll):
    """A broker that loses all, goes away, stands still."""

    @pytest.mark.rule(n=28)
    async def test_a_broker_that_restarts_or_is_killed_is_found_again(self, faults: Faults) -> None:
        """A SIGKILL right after the queue was made, which may come back without a leader, and a start: publish never
        waits, and both consumers hear again within 30 s."""
        await ends_and_starts(faults, faults.server.kill)


@pytest.mark.rule(n=27)
async def test_what_is_not_acknowledged_comes_again(faults: RabbitFaults) -> None:
    """What a process took and did not claim goes to another when the first is gone; what it claimed does not."""
    first = faults.queue()
    wanted = delivery_ids(2)
    for one in wanted:
        first.publish([one])
    async with asyncio.timeout(WAIT_S):
        claimed, left = await first.receive(), await first.receive()
    await first.acknowledge(claimed)
    await asyncio.sleep(0.2)
    await first.close()
    second = faults.queue()
    assert await received_until(second, set(left.delivery_ids)) == [1]  # fails on a foreign id
    async with asyncio.timeout(WAIT_S):
        while await faults.length():
            await asyncio.sleep(0.05)
    await second.close()


async def test_what_others_send_is_ignored(faults: RabbitFaults) -> None:
    """A message of anybody else's is no message, leaves the queue, and does not end the connection."""
    queue = faults.queue()
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    connects = faults.connects
    async with administrator(faults.server) as channel:
        for payload in (b"", b"hello", b"\x02\x01x", b"\x01\xffx", b"\x01\x00"):
            await channel.default_exchange.publish(aio_pika.Message(payload), faults.name)
    queue.publish(delivery_ids(2))
    assert await received_until(queue, set(delivery_ids(2))) == [2]
    assert faults.connects == connects
    async with asyncio.timeout(WAIT_S):
        while await faults.length():
            await asyncio.sleep(0.05)
    await queue.close()


@pytest.mark.rule(n=28)
async def test_a_queue_without_the_bound_is_refused(faults: RabbitFaults) -> None:
    """A queue of that name with other arguments is not used, and the warning says why."""
    async with administrator(faults.server) as channel:
        await channel.declare_queue(faults.name, durable=True)
    assert "is there with other arguments" in await warned(faults.broker(), WAIT_S)


async def test_a_password_is_used_and_never_told(rabbitmq: RabbitMQ) -> None:
    """A wrong one is refused, and the warning does not tell it; a virtual host that is not there says so."""
    place = f"127.0.0.1:{rabbitmq.port}"
    said = await warned(RabbitBroker(parse_broker_address(f"amqp://guest:hunter2-hunter2@{place}")), WAIT_S)
    assert "ACCESS_REFUSED" in said
    assert "hunter2" not in said
    assert "virtual host" in await warned(RabbitBroker(parse_broker_address(f"{rabbitmq.url}/none")), WAIT_S)
