"""What every cache promises. An adapter's test module defines three fixtures and imports `TestCache`.

cache     the adapter, closed after the test
beside    another client of the same server; for a cache in memory the same object
wait      `await wait(seconds)`: so much time passes for the cache

    from hookline.testing.cache_contract import TestCache

A cache may forget what it likes: the suite runs against one that has room. Keys are made anew for each test, so that a
server may be shared.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import pytest

from hookline.core.endpoint import RateSpec
from hookline.core.quota import overdrawn_ms_max
from hookline.ports.cache import (
    CHARGES_MAX,
    KEY_BYTES_MAX,
    TTL_S_MAX,
    VALUE_BYTES_MAX,
    Cache,
    CacheUnavailable,
    Charge,
)

Wait = Callable[[float], Awaitable[None]]
TTL_S = 60.0
SHORT_S = 1.0
LATE_S = 1.2
"""A kept value is gone so long after its time."""
SLACK_MS = 2_000.0
"""A bucket that fills slowly has not gained more than this while a test runs."""
HOURLY = RateSpec(3600, 3600.0, 10)
"""A token a second, ten at most."""


def new_key() -> bytes:
    """One that nothing is kept at."""
    return b"test:" + secrets.token_hex(16).encode()


class TestCache:
    """The promise of `ports.cache.Cache`."""

    async def test_keeps_what_it_is_given(self, cache: Cache, beside: Cache) -> None:
        """What one client sets every client gets, byte for byte, until somebody sets something else."""
        key = new_key()
        assert await cache.get(key) is None
        for value in (b"one", b"", bytes(range(256)) * 9, b"VALUE x 0 1\r\nEND\r\n"):
            await cache.set(key, value, TTL_S)
            assert await cache.get(key) == value
            assert await beside.get(key) == value

    async def test_keeps_keys_apart(self, cache: Cache) -> None:
        """The longest key allowed, and one that differs in its last byte, are two."""
        key = (new_key() * KEY_BYTES_MAX)[: KEY_BYTES_MAX - 1]
        await cache.set(key + b"~", b"1", TTL_S)
        await cache.set(key + b"!", b"2", TTL_S)
        assert (await cache.get(key + b"~"), await cache.get(key + b"!")) == (b"1", b"2")

    async def test_forgets_when_the_time_is_over(self, cache: Cache, wait: Wait) -> None:
        """A value is there before its time is over, and not a second after; its key is free again."""
        key, longer = new_key(), new_key()
        await cache.set(longer, b"x", TTL_S_MAX)
        await cache.set(key, b"x", SHORT_S)
        await wait(SHORT_S + LATE_S)
        assert await cache.get(key) is None
        assert await cache.get(longer) == b"x"
        assert await cache.add(key, b"y", TTL_S)

    async def test_deletes(self, cache: Cache, beside: Cache) -> None:
        """What is deleted is gone for everybody; deleting what is not there is no error."""
        key = new_key()
        await cache.set(key, b"x", TTL_S)
        await beside.delete(key)
        assert await cache.get(key) is None
        await cache.delete(key)

    async def test_adds_only_what_is_not_there(self, cache: Cache, beside: Cache) -> None:
        """The first who adds is told so, everybody else is told that he was not, and the first one's value stays."""
        key = new_key()
        assert await cache.add(key, b"first", TTL_S)
        assert not await beside.add(key, b"second", TTL_S)
        assert await beside.get(key) == b"first"

    async def test_one_of_many_adds(self, cache: Cache, beside: Cache) -> None:
        """Of many who add at once, over several clients, exactly one does."""
        key = new_key()
        asked = [(cache, beside)[number % 2].add(key, b"%d" % number, TTL_S) for number in range(20)]
        assert sum(await asyncio.gather(*asked)) == 1

    async def test_keeps_nothing_that_is_too_large(self, cache: Cache) -> None:
        """The largest value is kept; a larger one is not, nor what was there before it."""
        key, other = new_key(), new_key()
        await cache.set(key, b"x" * VALUE_BYTES_MAX, TTL_S)
        assert len(await cache.get(key) or b"") == VALUE_BYTES_MAX
        await cache.set(key, b"x" * (VALUE_BYTES_MAX + 1), TTL_S)
        assert await cache.get(key) is None
        assert not await cache.add(other, b"x" * (VALUE_BYTES_MAX + 1), TTL_S)
        assert await cache.get(other) is None

    async def test_counts_what_everybody_uses(self, cache: Cache, beside: Cache) -> None:
        """Tokens that several clients charge are counted together, and the bucket says how far ahead it is."""
        key = new_key()
        (ahead_ms,) = await cache.charge([Charge(key, HOURLY, 3)])
        assert 3_000 - SLACK_MS <= ahead_ms <= 3_000
        (ahead_ms,) = await beside.charge([Charge(key, HOURLY, 4)])
        assert 7_000 - SLACK_MS <= ahead_ms <= 7_000
        (ahead_ms,) = await cache.charge([Charge(key, HOURLY, 0)])
        assert 7_000 - SLACK_MS <= ahead_ms <= 7_000

    async def test_a_bucket_fills_again(self, cache: Cache, wait: Wait) -> None:
        """With time a bucket is less ahead, and one that is full is at its time, never behind it."""
        key, rate = new_key(), RateSpec(10, 1.0)
        await cache.charge([Charge(key, rate, 5)])
        await wait(0.3)
        (ahead_ms,) = await cache.charge([Charge(key, rate, 0)])
        assert ahead_ms <= 200
        await wait(0.4)
        (ahead_ms,) = await cache.charge([Charge(key, rate, 1)])
        assert 0 < ahead_ms <= 100

    async def test_a_bucket_falls_only_so_far_below_empty(self, cache: Cache) -> None:
        """However much is charged, a bucket is made up for in a bounded time."""
        key, most_ms = new_key(), overdrawn_ms_max(HOURLY)
        for _ in range(3):
            (ahead_ms,) = await cache.charge([Charge(key, HOURLY, 1_000)])
        assert most_ms - SLACK_MS <= ahead_ms <= most_ms

    async def test_charges_many_at_once(self, cache: Cache) -> None:
        """As many buckets as one call takes are each charged what is theirs, in order."""
        keys = [new_key() for _ in range(CHARGES_MAX)]
        found = await cache.charge([Charge(key, HOURLY, number % 10) for number, key in enumerate(keys)])
        for number, ahead_ms in enumerate(found):
            tokens_ms = number % 10 * 1_000
            assert max(0, tokens_ms - SLACK_MS) <= ahead_ms <= tokens_ms
        assert not await cache.charge([])

    async def test_loses_no_charge_among_many(self, cache: Cache, beside: Cache) -> None:
        """Many clients that charge one bucket at the same moment are all counted."""
        key = new_key()
        asked = [(cache, beside)[number % 2].charge([Charge(key, HOURLY, 1)]) for number in range(8)]
        await asyncio.gather(*asked)
        (ahead_ms,) = await cache.charge([Charge(key, HOURLY, 0)])
        assert 8_000 - SLACK_MS <= ahead_ms <= 8_000

    async def test_is_closed_once(self, cache: Cache) -> None:
        """Closing twice is once; a closed cache says that it is none."""
        await cache.close()
        await cache.close()
        with pytest.raises(CacheUnavailable):
            await cache.get(new_key())
        with pytest.raises(CacheUnavailable):
            await cache.charge([Charge(new_key(), HOURLY, 1)])
