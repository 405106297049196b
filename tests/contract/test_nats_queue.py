"""The queue over NATS JetStream keeps what every queue promises, on a real server, also when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme
from tests.contract.broker_faults import BrokerFaults, own_address, queue_over, warned
from tests.servers.nats import Nats, serving

nats = pytest.importorskip("nats")

from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.broker import BrokerQueue
from hookline.adapters.queues.nats import NatsBroker
from hookline.core.broker_address import parse_broker_address
from hookline.testing.queue_contract import TestQueue, delivery_ids, received_until
from hookline.testing.queue_failures import TestQueueFailures

__all__ = ["TestQueue", "TestQueueFailures"]
WAIT_S = 10.0


@pytest.fixture(scope="module")
def server_of_nats() -> Iterator[Nats]:
    """A server for these tests."""
    yield from serving()


@pytest.fixture
async def queue(server_of_nats: Nats) -> AsyncIterator[BrokerQueue]:
    """A queue on a stream of its own."""
    async with queue_over(NatsBroker(own_address(server_of_nats.url))) as made:
        yield made


@asynccontextmanager
async def administrator(server: Nats) -> AsyncIterator[JetStreamContext]:
    """A connection beside the queues'."""
    client = await nats.connect(server.url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


class NatsFaults(BrokerFaults):
    """What can be done to a stream."""

    server: Nats

    @property
    def stream(self) -> str:
        """Its name."""
        return f"{self.address.name}-due"

    def broker(self) -> NatsBroker:
        """One more."""
        return NatsBroker(self.address)

    async def purge(self) -> None:
        """The messages."""
        async with administrator(self.server) as jetstream:
            await jetstream.purge_stream(self.stream)

    async def delete_queue(self) -> None:
        """The stream, and the consumer with it."""
        async with administrator(self.server) as jetstream:
            await jetstream.delete_stream(self.stream)

    async def delete_group(self) -> None:
        """The consumer."""
        async with administrator(self.server) as jetstream:
            await jetstream.delete_consumer(self.stream, self.address.name)

    async def length(self) -> int:
        """Of the stream."""
        async with administrator(self.server) as jetstream:
            try:
                return (await jetstream.stream_info(self.stream)).state.messages
            except nats.js.errors.NotFoundError:
                return 0  # not made yet


@pytest.fixture
def faults(server_of_nats: Nats) -> Iterator[NatsFaults]:
    """The server, which runs again afterwards."""
    yield NatsFaults(server_of_nats, server_of_nats.url)
    server_of_nats.restore()


@pytest.mark.rule(n=27)
async def test_what_is_acknowledged_is_gone(faults: NatsFaults) -> None:
    """What was claimed leaves the stream, and one consumer serves all processes that come and go."""
    for number in range(3):
        queue = faults.queue()
        wanted = delivery_ids(5, first=10 * number + 1)
        queue.publish(wanted)
        await received_until(queue, set(wanted))
        async with asyncio.timeout(WAIT_S):
            while await faults.length():
                await asyncio.sleep(0.02)
        await queue.close()
    async with administrator(faults.server) as jetstream:
        assert (await jetstream.stream_info(faults.stream)).state.consumer_count == 1


async def test_what_others_send_is_ignored(faults: NatsFaults) -> None:
    """A message of anybody else's is no message, leaves the stream, and does not end the connection."""
    queue = faults.queue()
    queue.publish(delivery_ids(1))
    await received_until(queue, set(delivery_ids(1)))
    connects = faults.connects
    async with administrator(faults.server) as jetstream:
        for payload in (b"", b"hello", b"\x02\x01x", b"\x01\xffx", b"\x01\x00"):
            await jetstream.publish(f"{faults.address.name}.due", payload)
    queue.publish(delivery_ids(2))
    assert await received_until(queue, set(delivery_ids(2))) == [2]
    assert faults.connects == connects
    async with asyncio.timeout(WAIT_S):
        while await faults.length():
            await asyncio.sleep(0.02)
    await queue.close()


async def warned_at(url: str) -> str:
    """What a queue on this address warns of first."""
    return await warned(NatsBroker(parse_broker_address(url)), WAIT_S)


@pytest.mark.rule(n=28)
async def test_a_stream_that_is_there_is_used_if_it_has_a_bound(faults: NatsFaults) -> None:
    """An operator's own stream, as with replicas, is used; one that would grow for ever is refused, with the reason."""
    subject = f"{faults.address.name}.due"
    async with administrator(faults.server) as jetstream:
        await jetstream.add_stream(StreamConfig(name=faults.stream, subjects=[subject]))
        said = await warned_at(f"{faults.server.url}?name={faults.address.name}")
        assert "has no max_msgs" in said
        await jetstream.update_stream(StreamConfig(name=faults.stream, subjects=[subject], max_msgs=100))
    queue = faults.queue()
    queue.publish(delivery_ids(3))
    assert await received_until(queue, set(delivery_ids(3))) == [3]
    await queue.close()


@contextmanager
def secured(folder: Path, *options: str) -> Iterator[tuple[Nats, Path]]:
    """A server with TLS, and the file with who signed its certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    files = ("--tls", "--tlscert", str(folder / "cert.pem"), "--tlskey", str(folder / "key.pem"))
    for server in serving(*files, *options):
        yield server, folder / "ca.pem"


async def test_tls_and_credentials(server_of_nats: Nats, tmp_path: Path) -> None:
    """TLS with a certificate that is trusted works; one that is not, and a server without TLS, are refused before the
    password is sent; a wrong password is not told."""
    with secured(tmp_path, "--user", "me", "--pass", "right-hunter2") as (server, ca_file):
        place = f"127.0.0.1:{server.port}"
        url = f"tls://me:right-hunter2@{place}?ca_file={ca_file}"
        queue = BrokerQueue(NatsBroker(parse_broker_address(url)), SystemClock())
        queue.publish(delivery_ids(1))
        await received_until(queue, set(delivery_ids(1)))
        await queue.close()
        assert "CERTIFICATE_VERIFY_FAILED" in await warned_at(f"tls://me:right-hunter2@{place}")
        said = await warned_at(url.replace("right", "wrong"))
        assert "uthorization" in said
        assert "hunter2" not in said
    assert "offers no TLS" in await warned_at(f"tls://me:right-hunter2@127.0.0.1:{server_of_nats.port}")
