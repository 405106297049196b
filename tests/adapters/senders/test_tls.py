"""TLS to receivers: always verified, 1.2 at least; where it fails nothing was sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.adapters.senders.sending import advance_until, send

from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind
from hookline.testing.certificates import SelfSigned
from hookline.testing.clock import ToldClock
from hookline.testing.receiver import Receiver

MakeSender = Callable[..., HttpSender]
AUTHORITY = trustme.CA()


def server_context(*names: str, authority: trustme.CA = AUTHORITY, **changes: Any) -> ssl.SSLContext:
    """A server with a certificate for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **changes).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The certificate of the test's authority."""
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    path.write_bytes(AUTHORITY.cert_pem.bytes())
    return str(path)


@pytest.fixture
def trusting(make_sender: MakeSender, authority_file: str) -> HttpSender:
    """A sender that trusts the test's authority and finds every name on the loopback."""
    return make_sender(ca_file=authority_file, lookup=lambda host: ["127.0.0.1"])


@pytest.mark.parametrize("host", ["receiver.test", "127.0.0.1"])
async def test_a_correct_certificate(trusting: HttpSender, host: str) -> None:
    """A receiver whose certificate is in order is delivered to, by its name or its address, and kept alive."""
    async with Receiver(tls=server_context(host)) as receiver:
        for number in (1, 2):
            outcome = await send(trusting, f"https://{host}:{receiver.port}/")
            assert outcome.kind is Kind.DELIVERED
            assert (outcome.timing.tls_us is not None) == (number == 1)
        assert (receiver.connections, len(receiver.requests)) == (1, 2)


async def test_the_name_is_told(trusting: HttpSender) -> None:
    """The name of the url is told to the receiver, who may have many, although the connection goes to an address."""
    told = []
    context = server_context("receiver.test")
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    async with Receiver(tls=context) as receiver:
        assert (await send(trusting, f"https://Receiver.test.:{receiver.port}/")).kind is Kind.DELIVERED
    assert told == ["receiver.test"]


def old() -> ssl.SSLContext:
    """A server that speaks TLS 1.1 at most."""
    context = server_context("receiver.test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


BAD: dict[str, Callable[[], ssl.SSLContext]] = {
    "self-signed": lambda: SelfSigned(["receiver.test"]).server(),
    "of another authority": lambda: server_context("receiver.test", authority=trustme.CA()),
    "for another name": lambda: server_context("other.test"),
    "for a name above": lambda: server_context("test"),
    "expired": lambda: server_context("receiver.test", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    "TLS 1.1": old,
}


@pytest.mark.parametrize("make_context", BAD.values(), ids=BAD)
async def test_a_bad_certificate(trusting: HttpSender, make_context: Any, open_files: Callable[[], int]) -> None:
    """A certificate or version that is not in order fails with reason tls; the receiver gets no byte of the request."""
    async with Receiver(tls=make_context()) as receiver:
        before = open_files()
        for _ in range(5):
            outcome = await send(trusting, f"https://receiver.test:{receiver.port}/")
            assert (outcome.kind, outcome.reason, outcome.status) == (Kind.RETRY, "tls", None)
            assert "TLS handshake" in outcome.detail or "certificate" in outcome.detail
        assert receiver.requests == []
        assert receiver.connections == 5
        async with asyncio.timeout(5):
            while open_files() > before + 1:  # the loop may open one of its own
                await asyncio.sleep(0.01)


async def test_the_old_server_would_have_answered() -> None:
    """The server of the test above does speak TLS 1.1, so it is the sender that refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with Receiver(tls=old()) as receiver:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", receiver.port, ssl=context, server_hostname="receiver.test"
        )
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.close()
        await writer.wait_closed()


async def test_the_systems_authorities_alone(make_sender: MakeSender) -> None:
    """Without a file of its own authorities the sender trusts no certificate of ours."""
    async with Receiver(tls=server_context("127.0.0.1")) as receiver:
        assert (await send(make_sender(), receiver.url)).reason == "tls"
        assert receiver.requests == []


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"]
)
async def test_not_tls_at_all(trusting: HttpSender, said: bytes) -> None:
    """What answers a handshake with something else, or with the end, is a failure of TLS."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        outcome = await send(trusting, f"https://receiver.test:{server.sockets[0].getsockname()[1]}/")
    assert (outcome.kind, outcome.reason) == (Kind.RETRY, "tls")


async def test_a_handshake_that_stalls(trusting: HttpSender, clock: ToldClock, open_files: Callable[[], int]) -> None:
    """A receiver that accepts the connection and never shakes hands is a failure of TLS after the timeout."""
    async with Receiver(tls=server_context("receiver.test"), accept_delay_s=600) as receiver:
        before = open_files()
        for number in range(1, 4):
            task = asyncio.create_task(send(trusting, f"https://receiver.test:{receiver.port}/", timeout_s=7.0))
            async with asyncio.timeout(10):
                while receiver.connections < number:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            assert 7.0 <= await advance_until(clock, task) <= 7.25
            assert (await task).reason == "tls"
        async with asyncio.timeout(5):
            while open_files() > before + 3 + 1:  # the receiver's own sides remain; the loop may open one
                await asyncio.sleep(0.01)


def test_a_file_of_authorities_that_is_none(make_sender: MakeSender, tmp_path: Path) -> None:
    """A file of authorities that is missing or holds none stops the start, not the first delivery."""
    ca_file = tmp_path / "authority.pem"
    for content in (None, b"", b"not a certificate"):
        if content is not None:
            ca_file.write_bytes(content)
        with pytest.raises(OSError, match=r".*"):
            make_sender(ca_file=str(ca_file))
