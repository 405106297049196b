"""The cache on Redis keeps the promise of the port, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.servers.valkey import Valkey, serving

from hookline.adapters.caches.redis import RedisCache
from hookline.ports.cache import CacheUnavailable
from hookline.testing.cache_contract import *  # noqa: F403  the suite is the tests of this module
from hookline.testing.cache_contract import TTL_S, Wait, new_key


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """The server."""
    yield from serving()


@pytest.fixture
async def cache(valkey: Valkey) -> AsyncIterator[RedisCache]:
    """A client."""
    cache = RedisCache(valkey.url)
    yield cache
    await cache.close()


@pytest.fixture
async def beside(valkey: Valkey) -> AsyncIterator[RedisCache]:
    """Another one."""
    cache = RedisCache(valkey.url)
    yield cache
    await cache.close()


@pytest.fixture
def wait() -> Wait:
    """Time passes by itself."""
    return asyncio.sleep


async def test_a_server_that_was_restarted_is_found_again_at_once(valkey: Valkey, cache: RedisCache) -> None:
    """While the server is away the cache says so; when it is back the next question is answered."""
    await cache.set(new_key(), b"x", TTL_S)
    valkey.kill()
    for _ in range(2):
        with pytest.raises(CacheUnavailable):
            await asyncio.wait_for(cache.get(new_key()), 1.0)
    valkey.start()
    assert await asyncio.wait_for(cache.get(new_key()), 1.0) is None


async def test_a_password_is_not_told() -> None:
    """What is said of a server that does not let us in names no password."""
    cache = RedisCache("redis://user:hunter2secret@127.0.0.1:1/0")
    with pytest.raises(CacheUnavailable) as failed:
        await cache.get(new_key())
    assert "hunter2secret" not in str(failed.value)
    await cache.close()
