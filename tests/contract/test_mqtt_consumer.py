"""Topics of an MQTT 5 broker are consumed as the port promises, and what a server does to them is survived."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tests.contract.consuming import way
from tests.servers.mosquitto import Mosquitto, serving

from hookline.core.source import Source
from hookline.testing.consumer_contract import TestConsumer, consuming, opened, received

aiomqtt = pytest.importorskip("aiomqtt")

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hookline.adapters.consumers.mqtt import MqttBroker

__all__ = ["TestConsumer"]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Mosquitto]:
    """One for this file: some tests end it."""
    yield from serving()


class MqttBench:
    """`Bench` with a real server. What is published before anybody subscribed is for nobody: so somebody did."""

    has_coordinates = False
    keeps_over_restart = False
    settles_s = 0.5

    def __init__(self, server: Mosquitto) -> None:
        self.server = server
        self.broker, self.other = MqttBroker(way()), MqttBroker(way("2"))

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(_NUMBERS)
        source = consuming("mqtt", number, url=self.server.url, topic=f"topic/{number}", **config)
        async with opened(self, source):
            return source

    async def publish(self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str]) -> None:
        told = Properties(PacketTypes.PUBLISH)
        told.UserProperty = list(properties.items())
        told.ContentType = "application/json"
        async with aiomqtt.Client("127.0.0.1", self.server.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            for body in bodies:
                await client.publish(source.config["topic"], body, qos=1, properties=told)

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture
def bench(server: Mosquitto) -> MqttBench:
    """Its other side."""
    return MqttBench(server)


async def test_its_properties_are_there(bench: MqttBench) -> None:
    """The content type is where expressions find it."""
    source = await bench.source()
    await bench.publish(source, [b"{}"], {"x": "1"})
    async with opened(bench, source) as consumer:
        (message,) = await received(consumer, 1)
    assert (message.content_type, message.topic) == ("application/json", source.config["topic"])
    assert message.properties == {"x": "1"}
