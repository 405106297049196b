"""The sender of kind `mqtt` keeps the promise of every sender, against a real Mosquitto."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.contract.broker_senders import *  # noqa: F403  as below
from tests.contract.broker_senders import PASSWORD, Received, basic, one
from tests.servers.mosquitto import Mosquitto, program
from tests.servers.mosquitto import serving as mosquitto_serving
from tests.servers.process import free_port

from hookline.core.attempt import Kind
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory

TOPIC = "events/order"


@pytest.fixture(scope="module")
def server() -> Iterator[Mosquitto]:
    """One for all of these tests."""
    yield from mosquitto_serving()


@pytest.fixture
def kind_of_sender():
    """The adapter."""
    program()
    from hookline.adapters.senders.mqtt import MqttSender

    return MqttSender


@pytest.fixture
async def subscriber(server: Mosquitto):
    """Somebody who subscribed."""
    import aiomqtt

    async with aiomqtt.Client(
        "127.0.0.1", server.port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=1000
    ) as client:
        await client.subscribe("events/#", qos=1)
        yield client


@pytest.fixture
def accepting(server: Mosquitto, subscriber) -> EndpointFactory:
    """A topic with a subscriber."""
    return partial(sample_endpoint, server.url, kind="mqtt", config={"topic": TOPIC})


@pytest.fixture
def failing() -> EndpointFactory:
    """Nobody listens there."""
    return partial(sample_endpoint, f"mqtt://127.0.0.1:{free_port()}", kind="mqtt", config={"topic": TOPIC})


@pytest.fixture
def hanging(silent: int) -> EndpointFactory:
    """A server that never greets."""
    return partial(sample_endpoint, f"mqtt://127.0.0.1:{silent}", kind="mqtt", config={"topic": TOPIC})


@pytest.fixture
def consenting(accepting: EndpointFactory) -> EndpointFactory:
    """There is no such server of this kind."""
    return accepting


@pytest.fixture
def received(subscriber) -> Received:
    """What the subscriber got."""

    async def read():
        found = []
        async with asyncio.timeout(5):
            while not found or len(subscriber.messages):
                message = await anext(subscriber.messages)
                properties = message.properties
                found.append(
                    (
                        dict(getattr(properties, "UserProperty", [])),
                        properties.ContentType,
                        message.payload or b"",
                        None,
                    )
                )
        return found

    return read


async def test_without_a_subscriber_it_is_unroutable(sender, accepting) -> None:
    """The broker threw it away: that is no delivery, and is tried again; a retained message stays there."""
    outcome = await one(sender, accepting(config={"topic": "nobody/here"}))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unroutable")
    assert (await one(sender, accepting(config={"topic": "nobody/here", "retain": True}))).kind is Kind.DELIVERED


async def test_the_topic_may_hold_the_type(sender, accepting, subscriber) -> None:
    """`{type}` is the event's type."""
    assert (await one(sender, accepting(config={"topic": "events/{type}"}))).kind is Kind.DELIVERED
    assert str((await anext(subscriber.messages)).topic) == "events/order.created"


async def test_what_mqtt_cannot_carry_fails_for_good(sender, accepting) -> None:
    """A code point that is no character would cost the connection: it is not sent."""
    endpoint = accepting(format="cloudevents-binary")
    outcome = await one(sender, endpoint, sample_event(subject="a\ufffeb"))
    assert (outcome.kind, outcome.reason) == (Kind.REJECTED, "rejected")
    assert (await one(sender, endpoint, sample_event(subject="ab"))).kind is Kind.DELIVERED


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Mosquitto]:
    """A server with users, who may not do everything, and that takes little at once."""
    binary = program()
    folder: Path = tmp_path_factory.mktemp("mosquitto")
    import subprocess

    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "shop", PASSWORD], check=True, timeout=20)
    (folder / "rights").write_text("user shop\ntopic readwrite events/#\n")
    lines = (
        "allow_anonymous false",
        f"password_file {folder}/users",
        f"acl_file {folder}/rights",
        "max_packet_size 4000",
    )
    running = Mosquitto(folder, binary, *lines)
    yield running
    running.kill()


async def test_credentials(sender, guarded: Mosquitto) -> None:
    """The right ones deliver; wrong ones and a topic that is not theirs are `unauthorized`; none are shown."""
    make = partial(sample_endpoint, guarded.url, kind="mqtt", config={"topic": TOPIC, "retain": True})
    right = await one(sender, make(credentials=basic("shop")))
    assert right.kind is Kind.DELIVERED, right.detail
    for wrong in (None, basic("shop", "wrong")):
        outcome = await one(sender, make(credentials=wrong))
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized"), outcome.detail
    outcome = await one(sender, make(credentials=basic("shop"), config={"topic": "other"}))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized"), outcome.detail
    assert PASSWORD not in repr((right, right.seen))


async def test_what_is_too_large_fails_for_good(sender, guarded: Mosquitto) -> None:
    """A message beyond the server's limit is not tried again, and the limit is said."""
    endpoint = sample_endpoint(guarded.url, kind="mqtt", config={"topic": TOPIC}, credentials=basic("shop"))
    outcome = await one(sender, endpoint, sample_event(data=b'"' + b"x" * 4000 + b'"'))
    assert (outcome.kind, outcome.reason) == (Kind.REJECTED, "too_large"), outcome.detail
    assert "4000" in outcome.detail


async def test_a_lost_connection_is_told_at_once(sender, accepting, server: Mosquitto) -> None:
    """A server that is killed is not waited for; when it is back, so are deliveries."""
    retained = accepting(config={"topic": TOPIC, "retain": True}, timeout_s=30.0)
    assert (await one(sender, retained)).kind is Kind.DELIVERED
    server.stall()
    await asyncio.sleep(0.3)  # a signal may take its time on a busy machine
    waiting = asyncio.create_task(one(sender, retained))
    await asyncio.sleep(0.2)
    server.kill()
    async with asyncio.timeout(5):
        outcome = await waiting
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "connect")
    server.start()
    assert (await one(sender, retained)).kind is Kind.DELIVERED
