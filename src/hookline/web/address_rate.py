"""A limit per client address: requests over all routes, counted before anybody is asked for a key.

In memory, for this process, or shared with others through the cache. IPv6 is counted by /64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hookline.core.buckets import Buckets, network_of, too_many
from hookline.core.endpoint import RateSpec

ADDRESSES_MAX: Final = 100_000
UNLIMITED: Final = frozenset({b"/healthz", b"/readyz", b"/metrics"})
"""Paths for those who run this: a probe that is refused would look like a dead process."""


class AddressRate:
    """A bucket of `n` requests for each address, filled with `n` in `per_s` seconds. `now_s` is a clock that never
    goes back. At most `addresses_max` addresses are held to it at a time."""

    def __init__(
        self,
        n: int,
        per_s: float,
        now_s: Callable[[], float],
        addresses_max: int = ADDRESSES_MAX,
        buckets: Buckets | None = None,
    ) -> None:
        """`buckets`: shared ones, that have a bound of their own."""
        self._rate = RateSpec(n, per_s)
        self._now_s = now_s
        self._buckets = Buckets(addresses_max) if buckets is None else buckets

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, client: str) -> None:
        """Count a request of this address (text in its shortest form). Raises `Refusal` `rate_limited`; then the
        request is not counted."""
        wait_s = self._buckets.take(network_of(client), self._now_s() * 1000.0, self._rate)
        if wait_s:
            rate = self._rate
            raise too_many(f"More than {rate.n} requests in {rate.per_s:g} s from your address.", wait_s)
