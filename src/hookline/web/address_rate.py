"""A limit per client address: requests over all routes, counted before anybody is asked for a key.

In memory, for this process. IPv6 is counted by /64, which is what one customer of a network has. At most
`ADDRESSES_MAX` addresses are known at once: whoever has not asked for longest is forgotten first, and nearly always his
bucket is full again, so that nothing is lost with it.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final

from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.quota import take

ADDRESSES_MAX: Final = 100_000
UNLIMITED: Final = frozenset({b"/healthz", b"/readyz", b"/metrics"})
"""Paths for those who run this: a probe that is refused would look like a dead process."""
_FORGOTTEN_AT_ONCE: Final = 2
_NETWORK_BITS: Final = 64


class AddressRate:
    """At most `n` requests of one address in `per_s` seconds. `now_s` is a clock that never goes back."""

    def __init__(self, n: int, per_s: float, now_s: Callable[[], float], addresses_max: int = ADDRESSES_MAX) -> None:
        self._rate = RateSpec(n, per_s)
        self._now_s = now_s
        self._addresses_max = addresses_max
        self._buckets: dict[str, float] = {}
        """By address, in the order of their last use: each bucket as `core.quota` keeps it."""

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, client: str) -> None:
        """Count a request of this address (text in its shortest form). Raises `Refusal` `rate_limited`; then the
        request is not counted."""
        buckets = self._buckets
        key = client if ":" not in client else _network(client)
        now_ms = self._now_s() * 1000.0
        bucket = buckets.pop(key, None)
        if bucket is None:
            bucket = 0.0
            self._forget(now_ms)
        taken, buckets[key], wait_s = take(bucket, now_ms, self._rate, 1)
        if not taken:
            raise Refusal(
                "rate_limited",
                f"More than {self._rate.n} requests in {self._rate.per_s:g} s from your address.",
                retry_after_s=max(1, math.ceil(wait_s)),
            )

    def _forget(self, now_ms: float) -> None:
        """Make room for one more. Two are looked at for each that comes, so what is full again does not stay."""
        buckets = self._buckets
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(buckets), None)
            if oldest is None or (buckets[oldest] > now_ms and len(buckets) < self._addresses_max):
                return
            del buckets[oldest]


def _network(client: str) -> str:
    try:
        return str(ipaddress.IPv6Network((client.partition("%")[0], _NETWORK_BITS), strict=False).network_address)
    except ValueError:
        return client
