"""Kafka, 2.4 or newer: a topic that keeps an hour, and a consumer group whose members share its partitions.

What a process has no room for stays at the broker: its partitions are paused, while it goes on polling, so that it
stays a member. The position of the group is the highest claimed offset of each partition: what a process took and did
not live to claim a poll of the store finds. Kafka has one consumer per partition: of more processes than partitions
some hear nothing, and claim what they find due in the store.

The driver's consumer has a thread of its own, which alone touches it (`kafka_member`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from hookline.adapters.queues.broker import KEPT_S_MAX, BrokerError, Inlet, Outlet, Received
from hookline.adapters.queues.kafka_driver import code_of, in_thread, said_by
from hookline.adapters.queues.kafka_member import ANSWER_S_MAX, Member
from hookline.core.broker_address import BrokerAddress

PARTITIONS: Final = 12
"""Of a topic that is made here: so many processes can share it. Who wants more makes it before."""
PARTITION_BYTES_MAX: Final = 16 * 1024 * 1024
SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENT_S: Final = 600.0
"""Only whole segments are dropped."""
DELIVERY_S_MAX: Final = 4.0
"""After so long what could not be sent has failed."""
CONFIRMED_S: Final = 0.002
"""How often is asked what was confirmed, while something is on its way."""

KAFKA_OPTIONS: Final[dict[str, Any]] = {
    "log_level": 0,  # what it would print is in what it raises
    "socket.keepalive.enable": True,
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 4_000,
    "metadata.recovery.strategy": "none",  # the other one asks every 50 ms, without any backoff
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
}


class KafkaBroker:
    """`Broker` over a topic. The hosts of the address are where the cluster is asked for the others."""

    def __init__(self, address: BrokerAddress) -> None:
        self._last = ""
        self._member: Member | None = None
        self._options = KAFKA_OPTIONS | connection_options(address) | {"error_cb": self._noted}
        self.topic = f"{address.name}-due"
        self.group = address.name

    async def outlet(self) -> Outlet:
        """`Broker.outlet`, with the topic there."""
        await in_thread(self._make_topic)
        return KafkaOutlet(self._options, self.topic)

    async def inlet(self) -> Inlet:
        """`Broker.inlet`, with the topic there."""
        if self._member is not None:
            self._member.expect()
        await in_thread(self._make_topic)
        if self._member is None or self._member.ended:
            self._member = Member(self._options, self.topic, self.group)
        self._member.attend()
        return KafkaInlet(self._member)

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
        code = code_of(error)
        if code in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, None}:  # noqa: SLF001 - that is how they are named
            admin.poll(0)  # what it noted meanwhile is told now
            raise BrokerError(f"{said_by(error)}; {self._last}") from None
        if code != KafkaError.TOPIC_ALREADY_EXISTS:
            found = admin.list_topics(self.topic, timeout=ANSWER_S_MAX).topics.get(self.topic)
            if found is None or found.error is not None:
                raise BrokerError(f"the topic {self.topic} can neither be found nor made: {said_by(error)}") from None
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
    """`Inlet`: what the process's member of the group takes."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def receive(self, count_max: int, wait_s: float) -> Sequence[Received]:
        """`Inlet.receive`. Raises when the broker does not answer, or the topic is gone."""
        return await self._member.take(count_max, wait_s)

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """`Inlet.acknowledge`: its thread is told; it alone stores offsets."""
        self._member.claimed.extend(tokens)

    async def close(self) -> None:
        """`Inlet.close`. A member whose broker is silent stays for the next connection: one that left without a word
        would keep its partitions until its session has run out, and so would the next, and the next."""
        if self._member.silent and not self._member.lost:
            self._member.expect()
        else:
            await in_thread(self._member.end)


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
