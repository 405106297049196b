"""The guarded cache: whatever its server does, nobody fails for it or waits long; and what lies there is sealed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from hookline.adapters.caches.memory import MemoryCache
from hookline.core.endpoint import RateSpec
from hookline.core.secret import Keyring
from hookline.flow.guarded_cache import ASKING_MAX, BYPASS_S, TIMEOUT_S, GuardedCache
from hookline.ports.cache import VALUE_BYTES_MAX, CacheUnavailable, Charge
from hookline.testing.clock import ToldClock
from tests.flow.rig import SilentObserver

KEYRING = Keyring([b"k" * 32])
CHARGE = Charge(b"rate:x", RateSpec(10, 1.0), 3)


class Server(MemoryCache):
    """A server that does as it is told: `error` is raised, `hangs` answers nothing."""

    def __init__(self, clock: ToldClock) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def _does(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.error is not None:
            raise self.error

    async def get(self, key: bytes) -> bytes | None:
        await self._does()
        return await super().get(key)

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        await self._does()
        await super().set(key, value, ttl_s)

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        await self._does()
        return await super().charge(charges)

    @property
    def kept(self) -> dict[bytes, bytes]:
        return {key: value for key, (_, value) in self._entries.items()}


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def server(clock: ToldClock) -> Server:
    return Server(clock)


@pytest.fixture
def observer() -> SilentObserver:
    return SilentObserver()


@pytest.fixture
def cache(server: Server, clock: ToldClock, observer: SilentObserver) -> GuardedCache:
    return GuardedCache(server, clock, observer, KEYRING)


async def test_what_is_kept_is_found(cache: GuardedCache) -> None:
    """Any bytes are a key; hits and misses are counted by use."""
    key = b"event:\0\xff " + b"long" * 100
    assert await cache.get(key) is None
    await cache.set(key, b"value", 60)
    assert await cache.get(key) == b"value"
    assert not await cache.add(key, b"other", 60)
    await cache.delete(key)
    assert await cache.get(key) is None
    assert (cache.counts.hits["event"], cache.counts.misses["event"], cache.counts.errors) == (1, 2, 0)


@pytest.mark.parametrize("error", [CacheUnavailable("away"), ValueError("odd"), ConnectionResetError()])
async def test_a_failing_server_is_left_alone_for_a_while(cache, server, clock, observer, error) -> None:
    """Each question has its harmless answer; one fails each second, all others are not even asked."""
    server.error = error
    assert await cache.get(b"event:x") is None
    await cache.set(b"event:x", b"1", 60)
    assert await cache.add(b"event:x", b"1", 60) is False
    assert await cache.charge([CHARGE]) == ()
    await cache.delete(b"event:x")
    assert server.asked == 1
    assert (cache.counts.errors, cache.counts.bypassed) == (1, 4)
    clock.advance(BYPASS_S)
    assert await cache.get(b"event:x") is None
    assert await cache.get(b"event:x") is None
    assert server.asked == 2
    assert {name for name, _ in observer.warnings} == {"cache_unavailable"}
    server.error = None
    clock.advance(BYPASS_S)
    await cache.set(b"event:x", b"1", 60)
    assert await cache.get(b"event:x") == b"1"


async def test_a_stalled_server_delays_few_and_shortly(cache: GuardedCache, server: Server, clock: ToldClock) -> None:
    """Who asks first waits for the timeout, who asks meanwhile no longer; then nobody waits, and later one."""
    server.hangs = True
    began_s = time.monotonic()
    await asyncio.gather(*(cache.get(b"event:x") for _ in range(20)))
    assert TIMEOUT_S <= time.monotonic() - began_s < 10 * TIMEOUT_S
    began_s = time.monotonic()
    for _ in range(100):
        assert await cache.get(b"event:x") is None
    assert time.monotonic() - began_s < TIMEOUT_S
    asked = server.asked
    clock.advance(BYPASS_S)
    await asyncio.gather(*(cache.get(b"event:x") for _ in range(20)))
    assert server.asked == asked + 1


async def test_a_crowd_is_no_failure(cache: GuardedCache, server: Server) -> None:
    """Where very many ask at once only so many are passed on, the others find nothing; what must be said is said."""
    server.hangs = True
    crowd = [asyncio.create_task(cache.get(b"event:x")) for _ in range(ASKING_MAX + 10)]
    await asyncio.sleep(0)
    assert (server.asked, cache.counts.bypassed) == (ASKING_MAX, 10)
    assert cache.counts.errors == 0
    server.hangs = False
    await cache.set(b"event:x", b"1", 60)
    assert server.asked == ASKING_MAX + 1
    for asking in crowd:
        asking.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert await cache.get(b"event:x") == b"1"


async def test_a_cancelled_probe_is_not_the_last(cache: GuardedCache, server: Server, clock: ToldClock) -> None:
    """A client that goes while his question finds out whether the server is back leaves the next one to find out."""
    server.error = CacheUnavailable("away")
    await cache.get(b"event:x")
    clock.advance(BYPASS_S)
    server.error, server.hangs = None, True
    probe = asyncio.create_task(cache.get(b"event:x"))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    server.hangs = False
    await cache.set(b"event:x", b"1", 60)
    assert await cache.get(b"event:x") == b"1"


async def test_a_server_learns_nothing(cache: GuardedCache, server: Server) -> None:
    """Neither keys nor values are to be seen there, and equal ones do not look alike."""
    await cache.set(b"event:secret-name", b"secret-payload", 60)
    await cache.set(b"event:other", b"secret-payload", 60)
    (one, other) = server.kept.items()
    assert all(b"secret" not in part for part in (*one, *other))
    assert one[1] != other[1]
    assert all(key.isascii() and b" " not in key and len(key) < 64 for key in server.kept)


async def test_a_server_cannot_make_anybody_believe_anything(cache, server, clock, observer) -> None:
    """What was changed, was sealed by another installation, or lies at another key is as good as nothing."""
    await cache.set(b"keys:good", b"good", 60)
    await cache.set(b"keys:bad", b"bad", 60)
    good, bad = server.kept
    for forged in (server.kept[bad], server.kept[good][:-1] + b"x", b"", b"plain"):
        await MemoryCache.set(server, good, forged, 60)
        assert await cache.get(b"keys:good") is None
    stranger = GuardedCache(server, clock, observer, Keyring([b"x" * 32]))
    await cache.set(b"keys:good", b"good", 60)
    assert await stranger.get(b"keys:good") is None
    await stranger.set(b"keys:good", b"theirs", 60)
    assert await cache.get(b"keys:good") == b"good"


async def test_an_old_value_is_no_value(cache: GuardedCache, server: Server, clock: ToldClock) -> None:
    """Who puts back what lay there before achieves nothing once its time is over."""
    await cache.set(b"event:x", b"old", 60)
    ((name, sealed),) = server.kept.items()
    for wait_s, found in ((59, b"old"), (7, None)):
        clock.advance(wait_s)
        await MemoryCache.set(server, name, sealed, 60)
        assert await cache.get(b"event:x") == found


async def test_without_a_server_nothing_is_sealed(server: Server, clock: ToldClock, observer: SilentObserver) -> None:
    """In this process's memory a value lies as it is."""
    cache = GuardedCache(server, clock, observer)
    await cache.set(b"event:x", b"value", 60)
    assert server.kept == {b"event:x": b"value"}


async def test_what_is_too_large_is_not_kept(cache: GuardedCache) -> None:
    """A value that a server would not take costs nothing but its absence."""
    await cache.set(b"event:x", b"x" * VALUE_BYTES_MAX, 60)
    assert await cache.get(b"event:x") is None
    assert cache.counts.errors == 0
