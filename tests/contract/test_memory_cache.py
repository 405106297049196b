"""The cache in memory keeps the promise of the port, and its bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hookline.adapters.caches.memory import ENTRY_BYTES, MemoryCache
from hookline.core.endpoint import RateSpec
from hookline.ports.cache import Charge
from hookline.testing.cache_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.cache_contract import Wait
from hookline.testing.clock import ToldClock


@pytest.fixture
async def cache(clock: ToldClock) -> AsyncIterator[MemoryCache]:
    """A new one."""
    cache = MemoryCache(clock)
    yield cache
    await cache.close()


@pytest.fixture
def beside(cache: MemoryCache) -> MemoryCache:
    """There is only one."""
    return cache


@pytest.fixture
def wait(clock: ToldClock) -> Wait:
    """Time passes by being told."""

    async def wait(wait_s: float) -> None:
        clock.advance(wait_s)

    return wait


async def test_what_was_used_longest_ago_makes_room(clock: ToldClock) -> None:
    """Beyond so many entries the one that nobody asked for longest goes, and is counted."""
    cache = MemoryCache(clock, entries_max=3)
    for key in (b"a", b"b", b"c"):
        await cache.set(key, b"1", 60)
    assert await cache.get(b"a") == b"1"
    await cache.set(b"d", b"1", 60)
    assert [await cache.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", None, b"1", b"1"]
    assert cache.evictions == 1


async def test_bytes_are_bounded(clock: ToldClock) -> None:
    """Large values push others out, whatever their number, and what is gone takes no room."""
    cache = MemoryCache(clock, bytes_max=4 * (1_000 + ENTRY_BYTES + 1))
    for key in (b"a", b"b", b"c", b"d", b"e", b"f"):
        await cache.set(key, b"x" * 1_000, 60)
    assert cache.evictions == 2
    assert cache.size_bytes == 4 * (1_000 + ENTRY_BYTES + 1)
    for key in (b"a", b"b", b"c", b"d", b"e", b"f"):
        await cache.delete(key)
    assert cache.size_bytes == 0


async def test_buckets_are_bounded(clock: ToldClock) -> None:
    """However many names are charged, only so many are remembered: the most recent ones."""
    cache = MemoryCache(clock, entries_max=2)
    rate = RateSpec(1, 60.0)
    for key in (b"a", b"b", b"c"):
        await cache.charge([Charge(key, rate, 1)])
    assert await cache.charge([Charge(b"c", rate, 0), Charge(b"a", rate, 0)]) == [60_000.0, 0.0]
