"""What HOOKLINE_CACHE names: memory, Redis or memcached; and what is kept in it. Each is imported when it is chosen."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Final

from hookline.adapters.caches.memory import MemoryCache
from hookline.core.buckets import Buckets, MakeBuckets, own
from hookline.core.secret import Keyring
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.shared_rates import SharedRates
from hookline.ports.cache import Cache
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.settings import Settings, SettingsError

_LACKS: Final = "HOOKLINE_CACHE names {}, whose driver is not here: pip install 'hookline[{}]'"


class Caching:
    """The cache of one process, and what it shares by it with others."""

    def __init__(self, settings: Settings, clock: Clock, observer: Observer, keyring: Keyring) -> None:
        """Raises `SettingsError` where the driver is missing. Whether the server is there, the first question tells."""
        server = _server(settings.cache, clock)
        self.shared = server is not None
        """Whether other processes may have the same one."""
        self.cache = GuardedCache(server or MemoryCache(clock), clock, observer, keyring if self.shared else None)
        self._rates = SharedRates(self.cache, clock) if self.shared else None

    @property
    def buckets(self) -> MakeBuckets:
        """Buckets for rates: shared where the cache is."""
        return own if self._rates is None else self._rates.buckets

    def address_buckets(self, addresses_max: int) -> Buckets:
        """Buckets of client addresses."""
        kind = "client addresses"
        return Buckets(addresses_max) if self._rates is None else self._rates.buckets(kind, addresses_max)

    def counts(self) -> Mapping[str, int]:
        """What was asked of it since the start, for a log line."""
        counts = self.cache.counts
        return {
            "hits": counts.hits.total(),
            "misses": counts.misses.total(),
            "evictions": self.cache.evictions,
            "errors": counts.errors,
            "bypassed": counts.bypassed,
        }

    async def close(self) -> None:
        """End."""
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
