"""The HTTP sender keeps the promise of every sender."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from functools import partial

import pytest

from hookline.adapters.clock import SystemClock
from hookline.adapters.senders.http import HttpSender
from hookline.core.address import Networks
from hookline.core.attempt import Kind
from hookline.core.event import Event
from hookline.ports.sender import Sender
from hookline.testing.answers import hang, reply
from hookline.testing.coroutine_sender import sent
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import CHALLENGE, EVENTS, FORMATS, EndpointFactory, request


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver with one path of each kind."""
    async with Receiver() as receiver:
        receiver.answer("/accepting", reply(200, b"taken"))
        receiver.answer("/failing", reply(500, b"no"))
        receiver.answer("/hanging", hang())
        allowed = [(b"webhook-allowed-origin", b"hooks.example"), (b"webhook-allowed-rate", b"120")]
        receiver.answer("/consenting", reply(200, CHALLENGE.encode(), allowed))
        yield receiver


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that may reach the loopback, on real time: the suite waits for its timeouts."""
    sender = HttpSender(Networks(["127.0.0.0/8"]), SystemClock(), https_only=False, version="1.2.3")
    yield sender
    await sender.close()


@pytest.fixture
def accepting(receiver: Receiver) -> EndpointFactory:
    """An endpoint whose receiver answers 200."""
    return partial(sample_endpoint, receiver.url + "/accepting")


@pytest.fixture
def failing(receiver: Receiver) -> EndpointFactory:
    """An endpoint whose receiver answers 500."""
    return partial(sample_endpoint, receiver.url + "/failing")


@pytest.fixture
def hanging(receiver: Receiver) -> EndpointFactory:
    """An endpoint whose receiver takes the request and says nothing."""
    return partial(sample_endpoint, receiver.url + "/hanging")


@pytest.fixture
def consenting(receiver: Receiver) -> EndpointFactory:
    """An endpoint whose receiver echoes the challenge of the suite, and consents by headers."""
    return partial(sample_endpoint, receiver.url + "/consenting")


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("form", FORMATS)
async def test_the_body_arrives_as_it_was_built(
    sender: Sender, receiver: Receiver, accepting: EndpointFactory, event: Event, form: str
) -> None:
    """What the receiver reads is the kept pieces around the payload, byte for byte, with its length told."""
    (outcome,) = await sent(sender, request(accepting(format=form), event))
    (received,) = receiver.requests
    exchange = outcome.seen
    assert outcome.kind is Kind.DELIVERED
    assert exchange is not None
    payload = {0: event.data, 1: base64.b64encode(event.data), 2: b""}[exchange.body_encoding]
    assert received.body == exchange.body_prefix + payload + exchange.body_suffix
    assert received.header("content-length") == str(len(received.body))
    assert received.header("transfer-encoding") is None
    assert received.headers == exchange.request_headers


async def test_many_endpoints_at_once(sender: Sender, receiver: Receiver, accepting: EndpointFactory) -> None:
    """Requests to many endpoints of one receiver at once share at most as many connections as were open at once."""
    endpoints = [accepting(number=number) for number in range(20)]
    for _ in range(3):
        await asyncio.gather(*(sent(sender, request(endpoint, sample_event(7))) for endpoint in endpoints))
    assert len(receiver.requests) == 60
    assert receiver.connections <= 20
