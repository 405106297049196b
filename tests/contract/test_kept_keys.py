"""Kept keys over the HTTP sender's guarded fetch keep the promise of the port; the guard, and the bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.flow.rig import SilentObserver

from hookline.adapters.caches.memory import MemoryCache
from hookline.adapters.clock import SystemClock
from hookline.adapters.keys import system_roots
from hookline.adapters.keys.kept import ENTRIES_MAX, FAILURE_S, FLIGHTS_MAX, GROUP_FLIGHTS_MAX, KeptKeys
from hookline.adapters.senders.fetch import ANSWER_BYTES_MAX
from hookline.adapters.senders.http import HttpSender
from hookline.core.address import Networks
from hookline.core.secret import Keyring
from hookline.core.verifiers.certificates import SYSTEM_ROOTS, SYSTEM_ROOTS_URL
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.flow.guarded_cache import GuardedCache
from hookline.testing.answers import hang, reply
from hookline.testing.clock import ToldClock
from hookline.testing.keys_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.receiver import Receiver

NOTHING = Fetched(0, b"")


class _Far:
    """A receiver on the loopback as the other side."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.url = receiver.url

    def answer(self, path: str, status: int, body: bytes) -> None:
        self.receiver.answer(path, reply(status, body) if status else hang())

    def asked(self, path: str) -> int:
        return len(self.receiver.to(path))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The other side."""
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def far(receiver: Receiver) -> _Far:
    """The other side as the suite asks for it."""
    return _Far(receiver)


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    """A sender that may reach the loopback's first address and nothing else of it."""
    sender = HttpSender(Networks(["127.0.0.1/32"]), SystemClock(), https_only=False, version="1.2.3")
    yield sender
    await sender.close()


@pytest.fixture
async def keys(sender: HttpSender) -> AsyncIterator[KeptKeys]:
    """The adapter."""
    keys = KeptKeys(sender.fetch, SystemClock())
    yield keys
    await keys.close()


async def fetch_from(keys: KeptKeys, url: str, method: str = "GET", headers=(), body: bytes = b"") -> Fetched:
    return await keys.fetch(Fetch("n", url, method, tuple(headers), body), within_s=10.0, group="default")


async def test_an_address_that_is_not_opened_is_not_reached(sender: HttpSender, keys: KeptKeys) -> None:
    """The guard of deliveries stands here too: where the socket is opened, for names and addresses alike."""
    async with Receiver(host="127.0.0.2") as other:
        assert await fetch_from(keys, other.url + "/") == NOTHING
        assert other.connections == 0
    for url in ("http://169.254.169.254/latest/", "http://localhost:9/", "http://[::1]/"):
        assert await fetch_from(keys, url) == NOTHING


async def test_a_redirect_is_told_and_not_followed(keys: KeptKeys, receiver: Receiver) -> None:
    """Where a certificate's server sends us is not where we asked."""
    receiver.answer("/moved", reply(302, b"x", headers=[(b"location", receiver.url.encode() + b"/secret")]))
    assert await fetch_from(keys, receiver.url + "/moved") == Fetched(302, b"")
    assert receiver.to("/secret") == []


async def test_more_than_the_limit_is_nothing(keys: KeptKeys, receiver: Receiver) -> None:
    """An answer is whole or it is none."""
    receiver.answer("/big", reply(200, b"x" * (ANSWER_BYTES_MAX + 1)))
    receiver.answer("/just", reply(200, b"x" * ANSWER_BYTES_MAX))
    assert await fetch_from(keys, receiver.url + "/big") == NOTHING
    assert len((await fetch_from(keys, receiver.url + "/just")).body) == ANSWER_BYTES_MAX


async def test_a_post_has_its_headers_and_its_body(keys: KeptKeys, receiver: Receiver) -> None:
    """What a verifier asks with arrives as it wrote it."""
    headers = (("Content-Type", "application/json"), ("Authorization", "Bearer x"))
    assert await fetch_from(keys, receiver.url + "/ask?a=%20", "POST", headers, b'{"a": 1}') == Fetched(200, b"")
    (got,) = receiver.requests
    assert (got.method, got.path, got.body) == ("POST", "/ask?a=%20", b'{"a": 1}')
    assert got.header("authorization") == "Bearer x"
    assert got.header("content-type") == "application/json"
    assert got.header("user-agent") == "Hookline/1.2.3"


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x y", "1"), ("Host", "other"), ("Content-Length", "3")])
async def test_a_header_that_would_be_another_request_gives_nothing(keys, receiver, header) -> None:
    """What a payload says cannot break out of its header."""
    assert await fetch_from(keys, receiver.url + "/", headers=(header,)) == NOTHING
    assert receiver.connections == 0


# ------------------------------------------------------------------------------------------------------ bounds


class _Told:
    """Answers by what it was told, when it may."""

    def __init__(self) -> None:
        self.status = 200
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, fetch: Fetch, deadline_s: float, group: str) -> Fetched:
        self.count += 1
        await self.gate.wait()
        return Fetched(self.status, fetch.url.encode())


@pytest.fixture
def clock() -> ToldClock:
    """A clock that is told."""
    return ToldClock()


@pytest.fixture
def told() -> _Told:
    """The other side, told."""
    return _Told()


async def test_what_is_kept_ends_and_a_failure_ends_soon(clock: ToldClock, told: _Told) -> None:
    """After `keep_s` it is fetched again; what did not come, after five seconds."""
    keys = KeptKeys(told, clock)
    for status, keep_s, kept_s in ((200, 60.0, 60.0), (503, 60.0, FAILURE_S)):
        told.status = status
        fetch = Fetch("n", f"https://x/{status}", keep_s=keep_s)
        before = told.count
        for wait_s, asked in ((0.0, 1), (kept_s - 0.1, 1), (0.2, 2)):
            clock.advance(wait_s)
            await keys.fetch(fetch, within_s=1.0, group="g")
            assert told.count - before == asked


async def test_fetches_at_once_are_bounded_by_group_and_in_all(clock: ToldClock, told: _Told) -> None:
    """One tenant's forgers have a quarter of the fetches; whoever finds no room gets nothing, at once."""
    keys = KeptKeys(told, clock)
    told.gate.clear()

    def asking(n: int, group: str) -> asyncio.Future[Fetched]:
        return asyncio.ensure_future(keys.fetch(Fetch("n", f"https://x/{group}/{n}"), within_s=9.0, group=group))

    waiting = [asking(n, "noisy") for n in range(GROUP_FLIGHTS_MAX)]
    await asyncio.sleep(0)
    assert await asking(99, "noisy") == NOTHING
    waiting += [asking(n, f"g{n}") for n in range(FLIGHTS_MAX - GROUP_FLIGHTS_MAX)]
    await asyncio.sleep(0)
    assert await asking(99, "late") == NOTHING
    told.gate.set()
    assert all(one.status == 200 for one in await asyncio.gather(*waiting))
    assert (await asking(100, "noisy")).status == 200


async def test_what_is_kept_is_bounded(clock: ToldClock, told: _Told) -> None:
    """The oldest goes when there are too many."""
    keys = KeptKeys(told, clock)
    for n in range(ENTRIES_MAX + 1):
        await keys.fetch(Fetch("n", f"https://x/{n}"), within_s=1.0, group="g")
    before = told.count
    await keys.fetch(Fetch("n", "https://x/1"), within_s=1.0, group="g")
    assert told.count == before
    await keys.fetch(Fetch("n", "https://x/0"), within_s=1.0, group="g")
    assert told.count == before + 1


async def test_the_machines_own_authorities_are_no_address() -> None:
    """What the machine trusts is asked for by a name of its own, and comes without a fetch."""

    async def get(_fetch: Fetch, _deadline_s: float, _group: str) -> Fetched:
        raise AssertionError("fetched")

    keys = KeptKeys(get, SystemClock())
    found = await keys.fetch(Fetch(SYSTEM_ROOTS, SYSTEM_ROOTS_URL), within_s=10.0, group="default")
    assert found == system_roots.answer()
    assert found.status == 0 or b"-----BEGIN CERTIFICATE-----" in found.body
    await keys.close()


# ------------------------------------------------------------------------------------------ shared with others


@pytest.fixture
def shared(clock: ToldClock) -> GuardedCache:
    """A cache that several processes have."""
    return GuardedCache(MemoryCache(clock), clock, SilentObserver(), Keyring([b"k" * 32]))


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_one_fetched_another_finds(told: _Told, clock: ToldClock, shared: GuardedCache) -> None:
    """Processes that share a cache fetch once, and none keeps it longer than who fetched it."""
    one, other = KeptKeys(told, clock, shared), KeptKeys(told, clock, shared)
    fetch = Fetch("n", "https://keys.example/1", keep_s=60.0)
    first = await one.fetch(fetch, within_s=1.0, group="a")
    await _settled()
    clock.advance(40)
    assert await other.fetch(fetch, within_s=1.0, group="b") == first
    assert told.count == 1
    clock.advance(19)
    assert await other.fetch(fetch, within_s=1.0, group="b") == first
    assert told.count == 1
    clock.advance(2)
    await other.fetch(fetch, within_s=1.0, group="b")
    assert told.count == 2
    await one.close()
    await other.close()


async def test_only_what_may_be_kept_is_shared(told: _Told, clock: ToldClock, shared: GuardedCache) -> None:
    """Failures, and what is for one request alone, every process finds out for itself; a secret names another fetch."""
    one, other = KeptKeys(told, clock, shared), KeptKeys(told, clock, shared)
    token = Fetch("token", "https://keys.example/t", "POST", (("authorization", "Basic YTpi"),), b"grant")
    for fetch in (Fetch("n", "https://keys.example/1", keep_s=0.0), token):
        for keys in (one, other):
            told.status = 500 if fetch is token else 200
            await keys.fetch(fetch, within_s=1.0, group="a")
            await _settled()
    assert told.count == 4
    told.status = 200
    clock.advance(FAILURE_S)
    await one.fetch(token, within_s=1.0, group="a")
    await _settled()
    stranger = Fetch("token", "https://keys.example/t", "POST", (("authorization", "Basic YTpj"),), b"grant")
    await other.fetch(stranger, within_s=1.0, group="a")
    assert told.count == 6
    await one.close()
    await other.close()


async def test_keys_are_fetched_where_the_cache_is_away(told: _Told, clock: ToldClock) -> None:
    """A cache that fails is as one that has nothing."""
    server = MemoryCache(clock)
    await server.close()
    keys = KeptKeys(told, clock, GuardedCache(server, clock, SilentObserver(), Keyring([b"k" * 32])))
    fetch = Fetch("n", "https://keys.example/1", keep_s=60.0)
    assert (await keys.fetch(fetch, within_s=1.0, group="a")).status == 200
    await _settled()
    assert (await keys.fetch(fetch, within_s=1.0, group="a")).status == 200
    assert told.count == 1
    await keys.close()
