"""The receiver that misbehaves on cue does exactly what it is told: the sender's suite stands on it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import time

import pytest

from hookline.testing import answers
from hookline.testing.answers import Answer
from hookline.testing.certificates import SelfSigned
from hookline.testing.receiver import Receiver

POST = b"POST %s HTTP/1.1\r\nHost: r\r\nX-Case: KePt\r\nContent-Length: 5\r\n\r\nhello"
HEAD_OK = b"HTTP/1.1 200 Told\r\n"


async def exchange(receiver: Receiver, request: bytes = POST % b"/", wait_s: float = 2.0, most: int = 2**22) -> bytes:
    """Send a request and read until the receiver ends, `most` bytes came, or nothing came for `wait_s`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(request)
    got = b""
    try:
        while len(got) < most:
            async with asyncio.timeout(wait_s):
                more = await reader.read(65_536)
            if not more:
                return got
            got += more
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
        try:
            await writer.wait_closed()
        except OSError:
            pass
    return got


async def test_remembers_a_request_exactly() -> None:
    """Method, target, spelling and order of headers, body bytes, time and connection are kept as they came."""
    async with Receiver() as receiver:
        before_s = time.monotonic()
        await exchange(receiver, POST % b"/a%20b?c=d", wait_s=0.05)
        (request,) = receiver.requests
    assert (request.method, request.path, request.version) == ("POST", "/a%20b?c=d", "HTTP/1.1")
    assert request.headers == [(b"Host", b"r"), (b"X-Case", b"KePt"), (b"Content-Length", b"5")]
    assert request.header("x-case") == "KePt"
    assert request.header("not-there") is None
    assert (request.body, request.connection) == (b"hello", 1)
    assert before_s <= request.at_s <= time.monotonic()


async def test_answers_by_path_in_turn() -> None:
    """Each path has its own answers, used one after the other; the last is repeated, the rest gets the default."""
    async with Receiver() as receiver:
        receiver.answer("/x", answers.reply(500), answers.reply(201, b"made"))
        receiver.answer(None, answers.reply(404))
        codes = [(await exchange(receiver, POST % path, 0.05))[9:12] for path in (b"/x", b"/x?q", b"/x", b"/y")]
        assert codes == [b"500", b"201", b"201", b"404"]
        assert [request.path for request in receiver.to("/x")] == ["/x", "/x?q", "/x"]
        assert receiver.broken == []


async def test_keeps_connections_alive() -> None:
    """Several requests travel over one connection until one of them asks for its end."""
    async with Receiver() as receiver:
        last = b"POST / HTTP/1.1\r\nHost: r\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        got = await exchange(receiver, POST % b"/" + POST % b"/" + last)
        assert got.count(HEAD_OK) == 3
        assert [request.connection for request in receiver.requests] == [1, 1, 1]
        assert receiver.connections == 1


async def test_reads_a_chunked_request() -> None:
    """A request in chunks is put together again."""
    async with Receiver() as receiver:
        await exchange(
            receiver,
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
            wait_s=0.05,
        )
        assert receiver.requests[0].body == b"abcde"


async def test_waits_for_requests() -> None:
    """Waiting for a number of requests ends when they came, and with TimeoutError when they do not come."""
    async with Receiver() as receiver:
        waiting = asyncio.create_task(receiver.wait_for(2))
        for _ in range(2):
            await exchange(receiver, wait_s=0.05)
        assert len(await waiting) == 2
        with pytest.raises(TimeoutError):
            await receiver.wait_for(3, wait_s_max=0.01)


ENDS: list[tuple[str, Answer, bytes]] = [
    ("reply", answers.reply(503, b"no", [(b"retry-after", b"2"), (b"connection", b"close")]), b"retry-after: 2"),
    ("redirect", answers.redirect("http://elsewhere/"), b"HTTP/1.1 302 Told\r\nlocation: http://elsewhere/\r\n"),
    ("chunked", answers.chunked(b"hel", b"lo"), b"\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
    ("informational", answers.informational(2, answers.reply(200)), b"103 Told"),
    ("after", answers.after(0.01, answers.raw(b"late")), b"late"),
    ("raw", answers.raw(b"HTTP/1.1 299 \r\n\r\n"), b"HTTP/1.1 299 \r\n\r\n"),
    ("bad chunks", answers.bad_chunks(), b"\r\n\r\nzz\r\n"),
    ("chunks cut off", answers.chunks_cut_off(), b"5\r\nhello\r\n"),
    ("close early", answers.close_early(), b"content-length: 100\r\n\r\n0123456789"),
    ("close at once", answers.close_at_once(), b""),
    ("early answer", answers.raw(b"HTTP/1.1 413 \r\n\r\n", reads_body=False), b"HTTP/1.1 413 "),
    ("huge headers", answers.huge_headers(100_000), b"x-huge: hhhh"),
    ("many headers", answers.many_headers(500), b"x-499: h\r\n"),
    ("no colon", answers.header_without_colon(), b"\r\nno colon in this line\r\n"),
    ("two lengths", answers.two_lengths(), b"content-length: 6\r\n"),
    ("length and chunks", answers.length_and_chunks(), b"transfer-encoding: chunked\r\n"),
    ("http 0.9", answers.http_0_9(), b"<html>"),
    ("not http", answers.not_http(), b"SSH-2.0"),
    ("drip", answers.drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.001), b"HTTP/1.1 200 OK\r\n\r\n"),
]


@pytest.mark.parametrize(("answer", "says"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
async def test_an_answer_says_what_it_is(answer: Answer, says: bytes) -> None:
    """Each answer that ends says on the wire what its name promises."""
    async with Receiver() as receiver:
        receiver.answer(None, answer)
        got = await exchange(receiver, wait_s=0.3)
        assert says in got
        assert bool(got) == bool(says)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (answers.hang(), b""),
        (answers.hang(reads_body=False), b""),
        (answers.hang_in_headers(), b"x-half: "),
        (answers.hang_in_body(), b"\r\n\r\n0123456789"),
    ],
)
async def test_a_hang_says_no_more(answer: Answer, says: bytes) -> None:
    """A hanging answer leaves the connection open after what it said."""
    async with Receiver() as receiver:
        receiver.answer(None, answer)
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(POST % b"/")
        await receiver.wait_for(1)
        if says:
            await reader.readuntil(says)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        answers.endless_body(),
        answers.endless_body(in_chunks=True),
        answers.endless_headers(),
        answers.endless_informational(),
    ],
)
async def test_the_endless_does_not_end(answer: Answer) -> None:
    """An endless answer goes on beyond any size, and ends with its client without a complaint."""
    async with Receiver() as receiver:
        receiver.answer(None, answer)
        assert len(await exchange(receiver, most=2_000_000)) >= 2_000_000


async def test_a_reset_is_a_reset() -> None:
    """A reset is seen by the client as such, not as an end."""
    async with Receiver() as receiver:
        receiver.answer(None, answers.reset())
        with pytest.raises(ConnectionResetError):
            await exchange(receiver)


async def test_a_reset_comes_after_what_was_said() -> None:
    """A reset in the middle of an answer comes behind its first bytes."""
    async with Receiver() as receiver:
        receiver.answer(None, answers.reset(HEAD_OK))
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(POST % b"/")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(65_536)
        writer.transport.abort()


async def test_what_is_played_at_once_waits_for_no_request() -> None:
    """A receiver with `at_once` plays it to a client that has said nothing, and remembers no request."""
    async with Receiver(at_once=answers.raw(HEAD_OK)) as receiver:
        assert await exchange(receiver, b"") == HEAD_OK
        assert receiver.requests == []


async def test_what_waits_for_a_first_byte_comes_after_it() -> None:
    """What is played once spoken to is not said before the client's first byte, and then at once."""
    async with Receiver(at_once=answers.once_spoken_to(answers.raw(HEAD_OK))) as receiver:
        assert await exchange(receiver, b"", wait_s=0.1) == b""
        assert await exchange(receiver, b"\x16") == HEAD_OK


async def test_what_is_played_at_once_comes_before_tls() -> None:
    """A receiver with `at_once` says it in the clear where a TLS handshake is awaited."""
    async with Receiver(tls=SelfSigned().server(), at_once=answers.raw(HEAD_OK)) as receiver:
        assert receiver.url.startswith("https://")
        assert await exchange(receiver, b"") == HEAD_OK


async def test_what_is_never_read_fills_the_way() -> None:
    """A receiver that never reads leaves most of a large request with its sender."""
    async with Receiver(at_once=answers.never_read()) as receiver:
        sender = socket.create_connection(("127.0.0.1", receiver.port))
        sender.setblocking(False)  # noqa: FBT003
        sent = 0
        while sent < 2**26:
            await asyncio.sleep(0.05)
            try:
                sent += sender.send(bytes(2**20))
            except BlockingIOError:
                break
        sender.close()
        assert 0 < sent < 2**26


async def test_a_gzip_bomb_is_small_until_unpacked() -> None:
    """The bomb is a thousandth of what it unpacks to."""
    async with Receiver() as receiver:
        receiver.answer(None, answers.gzip_bomb(2**20))
        head, _, body = (await exchange(receiver, wait_s=0.2)).partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head
        assert len(body) < 2**11
        assert len(gzip.decompress(body)) == 2**20


async def test_a_slow_accept_answers_late() -> None:
    """With a delay the connection is open at once and nothing is read before the delay is over."""
    async with Receiver(accept_delay_s=0.15) as receiver:
        start_s = time.monotonic()
        assert await exchange(receiver, wait_s=0.3)
        assert time.monotonic() - start_s >= 0.15


async def test_a_client_that_breaks_off_is_counted() -> None:
    """A request that ends in its head, or is no HTTP, is remembered as broken and answered by nothing."""
    async with Receiver() as receiver:
        for request in (b"POST / HTTP/1.1\r\nHost", b"\x16\x03\x01\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
            writer.write(request)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert receiver.requests == []
        assert len(receiver.broken) == 2


async def test_tls_with_a_certificate_of_its_own() -> None:
    """Over TLS the receiver is trusted by who knows its certificate, and by nobody else."""
    certificate = SelfSigned()
    async with Receiver(tls=certificate.server()) as receiver:
        assert receiver.url.startswith("https://127.0.0.1:")
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port, ssl=certificate.client())
        writer.write(POST % b"/")
        assert (await reader.readline()) == HEAD_OK
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", receiver.port, ssl=ssl.create_default_context())
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("certificate", [SelfSigned(["elsewhere.example"]), SelfSigned(valid_s=-60)])
async def test_a_bad_certificate_is_refused_even_when_known(certificate: SelfSigned) -> None:
    """A certificate of another name, or an expired one, fails its handshake although the client trusts it."""
    async with Receiver(tls=certificate.server()) as receiver:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", receiver.port, ssl=certificate.client())


async def test_a_mistake_in_an_answer_shows() -> None:
    """An exception of a test's own answer is raised at the end, not swallowed."""

    async def play(line: object) -> None:
        raise KeyError("a mistake")

    async def use_it() -> None:
        async with Receiver() as receiver:
            receiver.answer(None, Answer(play))
            await exchange(receiver)

    with pytest.raises(KeyError, match="a mistake"):
        await use_it()
