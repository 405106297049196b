"""Where connections go: to addresses that were checked, and to nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from tests.adapters.senders.sending import advance_until, send, send_to

from hookline.adapters.senders.dial import CONNECT_S_MAX, DialError
from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind
from hookline.core.endpoint import EndpointSpec
from hookline.core.errors import Refusal
from hookline.testing.clock import ToldClock
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint

MakeSender = Callable[..., HttpSender]


class Answers:
    """A resolver that gives these answers one after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str) -> Sequence[str]:
        """The next answer."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


REFUSED = [
    "http://127.0.0.1:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://10.0.0.1:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fe80::1]/",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_addresses_that_are_not_public(make_sender: MakeSender, receiver: Receiver, url: str) -> None:
    """An address that is not public is refused at creation and at every attempt, always in the same words."""
    sender = make_sender(allow=())
    url = url.format(port=receiver.port)
    outcome = await send(sender, url)
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "address_refused", None)
    assert outcome.detail == "The address is not public."
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url=url))
    assert (refused.value.code, refused.value.pointer) == ("address_refused", "/url")
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
    ],
)
async def test_names_with_any_address_that_is_not_public(
    make_sender: MakeSender, receiver: Receiver, answer: list[str]
) -> None:
    """A name is refused if any of its addresses is, at creation and at every attempt."""
    sender = make_sender(allow=(), lookup=Answers(answer))
    url = f"http://rebind.test:{receiver.port}/"
    outcome = await send(sender, url)
    assert (outcome.reason, outcome.detail) == ("address_refused", "The address is not public.")
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url=url))
    assert refused.value.code == "address_refused"
    assert receiver.connections == 0


async def test_dns_rebinding(make_sender: MakeSender, receiver: Receiver, clock: ToldClock) -> None:
    """A name that was public at creation and is the loopback afterwards reaches nothing in 1,000 attempts."""
    lookup = Answers(["93.184.216.34"], ["127.0.0.1"])
    sender = make_sender(allow=(), lookup=lookup)
    url = f"http://rebind.test:{receiver.port}/"
    assert await sender.check(EndpointSpec(url=url)) == []
    clock.advance(31)
    for number in range(1000):
        outcome = await send(sender, url)
        assert outcome.reason == "address_refused"
        if number % 100 == 0:
            clock.advance(31)
    assert receiver.connections == 0
    assert lookup.asked == 12


async def test_the_checked_address_is_the_one_that_is_dialled(make_sender: MakeSender, receiver: Receiver) -> None:
    """A name is resolved once per connection, and the connection goes to that answer with the name as its host."""
    lookup = Answers(["127.0.0.1"], ["10.0.0.1"])
    sender = make_sender(lookup=lookup)
    outcome = await send(sender, f"http://only-in-the-test.test:{receiver.port}/hook")
    assert (outcome.kind, lookup.asked) == (Kind.DELIVERED, 1)
    assert receiver.requests[0].header("host") == f"only-in-the-test.test:{receiver.port}"
    assert outcome.timing.dns_us is not None
    assert outcome.timing.connect_us is not None
    assert outcome.timing.tls_us is None


async def test_the_peer_is_checked(make_sender: MakeSender) -> None:
    """A socket that reached another address than the checked one is refused before anything is sent on it."""
    dialer: Any = make_sender()._dialer
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as reached:
        dialer._check_peer(reached, ip_address("127.0.0.1"))
        with pytest.raises(DialError) as other:
            dialer._check_peer(reached, ip_address("127.0.0.2"))
        closed: Any = make_sender(allow=())._dialer
        with pytest.raises(DialError) as refused:
            closed._check_peer(reached, ip_address("127.0.0.1"))
    assert {other.value.reason, refused.value.reason} == {"address_refused"}


async def test_a_socket_does_not_meet_itself(make_sender: MakeSender) -> None:
    """A connection from a local port to itself, which TCP allows, is a refused connection."""
    dialer: Any = make_sender()._dialer
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", 0))
        lonely.connect(lonely.getsockname())
        with pytest.raises(ConnectionRefusedError):
            dialer._check_peer(lonely, ip_address("127.0.0.1"))


async def test_the_next_address_is_tried(make_sender: MakeSender, receiver: Receiver) -> None:
    """Where an address takes no connection the next one is tried."""
    sender = make_sender(lookup=Answers(["127.0.0.3", "127.0.0.2", "127.0.0.1"]))
    assert (await send(sender, f"http://several.test:{receiver.port}/")).kind is Kind.DELIVERED


async def test_ipv6(make_sender: MakeSender) -> None:
    """An IPv6 address is dialled as such, literal or from a name."""
    async with Receiver(host="::1") as receiver:
        assert (await send(make_sender(), receiver.url)).kind is Kind.DELIVERED
        named = f"http://six.test:{receiver.port}/"
        assert (await send(make_sender(lookup=Answers(["::1"])), named)).kind is Kind.DELIVERED
        assert receiver.requests[0].header("host") == f"[::1]:{receiver.port}"


async def test_nobody_listens(sender: HttpSender, receiver: Receiver) -> None:
    """Where nobody listens the reason is connect, and the attempt says what would have been sent."""
    port = receiver.port
    await receiver.__aexit__(None, None, None)
    outcome = await send(sender, f"http://127.0.0.1:{port}/x")
    assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "connect", None)
    assert outcome.detail == "The connection was refused."
    assert outcome.seen is not None
    assert outcome.seen.url.endswith("/x")
    assert outcome.timing.first_byte_us is None


async def test_a_name_that_does_not_resolve(make_sender: MakeSender) -> None:
    """A name without an address is accepted at creation with a warning, and a retry for reason dns when sent to."""
    sender = make_sender(lookup=Answers([]))
    (warning,) = await sender.check(EndpointSpec(url="https://not-yet.test/"))
    assert "does not resolve" in warning
    outcome = await send(sender, "https://not-yet.test/")
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "dns")


@pytest.fixture
async def deaf() -> AsyncIterator[int]:
    """A port whose queue of connections is full, so that a further one is neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = []
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)  # noqa: FBT003
            client.connect_ex(listener.getsockname())
            clients.append(client)
        await asyncio.sleep(0)
        yield listener.getsockname()[1]
        for client in clients:
            client.close()


@pytest.mark.parametrize(("timeout_s", "ends_s"), [(60.0, CONNECT_S_MAX), (1.0, 1.0)])
async def test_connecting_ends_in_time(
    sender: HttpSender, clock: ToldClock, deaf: int, timeout_s: float, ends_s: float, open_files: Callable[[], int]
) -> None:
    """A connection that is neither made nor refused ends after 5 s, or the endpoint's timeout if that is shorter."""
    before = open_files()
    task = asyncio.create_task(send(sender, f"http://127.0.0.1:{deaf}/", timeout_s=timeout_s))
    await clock.asleep()
    assert ends_s <= await advance_until(clock, task) <= ends_s + 0.25
    outcome = await task
    assert (outcome.reason, outcome.detail) == ("connect", "The connection was not established in time.")
    assert open_files() == before


async def test_the_time_to_connect_is_shared(make_sender: MakeSender, clock: ToldClock, receiver: Receiver) -> None:
    """An address that swallows connections leaves time for the next one."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.2", receiver.port))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)  # noqa: FBT003
            client.connect_ex(listener.getsockname())
        sender = make_sender(lookup=Answers(["127.0.0.2", "127.0.0.1"]))
        task = asyncio.create_task(send(sender, f"http://several.test:{receiver.port}/"))
        async with asyncio.timeout(10):
            while not sender._deadlines._entries or clock.sleepers == 0:
                await asyncio.sleep(0.001)
            while not task.done():
                clock.advance(0.1)
                await asyncio.sleep(0.002)
    assert (await task).kind is Kind.DELIVERED


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_not_used(
    make_sender: MakeSender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever proxy the environment names, the connection goes to the receiver itself."""
    async with Receiver() as proxy:
        monkeypatch.setenv(name, proxy.url)
        assert (await send(make_sender(), receiver.url)).kind is Kind.DELIVERED
        assert (proxy.connections, receiver.connections) == (0, 1)


async def test_https_only(make_sender: MakeSender, receiver: Receiver) -> None:
    """With https_only an http:// endpoint is refused at creation, and one made before is not sent to."""
    sender = make_sender(https_only=True)
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url=receiver.url))
    assert refused.value.code == "address_refused"
    assert (await send(sender, receiver.url)).reason == "address_refused"
    assert receiver.connections == 0


async def test_a_config_is_refused(sender: HttpSender) -> None:
    """The kind http takes no config, and says where the fault is."""
    with pytest.raises(Refusal) as refused:
        await sender.check(EndpointSpec(url="http://127.0.0.1/", config={"topic": "x"}))
    assert (refused.value.code, refused.value.pointer) == ("invalid_endpoint", "/config")


async def test_no_room_for_a_connection(
    make_sender: MakeSender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this process is out of file descriptors nothing was tried, an idle connection goes, and the rest goes on."""
    sender = make_sender()
    async with Receiver() as other:
        assert (await send(sender, other.url)).kind is Kind.DELIVERED
        assert len(sender._pool) == 1

        def full(*_: object) -> None:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr("hookline.adapters.senders.dial.socket.socket", full)
            outcome = await send(sender, receiver.url)
        assert (outcome.kind, outcome.started) == (Kind.RETRY, False)
        assert len(sender._pool) == 0
        assert (await send(sender, receiver.url)).kind is Kind.DELIVERED


def test_destinations(sender: HttpSender) -> None:
    """The destination of an endpoint is its host and port, whatever the path."""
    assert sender.destination(sample_endpoint("https://Receiver.Example/a")) == "receiver.example:443"
    assert sender.destination(sample_endpoint("http://receiver.example:8080/b")) == "receiver.example:8080"


async def test_an_endpoint_whose_url_cannot_be_read(sender: HttpSender) -> None:
    """An endpoint that is stored with a url which is no longer accepted fails for good, with its reason."""
    broken = msgspec.structs.replace(sample_endpoint(), url="http://user@127.0.0.1/", target=None)
    assert sender.destination(broken)
    outcome = await send_to(sender, broken)
    assert (outcome.kind, outcome.reason) == (Kind.REJECTED, "address_refused")
