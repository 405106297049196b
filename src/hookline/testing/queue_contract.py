"""What every queue promises. An adapter's test module defines the fixture `queue` and imports `TestQueue`.

    @pytest.fixture
    async def queue():
        queue = EmbeddedQueue()
        yield queue
        await queue.close()

    from hookline.testing.queue_contract import TestQueue

A broker may deliver a message twice and lose all it holds; it never invents an id, never waits in `publish`, and
never holds more than its buffer.
"""

from __future__ import annotations

import asyncio

import pytest

from hookline.core import ids
from hookline.ports.queue import IDS_PER_MESSAGE_MAX, MESSAGES_BUFFERED_MAX, Queue

WAIT_S_MAX = 10.0
"""How long a broker may take to bring a message; the embedded queue takes none of it."""


def delivery_ids(count: int, first: int = 1) -> list[bytes]:
    """Ids of as many deliveries of one event."""
    return [ids.delivery_id(b"\x01\x9b" * 6, first + number) for number in range(count)]


async def received_until(queue: Queue, wanted: set[bytes]) -> list[int]:
    """Receive and acknowledge until all of `wanted` came; the sizes of the messages. Fails on a foreign id."""
    sizes: list[int] = []
    missing = set(wanted)
    async with asyncio.timeout(WAIT_S_MAX):
        while missing:
            message = await queue.receive()
            assert set(message.delivery_ids) <= wanted
            missing -= set(message.delivery_ids)
            sizes.append(len(message.delivery_ids))
            await queue.acknowledge(message)
    return sizes


class TestQueue:
    """The promise of `ports.queue.Queue`."""

    async def test_brings_what_was_published(self, queue: Queue) -> None:
        """What is published is received with the same ids in the same order."""
        wanted = delivery_ids(3)
        queue.publish(wanted)
        async with asyncio.timeout(WAIT_S_MAX):
            message = await queue.receive()
        await queue.acknowledge(message)
        assert list(message.delivery_ids) == wanted

    @pytest.mark.rule(n=27)
    async def test_splits_into_bounded_messages(self, queue: Queue) -> None:
        """However many ids one publish has, no message carries more than 256 and none is lost."""
        wanted = delivery_ids(3 * IDS_PER_MESSAGE_MAX + 1)
        queue.publish(wanted)
        assert max(await received_until(queue, set(wanted))) <= IDS_PER_MESSAGE_MAX

    async def test_copies_what_it_is_given(self, queue: Queue) -> None:
        """A list that its publisher changes afterwards does not change the message."""
        wanted = delivery_ids(2)
        given = list(wanted)
        queue.publish(given)
        given.clear()
        assert await received_until(queue, set(wanted)) == [2]

    async def test_receive_waits_for_a_message(self, queue: Queue) -> None:
        """A receive on an empty queue waits, and gets what is published later."""
        waiting = asyncio.create_task(queue.receive())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        wanted = delivery_ids(1)
        queue.publish(wanted)
        async with asyncio.timeout(WAIT_S_MAX):
            message = await waiting
        await queue.acknowledge(message)
        assert list(message.delivery_ids) == wanted

    async def test_publishing_nothing_sends_nothing(self, queue: Queue) -> None:
        """An empty publish makes no message."""
        queue.publish([])
        wanted = delivery_ids(1)
        queue.publish(wanted)
        assert await received_until(queue, set(wanted)) == [1]
        assert queue.dropped == 0

    async def test_several_receivers_share_the_messages(self, queue: Queue) -> None:
        """Two receivers together get every id."""
        wanted = delivery_ids(40)
        missing = set(wanted)
        all_came = asyncio.Event()

        async def receive() -> None:
            while True:
                message = await queue.receive()
                missing.difference_update(message.delivery_ids)
                await queue.acknowledge(message)
                if not missing:
                    all_came.set()

        receivers = [asyncio.create_task(receive()) for _ in range(2)]
        for delivery in wanted:
            queue.publish([delivery])
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await all_came.wait()
        finally:
            for receiver in receivers:
                receiver.cancel()
            await asyncio.gather(*receivers, return_exceptions=True)
        assert not missing

    async def test_a_cancelled_receive_loses_nothing_that_comes_later(self, queue: Queue) -> None:
        """After a waiting receive is cancelled, the next one gets what is published."""
        waiting = asyncio.create_task(queue.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        wanted = delivery_ids(2)
        queue.publish(wanted)
        assert await received_until(queue, set(wanted)) == [2]

    @pytest.mark.rule(n=28)
    async def test_overflow_is_dropped_and_counted(self, queue: Queue) -> None:
        """Beyond 1,000 buffered messages publish drops, counts, and neither waits nor raises."""
        excess = 25
        for delivery in delivery_ids(MESSAGES_BUFFERED_MAX + excess):
            queue.publish([delivery])  # never gives the loop a turn, so nothing can be sent meanwhile
        assert queue.dropped == excess

    @pytest.mark.rule(n=28)
    async def test_works_on_after_an_overflow(self, queue: Queue) -> None:
        """A queue that dropped messages brings those it kept and those published once there is room."""
        flood = delivery_ids(MESSAGES_BUFFERED_MAX + 1)
        for delivery in flood:
            queue.publish([delivery])
        late = delivery_ids(1, first=len(flood) + 1)
        seen: set[bytes] = set()
        async with asyncio.timeout(WAIT_S_MAX):
            for _ in range(MESSAGES_BUFFERED_MAX):
                message = await queue.receive()
                seen.update(message.delivery_ids)
                await queue.acknowledge(message)
            queue.publish(late)
            while not seen.issuperset(late):
                message = await queue.receive()
                seen.update(message.delivery_ids)
                await queue.acknowledge(message)
        assert seen <= {*flood, *late}

    async def test_publish_after_close_is_harmless(self, queue: Queue) -> None:
        """A hint that comes while the process stops is dropped, without an exception; closing twice is once."""
        await queue.close()
        queue.publish(delivery_ids(1))
        await queue.close()
        assert queue.dropped == 1
