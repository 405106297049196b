"""RabbitMQ, 3.10 or newer: a quorum queue that keeps 10,000 messages for an hour, the newest, and gives each once.

Who has received a message and not acknowledged it has it until its connection ends; then it comes again, to somebody
else. Publishers' confirms say that the queue has what was sent. The driver's own way of connecting again is not used:
it declares what was there when it began, and waits where it should say that it does.

A queue of that name with other arguments is not used: nobody knows whether it has a bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq import Channel as Wire
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic
from yarl import URL

from hookline.adapters.queues.broker import (
    COMING_MAX,
    CONNECT_S_MAX,
    KEPT_MESSAGES_MAX,
    KEPT_S_MAX,
    BrokerError,
    Inlet,
    Outlet,
    Received,
)
from hookline.adapters.queues.rabbitmq_link import Link
from hookline.adapters.queues.tls import tls_context
from hookline.core.broker_address import BrokerAddress

T = TypeVar("T")

HEARTBEAT_S: Final = 5
ANSWER_S_MAX: Final = 3.0
"""For the answer of a queue: shorter than connecting or sending may take, so that it is known what did not answer."""
MUTE_MAX: Final = 2
"""A queue that did not answer so often, on connections that do, is deleted and made anew: one that was declared just
before its broker was killed may come back without a leader, and stay like that (seen with RabbitMQ 3.10)."""
BLOCKED_S: Final = 0.05
CONFIRMS_MAX: Final = 100
"""So many messages are on their way at once."""
ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-max-length": KEPT_MESSAGES_MAX,
    "x-overflow": "drop-head",
    "x-message-ttl": int(KEPT_S_MAX * 1000),
}
_MUTED: Final = ("aiormq", "aio_pika")
"""What these log is in what they raise, and that is said once, by who connects again."""


class RabbitBroker:
    """`Broker` over a quorum queue. The path of the address is the virtual host; without one it is `/`."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._tls = tls_context(address)
        self._next = 0
        self._mute = 0
        self.queue = f"{address.name}.due"
        for name in _MUTED:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    async def outlet(self) -> Outlet:
        """`Broker.outlet`, with the queue there."""
        link = await self._connected()
        try:
            channel = await link.connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._declared(channel)
            return RabbitOutlet(link, await _wire(channel), self)
        except BaseException:
            link.abandon()
            raise

    async def inlet(self) -> Inlet:
        """`Broker.inlet`, with the queue there."""
        link = await self._connected()
        try:
            channel = await link.connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=COMING_MAX, timeout=ANSWER_S_MAX)
            queue = await self._declared(channel)
            inlet = RabbitInlet(link, await _wire(channel), queue)
            await self.answer(inlet.consume())
            return inlet
        except BaseException:
            link.abandon()
            raise

    async def _connected(self) -> Link:
        """A connection that is not made again by its driver: that is done above. Servers are tried in turn."""
        address = self._address
        host, port = address.hosts[self._next % len(address.hosts)]
        self._next += 1
        link = Link(
            URL.build(
                scheme=address.scheme,
                user=address.user or "guest",
                password=address.password or "guest",
                host=host,
                port=port,
                path="/" + (address.path or "/").replace("/", "%2F"),
                query={"heartbeat": str(HEARTBEAT_S), "name": address.name},
            ),
            self._tls,
        )
        try:
            await link.connection.connect(timeout=CONNECT_S_MAX)
        except InvalidFrameError:
            link.abandon()
            # The driver expects the one answer and does not read the other.
            raise BrokerError("the broker closes: is there such a virtual host, and may the user use it?") from None
        except BaseException:
            link.abandon()
            raise
        return link

    async def _declared(self, channel: AbstractChannel) -> AbstractQueue:
        """The queue, made where it is not there."""
        if self._mute >= MUTE_MAX:
            self._mute = 0
            # May take longer than is waited for; it is done all the same, and the next connection finds nothing.
            await self.answer(channel.queue_delete(self.queue), known=False)
        try:
            return await self.answer(channel.declare_queue(self.queue, durable=True, arguments=ARGUMENTS), known=False)
        except ChannelPreconditionFailed as error:
            raise BrokerError(f"the queue {self.queue} is there with other arguments: {error}") from None

    async def answer(self, asked: Coroutine[Any, Any, T], *, known: bool = True) -> T:
        """What the queue answers in time. Without `known` its answer does not prove that it has a leader."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                found = await asked
        except TimeoutError:
            self._mute += 1
            raise BrokerError(f"the queue {self.queue} does not answer") from None
        if known:
            self._mute = 0
        return found


class RabbitOutlet:
    """`Outlet`: all are sent, and each is confirmed."""

    def __init__(self, link: Link, channel: Wire, broker: RabbitBroker) -> None:
        self._link = link
        self._channel = channel
        self._broker = broker

    async def send(self, messages: Sequence[bytes]) -> None:
        """`Outlet.send`. Raises when the queue is gone: what it cannot be given comes back."""
        try:
            async with asyncio.timeout(BLOCKED_S):
                await self._channel.connection.ready()
        except TimeoutError:
            raise BrokerError("the broker takes nothing: it is short of memory or disk") from None
        for start in range(0, len(messages), CONFIRMS_MAX):
            await self._broker.answer(self._sent(messages[start : start + CONFIRMS_MAX]))

    async def _sent(self, messages: Sequence[bytes]) -> None:
        sending = [self._confirmed(message) for message in messages]
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _confirmed(self, message: bytes) -> None:
        await self._channel.basic_publish(
            message,
            routing_key=self._broker.queue,
            mandatory=True,
            wait=False,
            properties=Basic.Properties(delivery_mode=1),
        )

    async def close(self) -> None:
        """`Outlet.close`."""
        await self._link.close()


class RabbitInlet:
    """`Inlet`: the broker gives as many as are in hand at most, without being asked for each."""

    def __init__(self, link: Link, channel: Wire, queue: AbstractQueue) -> None:
        self._link = link
        self._channel = channel
        self._queue = queue
        self._came: asyncio.Queue[Received | None] = asyncio.Queue()

    async def consume(self) -> None:
        """Begin."""
        self._channel.on_consumer_cancel_callbacks.add(self._cancelled)
        await self._queue.consume(self._come)

    async def _come(self, message: AbstractIncomingMessage) -> None:
        self._came.put_nowait(Received(message.body, message.delivery_tag))

    def _cancelled(self, _frame: object) -> None:
        self._came.put_nowait(None)

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`."""
        found: list[Received] = []
        try:
            async with asyncio.timeout(wait_s):
                self._take(await self._came.get(), found)
        except TimeoutError:
            # Nothing: a connection or a queue that is gone may say so only when asked.
            await self._channel.queue_declare(self._queue.name, passive=True, timeout=ANSWER_S_MAX)
        while not self._came.empty() and len(found) < count_max:
            self._take(self._came.get_nowait(), found)
        return found

    def _take(self, came: Received | None, found: list[Received]) -> None:
        if came is None:
            raise BrokerError(f"the queue {self._queue.name} is gone")
        found.append(came)

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`Inlet.acknowledge`."""
        for tag in tokens:
            await self._channel.basic_ack(tag, wait=False)

    async def close(self) -> None:
        """`Inlet.close`."""
        await self._link.close()


async def _wire(channel: AbstractChannel) -> Wire:
    """The channel below, which need not wait for each write."""
    wire = await channel.get_underlay_channel()
    assert isinstance(wire, Wire)
    return wire
