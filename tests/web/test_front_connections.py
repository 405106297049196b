"""A connection's life: keep-alive, pipelining in order, early ends, and the end of the server."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme

from hookline.flow.answers import Answer

AUTH = b"Authorization: Bearer correct-horse-battery\r\n"
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: h\r\n" + AUTH


def publish(body: bytes) -> bytes:
    """A whole publish."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def get(path: bytes) -> bytes:
    """A whole request for the application."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_keep_alive(make_rig):
    """One connection carries many requests."""
    rig = await make_rig()
    wire = await rig.wire()
    for n in range(1, 200):
        wire.send(publish(b"x" * n))
        assert (await wire.reply()).body == b'{"n":%d,"bytes":%d}' % (n, n)
    assert rig.front.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Connection: close\r\n",
        HEAD.replace(b"1.1", b"1.0"),
        HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n",
    ],
)
async def test_last_request_of_a_connection(make_rig, head):
    """After `Connection: close`, or HTTP/1.0, the answer says close and nothing more is read."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(head + b"Content-Length: 1\r\n\r\na" + publish(b"b"))
    reply = await wire.reply()
    assert (reply.status, reply.headers["connection"]) == (202, "close")
    assert await wire.ended() == b""
    assert [got[3] for got in rig.publisher.got] == [b"a"]


async def test_pipelined_answers_come_in_order(make_rig):
    """Requests of both kinds sent at once are answered one after the other, in the order of asking."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(get(b"/slow") + publish(b"1") + get(b"/a") + publish(b"22") + get(b"/nowhere") + publish(b"333"))
    bodies = [(await wire.reply()).body for _ in range(6)]
    assert bodies == [
        b"GET /slow 0",
        b'{"n":1,"bytes":1}',
        b"GET /a 0",
        b'{"n":2,"bytes":2}',
        b"GET /nowhere 0",
        b'{"n":3,"bytes":3}',
    ]


@pytest.mark.parametrize("at_once", [True, False])
async def test_deep_pipelines(make_rig, at_once):
    """Thousands of pipelined requests are all answered, in order, while few wait as objects."""
    rig = await make_rig()
    rig.publisher.at_once = at_once
    wire = await rig.wire()
    count = 3000
    wire.send(b"".join(publish(b"x" * (n % 50)) for n in range(count)))
    deepest = 0
    for n in range(count):
        if not at_once:
            await rig.until(lambda: bool(rig.publisher.waiting))
            (connection,) = rig.front._state.connections
            deepest = max(deepest, len(connection._queue))
            rig.publisher.waiting.pop()(Answer(202, b"%d" % len(rig.publisher.got[n][3])))
        reply = await wire.reply()
        assert reply.status == 202
    assert [len(got[3]) for got in rig.publisher.got] == [n % 50 for n in range(count)]
    assert deepest < 300


async def test_pipelined_refusal_waits_for_its_turn(make_rig):
    """A request that is refused behind one that still works is answered after it; then the connection closes."""
    rig = await make_rig()
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send(publish(b"a") + b"POST /v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n" + publish(b"b"))
    await rig.until(lambda: rig.observer.refusals == ["unauthorized"])
    rig.publisher.waiting[0](Answer(202, b"{}"))
    first, second = await wire.reply(), await wire.reply()
    assert (first.status, second.status) == (202, 401)
    assert ("connection" in first.headers, second.headers["connection"]) == (False, "close")
    assert await wire.ended() == b""
    assert len(rig.publisher.got) == 1


async def test_expectation_waits_for_its_turn(make_rig):
    """100 Continue is not sent into the answer of an earlier request."""
    rig = await make_rig()
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send(publish(b"a") + HEAD + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    await rig.until(lambda: bool(rig.publisher.waiting))
    rig.publisher.waiting.pop()(Answer(202, b"{}"))
    assert (await wire.reply()).body == b"{}"
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"b")
    await rig.until(lambda: bool(rig.publisher.waiting))
    rig.publisher.waiting.pop()(Answer(202, b"[]"))
    assert (await wire.reply()).body == b"[]"


async def test_pipelined_bodies_in_pieces(make_rig):
    """Large bodies of both kinds, pipelined and cut anywhere, arrive whole and in order."""
    rig = await make_rig()
    wire = await rig.wire()
    data = (
        publish(b"a" * 70_000)
        + b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\n"
        + b"b" * 90_000
        + publish(b"c" * 100_000)
        + get(b"/end")
    )
    for at in range(0, len(data), 7_919):
        wire.send(data[at : at + 7_919])
        await asyncio.sleep(0)
    bodies = [(await wire.reply()).body for _ in range(4)]
    assert bodies == [b'{"n":1,"bytes":70000}', b"POST /x 90000", b'{"n":2,"bytes":100000}', b"GET /end 0"]


async def test_half_close_is_answered(make_rig):
    """A client that closes its side after a whole request still gets its answer."""
    rig = await make_rig()
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send(publish(b"a"))
    wire.writer.write_eof()
    await rig.until(lambda: bool(rig.publisher.waiting))
    await asyncio.sleep(0.02)
    rig.publisher.waiting[0](Answer(202, b"{}"))
    reply = await wire.reply()
    assert (reply.status, await wire.ended()) == (202, b"")


@pytest.mark.parametrize("data", [b"", b"GET", HEAD, publish(b"abc")[:-1], get(b"/x")[:-2]])
async def test_early_close(make_rig, data):
    """A client that goes away in the middle leaves nothing behind and publishes nothing."""
    rig = await make_rig()
    wire = await rig.wire()
    wire.send(data)
    await asyncio.sleep(0.01)
    await wire.close()
    await rig.until(lambda: rig.front.connections == 0)
    assert rig.publisher.got == []


async def test_answer_to_nobody(make_rig):
    """An answer for a client that is gone is dropped, and disturbs no other."""
    rig = await make_rig()
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send(publish(b"a"))
    await rig.until(lambda: bool(rig.publisher.waiting))
    wire.writer.transport.abort()
    await asyncio.sleep(0.02)
    rig.publisher.waiting[0](Answer(202, b"{}"))
    await rig.until(lambda: rig.front.connections == 0)
    assert [got[3] for got in rig.publisher.got] == [b"a"]


async def test_stop_answers_what_is_on_its_way(make_rig):
    """A stop closes idle connections, refuses new ones, and lets running requests end, saying that they close."""
    rig = await make_rig()
    rig.publisher.at_once = False
    idle, busy, application = await rig.wire(), await rig.wire(), await rig.wire()
    busy.send(publish(b"a"))
    application.send(get(b"/slow"))
    await rig.until(lambda: bool(rig.publisher.waiting) and bool(rig.front._state.tasks))
    stopping = asyncio.create_task(rig.front.stop(5.0))
    assert await idle.ended() == b""
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", rig.port)
    rig.publisher.waiting[0](Answer(202, b"{}"))
    for wire, status in ((busy, 202), (application, 200)):
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert await wire.ended() == b""
    await asyncio.wait_for(stopping, 4.0)


async def test_stop_has_an_end(make_rig):
    """What has not ended within the grace is cut off."""
    rig = await make_rig()
    rig.publisher.at_once = False
    wire = await rig.wire()
    wire.send(publish(b"a"))
    await rig.until(lambda: bool(rig.publisher.waiting))
    await asyncio.wait_for(rig.front.stop(0.1), 5.0)
    assert await wire.ended() == b""


async def test_stop_with_nothing_to_wait_for_takes_no_time(make_rig):
    """An idle front stops at once."""
    rig = await make_rig()
    await rig.wire()
    await asyncio.wait_for(rig.front.stop(30.0), 5.0)


async def test_port_in_use_is_said(make_rig):
    """A port that somebody else listens on raises OSError, and leaves no socket open."""
    rig = await make_rig()
    with pytest.raises(OSError):
        await rig.front.start("127.0.0.1", rig.port)


async def test_tls(make_rig):
    """With a certificate the same front speaks HTTPS, and a certificate loaded again is used from then on."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    rig = await make_rig(tls=context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def serial() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=trust, server_hostname="localhost")
        writer.write(publish(b"secret"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")
        number = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        writer.close()
        await writer.wait_closed()
        return number

    first = await serial()
    authority.issue_cert("localhost").configure_cert(context)
    assert await serial() != first


async def test_both_address_families():
    """`localhost` listens wherever it resolves to, on one port."""
    from hookline.web.server import bind

    listeners = bind("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert socket.AF_INET in {listener.family for listener in listeners}
    finally:
        for listener in listeners:
            listener.close()


async def test_serve_ends_with_stop(make_rig):
    """`serve` returns when the front has been stopped."""
    rig = await make_rig()
    serving = asyncio.create_task(rig.front.serve("127.0.0.1", 0))
    await asyncio.sleep(0)
    await rig.front.stop(1.0)
    await asyncio.wait_for(serving, 5.0)
