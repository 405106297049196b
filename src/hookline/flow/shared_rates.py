"""Rates that several processes keep together, through the cache, without waiting for it.

Each process takes tokens of its own view of a bucket, at once, and charges them to the shared bucket afterwards, all
names in one call, at most every `EVERY_S`; what the others charged comes back with the answer and moves the view. So
together they exceed a rate by what each takes of its view between two charges (after a pause by one burst for each at
most), and make up for it afterwards. While the cache does not answer, each process holds to the rate by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hookline.core.buckets import BUCKETS_MAX, Buckets
from hookline.core.endpoint import RateSpec
from hookline.flow.guarded_cache import GuardedCache
from hookline.ports.cache import CHARGES_MAX, Charge
from hookline.ports.clock import Clock

EVERY_S: Final = 0.02
OWED_MAX: Final = 4096
"""So many names wait at once to be charged; what is beyond is held to by this process alone."""


class SharedRates:
    """Makes buckets that are shared, and charges what is taken of them."""

    def __init__(self, cache: GuardedCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._owed: dict[bytes, _Owed] = {}
        self._charging: asyncio.Task[None] | None = None

    def buckets(self, kind: str, buckets_max: int = BUCKETS_MAX) -> Buckets:
        """Buckets of a kind, the same in every process that has the same cache."""
        return _Shared(self, kind.encode(), buckets_max)

    def owe(self, key: bytes, buckets: Buckets, name: object, rate: RateSpec, count: int) -> None:
        """So many tokens were taken (or, below 0, given back)."""
        owed = self._owed.get(key)
        if owed is not None:
            owed.rate, owed.count = rate, owed.count + count
        elif count > 0 and len(self._owed) < OWED_MAX:
            self._owed[key] = _Owed(buckets, name, rate, count)
        if self._charging is None and self._owed:
            self._charging = asyncio.get_running_loop().create_task(self._charge())

    async def _charge(self) -> None:
        """Charge until nothing is owed."""
        try:
            while self._owed:
                batch = {key: self._owed.pop(key) for key in list(self._owed)[:CHARGES_MAX]}
                since_ms = self._clock.monotonic_s() * 1000.0
                found = await self._cache.charge(
                    [Charge(b"rate:" + key, owed.rate, max(0, owed.count)) for key, owed in batch.items()]
                )
                for (key, owed), ahead_ms in zip(batch.items(), found, strict=bool(found)):
                    again = self._owed.get(key)
                    more_ms = 0.0 if again is None else again.count * owed.rate.per_s * 1000.0 / owed.rate.n
                    owed.buckets.used_until(owed.name, since_ms + ahead_ms + more_ms)
                if not found:
                    self._owed.clear()
                await self._clock.sleep(EVERY_S)
        finally:
            self._charging = None

    async def close(self) -> None:
        """Charge nothing any more."""
        if self._charging is not None:
            self._charging.cancel()
            await asyncio.gather(self._charging, return_exceptions=True)


class _Owed:
    """Tokens of one bucket that are taken and not charged yet."""

    __slots__ = ("buckets", "count", "name", "rate")

    def __init__(self, buckets: Buckets, name: object, rate: RateSpec, count: int) -> None:
        self.buckets = buckets
        self.name = name
        self.rate = rate
        self.count = count


class _Shared(Buckets):
    """This process's view of shared buckets."""

    def __init__(self, rates: SharedRates, kind: bytes, buckets_max: int) -> None:
        super().__init__(buckets_max)
        self._rates = rates
        self._kind = kind

    def take(self, name: object, now_ms: float, rate: RateSpec, count: int = 1) -> float:
        """See `Buckets`; `now_ms` is of the monotonic clock."""
        wait_s = super().take(name, now_ms, rate, count)
        if not wait_s:
            self._rates.owe(self._key(name), self, name, rate, count)
        return wait_s

    def give_back(self, name: object, rate: RateSpec, count: int = 1) -> None:
        """See `Buckets`."""
        super().give_back(name, rate, count)
        self._rates.owe(self._key(name), self, name, rate, -count)

    def _key(self, name: object) -> bytes:
        return b"%b\0%b" % (self._kind, repr(name).encode())
