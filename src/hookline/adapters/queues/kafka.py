"""Kafka, 2.4 or newer: a topic that keeps an hour, and a consumer group whose members share its partitions.

What a process has no room for stays at the broker: its partitions are paused, while it goes on polling, so that it
stays a member. The position of the group is the highest claimed offset of each partition: what a process took and did
not live to claim a poll of the store finds. Kafka has one consumer per partition: of more processes than partitions
some hear nothing, and claim what they find due in the store.

The driver's consumer has a thread of its own, which alone touches it. Both ends have `KAFKA_OPTIONS` in common.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from hookline.adapters.queues.broker import COMING_MAX, KEPT_S_MAX, BrokerError, Inlet, Outlet, Received
from hookline.core.broker_address import BrokerAddress

T = TypeVar("T")

PARTITIONS: Final = 12
"""Of a topic that is made here: so many processes can share it. Who wants more makes it before."""
PARTITION_BYTES_MAX: Final = 16 * 1024 * 1024
SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENT_S: Final = 600.0
"""Only whole segments are dropped."""
ANSWER_S_MAX: Final = 2.0
"""For the answer to anything that is asked of the broker."""
DELIVERY_S_MAX: Final = 4.0
"""After so long what could not be sent has failed."""
ALIVE_EVERY_S: Final = 2.0
SESSION_S: Final = 10.0
"""A member of which nothing is heard for so long is none any more; its partitions go to others."""
POLL_S: Final = 0.5
PAUSED_POLL_S: Final = 0.02
CONFIRMED_S: Final = 0.002
"""How often is asked what was confirmed, while something is on its way."""

KAFKA_OPTIONS: Final[dict[str, Any]] = {
    "log_level": 0,  # what it would print is in what it raises
    "socket.keepalive.enable": True,
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 4_000,
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
}


class KafkaBroker:
    """`Broker` over a topic. The hosts of the address are where the cluster is asked for the others."""

    def __init__(self, address: BrokerAddress) -> None:
        self._last = ""
        self._options = KAFKA_OPTIONS | connection_options(address) | {"error_cb": self._noted}
        self.topic = f"{address.name}-due"
        self.group = address.name

    async def outlet(self) -> Outlet:
        """`Broker.outlet`, with the topic there."""
        await in_thread(self._make_topic)
        return KafkaOutlet(self._options, self.topic)

    async def inlet(self) -> Inlet:
        """`Broker.inlet`, with the topic there."""
        await in_thread(self._make_topic)
        return KafkaInlet(self._options, self.topic, self.group)

    def _noted(self, error: KafkaError) -> None:
        """Why a connection failed; what is asked then only says that there was no answer."""
        self._last = error.str()

    def _make_topic(self) -> None:
        """The topic, made where it is not there. Raises when it can neither be made nor found, or has no bound."""
        admin = AdminClient(self._options)
        topic = NewTopic(
            self.topic,
            num_partitions=PARTITIONS,
            replication_factor=-1,
            config={
                "retention.ms": str(int(KEPT_S_MAX * 1000)),
                "retention.bytes": str(PARTITION_BYTES_MAX),
                "segment.bytes": str(SEGMENT_BYTES),
                "segment.ms": str(int(SEGMENT_S * 1000)),
                "cleanup.policy": "delete",
            },
        )
        try:
            made = admin.create_topics([topic], request_timeout=ANSWER_S_MAX, operation_timeout=ANSWER_S_MAX)
            made[self.topic].result(2 * ANSWER_S_MAX)
        except (KafkaException, TimeoutError) as error:
            self._find_topic(admin, error)

    def _find_topic(self, admin: AdminClient, error: Exception) -> None:
        """It could not be made: because it is there, or because we may not make topics but somebody did."""
        code = _code(error)
        if code in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, None}:  # noqa: SLF001 - that is how they are named
            raise BrokerError(f"{_said(error)}; {self._last}") from None
        if code != KafkaError.TOPIC_ALREADY_EXISTS:
            found = admin.list_topics(self.topic, timeout=ANSWER_S_MAX).topics.get(self.topic)
            if found is None or found.error is not None:
                raise BrokerError(f"the topic {self.topic} can neither be found nor made: {_said(error)}") from None
        resource = ConfigResource(ResourceType.TOPIC, self.topic)
        try:
            config = admin.describe_configs([resource], request_timeout=ANSWER_S_MAX)[resource].result(ANSWER_S_MAX)
        except (KafkaException, TimeoutError):
            return  # we may not look
        kept = [config[name].value for name in ("retention.ms", "retention.bytes") if name in config]
        if kept and all(value is None or int(value) < 0 for value in kept):
            raise BrokerError(f"the topic {self.topic} keeps everything for ever: give it retention.ms")


class KafkaOutlet:
    """`Outlet`: all are given to the driver, which sends them as they fit, and says of each when it is there."""

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            options
            | {
                "acks": 1,
                "linger.ms": 0,
                "message.timeout.ms": int(DELIVERY_S_MAX * 1000),
                "topic.metadata.propagation.max.ms": int(ANSWER_S_MAX * 1000),
            }
        )
        self._under_way = 0
        self._failed: KafkaError | None = None

    async def send(self, messages: Sequence[bytes]) -> None:
        """`Outlet.send`. Raises when the topic is gone, or nobody took them in time."""
        for message in messages:
            self._producer.produce(self._topic, message, on_delivery=self._delivered)
            self._under_way += 1
        while self._under_way:
            self._producer.poll(0)
            await asyncio.sleep(CONFIRMED_S)
        if self._failed is not None:
            raise KafkaException(self._failed)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._under_way -= 1
        self._failed = self._failed or error

    async def close(self) -> None:
        """`Outlet.close`. What is still under way is given up: it goes over the next connection."""

        def end() -> None:
            self._producer.purge()
            self._producer.close()

        await in_thread(end)


class KafkaInlet:
    """`Inlet`: a thread takes messages for as long as there is room for them here."""

    def __init__(self, options: dict[str, Any], topic: str, group: str) -> None:
        self._options = options | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 1_000,
            "session.timeout.ms": int(SESSION_S * 1000),
            "heartbeat.interval.ms": int(SESSION_S * 1000 / 4),
            "partition.assignment.strategy": "cooperative-sticky",
            "topic.metadata.refresh.interval.ms": int(ALIVE_EVERY_S * 1000),
            # Little is fetched ahead: what waits here waits for this process.
            "queued.min.messages": COMING_MAX,
            "queued.max.messages.kbytes": 1_024,
            "fetch.queue.backoff.ms": 50,
        }
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._came: deque[Received] = deque()
        self._changed = asyncio.Event()
        self._failed: Exception | None = None
        # Each is written by one thread.
        self._given = 0
        self._taken = 0
        self._claimed: deque[tuple[int, int]] = deque()
        self._closing = False
        self._paused = False
        self._heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hookline-kafka", daemon=True)
        self._thread.start()

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`."""
        if not self._came and self._failed is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                return ()
        if not self._came and self._failed is not None:
            raise self._failed
        found = [self._came.popleft() for _ in range(min(count_max, len(self._came)))]
        self._taken += len(found)
        return found

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`Inlet.acknowledge`: the thread is told; it alone stores offsets."""
        self._claimed.extend(tokens)

    async def close(self) -> None:
        """`Inlet.close`. Leaving a group needs its broker: it is not waited for long."""
        self._closing = True
        await in_thread(self._thread.join)

    def _come(self, received: Sequence[Received], failed: Exception | None = None) -> None:
        self._came.extend(received)
        self._failed = self._failed or failed
        self._changed.set()

    # ------------------------------------------------------------------------------------------------ its thread

    def _run(self) -> None:
        try:
            consumer = Consumer(self._options)
            try:
                consumer.subscribe([self._topic], on_assign=self._assigned)
                while not self._closing:
                    self._turn(consumer)
                self._store(consumer)
            finally:
                consumer.close()
        except Exception as error:  # noqa: BLE001 - told to who receives, who raises it
            self._tell((), error)

    def _turn(self, consumer: Consumer) -> None:
        """One round: what was claimed is noted, and what comes is taken, if there is room."""
        self._store(consumer)
        room = COMING_MAX - (self._given - self._taken)
        if room <= 0 and not self._paused:
            consumer.pause(consumer.assignment())
            self._paused = True
        elif room >= COMING_MAX // 2 and self._paused:
            consumer.resume(consumer.assignment())
            self._paused = False
        received: list[Received] = []
        message = consumer.poll(PAUSED_POLL_S if self._paused else POLL_S)
        while message is not None:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            received.append(Received(message.value() or b"", (message.partition(), message.offset())))
            message = consumer.poll(0) if len(received) < room else None
        if received:
            self._given += len(received)
            self._heard_s = time.monotonic()
            self._tell(received)
        elif time.monotonic() - self._heard_s >= ALIVE_EVERY_S:
            # The driver connects again by itself, and says nothing of it; nor of a topic that is gone.
            found = consumer.list_topics(self._topic, timeout=ANSWER_S_MAX).topics.get(self._topic)
            if found is None or found.error is not None:
                raise BrokerError(f"the topic {self._topic} is gone")
            self._heard_s = time.monotonic()

    def _store(self, consumer: Consumer) -> None:
        """Note what was claimed; it is committed with the next of the commits that the driver makes each second."""
        highest: dict[int, int] = {}
        while self._claimed:
            partition, offset = self._claimed.popleft()
            highest[partition] = max(offset, highest.get(partition, -1))
        if highest:
            offsets = [TopicPartition(self._topic, partition, offset + 1) for partition, offset in highest.items()]
            try:
                consumer.store_offsets(offsets=offsets)
            except KafkaException as error:
                if _code(error) != KafkaError._STATE:  # noqa: SLF001 - none of them is ours any more
                    raise

    def _assigned(self, _consumer: Consumer, _partitions: Sequence[TopicPartition]) -> None:
        self._paused = False  # new ones are not: the next turn sees to it

    def _tell(self, received: Sequence[Received], failed: Exception | None = None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._come, received, failed)
        except RuntimeError:
            self._closing = True  # the loop has ended, and nobody receives any more


def connection_options(address: BrokerAddress) -> dict[str, Any]:
    """How the driver reaches the cluster. A password goes over TLS only, unless a mechanism is used that proves it
    without saying it."""
    options = {
        "bootstrap.servers": ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts
        ),
        "client.id": address.name,
        "security.protocol": ("SASL_" if address.user else "") + ("SSL" if address.tls else "PLAINTEXT"),
    }
    if address.user:
        options["sasl.mechanism"] = address.mechanism or ("PLAIN" if address.tls else "SCRAM-SHA-512")
        options["sasl.username"] = address.user
        options["sasl.password"] = address.password
    if address.tls and address.ca_file:
        options["ssl.ca.location"] = address.ca_file
    return options


async def in_thread(work: Callable[[], T]) -> T:
    """The result of what blocks. In a thread that the end of the program does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            pass  # the loop has ended

    threading.Thread(target=run, name="hookline-kafka-work", daemon=True).start()
    return await future


def _code(error: Exception) -> int | None:
    first = error.args[0] if error.args else None
    return first.code() if isinstance(first, KafkaError) else None


def _said(error: Exception) -> str:
    first = error.args[0] if error.args else None
    return first.str() if isinstance(first, KafkaError) else str(error) or type(error).__name__
