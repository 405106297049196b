"""The sender of kind `nats` keeps the promise of every sender, against a real server with JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.contract.broker_senders import *  # noqa: F403  as below
from tests.contract.broker_senders import PASSWORD, Received, basic, one, sending
from tests.servers.nats import Nats, program
from tests.servers.nats import serving as nats_serving
from tests.servers.process import free_port

from hookline.core.attempt import Kind
from hookline.core.endpoint import AuthSpec
from hookline.testing.certificates import SelfSigned
from hookline.testing.samples import sample_endpoint, sample_event
from hookline.testing.sender_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.sender_contract import EndpointFactory

del test_tls_is_verified  # noqa: F821  its TLS begins within its own protocol: see below

SUBJECT = "events.order"
LARGE = "max_payload: 8MB\n"
"""The suite's largest event is 1 MiB before it is put into an envelope."""
USERS = """
max_payload: 1024
authorization { users: [
  {user: "shop", password: "%s", permissions: {publish: ["events.>"], subscribe: ["_INBOX.>"]}}
  {user: "admin", password: "admin"}
] }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Nats]:
    """One for all of these tests."""
    settings: Path = tmp_path_factory.mktemp("nats") / "nats.conf"
    settings.write_text(LARGE)
    yield from nats_serving("-c", str(settings))


@pytest.fixture
def kind_of_sender():
    """The adapter."""
    program()
    from hookline.adapters.senders.nats import NatsSender

    return NatsSender


@pytest.fixture
async def stream(server: Nats):
    """A new stream that holds the subjects, and a client of somebody else's."""
    import nats
    from nats.js.errors import NotFoundError

    client = await nats.connect(server.url)
    manager = client.jetstream()
    try:
        await manager.delete_stream("EVENTS")
    except NotFoundError:
        pass
    await manager.add_stream(name="EVENTS", subjects=["events.>"])
    yield manager
    await client.close()


@pytest.fixture
def accepting(server: Nats, stream) -> EndpointFactory:
    """A subject that a stream holds."""
    return partial(sample_endpoint, server.url, kind="nats", config={"subject": SUBJECT})


@pytest.fixture
def failing() -> EndpointFactory:
    """Nobody listens there."""
    return partial(sample_endpoint, f"nats://127.0.0.1:{free_port()}", kind="nats", config={"subject": SUBJECT})


@pytest.fixture
def hanging(silent: int) -> EndpointFactory:
    """A server that never greets."""
    return partial(sample_endpoint, f"nats://127.0.0.1:{silent}", kind="nats", config={"subject": SUBJECT})


@pytest.fixture
def consenting(accepting: EndpointFactory) -> EndpointFactory:
    """There is no such server of this kind."""
    return accepting


@pytest.fixture
def received(stream) -> Received:
    """The messages of the stream."""

    async def read():
        count = (await stream.stream_info("EVENTS")).state.messages
        messages = [await stream.get_msg("EVENTS", seq) for seq in range(1, count + 1)]
        return [(message.headers or {}, None, message.data or b"", None) for message in messages]

    return read


async def test_an_attempt_tells_the_sequence(sender, accepting) -> None:
    """Where the event is can be read in its attempt."""
    outcome = await one(sender, accepting())
    assert outcome.seen.response_headers == [(b"stream", b"EVENTS"), (b"sequence", b"1")]


async def test_a_delivery_that_is_sent_again_is_there_once(sender, accepting, received) -> None:
    """The delivery's id is the message's: a repeat within the duplicate window is confirmed and not stored again."""
    for _ in range(2):
        assert (await one(sender, accepting())).kind is Kind.DELIVERED
    assert len(await received()) == 1
    assert dict((await one(sender, accepting())).seen.response_headers)[b"duplicate"] == b"true"


@pytest.mark.parametrize(
    "config", [{"subject": "nobody.holds.this"}, {"subject": SUBJECT, "stream": "OTHER"}], ids=["no stream", "other"]
)
async def test_where_no_stream_is_it_is_unroutable(sender, accepting, config) -> None:
    """It is said at once, and tried again: the stream may be made."""
    outcome = await one(sender, accepting(config=config))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unroutable")


async def test_the_subject_may_hold_the_type(sender, accepting, stream) -> None:
    """`{type}` is the event's type."""
    assert (await one(sender, accepting(config={"subject": "events.{type}"}))).kind is Kind.DELIVERED
    assert (await stream.get_msg("EVENTS", 1)).subject == "events.order.created"


async def test_a_lost_connection_is_told_at_once(sender, accepting, server: Nats) -> None:
    """A server that is killed is not waited for; when it is back, so are deliveries."""
    assert (await one(sender, accepting())).kind is Kind.DELIVERED
    server.stall()
    await asyncio.sleep(0.3)  # a signal may take its time on a busy machine
    waiting = asyncio.create_task(one(sender, accepting(timeout_s=30.0), sample_event(2)))
    await asyncio.sleep(0.2)
    server.kill()
    async with asyncio.timeout(5):
        outcome = await waiting
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "connect")
    server.start()
    assert (await one(sender, accepting(), sample_event(2))).kind is Kind.DELIVERED


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Nats]:
    """A server with users, who may not do everything, and that takes little at once."""
    folder: Path = tmp_path_factory.mktemp("nats-users")
    (folder / "nats.conf").write_text(USERS % PASSWORD)
    running = Nats(folder, program(), "-c", str(folder / "nats.conf"))
    yield running
    running.kill()


async def guarded_stream(guarded: Nats) -> None:
    import nats

    client = await nats.connect(guarded.url, user="admin", password="admin")
    await client.jetstream().add_stream(name="EVENTS", subjects=["events.>", "other.>"])
    await client.close()


async def test_credentials(sender, guarded: Nats) -> None:
    """The right ones deliver; wrong ones and a subject that is not theirs are `unauthorized`; none are shown."""
    await guarded_stream(guarded)
    make = partial(sample_endpoint, guarded.url, kind="nats", config={"subject": SUBJECT})
    right = await one(sender, make(credentials=basic("shop")))
    assert right.kind is Kind.DELIVERED, right.detail
    for wrong in (None, basic("shop", "wrong"), AuthSpec("bearer", token="wrong")):
        outcome = await one(sender, make(credentials=wrong))
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized"), outcome.detail
    outcome = await one(sender, make(credentials=basic("shop"), config={"subject": "other.x"}))
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "unauthorized"), outcome.detail
    assert PASSWORD not in repr((right, right.seen))


async def test_what_is_too_large_fails_for_good(sender, guarded: Nats) -> None:
    """A message beyond the server's limit is not tried again, and the limit is said."""
    endpoint = sample_endpoint(guarded.url, kind="nats", config={"subject": SUBJECT}, credentials=basic("shop"))
    outcome = await one(sender, endpoint, sample_event(data=b'"' + b"x" * 2000 + b'"'))
    assert (outcome.kind, outcome.reason) == (Kind.REJECTED, "too_large")
    assert "1024" in outcome.detail


async def test_tls(kind_of_sender, tmp_path: Path) -> None:
    """A server with a certificate is delivered to, with one that nobody trusts it is not."""
    certificate = SelfSigned(("127.0.0.1",))
    (tmp_path / "ca.pem").write_text(certificate.pem)
    (tmp_path / "both.pem").write_text(certificate._key_pem + certificate.pem)
    both = tmp_path / "both.pem"
    secured = Nats(tmp_path / "server", program(), "--tls", "--tlscert", str(both), "--tlskey", str(both))
    try:
        url = secured.url.replace("nats://", "tls://")
        endpoint = sample_endpoint(url, kind="nats", config={"subject": SUBJECT})
        async with sending(kind_of_sender) as made:
            assert (await one(made, endpoint)).reason == "tls"
        async with sending(kind_of_sender, ca_file=str(tmp_path / "ca.pem")) as made:
            assert (await one(made, endpoint)).reason == "unroutable"  # it said so: there is no stream
    finally:
        secured.kill()


async def test_no_credentials_go_out_before_tls(kind_of_sender, guarded: Nats) -> None:
    """A server that does not speak TLS where the URL says so gets nothing."""
    async with sending(kind_of_sender) as made:
        url = guarded.url.replace("nats://", "tls://")
        endpoint = sample_endpoint(url, kind="nats", config={"subject": SUBJECT}, credentials=basic("shop"))
        outcome = await one(made, endpoint)
        assert (outcome.kind, outcome.reason) == (Kind.RETRY, "tls"), outcome.detail
