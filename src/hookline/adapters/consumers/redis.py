"""Redis and Valkey, 6.2 or newer: a stream read by a consumer group.

What was read and not acknowledged is pending in the group, for the consumer that read it: its own are read first when
it comes back; those of another, which has not acknowledged them for 10 s, are claimed. The coordinates of an entry are
its id, which the server makes of its clock and never makes twice in a stream; whose stream it is stands beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from hookline.adapters.consumers.holding import Holding
from hookline.adapters.consumers.way import ANSWER_S_MAX, CONNECT_S_MAX, Way, lost, read_config, scope
from hookline.core.broker_source import Hosts, RedisConfig
from hookline.core.source import Source
from hookline.ports.consumer import BYTES_MAX, MESSAGES_MAX, Consumer, ConsumerLost, Message

T = TypeVar("T")

BLOCK_MS: Final = 1_000
CLAIM_EVERY_S: Final = 5.0
CLAIM_IDLE_MS: Final = 10_000
GONE_IDLE_MS: Final = 3_600_000
"""A consumer of ours that has nothing pending and has not been heard of for so long is a process of the past."""
FIRST_COUNT: Final = 16
"""How many are asked for before it is known how large they are."""
_NEW: Final = ">"
_MS_FROM: Final = 100_000_000_000
_TROUBLE: Final = (RedisError, OSError, TimeoutError)

Entry = tuple[bytes, Mapping[bytes, bytes] | None]


class RedisBroker:
    """`Broker` for streams."""

    kind = "redis"

    def __init__(self, way: Way) -> None:
        self._way = way
        self._acknowledged: dict[bytes, str] = {}
        """By source, the last id acknowledged: where a group that is gone begins anew."""

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`: with the group there."""
        config, hosts = read_config(source)
        address, target = (await self._way.hosts(source, hosts))[0]
        client = self._client(config, hosts, address, target.port, target.server_name)
        consumer = RedisConsumer(client, config, self._way.node, source.id, self._acknowledged, _scope(config, hosts))
        try:
            await consumer.join()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    def _client(self, config: RedisConfig, hosts: Hosts, address: str, port: int, name: str) -> Redis:
        """One connection, which neither retries nor connects again, and is told of no other address."""
        made: type[Connection] = Connection
        more: dict[str, Any] = {}
        if hosts.tls:
            made = _PinnedTls
            more = {"server_name": name, "tls": self._way.context}
        pool = ConnectionPool(
            connection_class=made,
            max_connections=1,
            host=address,
            port=port,
            db=int(hosts.path or 0),
            username=config.username,
            password=config.password,
            socket_connect_timeout=CONNECT_S_MAX,
            socket_timeout=ANSWER_S_MAX,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            client_name="hookline",
            **more,
        )
        return Redis.from_pool(pool)


class _PinnedTls(SSLConnection):
    """TLS to an address in numbers, whose certificate is of a name."""

    def __init__(self, server_name: str, tls: Any, **more: Any) -> None:
        super().__init__(**more)
        self._server_name = server_name
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls, "server_hostname": self._server_name}


def _scope(config: RedisConfig, hosts: Hosts) -> str:
    target = hosts.targets[0]
    return scope(target.host, str(target.port), hosts.path or "0", config.stream)


class RedisConsumer:
    """`Consumer` in a group."""

    def __init__(
        self,
        client: Redis,
        config: RedisConfig,
        node: str,
        source_id: bytes,
        acknowledged: dict[bytes, str],
        place: str,
    ) -> None:
        self._client = client
        self._config = config
        self._name = f"hookline-{node}"
        self._source_id = source_id
        self._acknowledged = acknowledged
        self._place = place
        self._own = "0"
        """Behind which id our own pending entries are still to be read; `>`: none are."""
        self._claim_from = "0-0"
        self._claimed_s = 0.0
        self._left = Holding()
        """Read, and too much for one `receive`."""
        self._count = FIRST_COUNT

    async def join(self) -> None:
        """Make the group where it is missing. Raises `ConsumerLost`."""
        config = self._config
        begin = "0" if config.start == "earliest" else self._acknowledged.get(self._source_id, "$")
        try:
            await self._asked(self._client.xgroup_create(config.stream, config.group, id=begin, mkstream=True))
        except ConsumerLost as error:
            if "BUSYGROUP" not in str(error):
                raise
        for row in await self._asked(self._client.xinfo_consumers(config.stream, config.group)):
            name = _text(row.get("name", b""))
            past = row.get("pending") == 0 and int(row.get("idle", 0)) > GONE_IDLE_MS
            if past and name.startswith("hookline-") and name != self._name:
                await self._asked(self._client.xgroup_delconsumer(config.stream, config.group, name))

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`: our own pending ones first, now and then those of others, then new ones."""
        while not self._left:
            now_s = asyncio.get_running_loop().time()
            if self._own != _NEW:
                entries = await self._read(self._own)
                self._own = _text(entries[-1][0]) if entries else _NEW
            elif now_s - self._claimed_s >= CLAIM_EVERY_S:
                entries = await self._claim(now_s)
            else:
                entries = await self._read(_NEW)
            await self._take(entries)
        return self._left.some()

    async def _read(self, after: str) -> Sequence[Entry]:
        config = self._config
        answer: Any = await self._asked(
            self._client.xreadgroup(config.group, self._name, {config.stream: after}, count=self._count, block=BLOCK_MS)
        )
        return [entry for _, entries in answer or () for entry in entries]

    async def _claim(self, now_s: float) -> Sequence[Entry]:
        """Of what others have read and not acknowledged; all of them in turn before new ones are read."""
        config = self._config
        answer = await self._asked(
            self._client.xautoclaim(
                config.stream, config.group, self._name, CLAIM_IDLE_MS, self._claim_from, count=self._count
            )
        )
        self._claim_from = _text(answer[0])
        if self._claim_from == "0-0":
            self._claimed_s = now_s
        return cast("Sequence[Entry]", answer[1])

    async def _take(self, entries: Sequence[Entry]) -> None:
        """Keep what was read. What was deleted while it was pending is nothing any more."""
        gone = [entry_id for entry_id, fields in entries if fields is None]
        if gone:
            await self._asked(self._client.xack(self._config.stream, self._config.group, *gone))
        found = [self._message(entry_id, fields) for entry_id, fields in entries if fields is not None]
        self._left.add(found)
        if found:
            mean_bytes = sum(len(message.body) for message in found) // len(found) + 1
            self._count = max(1, min(MESSAGES_MAX, 4 * self._count, BYTES_MAX // mean_bytes))

    def _message(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Message:
        identifier = _text(entry_id)
        properties: dict[str, str | int | bool | bytes] = {_text(name): value for name, value in fields.items()}
        body = properties.pop(self._config.field, None)
        if not isinstance(body, bytes):
            body = _as_json(properties)
            properties = {}
        ms = int(identifier.partition("-")[0])
        return Message(
            body=body,
            properties=properties,
            topic=self._config.stream,
            id=identifier,
            coordinates=f"{identifier}@{self._place}",
            time_ms=ms if ms >= _MS_FROM else None,
            token=entry_id,
        )

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`."""
        tokens = [cast("bytes", message.token) for message in messages]
        await self._asked(self._client.xack(self._config.stream, self._config.group, *tokens))
        self._acknowledged[self._source_id] = messages[-1].id

    async def close(self) -> None:
        """`Consumer.close`."""
        try:
            async with asyncio.timeout(1.0):
                await self._client.aclose(close_connection_pool=True)
        except _TROUBLE:
            pass

    async def _asked(self, work: Awaitable[T]) -> T:
        """What the server answers. Raises `ConsumerLost`."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await work
        except ResponseError as error:
            raise lost(error, self._config.password) from None
        except _TROUBLE as error:
            raise lost(error, self._config.password) from None


def _as_json(fields: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({name: _text(value) for name, value in fields.items()})


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
