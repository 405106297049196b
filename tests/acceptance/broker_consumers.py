"""Brokers that keep what they confirmed, and consumers outside the program that count what is there.

Each `Place` is one queue, stream or topic, on a server that can be killed and started again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.servers import kafka, mosquitto, nats, rabbitmq, valkey

NAME = "events"


class Place(ABC):
    """Where events go. `spec` is what an endpoint says of it."""

    server: Any
    spec: dict[str, Any]

    @abstractmethod
    def read(self) -> list[str]:
        """The webhook-id of each message that is there, those that are there twice twice."""

    def kill(self) -> None:
        """As a machine that loses its power."""
        self.server.kill()

    def start(self) -> None:
        """Again, on the same port, with what it had."""
        self.server.start()


class Redis(Place):
    """A stream, written to the disk with every answer."""

    def __init__(self, server: valkey.Valkey) -> None:
        self.server = server
        self.spec = {"kind": "redis", "url": server.url, "config": {"stream": NAME}}

    def read(self) -> list[str]:
        """All entries."""
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            return [fields[b"webhook-id"].decode() for _, fields in client.xrange(NAME)]


class RabbitMQ(Place):
    """A durable queue."""

    def __init__(self, server: rabbitmq.RabbitMQ) -> None:
        self.server = server
        self.spec = {
            "kind": "rabbitmq",
            "url": f"amqp://127.0.0.1:{server.port}",
            "config": {"queue": NAME},
            "auth": {"kind": "basic", "username": "guest", "password": "guest"},
        }
        asyncio.run(self._with_channel(self._declare))

    async def _with_channel(self, work: Any) -> Any:
        import aio_pika

        async with await aio_pika.connect(self.server.url) as connection:
            return await work(await connection.channel())

    async def _declare(self, channel: Any) -> None:
        await channel.declare_queue(NAME, durable=True)

    async def _all(self, channel: Any) -> list[str]:
        queue = await channel.get_queue(NAME)
        found = []
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            found.append(str(message.headers["webhook-id"]))
        return found

    def read(self) -> list[str]:
        """All messages."""
        found: list[str] = asyncio.run(self._with_channel(self._all))
        return found


class Nats(Place):
    """A stream in files, each message on the disk before it is confirmed."""

    def __init__(self, server: nats.Nats) -> None:
        self.server = server
        self.spec = {"kind": "nats", "url": server.url, "config": {"subject": f"{NAME}.{{type}}", "stream": "EVENTS"}}
        asyncio.run(self._with_stream(self._declare))

    async def _with_stream(self, work: Any) -> Any:
        from nats import connect

        client = await connect(self.server.url)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    async def _declare(self, stream: Any) -> None:
        await stream.add_stream(name="EVENTS", subjects=[f"{NAME}.>"])

    async def _all(self, stream: Any) -> list[str]:
        state = (await stream.stream_info("EVENTS")).state
        found = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await stream.get_msg("EVENTS", sequence)
            found.append(str((message.headers or {})["webhook-id"]))
        return found

    def read(self) -> list[str]:
        """All messages."""
        found: list[str] = asyncio.run(self._with_stream(self._all))
        return found


class Kafka(Place):
    """A topic of three partitions."""

    def __init__(self, server: kafka.Kafka) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        self.server = server
        self.spec = {"kind": "kafka", "url": f"kafka://{server.address}", "config": {"topic": NAME}}
        admin = AdminClient({"bootstrap.servers": server.address, "log_level": 0})
        admin.create_topics([NewTopic(NAME, 3, 1)])[NAME].result(30)

    def read(self) -> list[str]:
        """All records."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.server.address, "group.id": "count", "log_level": 0})
        places = [TopicPartition(NAME, number, 0) for number in range(3)]
        wanted = sum(consumer.get_watermark_offsets(place, timeout=20)[1] for place in places)
        consumer.assign(places)
        found: list[str] = []
        end_s = time.monotonic() + 20
        while len(found) < wanted and time.monotonic() < end_s:
            record = consumer.poll(0.5)
            if record is not None and record.error() is None:
                found.append(dict(record.headers() or [])["webhook-id"].decode())
        consumer.close()
        return found


class Mqtt(Place):
    """A topic with a subscriber whose session outlives him and the broker. (Killed, Mosquitto forgets what it confirmed
    and had not written down yet: it is stopped in order.)"""

    def __init__(self, server: mosquitto.Mosquitto) -> None:
        self.server = server
        self.spec = {"kind": "mqtt", "url": server.url, "config": {"topic": f"{NAME}/{{type}}"}}
        self._found: Counter[str] = Counter()
        self._subscribed = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._subscribe()), daemon=True)
        self._thread.start()
        assert self._subscribed.wait(20)

    def kill(self) -> None:
        """In order."""
        self.server.stop()

    async def _subscribe(self) -> None:
        import aiomqtt
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        while not self._ended:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1",
                    self.server.port,
                    identifier="counter",
                    protocol=aiomqtt.ProtocolVersion.V5,
                    clean_start=False,
                    properties=properties,
                ) as client:
                    await client.subscribe(f"{NAME}/#", qos=1)
                    self._subscribed.set()
                    async for message in client.messages:
                        self._found[dict(message.properties.UserProperty)["webhook-id"]] += 1
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    def read(self) -> list[str]:
        """What came so far; the last of it may need a moment."""
        time.sleep(1.0)
        return list(self._found.elements())

    def close(self) -> None:
        """No more."""
        self._ended = True


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """A broker of this kind of its own, with one place for events; or the test is skipped (in CI: fails)."""
    with ExitStack() as closing:

        def run(serving: Any) -> Any:
            closing.callback(next, serving, None)  # goes on behind its yield: the server ends
            return next(serving)

        match kind:
            case "redis":
                yield Redis(run(valkey.serving(appendonly="yes", appendfsync="always")))
            case "rabbitmq":
                yield RabbitMQ(run(rabbitmq.serving()))
            case "nats":
                yield Nats(run(nats.serving("-c", str(_nats_settings(closing)))))
            case "kafka":
                yield Kafka(run(kafka.serving()))
            case _:
                made = Mqtt(run(mosquitto.serving()))
                closing.callback(made.close)
                yield made


def _nats_settings(closing: ExitStack) -> Path:
    import tempfile

    folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
    settings = folder / "nats.conf"
    settings.write_text("jetstream { sync_interval: always }\n")
    return settings
