"""The cache on memcached keeps the promise of the port, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.servers.memcached import Memcached, serving

from hookline.adapters.caches.memcached import MemcachedCache, parse
from hookline.adapters.clock import SystemClock
from hookline.ports.cache import CacheUnavailable
from hookline.testing.cache_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.cache_contract import TTL_S, Wait, new_key

pytest.importorskip("emcache")


@pytest.fixture(scope="module")
def memcached() -> Iterator[Memcached]:
    """The server."""
    yield from serving()


@pytest.fixture
async def cache(memcached: Memcached) -> AsyncIterator[MemcachedCache]:
    """A client."""
    cache = MemcachedCache(memcached.url, SystemClock())
    yield cache
    await cache.close()


@pytest.fixture
async def beside(memcached: Memcached) -> AsyncIterator[MemcachedCache]:
    """Another one."""
    cache = MemcachedCache(memcached.url, SystemClock())
    yield cache
    await cache.close()


@pytest.fixture
def wait() -> Wait:
    """Time passes by itself."""
    return asyncio.sleep


async def test_a_server_that_was_restarted_is_found_again_at_once(memcached: Memcached, cache: MemcachedCache) -> None:
    """While the server is away the cache says so; when it is back the next question is answered."""
    await cache.set(new_key(), b"x", TTL_S)
    memcached.kill()
    with pytest.raises((CacheUnavailable, TimeoutError)):
        await asyncio.wait_for(cache.get(new_key()), 0.2)
    with pytest.raises((CacheUnavailable, TimeoutError)):
        await asyncio.wait_for(cache.get(new_key()), 0.2)
    memcached.start()
    assert await asyncio.wait_for(cache.get(new_key()), 2.0) is None


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("memcached://one", (None, None, [("one", 11211)])),
        ("memcached://one:1,[::1]:2", (None, None, [("one", 1), ("::1", 2)])),
        ("memcached://me:p%40ss@one:1", ("me", "p@ss", [("one", 1)])),
    ],
)
def test_urls(url: str, found: object) -> None:
    """Servers with and without a port, and an account before them."""
    assert parse(url) == found


@pytest.mark.parametrize(
    "url", ["memcached://", "redis://one", "memcached://one/2", "memcached://me@one", "memcached://one:x"]
)
def test_urls_that_are_none(url: str) -> None:
    """What names no server is refused."""
    with pytest.raises(ValueError):
        parse(url)
