"""What every queue over a broker promises when that fails. A test module defines the fixture `faults`, whose broker is
a real one that may be stopped and killed, and imports `TestQueueFailures`.

    from hookline.testing.queue_failures import TestQueueFailures

Hints may be lost. What may not be: an exception or a wait in `publish`, a queue that never hears again, a hot loop, a
log that floods, a broker that fills up.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import pytest

from hookline.core import ids
from hookline.ports.queue import MESSAGES_BUFFERED_MAX, Queue

HEALS_S_MAX: Final = 30.0
PUBLISH_S_MAX: Final = 0.1
"""A publish that took longer has waited for something; it takes some microseconds."""
CLOSE_S_MAX: Final = 6.0
STALL_S: Final = 8.0
"""Longer than the brokers' heartbeat of 5 s."""
FILLED_BY: Final = 487
"""No round number: a broker that cuts by whole blocks is found out."""
SPREAD_MAX: Final = 0.1
_NUMBERS: Final = itertools.count(1)


class Server(Protocol):
    """The broker's process. Nothing here returns before it is done."""

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        ...

    def stop(self) -> None:
        """End it in order."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def stall(self) -> None:
        """SIGSTOP."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...


class Faults(Protocol):
    """A broker, what can be done to it, and queues on it that are watched."""

    server: Server
    kept_max: int
    """So many messages it keeps at most."""
    connects: int
    """How often a queue of `queue` began to connect, for sending or receiving."""
    warnings: Sequence[tuple[float, str]]
    """What they warned of: when (monotonic, in seconds) and the warning's name."""

    def queue(self) -> Queue:
        """One more process's queue, on the same messages as the others."""
        ...

    async def purge(self) -> None:
        """All messages are gone; where a broker can lose more at once, as by FLUSHALL, that, too."""
        ...

    async def delete_queue(self) -> None:
        """What holds the messages (stream, queue, topic) is gone."""
        ...

    async def delete_group(self) -> None:
        """Who has received what is forgotten; a broker that does not know that does nothing."""
        ...

    async def length(self) -> int:
        """How many messages it keeps now."""
        ...


class Consumer:
    """One process that receives, as a worker does, and writes down what."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.came: list[bytes] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            message = await self.queue.receive()
            self.came += message.delivery_ids
            await self.queue.acknowledge(message)

    async def close(self) -> None:
        """End it and its queue."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.queue.close()


def publish_one(queue: Queue) -> bytes:
    """Publish an id that was not there before; it does not wait."""
    made = ids.delivery_id(b"\x01\x9c" * 6, next(_NUMBERS))
    began_s = time.monotonic()
    queue.publish([made])
    assert time.monotonic() - began_s < PUBLISH_S_MAX
    return made


@asynccontextmanager
async def running(faults: Faults) -> AsyncIterator[tuple[Queue, list[Consumer]]]:
    """A queue to publish on and two that receive, all of them connected."""
    publisher = faults.queue()
    consumers = [Consumer(faults.queue()), Consumer(faults.queue())]
    try:
        await healed(publisher, consumers)
        yield publisher, consumers
    finally:
        for consumer in consumers:
            await consumer.close()
        await publisher.close()


async def healed(publisher: Queue, consumers: Sequence[Consumer]) -> None:
    """Return when each consumer got something that was published after now; it takes at most 30 s."""
    before = [len(consumer.came) for consumer in consumers]
    fresh: set[bytes] = set()
    async with asyncio.timeout(HEALS_S_MAX):
        while not all(fresh.intersection(c.came[n:]) for c, n in zip(consumers, before, strict=True)):
            fresh.add(publish_one(publisher))
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], wait_s: float) -> None:
    """Wait until it holds; fails when it does not in time."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)


async def in_thread(work: Callable[[], None]) -> None:
    """What blocks, beside the loop."""
    await asyncio.to_thread(work)


class Calm:
    """Watches that nothing is tried in a hot loop and no log is flooded."""

    def __init__(self, faults: Faults, queues: int = 3) -> None:
        self._faults = faults
        self._queues = queues
        self._began_s = time.monotonic()
        self._connects = faults.connects
        self._warnings = len(faults.warnings)

    def check(self) -> None:
        """Each connection was made again some times at once, then about once a second, and said so as often."""
        lasted_s = time.monotonic() - self._began_s
        assert self._faults.connects - self._connects <= self._queues * 2 * (8 + lasted_s)
        said: dict[str, list[float]] = defaultdict(list)
        for at_s, name in list(self._faults.warnings)[self._warnings :]:
            said[name].append(at_s)
        for name, times in said.items():
            # One per second, and connection that may be lost.
            assert len(times) <= self._queues * (2 + lasted_s), name


async def ends_and_starts(faults: Faults, *ends: Callable[[], None]) -> None:
    """The broker is ended in these ways, and each time found again."""
    async with running(faults) as (publisher, consumers):
        calm = Calm(faults)
        for end in ends:
            await in_thread(end)
            await until(lambda: not any(one.queue.hears for one in consumers), HEALS_S_MAX)
            for _ in range(50):
                publish_one(publisher)
                await asyncio.sleep(0.02)
            await in_thread(faults.server.start)
            await healed(publisher, consumers)
            assert all(one.queue.hears for one in consumers)
        calm.check()


class TestQueueFailures:
    """A broker that loses all, goes away, stands still."""

    @pytest.mark.rule(n=28)
    async def test_what_the_broker_forgets_is_made_again(self, faults: Faults) -> None:
        """After a purge, a deleted stream or queue and a deleted group both consumers hear again within 30 s."""
        async with running(faults) as (publisher, consumers):
            calm = Calm(faults)
            for fault in (faults.purge, faults.delete_queue, faults.delete_group, faults.purge):
                await fault()
                await healed(publisher, consumers)
            assert publisher.dropped == 0
            calm.check()

    @pytest.mark.rule(n=28)
    async def test_a_broker_that_restarts_or_is_killed_is_found_again(self, faults: Faults) -> None:
        """A SIGKILL soon after all was made, a stop, and a start after each: publish never waits, and both consumers
        hear again within 30 s."""
        await ends_and_starts(faults, faults.server.kill, faults.server.stop)

    @pytest.mark.rule(n=28)
    async def test_a_broker_that_stands_still_stops_nobody(self, faults: Faults) -> None:
        """SIGSTOP beyond its heartbeat: publish never waits, the queues say that they hear nothing, and after SIGCONT
        both consumers hear again within 30 s."""
        async with running(faults) as (publisher, consumers):
            calm = Calm(faults)
            faults.server.stall()
            try:
                end_s = time.monotonic() + STALL_S
                deaf = False
                while time.monotonic() < end_s:
                    publish_one(publisher)
                    deaf |= not any(one.queue.hears for one in consumers)
                    await asyncio.sleep(0.05)
                late = Consumer(faults.queue())
                await asyncio.sleep(0.2)
                began_s = time.monotonic()
                await late.close()
                assert time.monotonic() - began_s < CLOSE_S_MAX
            finally:
                faults.server.resume()
            assert deaf
            await healed(publisher, consumers)
            calm.check()

    @pytest.mark.rule(n=28)
    async def test_a_broker_that_is_away_at_the_start(self, faults: Faults) -> None:
        """Publish takes 1,000 messages, drops and counts the rest, and never waits; a close ends; what waited comes
        when the broker does."""
        await in_thread(faults.server.stop)
        publisher, consumer, ended = faults.queue(), Consumer(faults.queue()), Consumer(faults.queue())
        calm = Calm(faults)
        try:
            made = [publish_one(publisher) for _ in range(MESSAGES_BUFFERED_MAX + 7)]
            publish_one(ended.queue)
            await asyncio.sleep(1.0)
            assert publisher.dropped == 7
            assert not consumer.queue.hears
            assert not consumer.came
            began_s = time.monotonic()
            await ended.close()
            assert time.monotonic() - began_s < CLOSE_S_MAX
            await in_thread(faults.server.start)
            await until(lambda: set(consumer.came) >= set(made[:MESSAGES_BUFFERED_MAX]), HEALS_S_MAX)
            calm.check()
        finally:
            await consumer.close()
            await publisher.close()

    @pytest.mark.rule(n=28)
    async def test_a_broker_is_never_filled(self, faults: Faults) -> None:
        """Of what nobody receives the broker keeps the newest, as many as its bound."""
        publisher = faults.queue()
        most = 0
        sent = 0
        try:
            while sent < faults.kept_max + 2 * MESSAGES_BUFFERED_MAX:
                dropped = publisher.dropped
                for _ in range(FILLED_BY):
                    publish_one(publisher)
                sent += FILLED_BY - (publisher.dropped - dropped)
                await asyncio.sleep(0.03)
                most = max(most, await faults.length())
            async with asyncio.timeout(HEALS_S_MAX):
                while await faults.length() < 0.9 * faults.kept_max:  # noqa: ASYNC110 - it is in another process
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            assert max(most, await faults.length()) <= faults.kept_max
        finally:
            await publisher.close()

    @pytest.mark.rule(n=27)
    async def test_consumers_share_the_messages(self, faults: Faults) -> None:
        """Two consumers get all of the messages together, each some of them, and hardly one twice."""
        async with running(faults) as (publisher, consumers):
            wanted = []
            for _ in range(100):
                wanted += [publish_one(publisher) for _ in range(3)]
                await asyncio.sleep(0.005)
            wanted_set = set(wanted)

            def came() -> list[bytes]:
                return [one for consumer in consumers for one in consumer.came if one in wanted_set]

            await until(lambda: set(came()) == wanted_set, HEALS_S_MAX)
            assert len(came()) <= (1 + SPREAD_MAX) * len(wanted)
            assert all(wanted_set.intersection(consumer.came) for consumer in consumers)

    async def test_a_receive_that_is_cancelled_loses_nothing(self, faults: Faults) -> None:
        """A receive that is cancelled again and again brings all that is published."""
        queue = faults.queue()
        wanted = {publish_one(queue) for _ in range(100)}
        came: set[bytes] = set()
        try:
            async with asyncio.timeout(HEALS_S_MAX):
                while came != wanted:
                    waiting = asyncio.create_task(queue.receive())
                    await asyncio.wait({waiting}, timeout=0.01)
                    waiting.cancel()
                    for done in await asyncio.gather(waiting, return_exceptions=True):
                        if not isinstance(done, BaseException):
                            came.update(done.delivery_ids)
                            await queue.acknowledge(done)
        finally:
            await queue.close()

    async def test_a_close_ends_at_once(self, faults: Faults) -> None:
        """Closing queues that send and receive takes no longer than the broker needs to be told."""
        publisher, consumer = faults.queue(), Consumer(faults.queue())
        await healed(publisher, [consumer])
        began_s = time.monotonic()
        publish_one(publisher)
        await consumer.close()
        await publisher.close()
        assert time.monotonic() - began_s < CLOSE_S_MAX
