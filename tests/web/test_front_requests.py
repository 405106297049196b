"""What the front does with one request: accepted, refused, or passed to the application."""

from __future__ import annotations

import asyncio
import json

import pytest

KEY = "correct-horse-battery"
AUTH = b"Authorization: Bearer correct-horse-battery\r\n"
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: h\r\n" + AUTH
POST = b"POST /x HTTP/1.1\r\nHost: h\r\n"


def publish(body: bytes, *lines: bytes) -> bytes:
    """A publish with these further header lines."""
    head = b"".join(line + b"\r\n" for line in lines)
    return HEAD + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def assert_problem(reply, status: int, code: str) -> None:
    """The reply is this problem document."""
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(reply.body)
    assert (problem["status"], problem["code"]) == (status, code)


async def test_publish_reaches_the_publisher(make_rig):
    """A publish is handed over with its tenant, the headers the flow needs, its content type and its exact body."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(
        publish(b' {"a": 1.0} ', b"Content-Type: application/json", b"Idempotency-Key: k", b"Ce-Id: \xff", b"X: y")
    )
    reply = await wire.reply()
    assert (reply.status, reply.body) == (202, b'{"n":1,"bytes":12}')
    assert "connection" not in reply.headers
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "GMT" in reply.headers["date"]
    assert rig.publisher.got == [
        ("default", {"idempotency-key": "k", "ce-id": "\xff"}, "application/json", b' {"a": 1.0} ')
    ]


async def test_publish_in_pieces(make_rig):
    """A publish that comes byte by byte is the same publish."""
    rig = await make_rig()
    wire = await rig.wire()
    for byte in publish(b"hello", b"traceparent: t"):
        wire.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await wire.reply()).status == 202
    assert rig.publisher.got == [("default", {"traceparent": "t"}, "", b"hello")]


async def test_large_body_is_whole(make_rig):
    """A body of many reads arrives whole, and what is held for it is given back."""
    rig = await make_rig()
    body = bytes(range(256)) * 8192
    reply = await rig.ask(publish(body))
    assert reply.status == 202
    assert rig.publisher.got[0][3] == body
    assert rig.front._shared.bodies_bytes == 0


async def test_chunked_publish(make_rig):
    """A chunked body with extensions and trailers is joined; trailers are dropped."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: x\r\n\r\n")
    assert (await wire.reply()).status == 202
    wire.send(publish(b"again"))
    assert (await wire.reply()).status == 202
    assert [got[3] for got in rig.publisher.got] == [b"abcde", b"again"]


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Authorization: Bearer wrong-horse-battery\r\n",
        b"Authorization: correct-horse-battery\r\n",
        b"Authorization: Basic correct-horse-battery\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer \xff\xfe\xfd\r\n",
        b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n",
        AUTH + AUTH,
        AUTH + b"Authorization: Bearer wrong-horse-battery\r\n",
    ],
)
async def test_unauthorized_before_the_body(make_rig, lines):
    """Whatever is wrong with the key, the answer is the same 401, before a byte of the body was sent."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(b"POST /v1/events HTTP/1.1\r\nHost: h\r\n" + lines + b"Content-Length: 67108864\r\n\r\n")
    reply = await wire.reply()
    assert_problem(reply, 401, "unauthorized")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.headers["connection"] == "close"
    assert await wire.ended() == b""
    assert rig.publisher.got == []


async def test_refused_client_that_goes_on_sending_gets_its_answer(make_rig):
    """A client that sends all of a body nobody wants still reads its 401, and little of the body is read."""
    rig = await make_rig(sweep_s=0.05, linger_s=0.3)
    wire = await rig.wire()
    wire.send(b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 33554432\r\n\r\n")
    wire.send(b"x" * 33_554_432)
    assert_problem(await wire.reply(), 401, "unauthorized")
    assert wire.writer.transport.get_write_buffer_size() > 1_000_000
    await rig.until(lambda: rig.front.connections == 0)


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", 415, "unsupported_media_type"),
        (b"Content-Encoding: identity, gzip\r\nContent-Length: 5\r\n", 415, "unsupported_media_type"),
        (b"Content-Length: 1025\r\n", 413, "payload_too_large"),
        (b"Content-Length: 99999999999999999\r\n", 413, "payload_too_large"),
        (b"Hookline-Tenant: a/b\r\nContent-Length: 5\r\n", 422, "invalid_parameter"),
        (b"Hookline-Tenant: a\r\nHookline-Tenant: a\r\nContent-Length: 5\r\n", 422, "invalid_parameter"),
        (b"Content-Type: a/b\r\nContent-Type: a/b\r\nContent-Length: 5\r\n", 400, "malformed_request"),
    ],
)
async def test_refused_by_its_headers(make_rig, lines, status, code):
    """What the headers tell is answered before the body, and the connection closes."""
    rig = await make_rig(publish_bytes_max=1024)
    wire = await rig.wire()
    wire.send(HEAD + lines + b"\r\n")
    reply = await wire.reply()
    assert_problem(reply, status, code)
    assert reply.headers["connection"] == "close"
    assert await wire.ended() == b""
    assert rig.observer.refusals == [code]


async def test_content_length_with_zeros_before_it(make_rig):
    """A long Content-Length that is a small number is a small number."""
    rig = await make_rig()
    reply = await rig.ask(HEAD + b"Content-Length: " + b"0" * 5000 + b"5\r\n\r\nhello")
    assert reply.status == 202


async def test_chunked_body_is_counted(make_rig):
    """A chunked body that passes the limit is refused in the middle."""
    rig = await make_rig(publish_bytes_max=1024)
    wire = await rig.wire()
    wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(9):
        wire.send(b"80\r\n" + b"x" * 128 + b"\r\n")
        await asyncio.sleep(0)
    assert_problem(await wire.reply(), 413, "payload_too_large")
    assert await wire.ended() == b""
    assert rig.publisher.got == []


async def test_chunks_that_carry_little(make_rig):
    """Endless chunk extensions and trailers are refused, although the body stays small."""
    rig = await make_rig(linger_s=0.1, sweep_s=0.05)
    for filler in (b"1;" + b"a" * 5000 + b"\r\nx\r\n", b"0\r\nT: " + b"a" * 200_000):
        wire = await rig.wire()
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            wire.send(filler)
            await asyncio.sleep(0.001)
        assert (await wire.reply()).status in (400, 431)
        await wire.ended()


async def test_expect_continue(make_rig):
    """A client that waits for 100 Continue gets it after its headers were judged, and not when they are refused."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hello")
    assert (await wire.reply()).status == 202
    wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hello")
    assert (await wire.reply()).body == b"POST /x 5"
    refused = await rig.ask(POST.replace(b"/x", b"/v1/events") + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert refused.status == 401


async def test_operator_names_a_tenant(make_rig):
    """The operator's header says for which tenant he publishes."""
    rig = await make_rig()
    await rig.ask(publish(b"", b"Hookline-Tenant: acme.eu_1-x"))
    assert rig.publisher.got[0][0] == "acme.eu_1-x"


async def test_other_routes_reach_the_application(make_rig):
    """Every other method and path becomes an ASGI request, on the same connection."""
    rig = await make_rig()
    wire = await rig.wire()
    for data, body in (
        (b"GET /a%20b?q=1 HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /a b 0"),
        (POST + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000, b"POST /x 70000"),
        (POST + b"Content-Length: 3\r\n\r\nabc", b"POST /x 3"),
        (
            b"POST http://h/abs HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            b"POST /abs 2",
        ),
        (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", b"OPTIONS * 0"),
        (b"GET /v1/events HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /v1/events 0"),
        (b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000, b"PUT /x 300000"),
    ):
        wire.send(data)
        reply = await wire.reply()
        assert (reply.status, reply.body) == (200, body)


async def test_early_answer_of_the_application_closes(make_rig):
    """An application's answer before the body was read is complete, and the connection closes after it."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    reply = await wire.reply()
    assert (reply.body, reply.headers["connection"]) == (b"POST /early 0", "close")
    assert await wire.ended() == b""


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (publish(b"x").replace(b"Bearer", b"Bear"), 401),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ],
)
async def test_what_follows_an_upgrade_is_refused_as_itself(make_rig, after, status):
    """What is refused behind a request that offered an upgrade, in the same piece, gets its own answer, not a 500."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + after)
    assert [(await wire.reply()).status for _ in range(2)] == [200, status]
    assert rig.observer.warnings == []


async def test_upgrade_is_not_taken(make_rig):
    """A request that offers an upgrade is answered as if it did not, and its connection goes on."""
    rig = await make_rig()
    wire = await rig.wire()
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAA")
    for body in (b"hello", b"", b"x" * 100_000):
        wire.send(publish(body, *offer) * 2)
        for _ in range(2):
            assert (await wire.reply()).status == 202
            assert rig.publisher.got.pop(0)[3] == body
    wire.send(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await wire.reply()).body == b"GET /x 0"
    wire.send(publish(b"chunked", *offer).replace(b"Content-Length: 7", b"Transfer-Encoding: chunked")[:-7])
    for piece in (b"7\r\nch", b"unked\r\n0\r\n", b"\r\n"):
        wire.send(piece)
        await asyncio.sleep(0.005)
    assert (await wire.reply()).status == 202
    assert rig.publisher.got.pop()[3] == b"chunked"
