"""Kept connections: used again while that is safe, ended otherwise, bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from tests.adapters.senders.sending import send

from hookline.adapters.senders.connection import AGE_S_MAX
from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind, Outcome
from hookline.testing.answers import Answer, hang, raw, redirect, reply
from hookline.testing.clock import ToldClock
from hookline.testing.receiver import Receiver
from hookline.testing.samples import sample_endpoint
from hookline.testing.sender_contract import request

MakeSender = Callable[..., HttpSender]


async def settle(condition: Callable[[], bool]) -> None:
    """Wait for a fact of the network."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_connection_is_used_again(sender: HttpSender, receiver: Receiver) -> None:
    """One receiver, one request after the other, whatever the endpoint: one connection."""
    for number in range(5):
        assert (await send(sender, f"{receiver.url}/{number}", number=number)).kind is Kind.DELIVERED
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


async def test_the_latest_is_used_first(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """Connections are used last in, first out, so those not needed grow old and go."""
    await asyncio.gather(*(send(sender, receiver.url) for _ in range(3)))
    assert (receiver.connections, len(sender._pool)) == (3, 3)
    for _ in range(6):
        clock.advance(5.0)
        await send(sender, receiver.url)
    await settle(lambda: len(sender._pool) == 1)
    assert receiver.connections == 3


async def test_an_idle_connection_goes(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """After 20 s without use a connection is ended, and not used again even where the sweep is late."""
    await send(sender, receiver.url)
    await clock.asleep()
    clock.advance(20.1)
    assert (await send(sender, receiver.url)).kind is Kind.DELIVERED
    assert receiver.connections == 2
    clock.advance(20.1)
    await settle(lambda: len(sender._deadlines) == 0)
    assert len(sender._pool) == 0


async def test_the_receivers_own_limit(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """Where the receiver says how long it keeps a connection, it is given up a second before."""
    receiver.answer(None, reply(200, headers=[(b"Keep-Alive", b"timeout=5, max=100")]))
    for wait_s, connections in ((0.0, 1), (3.9, 1), (4.1, 2)):
        clock.advance(wait_s)
        await send(sender, receiver.url)
        assert receiver.connections == connections
    receiver.answer(None, reply(200, headers=[(b"keep-alive", b"timeout=1")]))
    await send(sender, receiver.url)
    assert len(sender._pool) == 0


async def test_an_old_connection_goes(sender: HttpSender, receiver: Receiver, clock: ToldClock) -> None:
    """A busy connection is given up after five minutes, so that a changed DNS record is noticed."""
    passed_s = 0.0
    while passed_s < AGE_S_MAX + 10:
        await send(sender, receiver.url)
        clock.advance(10.0)
        passed_s += 10.0
    assert receiver.connections == 2


NOT_AGAIN: dict[str, Answer] = {
    "close": reply(200, headers=[(b"connection", b"close")]),
    "HTTP/1.0": raw(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "until the end": raw(b"HTTP/1.1 200 OK\r\n\r\nhello"),
    "more bytes": reply(200, headers=[(b"content-length", b"2")], body=b"okHTTP/1.1 200 OK\r\n"),
    "a second answer": reply(200, headers=[(b"content-length", b"0")], body=b"HTTP/1.1 200 OK\r\n\r\n"),
    "a body beyond the limit": reply(200, b"x" * 4_000_000),
    "a redirect with a body to come": hang(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 9\r\n\r\n"),
}


@pytest.mark.parametrize("answer", NOT_AGAIN.values(), ids=NOT_AGAIN)
async def test_connections_that_are_not_used_again(sender: HttpSender, receiver: Receiver, answer: Answer) -> None:
    """After an answer that leaves a doubt about the connection the next request has a new one."""
    receiver.answer("/", answer)
    for number in (1, 2, 3):
        assert (await send(sender, receiver.url + "/")).status in {200, 302}
        assert len(sender._pool) == 0
        assert receiver.connections == number


async def test_a_redirect_that_is_complete(sender: HttpSender, receiver: Receiver) -> None:
    """A redirect without a body leaves its connection usable."""
    receiver.answer("/", redirect("/elsewhere"))
    for _ in range(3):
        await send(sender, receiver.url + "/")
    assert receiver.connections == 1


class Talker:
    """A server that answers each request and then does something to the connection."""

    def __init__(self, then: Callable[[asyncio.StreamWriter], None]) -> None:
        self.requests = 0
        self.writers: list[asyncio.StreamWriter] = []
        self._then = then

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                self._then(writer)
        except (EOFError, OSError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("then", ["close", "speak"])
@pytest.mark.parametrize("noticed", [True, False])
async def test_a_connection_that_the_receiver_ended(
    sender: HttpSender, clock: ToldClock, then: str, noticed: bool
) -> None:
    """A kept connection that was closed, or spoken on, while idle is not written to, even before the loop noticed."""

    def act(writer: asyncio.StreamWriter) -> None:
        pass

    talker = Talker(act)
    server = await asyncio.start_server(talker, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert (await send(sender, url)).kind is Kind.DELIVERED
        assert len(sender._pool) == 1
        peer = socket.socket(fileno=talker.writers[0].get_extra_info("socket").fileno())
        try:
            if then == "close":
                peer.shutdown(socket.SHUT_WR)
            else:
                peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        finally:
            peer.detach()
        if noticed:
            await settle(lambda: len(sender._pool) == 0)
        else:
            time.sleep(0.02)  # the kernel has it; the loop gets no turn
            clock.advance(0.2)
        assert (await send(sender, url)).kind is Kind.DELIVERED
        assert (talker.requests, len(talker.writers)) == (2, 2)


async def test_a_receiver_that_closes_after_each_answer_without_saying_so(sender: HttpSender) -> None:
    """From its second connection on it costs no attempt: where the end is here with the answer it is looked for."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            came = b""
            while not came.endswith(b"}"):
                piece = connection.recv(65_536)
                if not piece:
                    return
                came += piece
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            connection.shutdown(socket.SHUT_WR)  # in the same segment
            connection.recv(1)

    def accept() -> None:
        for _ in range(19):
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        accepting = threading.Thread(target=accept)
        accepting.start()
        asked = request(sample_endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        reasons: list[str | None] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(outcomes: Sequence[Outcome]) -> None:
            reasons.append(outcomes[0].reason)
            if len(reasons) < 20:
                sender.start(asked, done)
            else:
                ended.set_result(None)

        sender.start(asked, done)
        async with asyncio.timeout(20):
            await ended
        await asyncio.to_thread(accepting.join)
    assert reasons == [None, "connect", *[None] * 18]


async def test_a_connection_that_breaks_on_the_request_is_not_repeated(sender: HttpSender, receiver: Receiver) -> None:
    """Where a kept connection breaks after the request was written, the receiver may have it: it is a failure."""
    receiver.answer("/", reply(200), raw(b""), reply(200))
    assert [(await send(sender, receiver.url + "/")).reason for _ in range(3)] == [None, "connect", None]
    assert (len(receiver.requests), receiver.connections) == (3, 2)


async def test_idle_connections_are_bounded(make_sender: MakeSender) -> None:
    """Beyond the bound the connection that was idle for longest is ended, whoever's it is."""
    sender = make_sender(connections_idle_max=3)
    receivers = [Receiver() for _ in range(5)]
    try:
        for receiver in receivers:
            await receiver.__aenter__()
            await send(sender, receiver.url)
        assert len(sender._pool) == 3
        for receiver in receivers:
            await send(sender, receiver.url)
        assert [receiver.connections for receiver in receivers] == [2, 2, 2, 2, 2]
        for receiver in reversed(receivers[2:]):
            await send(sender, receiver.url)
        assert [receiver.connections for receiver in receivers] == [2, 2, 2, 2, 2]
    finally:
        for receiver in receivers:
            await receiver.__aexit__(None, None, None)


async def test_keeping_none(make_sender: MakeSender, receiver: Receiver) -> None:
    """A bound of 0 keeps no connection."""
    sender = make_sender(connections_idle_max=0)
    for _ in range(3):
        await send(sender, receiver.url)
    assert (receiver.connections, len(sender._pool)) == (3, 0)


async def test_http_and_https_do_not_share(sender: HttpSender, receiver: Receiver) -> None:
    """A connection without TLS is never used for an https endpoint of the same host and port."""
    await send(sender, receiver.url)
    assert len(sender._pool) == 1
    key = next(iter(sender._pool._by_key))
    assert key == ("http", "127.0.0.1", receiver.port)
