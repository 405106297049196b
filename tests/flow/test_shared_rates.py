"""Rates that several processes keep together: the error is bounded and made up for; alone each keeps its own."""

from __future__ import annotations

import asyncio

import pytest

from hookline.adapters.caches.memory import MemoryCache
from hookline.core.endpoint import RateSpec
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.shared_rates import EVERY_S, OWED_MAX, SharedRates
from hookline.testing.clock import ToldClock
from tests.flow.rig import SilentObserver

TURNS = 6
"""Of the loop, in which a charge comes and goes."""


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def server(clock: ToldClock) -> MemoryCache:
    return MemoryCache(clock)


class Node:
    """One process."""

    def __init__(self, server: MemoryCache, clock: ToldClock) -> None:
        self.clock = clock
        self.cache = GuardedCache(server, clock, SilentObserver())
        self.rates = SharedRates(self.cache, clock)
        self.buckets = self.rates.buckets("tenants")

    def take(self, rate: RateSpec, name: object = "acme", count: int = 1) -> bool:
        return self.buckets.take(name, self.clock.monotonic_s() * 1000.0, rate, count) == 0


async def turn(clock: ToldClock, wait_s: float = 0.0) -> None:
    """Let the charges that are due come and go."""
    clock.advance(wait_s)
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("rate", [RateSpec(100, 1.0), RateSpec(10, 1.0, 1), RateSpec(60, 60.0, 5)])
async def test_together_they_hold_to_the_rate(
    server: MemoryCache, clock: ToldClock, rate: RateSpec, count: int
) -> None:
    """However many processes ask as fast as they can, in the long run they get the rate, and no more than what each
    takes at once beyond it."""
    nodes = [Node(server, clock) for _ in range(count)]
    burst = rate.n if rate.burst is None else rate.burst
    taken = 0
    for _ in range(1_000):
        for node in nodes:
            while node.take(rate):
                taken += 1
        await turn(clock, 0.01)
    fair = burst + 10.0 * rate.n / rate.per_s
    assert fair - burst - 1 <= taken <= fair + count * burst
    for node in nodes:
        await node.rates.close()


async def test_what_one_takes_another_does_not_get(server: MemoryCache, clock: ToldClock) -> None:
    """A bucket that one process emptied is empty for another as soon as it has charged something itself."""
    one, other = Node(server, clock), Node(server, clock)
    rate = RateSpec(100, 100.0)
    assert one.take(rate, count=99)
    await turn(clock)
    assert other.take(rate)
    await turn(clock)
    assert not other.take(rate)
    assert not one.take(rate, count=2)
    await turn(clock, 2.0)
    assert other.take(rate)


async def test_names_kinds_and_given_back_tokens(server: MemoryCache, clock: ToldClock) -> None:
    """Names are apart, as kinds are; what is given back before it was charged was never taken."""
    one, other = Node(server, clock), Node(server, clock)
    rate = RateSpec(2, 60.0)
    assert one.take(rate, (b"id", "192.0.2.1"), 2)
    assert other.take(rate, (b"id", "192.0.2.2"), 2)
    assert one.rates.buckets("keys").take((b"id", "192.0.2.1"), clock.monotonic_s() * 1000.0, rate, 2) == 0
    assert one.take(rate, "given", 2)
    one.buckets.give_back("given", rate, 2)
    await turn(clock)
    assert other.take(rate, "given")
    await turn(clock)
    assert other.take(rate, "given")


async def test_without_the_cache_each_holds_to_the_rate_itself(server: MemoryCache, clock: ToldClock) -> None:
    """When the server is gone the process's own view counts: the rate holds for each."""
    node = Node(server, clock)
    await server.close()
    rate, taken = RateSpec(10, 1.0), 0
    for _ in range(300):
        while node.take(rate):
            taken += 1
        await turn(clock, 0.01)
    assert 35 <= taken <= 41


async def test_charging_is_seldom_and_bounded(server: MemoryCache, clock: ToldClock, monkeypatch) -> None:
    """However many tokens are taken, the cache is asked at most once in 20 ms; what waits is bounded."""
    node, asked = Node(server, clock), []
    real = server.charge

    async def charge(charges):
        asked.append(len(charges))
        return await real(charges)

    monkeypatch.setattr(server, "charge", charge)
    rate = RateSpec(1_000_000, 1.0)
    for _ in range(10):
        for _ in range(100):
            assert node.take(rate)
        await turn(clock, EVERY_S / 2)
    assert sum(asked) == len(asked) <= 6
    for name in range(OWED_MAX + 50):
        assert node.take(rate, name)
    assert len(node.rates._owed) <= OWED_MAX
    await node.rates.close()


async def test_it_charges_again_after_everything_was_charged(server: MemoryCache, clock: ToldClock) -> None:
    """Charging ends when nothing is owed, and begins again when something is."""
    node = Node(server, clock)
    rate = RateSpec(10, 100.0)
    for taken in (1, 2, 3):
        assert node.take(rate)
        await turn(clock)
        await turn(clock, EVERY_S)
        assert node.rates._charging is None
        assert len(server._buckets) == 1
        assert next(iter(server._buckets.values())) >= clock.monotonic_s() * 1000 + (taken * 10_000 - 500)
