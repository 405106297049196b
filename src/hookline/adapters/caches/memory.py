"""A cache in this process's memory: bounded in number and size, what was used longest ago makes room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from hookline.core.quota import charge
from hookline.ports.cache import VALUE_BYTES_MAX, CacheUnavailable, Charge
from hookline.ports.clock import Clock

ENTRIES_MAX: Final = 65_536
BYTES_MAX: Final = 32 * 1024 * 1024
ENTRY_BYTES: Final = 256
"""What an entry costs beside its key and value, about."""


class MemoryCache:
    """`ports.cache.Cache`, of one process and for one event loop. It never fails until it is closed."""

    def __init__(self, clock: Clock, *, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        """Until when by the monotonic clock, and what; what was used longest ago first."""
        self._bytes = 0
        self._buckets: OrderedDict[bytes, float] = OrderedDict()
        self._evictions = 0
        self._closed = False

    @property
    def evictions(self) -> int:
        """See `Cache`."""
        return self._evictions

    @property
    def size_bytes(self) -> int:
        """What it takes of the memory, about."""
        return self._bytes

    async def get(self, key: bytes) -> bytes | None:
        """See `Cache`."""
        self._check()
        return self._found(key)

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See `Cache`."""
        self._check()
        self._put(key, value, ttl_s)

    async def add(self, key: bytes, value: bytes, ttl_s: float) -> bool:
        """See `Cache`."""
        self._check()
        if len(value) > VALUE_BYTES_MAX or self._found(key) is not None:
            return False
        self._put(key, value, ttl_s)
        return True

    async def delete(self, key: bytes) -> None:
        """See `Cache`."""
        self._check()
        self._forget(key)

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        """See `Cache`."""
        self._check()
        now_ms = self._clock.monotonic_s() * 1000.0
        return [self._charge(one, now_ms) for one in charges]

    async def close(self) -> None:
        """See `Cache`."""
        self._closed = True
        self._entries.clear()
        self._buckets.clear()
        self._bytes = 0

    def _check(self) -> None:
        if self._closed:
            raise CacheUnavailable("the cache is closed")

    def _found(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock.monotonic_s() >= entry[0]:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def _put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        self._forget(key)
        if len(value) > VALUE_BYTES_MAX:
            return
        self._entries[key] = (self._clock.monotonic_s() + ttl_s, value)
        self._bytes += len(key) + len(value) + ENTRY_BYTES
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            self._forget(next(iter(self._entries)))
            self._evictions += 1

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(key) + len(entry[1]) + ENTRY_BYTES

    def _charge(self, one: Charge, now_ms: float) -> float:
        tat_ms = charge(self._buckets.pop(one.key, 0.0), now_ms, one.rate, one.count)
        self._buckets[one.key] = tat_ms
        while len(self._buckets) > self._entries_max:
            self._buckets.popitem(last=False)
        return max(0.0, tat_ms - now_ms)
