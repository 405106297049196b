"""What HOOKLINE_CACHE names: memory, Redis or memcached; and what is kept in it. Each is imported when it is chosen."""

from __future__ import annotations

import importlib.util
from typing import Final

from hookline.adapters.caches.memory import MemoryCache
from hookline.adapters.observers.prometheus import CacheGauges
from hookline.core.buckets import MakeBuckets, own
from hookline.core.secret import Keyring
from hookline.flow.engine import Engine
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.reads import Reads, standing
from hookline.flow.shared_rates import SharedRates
from hookline.ports.cache import Cache
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.settings import Settings, SettingsError
from hookline.web.address_rate import ADDRESSES_MAX, AddressRate

_LACKS: Final = "HOOKLINE_CACHE names {}, whose driver is not here: pip install 'hookline[{}]'"


class Caching:
    """The cache of one process, and what it shares by it with others."""

    def __init__(self, settings: Settings, clock: Clock, observer: Observer, keyring: Keyring) -> None:
        """Raises `SettingsError` where the driver is missing. Whether the server is there, the first question tells."""
        server = _server(settings.cache, clock)
        self.shared = server is not None
        """Whether other processes may have the same one."""
        self._clock = clock
        self._observer = observer
        self.cache = GuardedCache(server or MemoryCache(clock), clock, observer, keyring if self.shared else None)
        self._rates = SharedRates(self.cache, clock) if self.shared else None

    @property
    def buckets(self) -> MakeBuckets:
        """Buckets for rates: shared where the cache is."""
        return own if self._rates is None else self._rates.buckets

    def address_rate(self, rate: tuple[int, float] | None) -> AddressRate | None:
        """What bounds the requests of a client address: so many in so many seconds."""
        if rate is None:
            return None
        shared = None if self._rates is None else self._rates.buckets("client addresses", ADDRESSES_MAX)
        return AddressRate(*rate, self._clock.monotonic_s, buckets=shared)

    def reads(self, engine: Engine) -> Reads:
        """Answers to reads that are kept in it."""
        return Reads(self.cache, self._clock, standing(engine.registry, engine.follow))

    def gauges(self, reads: Reads) -> CacheGauges:
        """What was asked of it since the start."""
        counts = self.cache.counts
        return CacheGauges(
            hits=counts.hits,
            misses=counts.misses,
            evictions=self.cache.evictions,
            errors=counts.errors,
            bypassed=counts.bypassed,
            queries_saved=reads.queries_saved,
        )

    async def close(self, reads: Reads) -> None:
        """End, and sum up."""
        sums = self.gauges(reads)
        self._observer.fact(
            "cache_used",
            hits=sum(sums.hits.values()),
            misses=sum(sums.misses.values()),
            evictions=sums.evictions,
            errors=sums.errors,
            bypassed=sums.bypassed,
            queries_saved=sums.queries_saved,
        )
        if self._rates is not None:
            await self._rates.close()
        await self.cache.close()


def _server(url: str, clock: Clock) -> Cache | None:
    """The cache server's; None: there is none."""
    if url.startswith(("redis://", "rediss://")):
        _require("redis", "Redis", "redis")
        from hookline.adapters.caches.redis import RedisCache

        return RedisCache(url)
    if url.startswith("memcached://"):
        _require("emcache", "memcached", "memcached")
        from hookline.adapters.caches.memcached import MemcachedCache

        return MemcachedCache(url, clock)
    return None


def _require(module: str, name: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise SettingsError(_LACKS.format(name, extra))
