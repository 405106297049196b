"""The sender of kind `redis` keeps the promise of every sender, against a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.contract.broker_senders import PASSWORD, basic, one, sending, silent
from tests.servers.process import free_port
from tests.servers.valkey import Valkey, program
from tests.servers.valkey import serving as valkey_serving

from hookline.core.attempt import Kind
from hookline.core.bindings import REDIS, decode
from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.ports.sender import Sender
from hookline.testing.clock import START_WALL_MS
from hookline.testing.samples import full_event, sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory, request, spec_of

__all__ = ["silent"]
STREAM = "events"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """One for all of these tests."""
    yield from valkey_serving()


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that may reach the loopback, on real time."""
    from hookline.adapters.senders.redis import RedisSender

    async with sending(RedisSender) as sender:
        yield sender


@pytest.fixture
async def client(valkey: Valkey):
    """Somebody else's client, who reads what arrived."""
    from redis.asyncio import Redis

    async with Redis.from_url(valkey.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def accepting(valkey: Valkey) -> EndpointFactory:
    """A stream."""
    return partial(sample_endpoint, valkey.url, kind="redis", config={"stream": STREAM})


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


@pytest.mark.parametrize("event", [sample_event(), full_event(content_type="a/b"), sample_event(data=b"")])
@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])
async def test_an_entry_is_the_event(sender, accepting, client, event: Event, form: str) -> None:
    """What a consumer reads is the event, its payload byte for byte, and the id is told in the attempt."""
    outcome = await one(sender, accepting(format=form), event)
    ((entry_id, fields),) = await client.xrange(STREAM)
    assert dict(outcome.seen.response_headers) == {b"stream": STREAM.encode(), b"id": entry_id}
    headers = {name.decode(): value for name, value in fields.items()}
    draft = decode(REDIS, None, headers, fields[b"data"], START_WALL_MS)
    assert (draft.data, draft.type, draft.ordering_key) == (event.data, event.type, event.ordering_key)
    assert fields.get(b"key") == (event.ordering_key.encode() if event.ordering_key else None)


async def test_an_entry_is_signed_as_a_webhook_is(sender, accepting, client) -> None:
    """The id, time, signature and confirmation's address travel beside the payload; the last is not kept."""
    from standardwebhooks import Webhook

    endpoint = accepting(format="raw", headers=[(b"x-shop", b"7"), (b"x-api-key", b"hidden")])
    asked = request(endpoint, sample_event())
    items = [msgspec.structs.replace(item, confirm_url="https://h.example/unguessable") for item in asked.items]
    told = asyncio.get_running_loop().create_future()
    sender.start(msgspec.structs.replace(asked, items=items), told.set_result)
    (outcome,) = await told
    ((_, fields),) = await client.xrange(STREAM)
    assert fields[b"data"] == sample_event().data
    assert fields[b"webhook-id"] == sample_event().public_id.encode()
    assert (fields[b"x-shop"], fields[b"hookline-attempt"]) == (b"7", b"1")
    assert fields[b"hookline-confirm-url"] == b"https://h.example/unguessable"
    told_headers = dict(outcome.seen.request_headers)
    assert (told_headers[b"x-api-key"], told_headers[b"hookline-confirm-url"]) == (b"***", b"***")
    signature = fields[b"webhook-signature"].decode()
    webhook = Webhook(endpoint.signing[0].secret)
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(int(fields[b"webhook-timestamp"]), UTC)
    assert webhook.sign(sample_event().public_id, at, fields[b"data"].decode()) == signature


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


async def test_a_stalled_server_is_left(sender, accepting, client, valkey: Valkey) -> None:
    """A server that stops answering is a timeout; when it is back, so are deliveries."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    valkey.stall()
    try:
        outcome = await one(sender, accepting(timeout_s=1.0))
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "timeout")
    finally:
        valkey.resume()
    assert (await one(sender, accepting())).kind is Kind.DELIVERED


async def test_a_private_address_is_refused(valkey: Valkey, accepting) -> None:
    """The guard of HTTP endpoints guards brokers: at creation, and again when the socket is opened."""
    from hookline.adapters.senders.redis import RedisSender

    async with sending(RedisSender, allow=()) as sender:
        with pytest.raises(Refusal) as refused:
            await sender.check(spec_of(accepting()))
        assert (refused.value.code, refused.value.pointer) == ("address_refused", "/url")
        outcome = await one(sender, accepting())
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "address_refused")


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
