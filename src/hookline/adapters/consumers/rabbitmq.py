"""RabbitMQ: a queue that is there already, read by a consumer with a prefetch.

A message has no coordinates of the broker's own, so what comes again is known only by what its publisher wrote into
it (`message-id`, for one), where the source names that. What was not acknowledged goes back to the queue as soon as the
connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPError

from hookline.adapters.consumers.holding import Holding
from hookline.adapters.consumers.way import ANSWER_S_MAX, CONNECT_S_MAX, Way, lost, read_config
from hookline.core.address import Target
from hookline.core.bindings import Value
from hookline.core.broker_source import Hosts, RabbitmqConfig
from hookline.core.source import Source
from hookline.ports.consumer import Consumer, ConsumerLost, Message

T = TypeVar("T")

PREFETCH: Final = 64
"""So many messages are sent ahead, whatever their size: RabbitMQ knows no bound in bytes."""
HEARTBEAT_S: Final = 10
GUEST: Final = "guest"
_TROUBLE: Final = (AMQPError, OSError, TimeoutError, RuntimeError, ValueError)


class RabbitmqBroker:
    """`Broker` for queues."""

    kind = "rabbitmq"

    def __init__(self, way: Way) -> None:
        self._way = way

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`."""
        config, hosts = read_config(source)
        address, target = (await self._way.hosts(source, hosts))[0]
        connection = self._connection(config, hosts, address, target)
        consumer = RabbitmqConsumer(connection, config)
        try:
            await _asked(config, connection.connect({"connection_name": "hookline"}))
            await consumer.join()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    def _connection(self, config: RabbitmqConfig, hosts: Hosts, address: str, target: Target) -> AbstractConnection:
        host = f"[{address}]" if ":" in address else address
        login = quote(config.username or GUEST, safe="")
        password = quote(config.password or GUEST, safe="")
        scheme = "amqps" if hosts.tls else "amqp"
        path = quote(hosts.path, safe="%")
        url = f"{scheme}://{login}:{password}@{host}:{target.port}/{path}?heartbeat={HEARTBEAT_S}"
        if not hosts.tls:
            return aiormq.Connection(url)
        return aiormq.Connection(url, context=self._way.context, server_hostname=target.server_name)


class RabbitmqConsumer:
    """`Consumer` of one queue."""

    def __init__(self, connection: AbstractConnection, config: RabbitmqConfig) -> None:
        self._connection = connection
        self._config = config
        self._channel: AbstractChannel | None = None
        self._held = Holding()

    async def join(self) -> None:
        """Begin to consume. Raises `ConsumerLost`, also where the queue is not there."""
        channel = self._channel = await self._asked(self._connection.channel())
        self._connection.closing.add_done_callback(self._closed)
        channel.closing.add_done_callback(self._closed)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        await self._asked(channel.queue_declare(self._config.queue, passive=True))
        await self._asked(channel.basic_qos(prefetch_count=PREFETCH))
        await self._asked(channel.basic_consume(self._config.queue, self._came))

    async def _came(self, delivered: DeliveredMessage) -> None:
        self._held.add([_message(delivered)])

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._held.fail(lost(error or ConsumerLost("The connection was closed."), self._config.password))

    def _cancelled(self, _frame: object) -> None:
        self._held.fail(ConsumerLost("The queue is not there any more."))

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`."""
        return await self._held.wait()

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`."""
        if self._held.lost is not None:
            raise self._held.lost
        assert self._channel is not None
        for message in messages:
            await self._asked(self._channel.basic_ack(cast("int", message.token), wait=message is messages[-1]))

    async def close(self) -> None:
        """`Consumer.close`."""
        with contextlib.suppress(*_TROUBLE):
            async with asyncio.timeout(2.0):
                await self._connection.close()

    async def _asked(self, work: Awaitable[T]) -> T:
        return await _asked(self._config, work)


async def _asked(config: RabbitmqConfig, work: Awaitable[T]) -> T:
    """What the server answers. Raises `ConsumerLost`."""
    try:
        async with asyncio.timeout(max(ANSWER_S_MAX, CONNECT_S_MAX)):
            return await work
    except _TROUBLE as error:
        raise lost(error, config.password) from None


def _message(delivered: DeliveredMessage) -> Message:
    had = delivered.header.properties
    properties = _values(had.headers or {})
    for name, value in (("amqp-type", had.message_type), ("amqp-app-id", had.app_id)):
        if value:
            properties[name] = str(value)
    if had.correlation_id:
        properties["amqp-correlation-id"] = str(had.correlation_id)
    at = had.timestamp
    return Message(
        body=bytes(delivered.body),
        properties=properties,
        content_type=had.content_type or None,
        topic=delivered.routing_key or "",
        id=had.message_id or "",
        time_ms=int(at.timestamp() * 1000) if isinstance(at, dt.datetime) else None,
        token=delivered.delivery_tag,
    )


def _values(headers: Mapping[str, Any]) -> dict[str, Value]:
    """Those that are plain: a table or an array is nothing that an expression could name."""
    found: dict[str, Value] = {}
    for name, value in headers.items():
        if isinstance(value, str | bool | int | bytes):
            found[name] = value
        elif isinstance(value, bytearray):
            found[name] = bytes(value)
        elif isinstance(value, float):
            found[name] = repr(value)
        elif isinstance(value, dt.datetime):
            found[name] = value.isoformat()
    return found
