"""The client's address on the front: what the application sees, and the limit per address on every way in."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.web.api import KEY

from hookline.web.address_rate import AddressRate
from hookline.web.client_address import Proxies

EVENT = b'{"type":"a","data":1}'
FORGED = [
    b"x-forwarded-for: 198.51.100.7",
    b"x-forwarded-for: 127.0.0.1",
    b"x-forwarded-for: 198.51.100.7, 10.0.0.1",
    b"forwarded: for=198.51.100.7;proto=https;host=evil.example",
    b"x-real-ip: 198.51.100.7",
    b"x-forwarded-proto: https",
    b"x-forwarded-host: evil.example",
    b"x-forwarded-port: 1",
]


def publish(*more: bytes, key: str = KEY) -> bytes:
    """A publish."""
    lines = [
        b"POST /v1/events HTTP/1.1",
        b"host: a",
        b"authorization: Bearer " + key.encode(),
        b"content-type: application/json",
        b"content-length: %d" % len(EVENT),
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + EVENT


def get(path: bytes, *more: bytes) -> bytes:
    """A GET."""
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"host: a", *more]) + b"\r\n\r\n"


async def told_app(scope, receive, send):
    """Says what it was told of the connection, and of Host."""
    headers = dict(scope["headers"])
    said = {"client": scope["client"][0], "scheme": scope["scheme"], "host": headers[b"host"].decode()}
    text = json.dumps(said | {"server": scope["server"][0]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_headers_change_nothing(make_rig, forged: bytes):
    """From a peer that is not trusted the application sees the same with and without a forged header."""
    rig = await make_rig(told_app, proxies=Proxies(("10.0.0.0/8",)))
    plain = await rig.ask(get(b"/v1/x"))
    assert (await rig.ask(get(b"/v1/x", forged))).body == plain.body
    assert json.loads(plain.body)["client"] == "127.0.0.1"


async def test_a_trusted_proxy_is_believed(make_rig):
    """From a trusted peer the client is whom it added last, and nothing else of what came with it counts."""
    rig = await make_rig(told_app, proxies=Proxies(("127.0.0.0/8",)))
    seen = json.loads((await rig.ask(get(b"/v1/x", b"x-forwarded-for: 8.8.8.8, 198.51.100.7", *FORGED[3:]))).body)
    assert seen == {"client": "198.51.100.7", "scheme": "http", "host": "a", "server": "127.0.0.1"}


async def test_one_connection_of_a_proxy_is_many_clients(make_rig):
    """Requests of different clients over one kept connection each have their own address and their own limit."""
    rig = await make_rig(
        told_app,
        proxies=Proxies(("127.0.0.0/8",)),
        address_rate=AddressRate(2, 3600.0, asyncio.get_running_loop().time),
    )
    wire = await rig.wire()
    for _ in range(2):
        for client in (b"198.51.100.1", b"198.51.100.2"):
            wire.send(get(b"/v1/x", b"x-forwarded-for: " + client))
            assert json.loads((await wire.reply()).body)["client"] == client.decode()
            wire.send(publish(b"x-forwarded-for: 203.0.113." + client[-1:]))
            assert (await wire.reply()).status == 202
    wire.send(get(b"/v1/x", b"x-forwarded-for: 198.51.100.1"))
    assert (await wire.reply()).status == 429


@pytest.mark.parametrize(
    "request_", [publish(), publish(key="not a key"), get(b"/v1/x"), get(b"/"), get(b"/docs?x=1"), get(b"/nothing")]
)
async def test_over_the_limit_is_429(make_rig, request_: bytes):
    """Every route counts, before any key is looked at, and beyond the limit the answer is a 429 problem with
    Retry-After."""
    rig = await make_rig(address_rate=AddressRate(3, 3600.0, asyncio.get_running_loop().time))
    for _ in range(3):
        assert (await rig.ask(request_)).status != 429
    reply = await rig.ask(request_)
    assert reply.status == 429
    assert reply.headers["content-type"] == "application/problem+json"
    assert json.loads(reply.body)["code"] == "rate_limited"
    assert 1 <= int(reply.headers["retry-after"]) <= 1200
    assert rig.observer.refusals[-1] == "rate_limited"
    assert len(rig.publisher.got) in (0, 3)


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/readyz?for=in", b"/metrics"])
async def test_probes_are_never_limited(make_rig, path: bytes):
    """Whoever runs this can always ask how it is, and that is not counted."""
    rig = await make_rig(address_rate=AddressRate(1, 3600.0, asyncio.get_running_loop().time))
    for _ in range(5):
        assert (await rig.ask(get(path))).status == 200
    assert (await rig.ask(publish())).status == 202
    assert (await rig.ask(publish())).status == 429
    assert (await rig.ask(get(path))).status == 200


async def test_strangers_cannot_escape_by_a_header(make_rig):
    """Without a trusted proxy the limit is that of the peer, whatever address each request names."""
    rig = await make_rig(address_rate=AddressRate(3, 3600.0, asyncio.get_running_loop().time))
    statuses = [(await rig.ask(publish(b"x-forwarded-for: 8.8.8.%d" % n))).status for n in range(6)]
    assert statuses == [202, 202, 202, 429, 429, 429]
