"""The guard's way to a Kafka cluster: answers that name servers are rewritten, and nothing hostile passes."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.kafka_relay import API_VERSIONS, METADATA, PRODUCE, Malformed, Relay, clamped
from hookline.core.address import parse_server

FETCH = 1


def versions(*offers: tuple[int, int, int], version: int = 3) -> bytes:
    """An answer to ApiVersions."""
    if version < 3:
        body = struct.pack(">hi", 0, len(offers))
        return body + b"".join(struct.pack(">hhh", *offer) for offer in offers)
    body = struct.pack(">hB", 0, len(offers) + 1)
    return body + b"".join(struct.pack(">hhh", *offer) + b"\0" for offer in offers) + b"\0\0\0\0\0"


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_later_versions_are_not_offered(version):
    """Metadata and Produce are held to what is read here, all else is as it was."""
    offered = versions((PRODUCE, 3, 12), (FETCH, 4, 17), (METADATA, 0, 13), version=version)
    expected = versions((PRODUCE, 3, 9), (FETCH, 4, 17), (METADATA, 0, 8), version=version)
    assert clamped(offered, version) == expected
    assert clamped(expected, version) == expected


def test_a_server_without_these_versions_is_not_spoken_to():
    """Where only later versions are known, their answers could name servers unseen."""
    with pytest.raises(Malformed):
        clamped(versions((METADATA, 9, 13)), 3)


def test_an_error_is_passed_on():
    """The driver asks again in a lower version."""
    body = bytes.fromhex("00230100120000000200000000")
    assert clamped(body, 3) == body


@given(st.binary(max_size=60), st.integers(0, 4))
def test_no_answer_breaks_the_reading_of_versions(body, version):
    """Any bytes are an answer of the same length, or malformed."""
    try:
        assert len(clamped(body, version)) == len(body)
    except Malformed:
        pass


def metadata(*servers: tuple[int, bytes, int], version: int = 8) -> bytes:
    """An answer to Metadata, with something behind the servers."""
    body = (b"\0\0\0\0" if version >= 3 else b"") + struct.pack(">i", len(servers))
    for node, host, port in servers:
        body += struct.pack(">ih", node, len(host)) + host + struct.pack(">i", port)
        body += b"\xff\xff" if version >= 1 else b""
    return body + b"the rest"


async def never(_):
    raise DialError("connect", "not in this test")


@pytest.mark.parametrize("version", [0, 1, 5, 8])
async def test_servers_become_listeners(version):
    """Each server that is advertised has one listener on the loopback, the same each time."""
    relay = Relay((parse_server("k.example", 9092, tls=False),), never)
    servers = ((1, b"k1.example", 9092), (2, b"2001:db8::1", 9093), (3, b"k1.example", 9092))
    once = await relay._metadata(metadata(*servers, version=version), version)
    assert once == await relay._metadata(metadata(*servers, version=version), version)
    assert once.count(b"127.0.0.1") == 3
    assert b"k1.example" not in once
    assert once.endswith(b"the rest")
    assert len(relay._listeners) == 2
    await relay.close()


@pytest.mark.parametrize("host", [b"", b"a b", b"0x7f.1", b"u@h", b"\xff", b"h/x"])
async def test_what_is_no_host_is_malformed(host):
    """A cluster that advertises what no URL may name is not spoken to."""
    relay = Relay((parse_server("k.example", 9092, tls=False),), never)
    with pytest.raises(Malformed):
        await relay._metadata(metadata((1, host, 9092)), 8)
    await relay.close()


@given(st.binary(max_size=60), st.integers(0, 9))
def test_no_answer_breaks_the_reading_of_servers(body, version):
    """Any bytes are read or malformed."""

    async def read() -> None:
        relay = Relay((parse_server("k.example", 9092, tls=False),), never)
        relay._listen = lambda target: _port()
        try:
            await relay._metadata(body, version)
        except Malformed:
            pass

    asyncio.run(read())


async def _port() -> int:
    return 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x7f\xff\xff\xff....", b"\0\0\0\0"])
async def test_what_is_no_kafka_is_said(answer):
    """Somebody else's answer ends the connection, and is the failure of that server."""

    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(answer)
        await reader.read()  # until he goes
        writer.close()

    listener = await asyncio.start_server(hostile, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    target = parse_server(f"127.0.0.1:{port}", port, tls=False)

    async def dial(to):
        return await asyncio.open_connection(to.host, to.port)

    relay = Relay((target,), dial)
    address = await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(struct.pack(">ihhIh", 10, API_VERSIONS, 3, 1, -1))
    async with asyncio.timeout(5):
        assert await reader.read() == b""
        while relay.failure is None:
            await asyncio.sleep(0.01)
    assert relay.failure.reason == "protocol"
    writer.close()
    await relay.close()
    listener.close()
    await asyncio.sleep(0.05)
