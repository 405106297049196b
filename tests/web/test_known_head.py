"""A head that a connection knows changes nothing but the cost: the same answers and publishes, whatever comes when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.web.conftest import NotedObserver, ToldPublisher, echo_app
from uvicorn.config import Config
from uvicorn.server import ServerState

import hookline.web.protocol
from hookline.core.api_key import Key, digest
from hookline.core.endpoint import RateSpec
from hookline.flow.answers import Answer
from hookline.flow.key_guard import KeyGuard
from hookline.testing.clock import ToldClock
from hookline.web.address_rate import AddressRate
from hookline.web.auth import PUBLISH, READ, Authority
from hookline.web.client_address import Proxies
from hookline.web.known_head import HEAD_BYTES_MAX, LESSONS_MAX, KnownHead, learn
from hookline.web.limits import Limits
from hookline.web.protocol import FrontProtocol
from hookline.web.publish import Admission
from hookline.web.shared import Shared

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\nContent-Type: application/json\r\n"
OPERATOR, ISSUED, LIMITED, ENDING = b"operators-own-key", b"issued-key-0", b"limited-key-0", b"ending-key-0"
RATE = RateSpec(3, 60.0)


def publish(body: bytes, *lines: bytes, key: bytes = ISSUED) -> bytes:
    """A publish with these further header lines after its length."""
    more = b"".join(line + b"\r\n" for line in lines)
    return HEAD % key + b"Content-Length: %d\r\n" % len(body) + more + b"\r\n" + body


class Pipe(asyncio.Transport):
    """Keeps what is written, and whether there is to be read."""

    def __init__(self, peer: str = "192.0.2.7") -> None:
        super().__init__({"peername": (peer, 5), "sockname": ("192.0.2.1", 80)})
        self.written = b""
        self.closing = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.written += b"<end>"

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class Registry:
    """What of the registry the keys are judged by."""

    keys: dict[bytes, Key] = field(default_factory=dict)
    deleted_tenants: set[str] = field(default_factory=set)

    def put(self, word: bytes, number: int, **more: Any) -> None:
        known_as = digest(word.decode())
        limited = bool(more)
        self.keys[known_as] = Key("acme", frozenset({PUBLISH}), known_as, bytes([number]) * 12, limited=limited, **more)


class Side:
    """One connection with all that it asks, told what to do."""

    def __init__(self, *, address_rate: int = 0, cidrs: Sequence[str] = (), **limits: Any) -> None:
        self.clock = ToldClock()
        self.registry = Registry()
        self.registry.put(ISSUED, 1)
        self.registry.put(LIMITED, 2, rate=RATE)
        self.registry.put(ENDING, 3, expires_at_ms=self.now_ms() + 1000)
        known_as = digest(OPERATOR.decode())
        self.guard = KeyGuard(self, self.clock)  # type: ignore[arg-type]
        authority = Authority(
            {known_as: Key(None, frozenset({"operator"}), known_as)},
            self.registry,  # type: ignore[arg-type]
            self.guard,
        )
        self.publisher, self.observer = ToldPublisher(), NotedObserver()
        rate = AddressRate(address_rate, 60.0, self.clock.monotonic_s) if address_rate else None
        self.shared = Shared(
            authority,
            self.publisher,
            self.observer,  # type: ignore[arg-type]
            Limits(**limits),
            Proxies(cidrs),
            rate,
        )
        config = Config(echo_app, loop="none", http=FrontProtocol, ws="none", interface="asgi3", log_config=None)
        config.load()
        self.pipe = Pipe()
        self.front = FrontProtocol(self.shared, config, ServerState(), asyncio.get_running_loop())
        self.front.connection_made(self.pipe)
        self.taken = 0
        take = self.front._take

        def counted(known: KnownHead, body: bytes) -> bool:
            taken = take(known, body)
            self.taken += taken
            return taken

        self.front._take = counted  # type: ignore[method-assign]

    def now_ms(self) -> int:
        return self.clock.wall_ms()

    def send(self, *pieces: bytes) -> bytes:
        """What is answered to these pieces at once."""
        before = len(self.pipe.written)
        for piece in pieces:
            self.front.data_received(piece)
        return self.pipe.written[before:]

    def do(self, act: str) -> None:
        """Change something that is asked about at each request."""
        match act:
            case "revoke":
                self.registry.keys.pop(digest(ISSUED.decode()), None)
            case "narrow":
                known_as = digest(ISSUED.decode())
                self.registry.keys[known_as] = Key("acme", frozenset({READ}), known_as, bytes([1]) * 12)
            case "other tenant":
                known_as = digest(ISSUED.decode())
                self.registry.keys[known_as] = Key("other", frozenset({PUBLISH}), known_as, bytes([1]) * 12)
            case "delete tenant":
                self.registry.deleted_tenants.add("acme")
            case "restore tenant":
                self.registry.deleted_tenants.discard("acme")
            case "a second":
                self.clock.advance(1.0)
            case "an hour":
                self.clock.advance(3600.0)
            case "wait":
                self.publisher.at_once = False
            case "at once":
                self.publisher.at_once = True
            case "answer":
                self.answer()
            case "drain":
                self.shared.draining = True
            case "hold writing":
                if not self.front.flow.write_paused:
                    self.front.pause_writing()
            case "write again":
                if self.front.flow.write_paused:
                    self.front.resume_writing()

    def answer(self) -> None:
        """Answer what waits."""
        while self.publisher.waiting:
            self.publisher.waiting.pop(0)(Answer(202, b'{"late":%d}' % len(self.publisher.got)))

    async def whole(self, steps: Sequence[bytes | str]) -> tuple[object, ...]:
        """Everything that can be seen from outside of a connection to which this happens."""
        for step in steps:
            if isinstance(step, str):
                self.do(step)
            elif not self.pipe.closing and not self.pipe.paused:
                self.front.data_received(step)
            await self.settled()
        self.do("write again")
        for _ in range(len(steps)):
            self.answer()
            await self.settled()
        self.shared.heads.set_date(b"")
        return (
            self.pipe.written,
            self.pipe.closing,
            self.pipe.paused,
            self.front._phase,
            self.shared.bodies_bytes,
            self.publisher.got,
            self.observer.refusals,
            self.observer.warnings,
            self.guard.noted,
        )

    async def settled(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)


LINES = st.sampled_from(
    [
        (),
        (b"X: y",),
        (b"Connection: keep-alive",),
        (b"Connection: close",),
        (b"Connection: upgrade", b"Upgrade: h2c"),
        (b"Expect: 100-continue",),
        (b"Idempotency-Key: k",),
        (b"Hookline-Tenant: acme",),
        (b"Hookline-Tenant: other",),
        (b"Content-Encoding: gzip",),
        (b"Content-Length: 3",),
        (b"X:  spaces\t ",),
        (b"X : bad",),
        (b"X-Forwarded-For: 198.51.100.1",),
        (b"X-Forwarded-For: 198.51.100.2",),
    ]
)
BODIES = st.sampled_from([b"", b"{}", b"12345", b"x" * 99, b"\r\n\r\n", b"x" * 5000, b"y" * 17_000])
PUBLISHES = st.builds(
    lambda body, lines, key: publish(body, *lines, key=key),
    BODIES,
    st.just(()) | LINES,
    st.sampled_from([ISSUED, ISSUED, OPERATOR, LIMITED, ENDING, b"nobodys-key"]),
)
OTHERS = st.sampled_from(
    [
        b"\r\n",
        b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
        HEAD % ISSUED + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD % ISSUED + b"Content-Length: 0002\r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: 9\r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: 1\r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: \r\n\r\n{}",
        HEAD % ISSUED + b"content-length:2\r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: 2 \r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: +2\r\n\r\n{}",
        HEAD % ISSUED + b"Content-Length: 2\r\nX: y",
        HEAD % ISSUED + b"Content-Length: 2\r\n",
        HEAD.replace(b" HTTP", b"  HTTP") % ISSUED + b"Content-Length: 2\r\n\r\n{}",
    ]
)
CHANGES = ["revoke", "narrow", "other tenant", "delete tenant", "restore tenant", "a second", "an hour"]
ACTS = st.sampled_from([*CHANGES, "wait", "at once", "answer", "drain", "hold writing", "write again"])
LISTED = b"X-Forwarded-For: 198.51.100.1"
EXPECT = b"Expect: 100-continue"
AAAA, BBBB = b"Hookline-Tenant: aaaa", b"Hookline-Tenant: bbbb"


@st.composite
def happenings(draw: st.DrawFn) -> list[bytes | str]:
    """Requests, mostly with the same head and each in a piece of its own, with anything else in between."""
    key = draw(st.sampled_from([ISSUED, ISSUED, OPERATOR, LIMITED, ENDING]))
    lines = draw(st.just(()) | LINES)
    same = st.builds(lambda body: publish(body, *lines, key=key), BODIES)
    steps: list[bytes | str] = [publish(b"{}", *lines, key=key)] * draw(st.integers(0, 3))
    for step in draw(st.lists(same | same | PUBLISHES | OTHERS | ACTS, max_size=10)):
        how = draw(st.integers(0, 9))
        if isinstance(step, str) or not step or how > 3:
            steps.append(step)
        elif how == 3 and steps and isinstance(steps[-1], bytes):
            steps[-1] += step  # together with the one before
        elif how == 2:
            at = draw(st.integers(0, len(step) - 1))
            steps.append(step[:at] + bytes([draw(st.integers(0, 255))]) + step[at + 1 :])
        elif how == 1:
            at = draw(st.integers(0, len(step)))
            steps += [step[:at], step[at:]]
        else:
            steps += [step[at : at + 1] for at in range(min(len(step), 300))] + [step[300:]]
    return [step for step in steps if step]


async def compared(steps: list[bytes | str], **shape: Any) -> int:
    """Assert that a connection that knows heads behaves as one that does not; how many it took by what it knew."""
    knowing = Side(**shape)
    seen = await knowing.whole(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hookline.web.protocol, "learn", lambda *_: None)
        parsing = Side(**shape)
        assert await parsing.whole(steps) == seen
        assert parsing.taken == 0
    return knowing.taken


SHAPES = st.sampled_from(
    [{}, {}, {"address_rate": 4}, {"cidrs": ["192.0.2.0/24"], "address_rate": 4}, {"publish_bytes_max": 1000}]
)


@settings(max_examples=150, deadline=None)
@given(happenings(), SHAPES)
@example([publish(b"{}")] * 3 + ["revoke", publish(b"{}")], {})
@example([publish(b"{}")] * 3 + ["wait", publish(b"1"), publish(b"2"), "answer"], {})
@example([publish(b"{}")] * 3 + ["hold writing", publish(b"1"), publish(b"2"), "write again"], {})
@example([publish(b"{}")] * 3 + ["wait", publish(b"1"), "drain", "answer", publish(b"2")], {})
@example([publish(b"{}", EXPECT)] * 4, {})
@example([publish(b"{}", AAAA, key=OPERATOR)] * 4 + [publish(b"{}", BBBB, key=OPERATOR)], {})
@example([publish(b"{}", LISTED)] * 6, {"cidrs": ["192.0.2.0/24"], "address_rate": 4})
@example([publish(b"{}")] * 6, {"address_rate": 4})
@example([publish(b"{}", key=ENDING)] * 3 + ["a second", publish(b"{}", key=ENDING)], {})
def test_nothing_but_the_cost_changes(steps, shape):
    """Whatever comes in whatever pieces, and whatever changes meanwhile, is answered and published byte for byte as by
    a connection that parses everything."""
    asyncio.run(compared(steps, **shape))


def test_it_is_known():
    """From the third publish on the parser is not asked, for any length of body up to a slice."""

    async def run() -> None:
        bodies = [b"", b"{}", b"x" * 12_000]
        assert await compared([publish(b"{}")] * 2 + [publish(body) for body in bodies]) == 3
        assert await compared([publish(b"{}")] * 2 + [publish(b"x" * 17_000)]) == 0
        assert await compared([publish(b"{}", b"Idempotency-Key: k")] * 9) == 0
        assert await compared([publish(b"{}", b"X: " + b"y" * HEAD_BYTES_MAX)] * 9) == 0
        assert await compared([publish(b"{}")] * 9, header_bytes_max=HEAD_BYTES_MAX) == 0

    asyncio.run(run())


def known(side: Side, key: bytes = ISSUED) -> None:
    """Bring the connection to know the head."""
    for n in range(3):
        assert side.send(publish(b"{}", key=key)).startswith(b"HTTP/1.1 202 "), n
    assert side.taken == 1


def said(answer: bytes) -> tuple[int, bool]:
    """The status, and whether the connection ends."""
    return int(answer.split()[1]), b"connection: close" in answer


@pytest.mark.parametrize(("act", "status"), [("revoke", 401), ("narrow", 403), ("delete tenant", 404)])
def test_a_change_holds_at_once(act, status):
    """What is taken from a key or a tenant is refused at the next request, although its head is known."""

    async def run() -> None:
        side = Side()
        known(side)
        side.do(act)
        assert said(side.send(publish(b"{}"))) == (status, True)
        assert len(side.publisher.got) == 3

    asyncio.run(run())


def test_a_changed_key_is_known_again():
    """A key that belongs to another tenant now publishes for that one, and soon without the parser."""

    async def run() -> None:
        side = Side()
        known(side)
        side.do("other tenant")
        for _ in range(3):
            side.send(publish(b"{}"))
        assert [got[0] for got in side.publisher.got] == ["acme"] * 3 + ["other"] * 3
        assert side.taken == 3

    asyncio.run(run())


def test_an_end_and_a_rate_are_asked_each_time():
    """A known head with a key past its end is 401, one over its key's or its address's rate 429."""

    async def run() -> None:
        side = Side()
        known(side, ENDING)
        side.do("a second")
        assert said(side.send(publish(b"{}", key=ENDING))) == (401, True)
        side = Side()
        known(side, LIMITED)
        assert said(side.send(publish(b"{}", key=LIMITED))) == (429, True)
        side = Side(address_rate=3)
        known(side)
        assert said(side.send(publish(b"{}"))) == (429, True)

    asyncio.run(run())


def test_uses_of_a_key_are_noted():
    """When a key was last used is noted also where its head is known."""

    async def run() -> None:
        side = Side()
        known(side)
        side.guard.noted.clear()
        side.do("a second")
        side.send(publish(b"{}"))
        assert side.guard.noted == {bytes([1]) * 12: side.now_ms()}

    asyncio.run(run())


def test_heads_that_always_differ_are_left_alone():
    """A client that numbers its heads is looked at a few times only, and never misunderstood."""

    async def run() -> None:
        side = Side()
        for n in range(20):
            side.send(publish(b"{}", b"X-Request-Id: %d" % n).replace(b"Host", b"X-N: %d\r\nHost" % n))
        assert (len(side.publisher.got), side.taken, side.front._lessons) == (20, 0, 0)
        assert LESSONS_MAX < 20

    asyncio.run(run())


@given(st.lists(st.sampled_from([b"A: b", b"a:b", b"a :b", b"C:\t d ", b"E:", b":", b"f", b" g: h"]), max_size=3))
def test_only_what_is_read_alike_is_known(lines):
    """A head is known only where its lines are the parser's fields, and then its parts are its bytes."""
    fields = [(b"content-length", b"12"), (b"a", b"b")]
    data = b"\r\n".join([b"POST /v1/events HTTP/1.1", b"Content-Length: 12", *lines, b"", b"123456789012"])
    found = learn(data, fields, Admission("acme", {}, "", expects=False, allowed=None), "")
    assert (found is not None) == (lines in ([b"A: b"], [b"a:b"]))
    if found is not None:
        assert data == found.before + b"12" + found.after + data[found.body_at(data) :]
