"""What the front does with those who break the rules: bytes that are not HTTP, too much, too slowly."""

from __future__ import annotations

import asyncio
import json

import pytest

AUTH = b"Authorization: Bearer correct-horse-battery\r\n"
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: h\r\n" + AUTH
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "length and chunked": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two equal lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "list of lengths": HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "negative length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "hex length": HEAD + b"Content-Length: 0x5\r\n\r\nhello",
    "empty length": HEAD + b"Content-Length: \r\n\r\nhello",
    "endless length": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
    "gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /v1/events HTTP/1.0\r\nHost: h\r\n"
    + AUTH
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": HEAD + b"X: a\r\n b\r\n\r\n",
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "space first": b"POST /v1/events HTTP/1.1\r\n Host: h\r\n\r\n",
    "bare LF": b"POST /v1/events HTTP/1.1\nHost: h\n\n",
    "bare LF in headers": HEAD + b"X: a\nY: b\r\n\r\n",
    "bare CR": HEAD + b"X: a\rY: b\r\n\r\n",
    "NUL": HEAD + b"X: a\x00b\r\n\r\n",
    "control": HEAD + b"X: a\x01b\r\n\r\n",
    "odd name": HEAD + b"X\x01: a\r\n\r\n",
    "name with space": HEAD + b"X y: a\r\n\r\n",
    "no name": HEAD + b": a\r\n\r\n",
    "chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size signed": CHUNKED + b"-1\r\n\r\n",
    "chunk size space": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "chunk size endless": CHUNKED + b"f" * 17 + b"\r\nhello",
    "chunk bare LF": CHUNKED + b"5\nhello\n0\n\n",
    "chunk too long": CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
    "no host": b"POST /v1/events HTTP/1.1\r\n" + AUTH + b"\r\n",
    "two hosts": HEAD + b"Host: i\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "proxy": b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces": b"POST  /v1/events HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces before the version": b"POST /v1/events  HTTP/1.1\r\nHost: h\r\n\r\n",
    "strange expectation": HEAD + b"Expect: the-unexpected\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n",
    "relative": b"GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    "not a URL": b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n",
    "high byte in the path": b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
    "method": b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n",
    "endless method": b"A" * 100_000,
}


def assert_problem(reply, status: int, code: str) -> None:
    """The reply is this problem document, and says that the connection closes."""
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(reply.body)["code"] == code
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_is_400_and_closes(make_rig, data):
    """What RFC 9112 forbids gets one 400, nothing after it is read as a request, and nothing is published."""
    rig = await make_rig(linger_s=0.2, sweep_s=0.05)
    wire = await rig.wire()
    wire.send(data + b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
    assert_problem(await wire.reply(), 400, "malformed_request")
    assert await wire.ended() == b""
    assert rig.publisher.got == []
    assert rig.observer.warnings == []


async def test_two_spaces_however_they_come(make_rig):
    """A request line with two spaces is refused also behind another request, and when it comes in pieces."""
    rig = await make_rig(linger_s=0.1, sweep_s=0.05)
    good = HEAD + b"Content-Length: 1\r\n\r\nx"
    wire = await rig.wire()
    wire.send(good + b"GET  /x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [(await wire.reply()).status for _ in range(2)] == [202, 400]
    wire = await rig.wire()
    line = b"POST /v1/events HTTP/1.1\r\n"
    for piece in (HEAD + b"Content-Length: 26\r\n\r\n", line + b"POST  /x HTTP/1.1\r\nHost: h\r\n\r\n"):
        wire.send(piece)
        await asyncio.sleep(0.005)
    assert [(await wire.reply()).status for _ in range(2)] == [202, 400]
    wire = await rig.wire()
    for piece in (good + b"GET", b"  ", b"/x HTTP/1.1\r\nHost: h\r\n", b"X: y\r\n", b"\r\n"):
        wire.send(piece)
        await asyncio.sleep(0.005)
    assert [(await wire.reply()).status for _ in range(2)] == [202, 400]
    wire = await rig.wire()
    for piece in (good + b"GE", b"T /" + b"x" * 7000, b"y HTTP/1.1\r\nHost: h\r\nX: ", b"y" * 30_000, b"\r\n\r\n"):
        wire.send(piece)
        await asyncio.sleep(0.005)
    assert [(await wire.reply()).status for _ in range(2)] == [202, 200]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(99)) + b"\r\n", 431, "headers_too_large"),
        (HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)), 431, "headers_too_large"),
        (HEAD + b"X: " + b"a" * 65_536 + b"\r\n\r\n", 431, "headers_too_large"),
        (HEAD + b"X: " + b"a" * (2 * 1024 * 1024), 431, "headers_too_large"),
        (HEAD + b"x" * (2 * 1024 * 1024), 431, "headers_too_large"),
        (HEAD + (b"X: " + b"a" * 1000 + b"\r\n") * 66 + b"\r\n", 431, "headers_too_large"),
        (CHUNKED + b"0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(102)), 431, "headers_too_large"),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "uri_too_long"),
        (b"GET /" + b"a" * (2 * 1024 * 1024), 414, "uri_too_long"),
    ],
)
async def test_too_much_head(make_rig, data, status, code):
    """Headers beyond 64 KiB or 100 fields are 431, a target beyond 8 KiB is 414, even when they never end."""
    rig = await make_rig(linger_s=0.2, sweep_s=0.05)
    wire = await rig.wire()
    wire.send(data)
    assert_problem(await wire.reply(), status, code)
    await wire.ended()
    assert rig.publisher.got == []


async def test_headers_at_the_limit(make_rig):
    """A hundred fields of nearly 64 KiB in all are accepted."""
    rig = await make_rig()
    lines = b"".join(b"X-%02d: %b\r\n" % (n, b"a" * 660) for n in range(97))
    assert (await rig.ask(HEAD + lines + b"Content-Length: 0\r\n\r\n")).status == 202


async def test_large_headers_after_a_large_body(make_rig):
    """What belongs to the request before does not count as headers of the next."""
    rig = await make_rig()
    wire = await rig.wire()
    for _ in range(3):
        wire.send(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000 + HEAD + b"X: " + b"a" * 50_000)
        await asyncio.sleep(0.01)
        wire.send(b"\r\nContent-Length: 0\r\n\r\n")
        assert [(await wire.reply()).status for _ in range(2)] == [202, 202]


async def test_memory_of_an_endless_header_is_bounded(make_rig):
    """A header that never ends is not kept beyond the limit."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(HEAD + b"X: ")
    sent = 0
    while rig.observer.refusals == []:
        wire.send(b"a" * 4096)
        sent += 4096
        await asyncio.sleep(0.0005)
    assert rig.observer.refusals == ["headers_too_large"]
    assert sent < 400_000


@pytest.mark.parametrize(
    ("data", "more"),
    [(b"P", b""), (b"GET /v1/ev", b"a"), (HEAD, b"X"), (HEAD + b"X: ", b"a"), (HEAD + b"X: a\r", b"\nX: b\r")],
)
async def test_slow_headers(make_rig, data, more):
    """Headers that are not complete in time get 408, however they drip."""
    rig = await make_rig(header_s=0.2, sweep_s=0.05, linger_s=0.1)
    wire = await rig.wire()
    wire.send(data)

    async def drip() -> None:
        while True:
            await asyncio.sleep(0.05)
            wire.send(more)

    dripping = asyncio.create_task(drip())
    try:
        assert_problem(await wire.reply(), 408, "request_timeout")
    finally:
        dripping.cancel()
    assert await wire.ended() == b""


@pytest.mark.parametrize("path", [b"/v1/events", b"/x"])
async def test_slow_body(make_rig, path):
    """A body that drips gets 408; one that keeps the rate may take longer than the base time."""
    rig = await make_rig(body_s=0.3, body_bytes_per_s=2000, sweep_s=0.05, linger_s=0.1)
    head = HEAD.replace(b"/v1/events", path) + b"Content-Length: 20000\r\n\r\n"
    wire = await rig.wire()
    wire.send(head + b"x")
    assert_problem(await wire.reply(), 408, "request_timeout")
    assert await wire.ended() == b""
    wire = await rig.wire()
    wire.send(head)
    for _ in range(10):
        wire.send(b"x" * 2000)
        await asyncio.sleep(0.06)
    assert (await wire.reply()).status in (200, 202)


async def test_idle_connections_are_closed(make_rig):
    """A connection that asks for nothing is closed after the idle time, with or without a request before."""
    rig = await make_rig(idle_s=0.2, first_s=0.2, sweep_s=0.05)
    fresh, used = await rig.wire(), await rig.wire()
    used.send(HEAD + b"Content-Length: 0\r\n\r\n")
    assert (await used.reply()).status == 202
    assert (await fresh.ended(), await used.ended()) == (b"", b"")


async def test_slow_publisher_is_not_a_slow_client(make_rig):
    """While the answer is on its way no client is cut off."""
    rig = await make_rig(header_s=0.1, body_s=0.1, idle_s=0.1, sweep_s=0.02)
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send((HEAD + b"Content-Length: 0\r\n\r\n") * 2 + HEAD)
    await asyncio.sleep(0.3)
    rig.publisher.at_once = True
    from hookline.flow.answers import Answer

    rig.publisher.waiting[0](Answer(202, b"{}"))
    assert [(await wire.reply()).status for _ in range(2)] == [202, 202]


async def test_client_that_does_not_read_is_cut_off(make_rig):
    """A client that asks and never reads fills its own connection, not our memory, and is cut off."""
    rig = await make_rig(write_s=0.3, sweep_s=0.05)
    wire = await rig.wire()
    wire.writer.transport.pause_reading()
    request = HEAD + b"Content-Length: 0\r\n\r\n"
    for _ in range(400):
        wire.send(request * 100)
        await asyncio.sleep(0.002)
        if rig.front.connections == 0 and len(rig.publisher.got):
            break
    await rig.until(lambda: rig.front.connections == 0)


async def test_large_bodies_together_are_bounded(make_rig):
    """What all connections hold of large bodies has a limit; beyond it 503, and it is given back."""
    rig = await make_rig(bodies_bytes_max=300_000)
    wires = [await rig.wire() for _ in range(4)]
    for wire in wires:
        wire.send(HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 150_000)
        await asyncio.sleep(0.05)
    assert rig.observer.refusals == ["overloaded", "overloaded"] or rig.observer.refusals == ["overloaded"] * 3
    assert rig.front._shared.bodies_bytes <= 300_000
    for wire in wires:
        await wire.close()
    await rig.until(lambda: rig.front._shared.bodies_bytes == 0)
