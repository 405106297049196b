"""The sender of kind `rabbitmq` keeps the promise of every sender, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest
from tests.contract.broker_senders import *  # noqa: F403  as below
from tests.contract.broker_senders import PASSWORD, Received, basic, one
from tests.servers.process import free_port
from tests.servers.rabbitmq import RabbitMQ, program
from tests.servers.rabbitmq import serving as rabbitmq_serving

from hookline.core import ids
from hookline.core.attempt import Kind
from hookline.testing.coroutine_sender import sent
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory, request

QUEUE = "events"
GUEST = basic("guest", "guest")


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    """One for all of these tests."""
    yield from rabbitmq_serving()


@pytest.fixture
def kind_of_sender():
    """The adapter."""
    program()
    from hookline.adapters.senders.rabbitmq import RabbitmqSender

    return RabbitmqSender


@pytest.fixture
async def channel(server: RabbitMQ):
    """A channel of somebody else's, with a new queue."""
    import aio_pika

    connection = await aio_pika.connect(server.url)
    channel = await connection.channel()
    await channel.queue_delete(QUEUE)
    await channel.declare_queue(QUEUE, durable=True)
    yield channel
    await connection.close()


def url(server: RabbitMQ) -> str:
    """As an endpoint has it: without credentials."""
    return f"amqp://127.0.0.1:{server.port}"


@pytest.fixture
def accepting(server: RabbitMQ, channel) -> EndpointFactory:
    """A queue."""
    return partial(sample_endpoint, url(server), kind="rabbitmq", config={"queue": QUEUE}, credentials=GUEST)


@pytest.fixture
def failing() -> EndpointFactory:
    """Nobody listens there."""
    return partial(sample_endpoint, f"amqp://127.0.0.1:{free_port()}", kind="rabbitmq", config={"queue": QUEUE})


@pytest.fixture
def hanging(silent: int) -> EndpointFactory:
    """A server that never greets."""
    return partial(sample_endpoint, f"amqp://127.0.0.1:{silent}", kind="rabbitmq", config={"queue": QUEUE})


@pytest.fixture
def consenting(accepting: EndpointFactory) -> EndpointFactory:
    """There is no such server of this kind."""
    return accepting


@pytest.fixture
def received(channel) -> Received:
    """The messages of the queue."""

    async def read():
        queue = await channel.get_queue(QUEUE)
        found = []
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            found.append((dict(message.headers), message.content_type, message.body, None))
        return found

    return read


async def test_a_message_is_persistent_and_named_by_its_delivery(sender, accepting, channel) -> None:
    """It outlives the broker, and all attempts of a delivery have one message id."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    message = await (await channel.get_queue(QUEUE)).get(no_ack=True)
    assert message.delivery_mode == 2
    assert message.message_id.startswith("dlv_")


@pytest.mark.parametrize(
    "config",
    [{"queue": "not-there"}, {"exchange": "not-there"}, {"exchange": "amq.topic", "routing_key": "nobody"}],
    ids=["no queue", "no exchange", "no binding"],
)
async def test_where_nothing_takes_it_it_is_unroutable(sender, accepting, config) -> None:
    """It is said at once, and tried again; those who publish elsewhere on the connection do not notice."""
    outcomes = await asyncio.gather(
        one(sender, accepting(config=config)), *(one(sender, accepting(), sample_event(n)) for n in range(2, 20))
    )
    assert (outcomes[0].kind, outcomes[0].reason) == (Kind.RETRY, "unroutable"), outcomes[0].detail
    assert {outcome.kind for outcome in outcomes[1:]} == {Kind.DELIVERED}


async def test_one_event_to_two_places_at_once(sender, accepting) -> None:
    """What comes back is told to the endpoint whose it is, although both send the same event on one connection."""
    for _ in range(5):
        asked = [request(accepting(number=n, config={"queue": queue})) for n, queue in ((1, QUEUE), (2, "not-there"))]
        (item,) = asked[1].items
        other = msgspec.structs.replace(item, delivery_id=ids.delivery_id(item.event.id, 2))
        asked[1] = msgspec.structs.replace(asked[1], items=[other])
        (good,), (bad,) = await asyncio.gather(*(sent(sender, each) for each in asked))
        assert (good.kind, bad.reason) == (Kind.DELIVERED, "unroutable")


async def test_the_routing_key_may_hold_the_type(sender, accepting, channel, received) -> None:
    """`{type}` is the event's type, and the default of an exchange."""
    queue = await channel.get_queue(QUEUE)
    await queue.bind("amq.topic", "shop.order.created")
    await queue.bind("amq.topic", "order.created")
    for config in ({"exchange": "amq.topic", "routing_key": "shop.{type}"}, {"exchange": "amq.topic"}):
        assert (await one(sender, accepting(config=config))).kind is Kind.DELIVERED
    assert len(await received()) == 2


async def test_a_full_queue_refuses_and_is_tried_again(sender, accepting, channel) -> None:
    """A nack is no delivery."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await channel.declare_queue("small", arguments=arguments, auto_delete=False)
    outcomes = [await one(sender, accepting(config={"queue": "small"}), sample_event(n)) for n in range(1, 4)]
    assert (outcomes[-1].kind, outcomes[-1].reason) == (Kind.RETRY, "server_error")
    await channel.queue_delete("small")


async def test_wrong_credentials_and_places(sender, accepting, server: RabbitMQ) -> None:
    """They are told apart, tried again, and shown nowhere."""
    outcome = await one(sender, accepting(credentials=basic("guest", PASSWORD)))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized"), outcome.detail
    assert PASSWORD not in repr((outcome, outcome.seen))
    elsewhere = sample_endpoint(url(server) + "/not-there", kind="rabbitmq", config={"queue": QUEUE}, credentials=GUEST)
    outcome = await one(sender, elsewhere)
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unroutable"), outcome.detail


def test_only_what_is_too_large_fails_for_good() -> None:
    """The broker closes the channel of all for one that is too large; the others are tried again."""
    program()
    from aiormq.exceptions import ChannelPreconditionFailed

    from hookline.adapters.senders.rabbitmq import _unpublished

    error = ChannelPreconditionFailed("PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000")
    assert (_unpublished(error, "", "q", 2000).kind, _unpublished(error, "", "q", 2000).reason) == (
        Kind.REJECTED,
        "too_large",
    )
    assert (_unpublished(error, "", "q", 10).kind, _unpublished(error, "", "q", 10).reason) == (Kind.RETRY, "connect")


async def test_a_connection_that_the_broker_closes_is_made_anew(sender, accepting, server: RabbitMQ) -> None:
    """The next message after a lost connection goes out on a new one."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    await asyncio.to_thread(server.control, "close_all_connections", "test")
    async with asyncio.timeout(10):
        while (await one(sender, accepting())).kind is not Kind.DELIVERED:
            pass
