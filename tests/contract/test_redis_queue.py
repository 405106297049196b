"""The queue over Redis keeps what every queue promises, on a real Valkey, also when that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.contract.broker_faults import BrokerFaults, own_address, queue_over, warned
from tests.servers.valkey import Valkey, serving

redis = pytest.importorskip("redis.asyncio")

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.broker import BrokerQueue
from hookline.adapters.queues.redis import RedisBroker
from hookline.core.broker_address import parse_broker_address
from hookline.testing.queue_contract import TestQueue, delivery_ids, received_until
from hookline.testing.queue_failures import TestQueueFailures

__all__ = ["TestQueue", "TestQueueFailures"]
WAIT_S = 10.0


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A server for these tests."""
    yield from serving()


@pytest.fixture
async def queue(valkey: Valkey) -> AsyncIterator[BrokerQueue]:
    """A queue on a stream of its own."""
    async with queue_over(RedisBroker(own_address(valkey.url))) as made:
        yield made


@asynccontextmanager
async def administrator(valkey: Valkey) -> AsyncIterator[redis.Redis]:
    """A connection beside the queues'."""
    client = redis.Redis.from_url(valkey.url)
    try:
        yield client
    finally:
        await client.aclose()


class RedisFaults(BrokerFaults):
    """What can be done to a stream."""

    server: Valkey

    def broker(self) -> RedisBroker:
        """One more."""
        return RedisBroker(self.address)

    async def purge(self) -> None:
        """FLUSHALL: also the stream and its group are gone."""
        async with administrator(self.server) as client:
            await client.flushall()

    async def delete_queue(self) -> None:
        """The stream, and the group with it."""
        async with administrator(self.server) as client:
            await client.delete(f"{self.address.name}:due")

    async def delete_group(self) -> None:
        """The group."""
        async with administrator(self.server) as client:
            await client.xgroup_destroy(f"{self.address.name}:due", self.address.name)

    async def length(self) -> int:
        """Of the stream."""
        async with administrator(self.server) as client:
            return int(await client.xlen(f"{self.address.name}:due"))


@pytest.fixture
def faults(valkey: Valkey) -> Iterator[RedisFaults]:
    """The server, which runs again afterwards."""
    yield RedisFaults(valkey, valkey.url)
    valkey.restore()


@pytest.mark.rule(n=27)
async def test_nothing_is_left_behind(valkey: Valkey, faults: RedisFaults) -> None:
    """What was read is not pending, and processes that came and went left no consumer each."""
    for number in range(3):
        queue = faults.queue()
        wanted = delivery_ids(5, first=10 * number + 1)
        queue.publish(wanted)
        await received_until(queue, set(wanted))
        await queue.close()
    async with administrator(valkey) as client:
        (group,) = await client.xinfo_groups(f"{faults.address.name}:due")
    assert (group["pending"], group["consumers"]) == (0, 1)


async def test_what_others_write_is_ignored(valkey: Valkey, faults: RedisFaults) -> None:
    """An entry of anybody else's in the stream is no message, and does not end the connection."""
    queue = faults.queue()
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    connects = faults.connects
    async with administrator(valkey) as client:
        for fields in ({"a": "b"}, {"m": ""}, {"m": b"\x02\x01x"}, {"m": b"\x01\xffx"}, {"m": b"\x01\x00"}):
            await client.xadd(f"{faults.address.name}:due", fields)
    queue.publish(delivery_ids(2))
    assert await received_until(queue, set(delivery_ids(2))) == [2]
    assert faults.connects == connects
    await queue.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Valkey]:
    """A server that asks for a password."""
    yield from serving(requirepass="right-hunter2")


async def test_a_password_is_used_and_never_told(guarded: Valkey) -> None:
    """With the right password it works; with a wrong one or none it says why, and not which."""
    place = f"127.0.0.1:{guarded.port}/0"
    queue = BrokerQueue(RedisBroker(parse_broker_address(f"redis://:right-hunter2@{place}")), SystemClock())
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    await queue.close()
    for url in (f"redis://:wrong-hunter2@{place}", f"redis://somebody:wrong-hunter2@{place}", f"redis://{place}"):
        said = await warned(RedisBroker(parse_broker_address(url)), WAIT_S)
        assert "uthenticat" in said or "WRONGPASS" in said or "password" in said
        assert "hunter2" not in said


async def test_hosts_are_tried_in_turn(valkey: Valkey) -> None:
    """Of several hosts one that is not there costs an attempt."""
    address = parse_broker_address(f"redis://127.0.0.1:1,127.0.0.1:{valkey.port}/0?name=in-turn")
    queue = BrokerQueue(RedisBroker(address), SystemClock())
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    await queue.close()
