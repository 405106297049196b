"""What a receiver answers, well and badly. Each function makes an `Answer` for `hookline.testing.receiver`."""

from __future__ import annotations

import asyncio
import functools
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

import msgspec

from hookline.testing.wire import Line

Headers = Iterable[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    """How one request is answered. `play` writes it; after it the connection is kept only if `keeps`."""

    play: Callable[[Line], Awaitable[None]]
    keeps: bool = False
    reads_body: bool = True
    """False: it answers as soon as it has the head, with the request's body unread."""


def reply(status: int = 200, body: bytes = b"", headers: Headers = (), reason: str = "Told") -> Answer:
    """A correct answer. Its length is told unless `headers` name a length or an encoding of their own."""
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if not names & {b"content-length", b"transfer-encoding"} and status >= 200 and status not in {204, 304}:
        fields.append((b"content-length", b"%d" % len(body)))
    whole = _head(status, fields, reason) + body

    async def play(line: Line) -> None:
        await line.write(whole)

    return Answer(play, keeps=b"close" not in dict(fields).get(b"connection", b""))


def redirect(to: str, status: int = 302) -> Answer:
    """Sends the client elsewhere."""
    return reply(status, headers=[(b"location", to.encode())])


def chunked(*chunks: bytes, status: int = 200, headers: Headers = ()) -> Answer:
    """A correct answer in chunks."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"
    return reply(status, body, [*headers, (b"transfer-encoding", b"chunked")])


def after(wait_s: float, answer: Answer) -> Answer:
    """The same answer, so many seconds later."""

    async def play(line: Line) -> None:
        await asyncio.sleep(wait_s)
        await answer.play(line)

    return msgspec.structs.replace(answer, play=play)


def informational(count: int, answer: Answer, status: int = 103) -> Answer:
    """So many 1xx answers before the real one."""
    head = _head(status, [(b"link", b"</style.css>; rel=preload")])

    async def play(line: Line) -> None:
        await line.write(head * count)
        await answer.play(line)

    return msgspec.structs.replace(answer, play=play)


def once_spoken_to(answer: Answer) -> Answer:
    """The same answer when the client has sent something, be it a TLS hello. For `Receiver(at_once=…)`."""

    async def play(line: Line) -> None:
        if await line.reader.read(1):
            await answer.play(line)

    return msgspec.structs.replace(answer, play=play)


def raw(data: bytes, *, reads_body: bool = True) -> Answer:
    """Exactly these bytes, then the end of the connection."""

    async def play(line: Line) -> None:
        await line.write(data)

    return Answer(play, reads_body=reads_body)


def hang(said: bytes = b"", *, reads_body: bool = True) -> Answer:
    """Says `said`, then nothing more until the client leaves. Without anything said: a hang before the status."""

    async def play(line: Line) -> None:
        if said:
            await line.write(said)
        await line.client_left()

    return Answer(play, reads_body=reads_body)


def hang_in_headers() -> Answer:
    """A status and a header that never ends."""
    return hang(b"HTTP/1.1 200 OK\r\nserver: hang\r\nx-half: ")


def hang_in_body() -> Answer:
    """A head that promises 1,000 bytes, and ten of them."""
    return hang(_head(200, [(b"content-length", b"1000")]) + b"0123456789")


def drip(data: bytes | None = None, step_s: float = 0.05, *, said: bytes = b"") -> Answer:
    """A whole answer (`data`, or a 200 of its own with head and body), one byte each `step_s` seconds, the first ones
    (`said`) at once."""
    whole = _head(200, [(b"content-length", b"1000")]) + b"x" * 1000 if data is None else data

    async def play(line: Line) -> None:
        if said:
            await line.write(said)
        left = asyncio.ensure_future(line.client_left())
        try:
            for number in range(len(whole)):
                await line.write(whole[number : number + 1])
                if (await asyncio.wait([left], timeout=step_s))[0]:
                    left.result()  # a client that resets the connection is an error, one that ends it is not
                    return
        finally:
            left.cancel()

    return Answer(play)


def endless_body(status: int = 200, *, in_chunks: bool = False) -> Answer:
    """A body without an end: until the connection's, or in chunks."""
    block = b"x" * 16_384
    head = _head(status, [(b"transfer-encoding", b"chunked")] if in_chunks else [])
    return endless(head, b"%x\r\n%s\r\n" % (len(block), block) if in_chunks else block)


def endless_informational(status: int = 103) -> Answer:
    """1xx answers for ever."""
    return endless(b"", _head(status, [(b"x-wait", b"more")]) * 16)


def endless_headers() -> Answer:
    """A head that goes on and on."""
    return endless(b"HTTP/1.1 200 OK\r\n", b"x-more: %s\r\n" % (b"h" * 100) * 16)


def bad_chunks() -> Answer:
    """A chunk whose size is no number."""
    return raw(_head(200, [(b"transfer-encoding", b"chunked")]) + b"zz\r\nhello\r\n0\r\n\r\n")


def chunks_cut_off() -> Answer:
    """A chunked body whose last chunk never comes."""
    return raw(_head(200, [(b"transfer-encoding", b"chunked")]) + b"5\r\nhello\r\n")


def close_at_once(*, reads_body: bool = True) -> Answer:
    """The end of the connection instead of an answer."""
    return raw(b"", reads_body=reads_body)


def close_early() -> Answer:
    """A tenth of the body that was promised, then the end."""
    return raw(_head(200, [(b"content-length", b"100")]) + b"0123456789")


def reset(said: bytes = b"", *, reads_body: bool = True) -> Answer:
    """A TCP reset instead of an answer, or after `said`."""

    async def play(line: Line) -> None:
        if said:
            await line.write(said)
        connection = line.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.writer.transport.abort()

    return Answer(play, reads_body=reads_body)


def gzip_bomb(unpacked_bytes: int = 64 * 1024 * 1024, status: int = 200) -> Answer:
    """A small gzip body that a client which unpacks answers makes big."""
    return reply(status, _packed_zeros(unpacked_bytes), [(b"content-encoding", b"gzip")])


def huge_headers(size_bytes: int = 1024 * 1024) -> Answer:
    """One header of this size."""
    return reply(200, headers=[(b"x-huge", b"h" * size_bytes)])


def many_headers(count: int = 10_000) -> Answer:
    """So many small headers."""
    return reply(200, headers=[(b"x-%d" % number, b"h") for number in range(count)])


def header_without_colon() -> Answer:
    """A header line that is none."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nno colon in this line\r\n\r\n")


def two_lengths() -> Answer:
    """Two lengths that differ: where the body ends is anybody's guess."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!")


def length_and_chunks() -> Answer:
    """A length and chunks together, as in request smuggling."""
    fields = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    return raw(_head(200, fields) + b"5\r\nhello\r\n0\r\n\r\n")


def http_0_9() -> Answer:
    """A body with neither status nor headers."""
    return raw(b"<html>hello from 1991</html>\n")


def never_read() -> Answer:
    """Nothing is read of the body, or, as `Receiver(at_once=…)`, not a byte: a large request fills the buffers on the
    way and then has nowhere to go."""

    async def play(line: Line) -> None:
        cast("asyncio.Transport", line.writer.transport).pause_reading()
        await asyncio.get_running_loop().create_future()  # a client that leaves is not noticed either

    return Answer(play, reads_body=False)


def not_http() -> Answer:
    """Another protocol's greeting."""
    return raw(b"SSH-2.0-OpenSSH_9.6\r\n")


def _head(status: int, fields: Headers, reason: str = "Told") -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, reason.encode()), *(b"%s: %s" % field for field in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def endless(first: bytes, block: bytes) -> Answer:
    """`first`, then `block` again and again until the client leaves."""

    async def play(line: Line) -> None:
        await line.write(first)
        while True:  # ends when the client leaves: the write fails then
            await line.write(block)
            await asyncio.sleep(0)  # over uvloop's TLS no write waits, and the news would never come

    return Answer(play)


@functools.lru_cache(maxsize=4)
def _packed_zeros(unpacked_bytes: int) -> bytes:
    return gzip.compress(bytes(unpacked_bytes), compresslevel=9, mtime=0)
