"""Redis or Valkey, 6.2 or newer: a stream that keeps 10,000 messages and no more, read by one consumer group.

A message read is gone (NOACK): what the process that read it does not live to claim, a poll of the store finds. So
nothing is pending for ever, and the group has one consumer, whatever the number of processes. A stream or a group that
is gone makes the read fail, and the next connection makes it again, from 10 s ago on: what is older has been found
in the store by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from hookline.adapters.queues.broker import CONNECT_S_MAX, KEPT_MESSAGES_MAX, Inlet, Outlet, Received
from hookline.core.broker_address import BrokerAddress

AGAIN_FROM_MS: Final = 10_000
CONSUMER: Final = "hookline"
_FIELD: Final = b"m"


class RedisBroker:
    """`Broker` over streams. The path of the address is the number of the database; `name` begins the key."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._next = 0
        self.stream = f"{address.name}:due"
        self.group = address.name

    async def outlet(self) -> Outlet:
        """`Broker.outlet`."""
        connection = self._connection()
        await _checked(connection, connection.ping())
        return RedisOutlet(connection, self.stream)

    async def inlet(self) -> Inlet:
        """`Broker.inlet`: with the group there."""
        connection = self._connection()
        await _checked(connection, self._make_group(connection))
        return RedisInlet(connection, self.stream, self.group)

    async def _make_group(self, connection: Redis) -> None:
        seconds, _ = await connection.time()
        begin = max(0, int(seconds) * 1000 - AGAIN_FROM_MS)
        try:
            await connection.xgroup_create(self.stream, self.group, id=f"{begin}-0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _connection(self) -> Redis:
        """A client of its own, of one connection, which neither retries nor connects again: that is done above. With
        several hosts they are tried in turn."""
        address = self._address
        host, port = address.hosts[self._next % len(address.hosts)]
        self._next += 1
        return Redis(
            host=host,
            port=port,
            db=int(address.path or 0),
            username=address.user or None,
            password=address.password or None,
            ssl=address.tls,
            ssl_ca_certs=address.ca_file or None,
            ssl_check_hostname=True,
            socket_connect_timeout=CONNECT_S_MAX,
            socket_timeout=None,
            socket_keepalive=True,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name=address.name,
        )


class RedisOutlet:
    """`Outlet`: one round trip for all that waits."""

    def __init__(self, connection: Redis, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def send(self, messages: Sequence[bytes]) -> None:
        """`Outlet.send`. Trimmed exactly: by whole nodes of its tree (`~`) a stream may be 100 entries longer, and
        with one message of 4 KiB per node its bound would be as vague as that."""
        pipeline = self._connection.pipeline(transaction=False)
        for message in messages:
            pipeline.xadd(self._stream, {_FIELD: message}, maxlen=KEPT_MESSAGES_MAX, approximate=False)
        await pipeline.execute()

    async def close(self) -> None:
        """`Outlet.close`."""
        await self._connection.aclose()


class RedisInlet:
    """`Inlet`: a read that blocks, on a connection that does nothing else."""

    def __init__(self, connection: Redis, stream: str, group: str) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`."""
        answer: Any = await self._connection.xreadgroup(
            self._group, CONSUMER, {self._stream: ">"}, count=count_max, block=int(wait_s * 1000), noack=True
        )
        return [Received(entry.get(_FIELD, b"")) for _, entries in answer or () for _, entry in entries]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Nothing to do: a message read is gone."""

    async def close(self) -> None:
        """`Inlet.close`."""
        await self._connection.aclose()


async def _checked(connection: Redis, work: Any) -> None:
    """Do it; a connection with which it fails is closed."""
    try:
        await work
    except BaseException:
        await connection.aclose()
        raise
