"""NATS JetStream: a stream in memory that keeps 10,000 messages for an hour, the newest, and one durable pull consumer.

A message that is acknowledged leaves the stream; one that is not comes again after 30 s. The stream is made as a work
queue in memory. Where somebody made it before, on files or with replicas, it is used as it is, if it has a bound and
drops the oldest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoServersError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from hookline.adapters.queues.broker import (
    CONNECT_S_MAX,
    KEPT_MESSAGES_MAX,
    KEPT_S_MAX,
    SEND_S_MAX,
    BrokerError,
    Inlet,
    Outlet,
    Received,
)
from hookline.adapters.queues.lasting import within
from hookline.adapters.queues.tls import tls_context
from hookline.core.broker_address import BrokerAddress

CLAIM_S_MAX: Final = 30.0
"""Who has not acknowledged a message after so long has it no more."""
DELIVERED_MAX: Final = 3
ALIVE_EVERY_S: Final = 2
BYTES_MAX: Final = 64 * 1024 * 1024
CLOSE_S_MAX: Final = 2.0
_IN_USE: Final = 10058
"""The server's code for a stream of that name with another configuration."""
_NOTHING_MORE: Final = frozenset({"404", "408"})


class NatsBroker:
    """`Broker` over JetStream. A user without a password in the address is a token."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._tls = tls_context(address)
        self._next = 0
        self.stream = f"{address.name}-due"
        self.subject = f"{address.name}.due"
        self.consumer = address.name

    async def outlet(self) -> Outlet:
        """`Broker.outlet`, with the stream there."""
        client = await self._connected()
        return NatsOutlet(client, self.stream, self.subject)

    async def inlet(self) -> Inlet:
        """`Broker.inlet`, with the stream and the consumer there."""
        client = await self._connected()
        try:
            await client.jetstream(timeout=CONNECT_S_MAX).add_consumer(
                self.stream,
                ConsumerConfig(
                    durable_name=self.consumer,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=CLAIM_S_MAX,
                    max_deliver=DELIVERED_MAX,
                    max_ack_pending=KEPT_MESSAGES_MAX,
                ),
            )
            return await NatsInlet.subscribed(client, self.stream, self.consumer)
        except BaseException:
            _abandon(client)
            raise

    async def _connected(self) -> Client:
        """A connection that is not made again by its driver: that is done above. Servers are tried in turn."""
        address = self._address
        host, port = address.hosts[self._next % len(address.hosts)]
        self._next += 1
        client = _Client(needs_tls=address.tls)
        try:
            await client.connect(
                f"{address.scheme}://[{host}]:{port}" if ":" in host else f"{address.scheme}://{host}:{port}",
                name=address.name,
                user=address.user if address.password else None,
                password=address.password or None,
                token=None if address.password else address.user or None,
                tls=self._tls,
                error_cb=client.noted,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=int(CONNECT_S_MAX),
                ping_interval=ALIVE_EVERY_S,
                max_outstanding_pings=2,
            )
            await self._make_stream(client.jetstream(timeout=CONNECT_S_MAX))
        except NoServersError as error:
            _abandon(client)
            raise client.last or error from error
        except BaseException:
            _abandon(client)
            raise
        return client

    async def _make_stream(self, jetstream: JetStreamContext) -> None:
        try:
            await jetstream.add_stream(
                StreamConfig(
                    name=self.stream,
                    subjects=[self.subject],
                    retention=RetentionPolicy.WORK_QUEUE,
                    max_msgs=KEPT_MESSAGES_MAX,
                    max_bytes=BYTES_MAX,
                    max_age=KEPT_S_MAX,
                    discard=DiscardPolicy.OLD,
                    storage=StorageType.MEMORY,
                )
            )
        except BadRequestError as error:
            if error.err_code != _IN_USE:
                raise
            found = (await jetstream.stream_info(self.stream)).config
            if found.discard != DiscardPolicy.OLD or not (found.max_msgs or 0) > 0:
                raise BrokerError(f"the stream {self.stream} has no max_msgs, or does not discard the oldest") from None
            if self.subject not in (found.subjects or ()):
                raise BrokerError(f"the stream {self.stream} is not for the subject {self.subject}") from None


class NatsOutlet:
    """`Outlet`: all are sent, and the stream confirms the last, which it has after the others."""

    def __init__(self, client: Client, stream: str, subject: str) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=SEND_S_MAX)
        self._stream = stream
        self._subject = subject

    async def send(self, messages: Sequence[bytes]) -> None:
        """`Outlet.send`. Raises when the stream is gone."""
        for message in messages[:-1]:
            await self._client.publish(self._subject, message)
        if messages:
            await self._jetstream.publish(self._subject, messages[-1], stream=self._stream)

    async def close(self) -> None:
        """`Outlet.close`."""
        await self._client.close()


class NatsInlet:
    """`Inlet`: one request at a time for a number of messages, which come as there are some."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=CONNECT_S_MAX)
        self._stream = stream
        self._consumer = consumer
        self._inbox = client.new_inbox()
        self._came: asyncio.Queue[Msg] = asyncio.Queue()
        self._asked = 0
        """So many may still come of what was asked for."""

    @classmethod
    async def subscribed(cls, client: Client, stream: str, consumer: str) -> NatsInlet:
        """One that is ready."""
        inlet = cls(client, stream, consumer)
        await client.subscribe(inlet._inbox, cb=inlet._come)
        return inlet

    async def _come(self, message: Msg) -> None:
        self._came.put_nowait(message)

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`."""
        if self._asked <= 0:
            asking = msgspec.json.encode({"batch": count_max, "expires": int(wait_s * 1e9)})
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
            await self._client.publish(subject, asking, self._inbox)
            self._asked = count_max
        found: list[Received] = []
        try:
            async with asyncio.timeout(wait_s):
                self._take(await self._came.get(), found)
        except TimeoutError:
            self._asked = 0
            # Nothing, not even the word that there is nothing: a consumer that is gone says so only when asked.
            await self._jetstream.consumer_info(self._stream, self._consumer)
        while not self._came.empty() and len(found) < count_max:
            self._take(self._came.get_nowait(), found)
        if not found and not self._client.is_connected:
            raise BrokerError("the connection is lost")
        return found

    def _take(self, message: Msg, found: list[Received]) -> None:
        """One that came: a message, or the server's word about the request. Raises when the consumer is gone."""
        status = (message.headers or {}).get("Status")
        if status is None:
            self._asked -= 1
            found.append(Received(message.data, message.reply))
            return
        self._asked = 0
        if status not in _NOTHING_MORE:
            said = (message.headers or {}).get("Description", "")
            raise BrokerError(f"the consumer {self._consumer}: {status} {said}")

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`Inlet.acknowledge`."""
        for reply in tokens:
            await self._client.publish(reply, b"+ACK")

    async def close(self) -> None:
        """`Inlet.close`."""
        await self._client.close()


class _Client(Client):
    """The driver's, which would go on in clear, with the password, when a server does not ask for TLS."""

    def __init__(self, *, needs_tls: bool) -> None:
        super().__init__()
        self._needs_tls = needs_tls
        self.last: Exception | None = None

    async def noted(self, error: Exception) -> None:
        """What went wrong last; the driver would print it."""
        self.last = error

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._needs_tls and initial_connection:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise BrokerError("the server offers no TLS")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


def _abandon(client: Client) -> None:
    """Close what could not be used, beside whatever else there is to do."""

    async def closed() -> None:
        try:
            await within(CLOSE_S_MAX, client.close())
        except Exception:  # noqa: BLE001, S110 - it is gone anyway
            pass

    task = asyncio.get_running_loop().create_task(closed())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


_CLOSING: Final[set[asyncio.Task[None]]] = set()
