"""Kafka: a topic read by a consumer group, its offsets committed when what stands before them is durable.

The coordinates of a message are topic, partition and offset, and the id of the topic: one that is deleted and made anew
begins at 0 again. They are known for as long as the source's `dedupe_window_s`, so what a group reads again within that
time (after a crash, a rebalance, an offset that was set back) makes no second event.

The driver is librdkafka, which works in threads of its own and connects to every broker that the cluster names. So all
of these are checked before anything is read; a name among them is resolved again by the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast

from confluent_kafka import Consumer as Driver
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka import Message as Record
from confluent_kafka.admin import AdminClient

from hookline.adapters.consumers.holding import Holding
from hookline.adapters.consumers.way import CONNECT_S_MAX, Way, lost, read_config
from hookline.core.address import parse_url
from hookline.core.bindings import Value
from hookline.core.broker_source import Hosts, KafkaConfig
from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.ports.consumer import MESSAGES_MAX, Consumer, ConsumerLost, Message

T = TypeVar("T")

POLL_S: Final = 0.5
SESSION_MS: Final = 6_000
"""A member that is not heard of for so long is dead: its partitions go to others."""
QUEUED_KIB_MAX: Final = 8_192
"""So much is fetched ahead."""
_TROUBLE: Final = (KafkaException, OSError, TimeoutError, RuntimeError)
_GONE: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - so the driver names what happens on our side
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - the same
        KafkaError._FATAL,  # noqa: SLF001 - the same
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)


class KafkaBroker:
    """`Broker` for topics."""

    kind = "kafka"

    def __init__(self, way: Way) -> None:
        self._way = way

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`."""
        config, hosts = read_config(source)
        settings = await self._settings(source, config, hosts)
        try:
            consumer = KafkaConsumer(config, settings)
        except KafkaException as error:
            raise lost(error, config.password) from None
        try:
            for host, port in await consumer.brokers():
                await self._check(source, host, port)
            await consumer.join()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def _check(self, source: Source, host: str, port: int) -> None:
        named = f"[{host}]" if ":" in host else host
        try:
            target = parse_url(f"http://{named}:{port}")
        except Refusal as refusal:
            raise ConsumerLost(f"A broker of the cluster has an address that cannot be used: {refusal}") from None
        await self._way.check(target, source.tenant)

    async def _settings(self, source: Source, config: KafkaConfig, hosts: Hosts) -> dict[str, Any]:
        checked = await self._way.hosts(source, hosts)
        # With TLS the name is what the certificate must be of: nobody else can take its place.
        at = {
            (target.server_name if hosts.tls else f"[{address}]" if ":" in address else address, target.port)
            for address, target in checked
        }
        settings: dict[str, Any] = {
            "bootstrap.servers": ",".join(f"{host}:{port}" for host, port in sorted(at)),
            "client.id": "hookline",
            "security.protocol": ("SASL_" if config.username else "") + ("SSL" if hosts.tls else "PLAINTEXT"),
            "socket.connection.setup.timeout.ms": int(CONNECT_S_MAX * 1000),
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 0,
        }
        if hosts.tls and self._way.ca_file is not None:
            settings["ssl.ca.location"] = self._way.ca_file
        if config.username:
            settings |= {
                "sasl.mechanism": config.mechanism,
                "sasl.username": config.username,
                "sasl.password": config.password,
            }
        return settings


class KafkaConsumer:
    """`Consumer` in a group. The driver blocks, so it has a thread of its own."""

    def __init__(self, config: KafkaConfig, settings: dict[str, Any]) -> None:
        self._config = config
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hookline-kafka")
        self._topic_id = ""
        self._held = Holding()
        self._open: dict[int, dict[int, bool]] = {}
        """By partition the offsets received and not committed, in order, and whether each is acknowledged."""
        self._lost: ConsumerLost | None = None
        self._closed = False
        self._driver = Driver(
            {
                **settings,
                "group.id": config.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": config.start,
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": SESSION_MS // 3,
                "queued.max.messages.kbytes": QUEUED_KIB_MAX,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
            }
        )

    async def brokers(self) -> list[tuple[str, int]]:
        """Host and port of every broker of the cluster. Raises `ConsumerLost`, also where the topic is not there."""
        cluster = await self._run(lambda: self._driver.list_topics(self._config.topic, timeout=CONNECT_S_MAX))
        topic = cluster.topics.get(self._config.topic)
        if topic is None or topic.error is not None:
            raise ConsumerLost("The topic is not there." if topic is None else str(topic.error))
        self._topic_id = str(cluster.cluster_id or "")
        return [(broker.host, broker.port) for broker in cluster.brokers.values()]

    async def join(self) -> None:
        """Become a member of the group. Raises `ConsumerLost`."""
        self._topic_id = await self._run(self._describe) or self._topic_id
        await self._run(lambda: self._driver.subscribe([self._config.topic], on_lost=self._on_lost))

    def _describe(self) -> str:
        """The topic's id; empty where the cluster tells none."""
        admin = AdminClient(self._settings)
        asked = admin.describe_topics(TopicCollection([self._config.topic]), request_timeout=CONNECT_S_MAX)
        try:
            return str(asked[self._config.topic].result(CONNECT_S_MAX).topic_id or "")
        except (KafkaException, TimeoutError):
            return ""

    # ------------------------------------------------------------------------------- in the thread of the driver

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _GONE or error.fatal():
            self._lost = lost(KafkaException(error), self._config.password)

    def _on_lost(self, _driver: Driver, _partitions: object) -> None:
        self._lost = ConsumerLost("The group gave the partitions to others.")

    def _poll(self) -> list[Record]:
        first = self._driver.poll(POLL_S)
        if first is None:
            return []
        return [first, *self._driver.consume(MESSAGES_MAX - 1, timeout=0)]

    # ---------------------------------------------------------------------------------------------- in the loop

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`."""
        while not self._held:
            if self._lost is not None:
                raise self._lost
            for record in await self._run(self._poll):
                error = record.error()
                if error is None:
                    self._held.add([self._take(record)])
                elif error.code() in _GONE or error.fatal():
                    raise lost(KafkaException(error), self._config.password)
        return self._held.some()

    def _take(self, record: Record) -> Message:
        partition, offset = cast("int", record.partition()), cast("int", record.offset())
        self._open.setdefault(partition, {})[offset] = False
        headers = cast("Sequence[tuple[str, bytes | None]]", record.headers() or ())
        properties: dict[str, Value] = {name: value or b"" for name, value in headers}
        key = record.key()
        _, time_ms = record.timestamp()
        return Message(
            body=record.value() or b"",
            properties=properties,
            topic=self._config.topic,
            key=_text(key),
            coordinates=f"{self._config.topic}/{partition}/{offset}@{self._topic_id}",
            time_ms=time_ms if time_ms > 0 else None,
            token=(partition, offset),
        )

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`: the offsets behind which everything before is acknowledged are committed."""
        touched: set[int] = set()
        for message in messages:
            partition, offset = cast("tuple[int, int]", message.token)
            self._open[partition][offset] = True
            touched.add(partition)
        commit: list[TopicPartition] = []
        for partition in touched:
            offsets = self._open[partition]
            done: int | None = None
            while offsets and offsets[first := next(iter(offsets))]:
                del offsets[first]
                done = first
            if done is not None:
                commit.append(TopicPartition(self._config.topic, partition, done + 1))
        if self._lost is not None:
            raise self._lost
        if commit:
            await self._run(lambda: self._driver.commit(offsets=commit, asynchronous=False))

    async def close(self) -> None:
        """`Consumer.close`: the group is left."""
        if self._closed:
            return
        self._closed = True
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._driver.close)
        self._thread.shutdown(wait=False)
        await asyncio.wait({asyncio.ensure_future(closing)}, timeout=5.0)
        if closing.done():
            closing.exception()

    async def _run(self, work: Callable[[], T]) -> T:
        """In the driver's thread. Raises `ConsumerLost`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except _TROUBLE as error:
            raise lost(error, self._config.password) from None


def _text(key: str | bytes | None) -> str:
    if isinstance(key, bytes):
        try:
            return key.decode()
        except UnicodeDecodeError:
            return ""
    return key or ""
