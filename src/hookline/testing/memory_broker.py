"""A broker in memory: what a test publishes is consumed as from a real one, and it fails when it is told to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hookline.core.bindings import Value
from hookline.core.source import Source
from hookline.ports.consumer import BYTES_MAX, MESSAGES_MAX, Consumer, ConsumerLost, Message


class _Queue:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        """What was not acknowledged, in order."""
        self.taken: dict[str, MemoryConsumer] = {}
        """By coordinates, who has it."""
        self.published = 0


class MemoryBroker:
    """`Broker` for sources of kind redis, by their `stream`. Passes the contract."""

    kind = "redis"

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = defaultdict(_Queue)
        self.consumers: list[MemoryConsumer] = []
        """Those that are open."""
        self.away = False
        """While it is, nothing can be opened, and whatever is open is lost."""
        self.opens = 0
        """How often somebody tried to open one."""
        self.changed = asyncio.Condition()

    async def publish(
        self, stream: str, body: bytes, properties: Mapping[str, Value] | None = None, *, key: str = ""
    ) -> None:
        """Add a message."""
        queue = self._queues[stream]
        queue.published += 1
        coordinates = f"{queue.published}@{stream}"
        queue.messages.append(
            Message(
                body, dict(properties or {}), topic=stream, key=key, id=f"m-{queue.published}", coordinates=coordinates
            )
        )
        await self._tell()

    async def again(self, stream: str, body: bytes, coordinates: str) -> None:
        """Add a message that was there before, as a broker does that lost an acknowledgement."""
        self._queues[stream].messages.append(Message(body, topic=stream, coordinates=coordinates))
        await self._tell()

    def left(self, stream: str) -> list[bytes]:
        """What was not acknowledged."""
        return [message.body for message in self._queues[stream].messages]

    async def set_away(self, away: bool) -> None:
        """It goes away, or comes back."""
        self.away = away
        await self._tell()

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`."""
        self.opens += 1
        if self.away:
            raise ConsumerLost("The broker is away.")
        consumer = MemoryConsumer(self, self._queues[source.config["stream"]])
        self.consumers.append(consumer)
        return consumer

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class MemoryConsumer:
    """`Consumer` of one queue."""

    def __init__(self, broker: MemoryBroker, queue: _Queue) -> None:
        self._broker = broker
        self._queue = queue

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`."""
        async with self._broker.changed:
            while True:
                if self._broker.away:
                    raise ConsumerLost("The broker went away.")
                found = self._some()
                if found:
                    return found
                await self._broker.changed.wait()

    def _some(self) -> list[Message]:
        found: list[Message] = []
        size_bytes = 0
        for message in self._queue.messages:
            if len(found) == MESSAGES_MAX or size_bytes >= BYTES_MAX:
                break
            if message.coordinates not in self._queue.taken:
                found.append(message)
                size_bytes += len(message.body)
        for message in found:
            self._queue.taken[message.coordinates] = self
        return found

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`."""
        if self._broker.away:
            raise ConsumerLost("The broker went away.")
        for message in messages:
            self._queue.messages.remove(message)
            del self._queue.taken[message.coordinates]

    async def close(self) -> None:
        """`Consumer.close`."""
        self._broker.consumers.remove(self)
        for coordinates in [one for one, owner in self._queue.taken.items() if owner is self]:
            del self._queue.taken[coordinates]
        async with self._broker.changed:
            self._broker.changed.notify_all()
