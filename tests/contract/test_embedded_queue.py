"""The embedded queue keeps the promise of every queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hookline.adapters.queues.embedded import EmbeddedQueue
from hookline.ports.queue import Queue
from hookline.testing.queue_contract import TestQueue, delivery_ids

__all__ = ["TestQueue"]


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    embedded = EmbeddedQueue()
    yield embedded
    await embedded.close()


async def test_keeps_the_oldest() -> None:
    """When it is full the embedded queue keeps what waits longest and drops the newest."""
    queue = EmbeddedQueue()
    flood = delivery_ids(1001)
    for delivery in flood:
        queue.publish([delivery])
    kept = [(await queue.receive()).delivery_ids[0] for _ in range(1000)]
    assert kept == flood[:1000]
