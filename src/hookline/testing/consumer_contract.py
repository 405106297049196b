"""What every consumer promises. An adapter's test module defines the fixture `bench` and imports `TestConsumer`.

A broker brings each message at least once, in its order, until it was acknowledged; nothing that was not acknowledged
is lost when a consumer ends, however it ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

from hookline.core.source import Source, SourceSecrets
from hookline.core.source_spec import build_source, check_spec, parse_spec
from hookline.core.verified_by import check_source_config, preset_for
from hookline.ports.consumer import BYTES_MAX, MESSAGES_MAX, Broker, Consumer, ConsumerLost, Message

WAIT_S_MAX = 30.0
QUIET_S = 1.5
"""What has not come after so long does not come."""


class Bench(Protocol):
    """A broker under test, and the other side of it: who publishes, and who runs the server."""

    broker: Broker
    other: Broker
    """The same server, for another process of ours."""
    has_coordinates: bool
    """Whether its messages have coordinates that stay the same."""
    keeps_over_restart: bool
    """Whether the server keeps messages when it is killed and started again."""
    settles_s: float
    """So long a group takes to find out who is in it."""

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        """A new source on a queue or topic of its own, which is there. `shared`: of which two consumers can each have
        a part, at the cost of order."""
        ...

    async def publish(self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str]) -> None:
        """Publish there, confirmed by the server."""
        ...

    async def kill(self) -> None:
        """End the server at once."""
        ...

    async def start(self) -> None:
        """Start it again, where it was."""
        ...


def consuming(kind: str, number: int = 1, name: str = "in", **config: Any) -> Source:
    """A source of this kind, compiled."""
    spec = parse_spec(json.dumps({"name": name, "kind": kind, "config": config}).encode())
    preset = preset_for(kind, None)
    check_spec(spec, preset)
    check_source_config(kind, preset, spec.config)
    source_id = number.to_bytes(12, "big")
    return build_source(id=source_id, tenant="default", version=1, spec=spec, preset=preset, secrets=SourceSecrets())


@asynccontextmanager
async def opened(bench: Bench, source: Source, *, other: bool = False) -> AsyncIterator[Consumer]:
    """A consumer for as long as the block lasts; `other`: of another process."""
    async with asyncio.timeout(WAIT_S_MAX):
        consumer = await (bench.other if other else bench.broker).open(source)
    try:
        yield consumer
    finally:
        async with asyncio.timeout(WAIT_S_MAX):
            await consumer.close()


async def received(consumer: Consumer, count: int, *, acknowledge: bool = True) -> list[Message]:
    """So many messages, acknowledged as they come."""
    found: list[Message] = []
    async with asyncio.timeout(WAIT_S_MAX):
        while len(found) < count:
            messages = await consumer.receive()
            assert messages
            assert len(messages) <= MESSAGES_MAX
            found += messages
            if acknowledge:
                await consumer.acknowledge(messages)
    return found


async def nothing_comes(consumer: Consumer) -> bool:
    """Whether nothing comes for a while."""
    try:
        async with asyncio.timeout(QUIET_S):
            await consumer.receive()
    except TimeoutError:
        return True
    return False


def bodies_of(messages: Sequence[Message]) -> list[bytes]:
    """What they carry."""
    return [message.body for message in messages]


def numbered(count: int) -> list[bytes]:
    """So many bodies, each its own."""
    return [b'{"n":%d}' % number for number in range(count)]


class TestConsumer:
    """The promise of `ports.consumer`."""

    async def test_brings_what_was_published(self, bench: Bench) -> None:
        """Messages come in the order of their publishing, their bytes and properties as they were."""
        source = await bench.source()
        bodies = [b"\x00\xff\xfe", b"", "ä".encode(), *numbered(20)]
        await bench.publish(source, bodies, {"x-kind": "order"})
        async with opened(bench, source) as consumer:
            found = await received(consumer, len(bodies))
        assert bodies_of(found) == bodies
        for message in found:
            kind = message.properties["x-kind"]
            assert kind in ("order", b"order")
            assert message.topic

    async def test_each_has_coordinates_of_its_own(self, bench: Bench) -> None:
        """No two messages have the same coordinates, where the broker has any, nor have those of another queue."""
        one, other = await bench.source(), await bench.source()
        found: list[Message] = []
        for source in (one, other):
            await bench.publish(source, numbered(5), {})
            async with opened(bench, source) as consumer:
                found += await received(consumer, 5)
        coordinates = {message.coordinates for message in found}
        assert len(coordinates) == (10 if bench.has_coordinates else 1)
        assert ("" in coordinates) is not bench.has_coordinates

    async def test_what_is_not_acknowledged_comes_again(self, bench: Bench) -> None:
        """After a consumer ends, what it did not acknowledge comes again, with the same coordinates."""
        source = await bench.source()
        await bench.publish(source, numbered(5), {})
        async with opened(bench, source) as consumer:
            first = await received(consumer, 1, acknowledge=False)
        async with opened(bench, source) as consumer:
            again = await received(consumer, 5)
        assert sorted(bodies_of(again)) == numbered(5)
        known = {message.body: message.coordinates for message in again}
        assert [known[message.body] for message in first] == [message.coordinates for message in first]

    async def test_what_is_acknowledged_does_not_come_again(self, bench: Bench) -> None:
        """Who begins anew gets only what was not acknowledged."""
        source = await bench.source()
        await bench.publish(source, numbered(3), {})
        async with opened(bench, source) as consumer:
            await received(consumer, 3)
        await bench.publish(source, [b"later"], {})
        async with opened(bench, source) as consumer:
            assert bodies_of(await received(consumer, 1)) == [b"later"]
            assert await nothing_comes(consumer)

    async def test_receive_waits(self, bench: Bench) -> None:
        """A receive on an empty queue waits for what is published later."""
        source = await bench.source()
        async with opened(bench, source) as consumer:
            waiting = asyncio.create_task(consumer.receive())
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await bench.publish(source, [b"late"], {})
            async with asyncio.timeout(WAIT_S_MAX):
                messages = await waiting
            assert bodies_of(messages) == [b"late"]
            await consumer.acknowledge(messages)

    async def test_a_cancelled_receive_loses_nothing(self, bench: Bench) -> None:
        """What is published around the end of a consumer that waits comes to the next one."""
        source = await bench.source()
        async with opened(bench, source) as consumer:
            waiting = asyncio.create_task(consumer.receive())
            await asyncio.sleep(0.2)
            publishing = asyncio.create_task(bench.publish(source, numbered(3), {}))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await publishing
        async with opened(bench, source) as consumer:
            assert sorted(set(bodies_of(await received(consumer, 3)))) == numbered(3)

    async def test_many_come_in_bounded_parts(self, bench: Bench) -> None:
        """No receive brings more than its bounds, in number or, but for its last message, in bytes."""
        source = await bench.source()
        await bench.publish(source, numbered(MESSAGES_MAX + 50), {})
        large = [bytes([65 + number]) * 900_000 for number in range(7)]
        async with opened(bench, source) as consumer:
            assert bodies_of(await received(consumer, MESSAGES_MAX + 50)) == numbered(MESSAGES_MAX + 50)
            await bench.publish(source, large, {})
            came: list[bytes] = []
            async with asyncio.timeout(WAIT_S_MAX):
                while len(came) < len(large):
                    messages = await consumer.receive()
                    assert sum(len(message.body) for message in messages[:-1]) < BYTES_MAX
                    came += bodies_of(messages)
                    await consumer.acknowledge(messages)
        assert came == large

    async def test_two_share_the_messages(self, bench: Bench) -> None:
        """Of two consumers of one source each gets messages that the other does not get, and together they get all."""
        source = await bench.source(shared=True)
        came: dict[int, list[bytes]] = {0: [], 1: []}

        async def read(number: int) -> None:
            async with opened(bench, source, other=number == 1) as consumer:
                while True:
                    messages = await consumer.receive()
                    came[number] += bodies_of(messages)
                    await consumer.acknowledge(messages)

        readers = [asyncio.create_task(read(number)) for number in (0, 1)]
        await asyncio.sleep(bench.settles_s)
        await bench.publish(source, numbered(60), {})
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while len({*came[0], *came[1]}) < 60:
                    await asyncio.sleep(0.05)
                    assert not any(reader.done() for reader in readers), readers
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        assert sorted({*came[0], *came[1]}) == sorted(numbered(60))
        assert set(came[0]).isdisjoint(came[1])

    async def test_a_server_that_ends_is_lost_and_found(self, bench: Bench) -> None:
        """When the server ends, who waits is told; when it is there again, so are the messages."""
        source = await bench.source()
        await bench.publish(source, [b"before"], {})
        async with opened(bench, source) as consumer:
            waiting = asyncio.create_task(_until_lost(consumer))
            await asyncio.sleep(0.3)
            await bench.kill()
            async with asyncio.timeout(WAIT_S_MAX):
                assert bodies_of(await waiting) == [b"before"]
        with pytest.raises(ConsumerLost):
            async with asyncio.timeout(WAIT_S_MAX):
                await bench.broker.open(source)
        await bench.start()
        if not bench.keeps_over_restart:
            async with opened(bench, source):
                pass
        await bench.publish(source, [b"after"], {})
        async with asyncio.timeout(WAIT_S_MAX):
            while b"after" not in await _read_once(bench, source):
                pass


async def _until_lost(consumer: Consumer) -> list[Message]:
    found: list[Message] = []
    while True:
        try:
            messages = await consumer.receive()
            found += messages
            await consumer.acknowledge(messages)
        except ConsumerLost:
            return found


async def _read_once(bench: Bench, source: Source) -> list[bytes]:
    """What comes; nothing where the server is not ready yet."""
    try:
        async with opened(bench, source) as consumer:
            messages = await consumer.receive()
            await consumer.acknowledge(messages)
            return bodies_of(messages)
    except ConsumerLost:
        await asyncio.sleep(0.2)
        return []
