"""The world on the other side of a broker: who publishes there, and who ends its server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tests.servers import kafka, mosquitto, nats, rabbitmq, valkey


class Outside(Protocol):
    """One broker."""

    kind: str
    exactly: bool
    """Whether its messages have coordinates, by which repeats are known."""

    def config(self, name: str) -> dict[str, Any]:
        """Of a source that consumes what is published under this name."""
        ...

    def make(self, name: str) -> None:
        """Make what is published to."""
        ...

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        """One message for each number, all confirmed by the server."""
        ...

    def restart(self) -> None:
        """Kill the server, and start it again where it was."""
        ...


def body(number: int) -> bytes:
    """What the message of this number says."""
    return json.dumps({"n": number}).encode()


class Redis:
    """`Outside` with Valkey, which writes everything down at once."""

    kind = "redis"
    exactly = True

    def __init__(self, server: valkey.Valkey) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "stream": name}

    def make(self, name: str) -> None:
        """The source makes it."""

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        import redis

        with redis.Redis.from_url(self._server.url) as client, client.pipeline(transaction=False) as pipeline:
            for number in numbers:
                pipeline.xadd(name, {"data": body(number)})
            pipeline.execute()

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


class Nats:
    """`Outside` with a stream in files."""

    kind = "nats"
    exactly = True

    def __init__(self, server: nats.Nats) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "stream": name}

    def make(self, name: str) -> None:
        async def work() -> None:
            import nats as driver

            client = await driver.connect(self._server.url)
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
            await client.close()

        asyncio.run(work())

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        async def work() -> None:
            import nats as driver

            client = await driver.connect(self._server.url)
            js = client.jetstream()
            for number in numbers:
                await js.publish(f"{name}.new", body(number))
            await client.close()

        asyncio.run(work())

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


class Rabbitmq:
    """`Outside` with a durable queue."""

    kind = "rabbitmq"
    exactly = False

    def __init__(self, server: rabbitmq.RabbitMQ) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        url = f"amqp://127.0.0.1:{self._server.port}"
        return {"url": url, "queue": name, "username": "guest", "password": "guest"}

    def make(self, name: str) -> None:
        async def work() -> None:
            import aio_pika

            async with await aio_pika.connect(self._server.url) as connection:
                await (await connection.channel()).declare_queue(name, durable=True)

        asyncio.run(work())

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        async def work() -> None:
            import aio_pika

            async with await aio_pika.connect(self._server.url) as connection:
                exchange = (await connection.channel()).default_exchange
                for number in numbers:
                    message = aio_pika.Message(body(number), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    await exchange.publish(message, routing_key=name)

        asyncio.run(work())

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


class Kafka:
    """`Outside` with a topic of three partitions."""

    kind = "kafka"
    exactly = True

    def __init__(self, server: kafka.Kafka) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "topic": name, "group": f"group-{name}"}

    def make(self, name: str) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self._server.address, "log_level": 0})
        admin.create_topics([NewTopic(name, 3, 1)])[name].result(20)

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        from confluent_kafka import Producer

        failed: list[object] = []
        producer = Producer({"bootstrap.servers": self._server.address, "enable.idempotence": True})
        for number in numbers:
            producer.produce(
                name,
                body(number),
                str(number),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert producer.flush(30) == 0
        assert failed == []

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


class Mqtt:
    """`Outside` with Mosquitto, which writes its sessions down when it is stopped in order, and not before."""

    kind = "mqtt"
    exactly = False

    def __init__(self, server: mosquitto.Mosquitto) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "topic": f"{name}/#"}

    def make(self, name: str) -> None:
        """A topic is where somebody subscribed to it."""

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        async def work() -> None:
            import aiomqtt

            async with aiomqtt.Client("127.0.0.1", self._server.port) as client:
                for number in numbers:
                    await client.publish(f"{name}/new", body(number), qos=1)

        asyncio.run(work())

    def restart(self) -> None:
        self._server.stop()
        self._server.start()


@contextmanager
def outside(kind: str) -> Iterator[Outside]:
    """A broker of this kind, started, for as long as the block lasts."""
    if kind == "redis":
        for server in valkey.serving(appendonly="yes", appendfsync="always"):
            yield Redis(server)
    elif kind == "nats":
        for nats_server in nats.serving():
            yield Nats(nats_server)
    elif kind == "rabbitmq":
        for rabbit in rabbitmq.serving():
            yield Rabbitmq(rabbit)
    elif kind == "kafka":
        for kafka_server in kafka.serving():
            yield Kafka(kafka_server)
    else:
        for broker in mosquitto.serving():
            yield Mqtt(broker)
