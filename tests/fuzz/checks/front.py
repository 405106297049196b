"""The front: raw bytes on a connection, in arbitrary pieces. No socket: a transport that only notes what is written.

What must hold for any bytes: every answer is 1xx to 4xx, nothing is left behind when the connection has ended, and
where the bytes were cut changes nothing, neither what is answered nor what is understood. A second parser (h11) must
read the same requests out of them as far as both read: otherwise one proxy in front is enough to smuggle one in.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import h11

from hookline.flow.answers import Answer, Done
from hookline.web.auth import Authority, operator_keys
from hookline.web.client_address import Proxies, parse_address
from hookline.web.limits import Limits
from hookline.web.protocol import FrontProtocol
from hookline.web.server import Front

KEY = "hl_acceptance_0123456789"
PEER = "192.0.2.1"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FAULTS = {400, 413, 414, 431}
"""What ends a connection with one answer for any of several faults."""
BYTEWISE_BYTES_MAX = 400
SMALL = Limits(
    header_bytes_max=512, header_fields_max=8, target_bytes_max=64, publish_bytes_max=64, linger_bytes_max=256
)
_QUIET_TURNS = 8

Understood = tuple[bytes, bytes, bytes]
"""Method, target (empty where it is not a path) and body."""


class Wire(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": (PEER, 1), "sockname": ("192.0.2.2", 8400)})
        self._loop = loop
        self.written = bytearray()
        self.paused = self.closing = self.lost = False
        self.protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.close()

    def _lose(self) -> None:
        self.lost = True
        self.protocol.connection_lost(None)


class Observer:
    """Notes defects: the front warns only of them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def refused(self, code: str) -> None: ...

    def fact(self, name: str, **fields: object) -> None: ...

    def closed(self, state: str, count: int) -> None: ...

    def warn(self, name: str, **fields: object) -> None:
        self.warnings.append(f"{name} {fields}")


class Conversation:
    """What came of one connection."""

    def __init__(self) -> None:
        self.understood: list[Understood] = []
        self.output = b""
        self.closed = False
        """The front ended it, before the client did."""

    @property
    def outcome(self) -> tuple[bytes, list[Understood], bool]:
        """What may not depend on where the bytes were cut; interim answers may."""
        return self.output.replace(CONTINUE, b""), self.understood, self.closed


class Bench:
    """A front with a publisher and an application that answer with a digest of what they understood."""

    def __init__(self, limits: Limits) -> None:
        self.loop = asyncio.new_event_loop()
        self.observer = Observer()
        self.conversation = Conversation()
        authority = Authority(operator_keys(KEY))
        proxies = Proxies(["192.0.2.0/24"])
        observer: Any = self.observer
        self.front = Front(self._app, authority, self, observer, limits=limits, proxies=proxies)
        self.front._config.load()

    def publish(
        self, tenant: str, headers: Mapping[str, str], content_type: str, body: bytes, done: Done, allowed: Any = None
    ) -> None:
        self.conversation.understood.append((b"POST", b"/v1/events", body))
        seen = repr((tenant, sorted(headers.items()), content_type, body)).encode()
        done(Answer(202, hashlib.sha256(seen).hexdigest().encode()))

    async def _app(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        assert parse_address(scope["client"][0]) is not None
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self.conversation.understood.append((scope["method"].encode(), target, body))
        text = hashlib.sha256(repr((scope["headers"], scope["path"], scope["client"], body)).encode()).hexdigest()
        headers = [(b"content-length", b"64")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def converse(self, pieces: Iterable[bytes]) -> Conversation:
        """One connection, from its first byte to its end."""
        return self.loop.run_until_complete(self._converse(pieces))

    async def _converse(self, pieces: Iterable[bytes]) -> Conversation:
        self.conversation = conversation = Conversation()
        self.observer.warnings.clear()
        front, state = self.front, self.front._state
        wire = Wire(self.loop)
        wire.protocol = protocol = FrontProtocol(front._shared, front._config, state, self.loop)
        protocol.connection_made(wire)
        for piece in pieces:
            if wire.paused:
                await self._settle(wire)
                assert not wire.paused or wire.closing or protocol._lingering, "it reads no more, and nothing is due"
            if wire.closing or wire.paused:
                break
            protocol.data_received(piece)
        await self._settle(wire)
        # A side that was only half closed waits for the client's end: for a client, that is closed as well.
        conversation.closed = wire.closing or protocol._lingering
        if not wire.closing and not protocol.eof_received():
            wire.close()
        await self._settle(wire)
        if not wire.closing:
            wire.abort()
            await self._settle(wire)
        conversation.output = bytes(wire.written)
        assert wire.lost
        assert not state.tasks, "a request is still running after its connection ended"
        assert not state.connections
        assert front._shared.bodies_bytes == 0, "bytes of bodies are counted that nobody holds"
        assert not self.observer.warnings, self.observer.warnings
        return conversation

    async def _settle(self, wire: Wire) -> None:
        quiet, before = 0, None
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            after = (len(wire.written), len(self.front._state.tasks), wire.paused, wire.lost)
            quiet = quiet + 1 if after == before else 0
            before = after


@functools.cache
def bench(*, small: bool = False) -> Bench:
    """The one bench of this process."""
    return Bench(SMALL if small else Limits())


def statuses(output: bytes) -> list[int]:
    """The statuses of a connection's answers, read strictly. Bodies begin with `{` or are digests."""
    found: list[int] = []
    while output:
        head, end, rest = output.partition(b"\r\n\r\n")
        assert end, f"half a head: {head!r}"
        line, *fields = head.split(b"\r\n")
        assert line.startswith(b"HTTP/1.1 "), f"no status line: {line[:80]!r}"
        status = int(line.split(b" ", 2)[1])
        names = dict(field.split(b": ", 1) for field in fields)
        found.append(status)
        length = int(names.get(b"content-length", b"0"))
        if status >= 200:
            assert b"content-length" in names
        # An answer to HEAD tells the length of a body that does not come.
        output = rest if rest.startswith(b"HTTP/1.1 ") else rest[length:]
    return found


def same(one: Conversation, other: Conversation) -> bool:
    """Whether two conversations are the same. Of two faults in one request, that which comes first is told: bytes that
    come together are found malformed before their fields are counted."""
    if one.outcome == other.outcome:
        return True
    first, second = (statuses(each.output.replace(CONTINUE, b"")) for each in (one, other))
    return (
        one.outcome[1:] == other.outcome[1:]
        and one.closed
        and first[:-1] == second[:-1]
        and {*first[-1:], *second[-1:]} <= FAULTS
    )


def cut(data: bytes, seed: int) -> list[bytes]:
    """`data` in pieces, by a seed."""
    dice, pieces, at = random.Random(seed), [], 0
    longest = dice.choice((2, 7, 40, 400))
    while at < len(data):
        size = dice.randint(1, longest)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def by_h11(data: bytes) -> list[Understood]:
    """The requests that another parser reads, until it reads no more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    found: list[Understood] = []
    try:
        connection.receive_data(data)
        while True:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return found
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
            if not isinstance(event, h11.EndOfMessage):
                return found
            found.append((request.method, request.target, body))
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is h11.MUST_CLOSE:
                return found
            connection.start_next_cycle()
    except h11.ProtocolError:
        return found


def agree(ours: list[Understood], theirs: list[Understood]) -> None:
    """Raise unless both parsers read the same, as far as both read."""
    for mine, other in zip(ours, theirs, strict=False):
        assert mine[0] == other[0], f"two methods: {mine!r} {other!r}"
        assert mine[2] == other[2], f"two bodies: {mine!r} {other!r}"
        if other[1].startswith(b"/"):
            assert mine[1] == other[1].removesuffix(b"?"), f"two targets: {mine!r} {other!r}"


def check(data: bytes) -> None:
    """Raise unless the front does with these bytes what it must."""
    seed = zlib.crc32(data)
    whole = bench().converse([data] if data else [])
    assert all(status < 500 for status in statuses(whole.output)), whole.output
    pieces = bench().converse(cut(data, seed))
    assert same(pieces, whole), (pieces.outcome, whole.outcome)
    if len(data) <= BYTEWISE_BYTES_MAX:
        single = bench().converse([data[at : at + 1] for at in range(len(data))])
        assert same(single, whole), (single.outcome, whole.outcome)
    agree(whole.understood, by_h11(data))
    limited = bench(small=True).converse(cut(data, seed))
    assert all(status < 500 for status in statuses(limited.output)), limited.output
    assert all(len(target) <= SMALL.target_bytes_max for _, target, _ in limited.understood)
