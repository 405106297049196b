"""`ANY /in/{source}` on the front: what the receiver is given, and what his answers look like on the wire."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from tests.web.conftest import RigMaker

from hookline.core.errors import Refusal
from hookline.flow.admission import Call, Turned
from hookline.flow.answers import Answer
from hookline.flow.received_answer import refusal_answer
from hookline.web.client_address import Proxies
from hookline.web.gate import Gate, methods_by_path
from hookline.web.inbound import inbound_route

OK = Answer(200, b'{"status":"success"}')


@dataclass
class _Source:
    body_bytes_max: int = 1000


@dataclass
class ToldReceiver:
    """Admits and answers as it is told, and remembers what it got."""

    answer: Answer = OK
    turned: Answer | None = None
    source: _Source = field(default_factory=_Source)
    announced: list[int] = field(default_factory=list)
    heads: list[Call] = field(default_factory=list)
    got: list[tuple[Call, bytes]] = field(default_factory=list)
    refused: list[tuple[str, int]] = field(default_factory=list)
    waiting: list[Callable[[Answer], None]] = field(default_factory=list)
    at_once: bool = True

    @property
    def admission(self) -> ToldReceiver:
        return self

    def admit(self, call: Call, size_bytes: int) -> Any:
        self.heads.append(call)
        self.announced.append(size_bytes)
        if self.turned is not None:
            raise Turned(self.turned)
        return self.source

    def refuse(self, source: Any, call: Call, refusal: Refusal, size_bytes: int) -> Answer:
        self.refused.append((refusal.code, size_bytes))
        return refusal_answer(refusal)

    def receive(self, source: Any, call: Call, body: bytes, done: Callable[[Answer], None]) -> None:
        self.got.append((call, body))
        if self.at_once:
            done(self.answer)
        else:
            self.waiting.append(done)


def raw(method: str, target: str, body: bytes = b"", *, version: str = "1.1", host: str = "h.example", **headers: str):
    lines = [f"{method} {target} HTTP/{version}"]
    lines += [f"host: {host}"] if host else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}"] if body or method == "POST" else []
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_method_reaches_the_receiver_with_query_headers_and_bytes(make_rig: RigMaker, method: str) -> None:
    """Whatever a provider calls with, its method, target, headers in order and raw body are passed on as they came."""
    receiver = ToldReceiver()
    rig = await make_rig(receiver=receiver)
    data = raw(method, "/in/a%2Db/below?q=%20&q=2", b"\x00\xff\r\n", X_One="1", x_two="\xe9", x_One="2")
    reply = await rig.ask(data)
    assert (reply.status, reply.body) == (200, OK.body)
    ((call, body),) = receiver.got
    assert (call.address, call.method, call.target) == ("a-b", method, "/in/a%2Db/below?q=%20&q=2")
    assert call.url == "http://h.example/in/a%2Db/below?q=%20&q=2"
    assert [field for field in call.headers if field[0].startswith("x-")] == [
        ("x-one", "1"),
        ("x-two", "\xe9"),
        ("x-one", "2"),
    ]
    assert (body, call.client, call.proxied) == (b"\x00\xff\r\n", "127.0.0.1", False)
    assert receiver.announced == [4]


async def test_head_is_answered_without_a_body_and_the_connection_stays(make_rig: RigMaker) -> None:
    """Some providers ask with HEAD first: the head of the answer is that of any other method."""
    receiver = ToldReceiver()
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(raw("HEAD", "/in/x"))
    reply = await wire.reply(head=True)
    assert (reply.status, reply.headers["content-length"]) == (200, str(len(OK.body)))
    wire.send(raw("POST", "/in/x", b"1"))
    assert (await wire.reply()).body == OK.body


async def test_an_answer_without_content_has_no_length(make_rig: RigMaker) -> None:
    """RFC 9110, 8.6: 204 has neither a body nor a length; other headers stay."""
    receiver = ToldReceiver(Answer(204, b"", ((b"x-a", b"b"),)))
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    for _ in range(2):
        wire.send(raw("POST", "/in/x", b"1"))
        reply = await wire.reply()
        assert (reply.status, reply.headers["x-a"]) == (204, "b")
        assert not {"content-length", "content-type", "transfer-encoding"} & set(reply.headers)


@pytest.mark.parametrize("status", [200, 202, 226, 299])
async def test_any_success_may_be_answered(make_rig: RigMaker, status: int) -> None:
    """Also a status that has no name, with the content type that it is told."""
    rig = await make_rig(receiver=ToldReceiver(Answer(status, b"<a/>", (), b"text/xml")))
    reply = await rig.ask(raw("POST", "/in/x", b"1"))
    assert (reply.status, reply.headers["content-type"], reply.body) == (status, "text/xml", b"<a/>")


async def test_http_1_0_is_answered_and_closed(make_rig: RigMaker) -> None:
    """WooCommerce speaks HTTP/1.0, without a Host it may be."""
    receiver = ToldReceiver()
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(raw("POST", "/in/x", b"a=1", version="1.0", host=""))
    reply = await wire.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await wire.ended() == b""
    assert receiver.got[0][0].url == "http://localhost/in/x"


async def test_who_is_not_let_in_is_answered_before_his_body(make_rig: RigMaker) -> None:
    """The head alone decides: nothing of the body is waited for, and the connection ends."""
    turned = refusal_answer(Refusal("method_not_allowed", "no"), (b"allow", b"POST"))
    receiver = ToldReceiver(turned=turned)
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(raw("PUT", "/in/x", content_length="1000000"))
    reply = await wire.reply()
    assert (reply.status, reply.headers["allow"], reply.headers["connection"]) == (405, "POST", "close")
    assert receiver.announced == [1_000_000]
    assert receiver.got == []
    assert rig.observer.refusals == []


async def test_a_body_that_grows_too_large_is_refused_while_it_comes(make_rig: RigMaker) -> None:
    """A chunked body announces nothing; the source's own limit holds, and its receiver is told."""
    receiver = ToldReceiver(source=_Source(body_bytes_max=10))
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(b"POST /in/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n")
    wire.send(b"8\r\n12345678\r\n")
    reply = await wire.reply()
    assert reply.status == 413
    assert receiver.refused == [("payload_too_large", 16)]
    assert receiver.got == []


async def test_a_chunked_body_is_whole(make_rig: RigMaker) -> None:
    """Pieces are put together, however they come."""
    receiver = ToldReceiver()
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(b"POST /in/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    wire.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await wire.reply()).status == 200
    assert receiver.got[0][1] == b"abcde"


async def test_expect_is_answered_before_the_body(make_rig: RigMaker) -> None:
    """`Expect: 100-continue` from a client that waits (RFC 9110, 10.1.1)."""
    rig = await make_rig(receiver=ToldReceiver())
    wire = await rig.wire()
    wire.send(raw("POST", "/in/x", expect="100-continue", content_length="2").replace(b"content-length: 0\r\n", b""))
    assert (await wire.reply(head=True)).status == 100
    wire.send(b"ok")
    assert (await wire.reply()).status == 200


async def test_answers_come_in_the_order_of_asking(make_rig: RigMaker) -> None:
    """One that takes longer holds up those behind it on its connection."""
    receiver = ToldReceiver(at_once=False)
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(raw("POST", "/in/x", b"1") + raw("GET", "/other"))
    await rig.until(lambda: len(receiver.waiting) == 1)
    receiver.waiting[0](OK)
    assert (await wire.reply()).body == OK.body
    assert (await wire.reply()).body == b"GET /other 0"


@pytest.mark.parametrize(
    ("headers", "public_url", "proxies", "url"),
    [
        ({}, "", None, "http://h.example/in/x"),
        ({}, "https://hooks.example", None, "https://hooks.example/in/x"),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "evil.example"}, "", None, "http://h.example/in/x"),
        (
            {"x_forwarded_proto": "https", "x_forwarded_host": "hooks.example"},
            "",
            ["127.0.0.0/8"],
            "https://hooks.example/in/x",
        ),
        (
            {"x_forwarded_proto": "gopher, https", "x_forwarded_host": "evil.example, hooks.example:8443"},
            "",
            ["127.0.0.0/8"],
            "https://hooks.example:8443/in/x",
        ),
        ({"x_forwarded_proto": "gopher"}, "", ["127.0.0.0/8"], "http://h.example/in/x"),
    ],
)
async def test_the_url_is_the_one_that_the_provider_called(make_rig, headers, public_url, proxies, url) -> None:
    """Some sign it: the configured address counts, else the request's own, as a trusted proxy has it."""
    receiver = ToldReceiver()
    rig = await make_rig(
        receiver=receiver, public_url=public_url, proxies=None if proxies is None else Proxies(proxies)
    )
    await rig.ask(raw("POST", "/in/x", b"1", **headers))
    assert receiver.got[0][0].url == url
    assert receiver.got[0][0].proxied is (proxies is not None)


async def test_a_client_that_leaves_does_no_harm(make_rig: RigMaker) -> None:
    """The answer to who is gone goes nowhere."""
    receiver = ToldReceiver(at_once=False)
    rig = await make_rig(receiver=receiver)
    wire = await rig.wire()
    wire.send(raw("POST", "/in/x", b"1"))
    await rig.until(lambda: len(receiver.waiting) == 1)
    sock: socket.socket = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
    wire.writer.transport.abort()
    await rig.until(lambda: rig.front.connections == 0)
    receiver.waiting[0](OK)
    assert (await rig.ask(raw("POST", "/elsewhere"))).status == 200


async def test_without_a_receiver_of_its_own_the_front_asks_the_application(make_rig: RigMaker) -> None:
    """The ordinary route answers the same: any method, HEAD without a body, who is turned away, what is too large."""
    receiver = ToldReceiver(source=_Source(body_bytes_max=10))
    app = FastAPI()
    inbound_route(app.router, receiver, Proxies(["127.0.0.0/8"]), "https://hooks.example")  # type: ignore[arg-type]
    rig = await make_rig(app=Gate(app, methods_by_path(app.routes)))
    for method in ("POST", "PUT", "OPTIONS", "GET"):
        assert (await rig.ask(raw(method, "/in/a%2Db/c?d=1", b"1"))).body == OK.body
    call, body = receiver.got[-1]
    assert (call.address, call.url, call.proxied, body) == ("a-b", "https://hooks.example/in/a%2Db/c?d=1", True, b"1")
    wire = await rig.wire()
    wire.send(raw("HEAD", "/in/x"))
    assert (await wire.reply(head=True)).status == 200
    chunked = b"POST /in/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n"
    assert (await rig.ask(chunked)).status == 413
    receiver.turned = refusal_answer(Refusal("not_found", "no"))
    assert (await rig.ask(raw("POST", "/in/x", b"1"))).status == 404
