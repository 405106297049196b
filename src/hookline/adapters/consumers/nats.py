"""NATS JetStream: a stream read by a durable pull consumer.

The coordinates of a message are its sequence in the stream and when the stream was made: one that is deleted and made
anew counts from 1 again. What is not acknowledged comes again: at once where the consumer ends in order, else after
10 s. Servers of a cluster that a server tells of are not connected to: only hosts that were checked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar, cast

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from hookline.adapters.consumers.holding import Holding
from hookline.adapters.consumers.way import ANSWER_S_MAX, CONNECT_S_MAX, Way, lost, read_config
from hookline.core.address import Target
from hookline.core.broker_source import Hosts, NatsConfig
from hookline.core.source import Source
from hookline.ports.consumer import BYTES_MAX, MESSAGES_MAX, Consumer, ConsumerLost, Message

T = TypeVar("T")

ACK_WAIT_S: Final = 10.0
"""Of a consumer that is made here: what is not acknowledged for so long comes again."""
FETCH_S: Final = 0.5
CHECK_EVERY: Final = 10
"""So many fetches without a message, and it is asked whether the consumer is still there."""
FIRST_COUNT: Final = 16
PING_S: Final = 5
_TROUBLE: Final = (Error, OSError, TimeoutError, asyncio.InvalidStateError)


class NatsBroker:
    """`Broker` for streams of JetStream."""

    kind = "nats"

    def __init__(self, way: Way) -> None:
        self._way = way

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`: with the durable consumer there."""
        config, hosts = read_config(source)
        trouble: ConsumerLost | None = None
        for address, target in await self._way.hosts(source, hosts):
            try:
                client = await self._connect(config, hosts, address, target)
            except ConsumerLost as error:
                trouble = error
                continue
            consumer = NatsConsumer(client, config)
            try:
                await consumer.join()
            except BaseException:
                await consumer.close()
                raise
            return consumer
        raise trouble or ConsumerLost("The broker has no address.")

    async def _connect(self, config: NatsConfig, hosts: Hosts, address: str, target: Target) -> Client:
        host = f"[{address}]" if ":" in address else address
        more: dict[str, Any] = {}
        if hosts.tls:
            more = {"tls": self._way.context, "tls_hostname": target.server_name}
        if config.username is not None:
            more |= {"user": config.username, "password": config.password}
        if config.token is not None:
            more["token"] = config.token
        why: list[Exception] = []

        async def heard(error: Exception) -> None:
            why[:] = [error]

        connecting = nats.connect(
            [f"{'tls' if hosts.tls else 'nats'}://{host}:{target.port}"],
            name="hookline",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # 0 would be for ever
            reconnect_time_wait=0.1,
            connect_timeout=int(CONNECT_S_MAX),
            ping_interval=PING_S,
            max_outstanding_pings=2,
            error_cb=heard,
            **more,
        )
        try:
            return await _asked(config, connecting)
        except ConsumerLost:
            # The driver only says that there is no server; why it could not connect it said before.
            if why:
                raise lost(why[0], config.password, config.token) from None
            raise


class NatsConsumer:
    """`Consumer` by pulling."""

    def __init__(self, client: Client, config: NatsConfig) -> None:
        self._client = client
        self._config = config
        self._stream_made = ""
        self._subscription: Any = None
        self._left = Holding()
        self._outstanding: dict[int, Msg] = {}
        """By sequence, what was received and not acknowledged."""
        self._count = FIRST_COUNT
        self._empty = 0
        self._fetching: asyncio.Future[list[Msg]] | None = None

    async def join(self) -> None:
        """Make the consumer where it is missing. Raises `ConsumerLost`, also where the stream is missing."""
        config = self._config
        js = self._client.jetstream(timeout=ANSWER_S_MAX)
        info = await self._asked(js.stream_info(config.stream))
        made = cast("dt.datetime | None", getattr(info, "created", None))
        self._stream_made = "" if made is None else f"{int(made.timestamp() * 1_000_000):x}"
        try:
            await js.consumer_info(config.stream, config.consumer)
        except NotFoundError:
            await self._asked(
                js.add_consumer(
                    config.stream,
                    ConsumerConfig(
                        durable_name=config.consumer,
                        ack_policy=AckPolicy.EXPLICIT,
                        ack_wait=ACK_WAIT_S,
                        max_ack_pending=8 * MESSAGES_MAX,
                        filter_subject=config.subject,
                        deliver_policy=DeliverPolicy.ALL if config.start == "earliest" else DeliverPolicy.NEW,
                    ),
                )
            )
        except _TROUBLE as error:
            raise lost(error, config.password, config.token) from None
        self._subscription = await self._asked(js.pull_subscribe_bind(durable=config.consumer, stream=config.stream))

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`."""
        while not self._left:
            if self._client.is_closed or not self._client.is_connected:
                raise ConsumerLost("The connection was closed.")
            if self._fetching is None:
                self._fetching = asyncio.ensure_future(self._subscription.fetch(self._count, timeout=FETCH_S))
            # Cancelled, it goes on: what the server sends for it is given back by `close`.
            await asyncio.wait({self._fetching})
            fetching, self._fetching = self._fetching, None
            try:
                fetched = fetching.result()
            except TimeoutError:
                await self._check()
                continue
            except _TROUBLE as error:
                raise lost(error, self._config.password, self._config.token) from None
            self._empty = 0
            self._take(fetched)
        return self._left.some()

    async def _check(self) -> None:
        """Nothing came: now and then it is asked whether anything can."""
        self._empty += 1
        if self._empty % CHECK_EVERY == 0:
            js = self._client.jetstream(timeout=ANSWER_S_MAX)
            await self._asked(js.consumer_info(self._config.stream, self._config.consumer))

    def _take(self, fetched: Sequence[Msg]) -> None:
        for msg in fetched:
            sequence = msg.metadata.sequence.stream
            self._outstanding[sequence] = msg
            self._left.add([self._message(sequence, msg)])
        mean_bytes = sum(len(msg.data) for msg in fetched) // max(1, len(fetched)) + 1
        self._count = max(2, min(MESSAGES_MAX, 4 * self._count, BYTES_MAX // mean_bytes))

    def _message(self, sequence: int, msg: Msg) -> Message:
        headers = msg.headers or {}
        return Message(
            body=msg.data,
            properties=dict(headers),
            topic=msg.subject,
            id=headers.get("Nats-Msg-Id", ""),
            coordinates=f"{sequence}@{self._config.stream}-{self._stream_made}",
            time_ms=int(msg.metadata.timestamp.timestamp() * 1000),
            token=sequence,
        )

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`."""
        for message in messages:
            msg = self._outstanding.pop(cast("int", message.token), None)
            if msg is not None:
                await self._asked(msg.ack())
        await self._asked(self._client.flush(timeout=int(ANSWER_S_MAX)))

    async def close(self) -> None:
        """`Consumer.close`: what was not acknowledged is given back."""
        try:
            async with asyncio.timeout(2 * FETCH_S):
                if self._fetching is not None:
                    self._take(await self._fetching)
        except _TROUBLE:
            pass
        try:
            async with asyncio.timeout(1.0):
                for msg in self._outstanding.values():
                    await msg.nak()
                await self._client.close()
        except _TROUBLE:
            pass

    async def _asked(self, work: Awaitable[T]) -> T:
        return await _asked(self._config, work)


async def _asked(config: NatsConfig, work: Awaitable[T]) -> T:
    """What the server answers. Raises `ConsumerLost`."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await work
    except _TROUBLE as error:
        raise lost(error, config.password, config.token) from None
