"""The queue over LISTEN and NOTIFY keeps what every queue promises, and finds its way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

asyncpg = pytest.importorskip("asyncpg")

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.postgres import PostgresQueue
from hookline.testing.queue_contract import TestQueue, delivery_ids, received_until

__all__ = ["TestQueue"]
WAIT_S = 15.0


@pytest.fixture
async def queue(dsn: str) -> AsyncIterator[PostgresQueue]:
    """A queue on a database of its own."""
    queue = PostgresQueue(dsn, SystemClock())
    yield queue
    await queue.close()


async def _hearing(queue: PostgresQueue) -> None:
    async with asyncio.timeout(WAIT_S):
        while not queue.hears:
            await asyncio.sleep(0.01)


@pytest.mark.rule(n=24)
async def test_another_process_hears_it(dsn: str, queue: PostgresQueue) -> None:
    """What one process publishes, deliveries and endpoints alike, another one receives."""
    other = PostgresQueue(dsn, SystemClock())
    try:
        waiting = asyncio.create_task(other.receive())
        await _hearing(other)
        wanted = [*delivery_ids(2), b"endpoint-id."]
        queue.publish(wanted)
        async with asyncio.timeout(WAIT_S):
            assert list((await waiting).delivery_ids) == wanted
    finally:
        await other.close()


async def test_connects_again_by_itself(dsn: str, queue: PostgresQueue) -> None:
    """A connection that the server ends is made anew, says so meanwhile, and what is published then comes."""
    changes: list[bool] = []
    queue.registry_changed = lambda: changes.append(queue.hears)
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    admin = await asyncpg.connect(dsn)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'hookline-queue' AND datname = current_database()"
    )
    async with asyncio.timeout(WAIT_S):
        while queue.hears:
            await asyncio.sleep(0.005)
    queue.publish(delivery_ids(3))
    assert await received_until(queue, set(delivery_ids(3))) == [3]
    await admin.close()
    assert changes == [True, True]  # after each connect: what was said before was not heard


async def test_what_others_say_is_ignored(dsn: str, queue: PostgresQueue) -> None:
    """Anything else on the channel is no message."""
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    admin = await asyncpg.connect(dsn)
    for said in ("hello", "AAAA!", "BQ=="):
        await admin.execute("SELECT pg_notify('hookline_due', $1)", said)
    await admin.close()
    queue.publish(delivery_ids(2))
    assert await received_until(queue, set(delivery_ids(2))) == [2]
