"""The sender of kind `redis` keeps the promise of every sender, against a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.contract.broker_senders import *  # noqa: F403  as below
from tests.contract.broker_senders import PASSWORD, Received, basic, one, sending
from tests.servers.process import free_port
from tests.servers.valkey import Valkey, program
from tests.servers.valkey import serving as valkey_serving

from hookline.core.attempt import Kind
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory

STREAM = "events"


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """One for all of these tests."""
    yield from valkey_serving()


@pytest.fixture
def kind_of_sender():
    """The adapter."""
    program()
    from hookline.adapters.senders.redis import RedisSender

    return RedisSender


@pytest.fixture
async def client(server: Valkey):
    """Somebody else's client, who reads what arrived."""
    from redis.asyncio import Redis

    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def accepting(server: Valkey) -> EndpointFactory:
    """A stream."""
    return partial(sample_endpoint, server.url, kind="redis", config={"stream": STREAM})


@pytest.fixture
def failing() -> EndpointFactory:
    """Nobody listens there."""
    return partial(sample_endpoint, f"redis://127.0.0.1:{free_port()}", kind="redis", config={"stream": STREAM})


@pytest.fixture
def hanging(silent: int) -> EndpointFactory:
    """A server that never answers."""
    return partial(sample_endpoint, f"redis://127.0.0.1:{silent}", kind="redis", config={"stream": STREAM})


@pytest.fixture
def consenting(accepting: EndpointFactory) -> EndpointFactory:
    """There is no such server of this kind."""
    return accepting


@pytest.fixture
def received(client) -> Received:
    """The entries of the stream."""

    async def read():
        return [
            ({name.decode(): value for name, value in fields.items()}, None, fields[b"data"], fields.get(b"key"))
            for _, fields in await client.xrange(STREAM)
        ]

    return read


async def test_an_attempt_tells_the_entry(sender, accepting, client) -> None:
    """Where the event is can be read in its attempt."""
    outcome = await one(sender, accepting())
    ((entry_id, _),) = await client.xrange(STREAM)
    assert dict(outcome.seen.response_headers) == {b"stream": STREAM.encode(), b"id": entry_id}


async def test_order_of_one_connection_is_kept(sender, accepting, client) -> None:
    """What is sent one after the other is in the stream in that order; a thousand share few connections."""
    endpoint = accepting()
    await asyncio.gather(*(one(sender, endpoint, sample_event(number)) for number in range(1, 301)))
    assert await client.xlen(STREAM) == 300
    assert len([line for line in await client.client_list() if line["name"] == "hookline"]) == 1


async def test_a_stream_is_trimmed_where_asked(sender, accepting, client) -> None:
    """`maxlen` bounds the stream, about."""
    endpoint = accepting(config={"stream": STREAM, "maxlen": 1})
    await asyncio.gather(*(one(sender, endpoint, sample_event(number)) for number in range(1, 301)))
    assert await client.xlen(STREAM) <= 200


async def test_replicas_that_are_not_there_are_waited_for(sender, accepting, client) -> None:
    """Without the replicas it asked for it is not delivered, and the reason says how many had it."""
    outcome = await one(sender, accepting(config={"stream": STREAM, "replicas": 1}, timeout_s=1.0))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "timeout")
    assert "0 of 1 replicas" in outcome.detail
    assert (await one(sender, accepting())).kind is Kind.DELIVERED


async def test_a_key_of_another_type_is_unroutable(sender, accepting, client) -> None:
    """What is no stream is said to be none, and tried again: a person can correct that."""
    await client.set(STREAM, "no stream")
    outcome = await one(sender, accepting())
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unroutable")
    assert "WRONGTYPE" in outcome.detail


async def test_a_connection_that_was_killed_is_made_anew(sender, accepting, client) -> None:
    """The next message after a lost connection goes out on a new one."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    await client.client_kill_filter(_type="normal", skipme=True)
    outcomes = [await one(sender, accepting()) for _ in range(2)]
    assert outcomes[-1].kind is Kind.DELIVERED
    assert outcomes[0].reason in (None, "connect")


async def test_idle_connections_are_closed(accepting, client) -> None:
    """A connection that nobody uses is closed after its time."""
    from hookline.adapters.senders import links
    from hookline.adapters.senders.redis import RedisSender

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "SWEEP_S", 0.05)
        async with sending(RedisSender, idle_s_max=0.1) as sender:
            assert (await one(sender, accepting())).kind is Kind.DELIVERED
            async with asyncio.timeout(10):
                while [line for line in await client.client_list() if line["name"] == "hookline"]:
                    await asyncio.sleep(0.05)
            assert (await one(sender, accepting())).kind is Kind.DELIVERED


async def test_connections_are_bounded(accepting, client) -> None:
    """A tenant more than there are connections takes the place of one that is idle."""
    from hookline.adapters.senders.redis import RedisSender

    async with sending(RedisSender, connections_max=2) as sender:
        for number in range(1, 5):
            assert (await one(sender, accepting(tenant=f"t{number}"))).kind is Kind.DELIVERED
        await asyncio.sleep(0.1)
        assert len([line for line in await client.client_list() if line["name"] == "hookline"]) == 2


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Valkey]:
    """A server that asks for a password."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    server = Valkey(folder, program(), requirepass=PASSWORD)
    yield server
    server.kill()


async def test_the_right_credentials(sender, guarded: Valkey) -> None:
    """They are sent to the server, and are in no outcome."""
    endpoint = sample_endpoint(guarded.url, kind="redis", config={"stream": "s"}, credentials=basic())
    outcome = await one(sender, endpoint)
    assert outcome.kind is Kind.DELIVERED
    assert PASSWORD not in repr((outcome, outcome.seen, sender.destination(endpoint)))


@pytest.mark.parametrize("credentials", [None, basic(password="wrong"), basic("nobody")])
async def test_wrong_credentials(sender, guarded: Valkey, credentials) -> None:
    """They are `unauthorized`, tried again, and in no outcome."""
    endpoint = sample_endpoint(guarded.url, kind="redis", config={"stream": "s"}, credentials=credentials)
    outcome = await one(sender, endpoint)
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized")
    assert PASSWORD not in repr((outcome, outcome.seen))
