"""Token buckets by name, in bounded memory: rates of keys, of client addresses, of tenants. Pure."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final

from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.quota import burst_of, overdrawn_ms_max, take

MakeBuckets = Callable[[str], "Buckets"]
"""Makes the buckets of a kind (`tenants`, `keys`, …): this process's own, or its view of shared ones."""
BUCKETS_MAX: Final = 65_536
_LOOKED_AT: Final = 2
_NETWORK_BITS: Final = 64


class Buckets:
    """Buckets that are made when they are first used and forgotten when they are full again, as others come.

    When there are too many, the one used longest ago is forgotten although it is not full: at most `buckets_max` names
    at a time are held to their rate exactly.
    """

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets_max = buckets_max
        self._tats: dict[object, float] = {}
        """By name, the one used longest ago first."""

    def __len__(self) -> int:
        return len(self._tats)

    def take(self, name: object, now_ms: float, rate: RateSpec, count: int = 1) -> float:
        """Take `count` tokens, at most the burst, and return 0.0; or take none and return in how many seconds they
        will be there."""
        tats = self._tats
        before_ms = min(tats.pop(name, 0.0), now_ms + overdrawn_ms_max(rate))
        taken, tat_ms, _ = take(before_ms, now_ms, rate, count)
        if taken < count:
            tats[name] = before_ms
            interval_ms = rate.per_s * 1000.0 / rate.n
            ahead_ms = max(before_ms - now_ms, 0.0)
            return max(0.001, ahead_ms - (burst_of(rate) - count) * interval_ms) / 1000.0
        tats[name] = tat_ms
        if not before_ms:
            self._forget(now_ms)
        return 0.0

    def _forget(self, now_ms: float) -> None:
        """Two are looked at for each that comes: so what is full does not stay, and no call takes long."""
        tats = self._tats
        for _ in range(_LOOKED_AT):
            oldest = next(iter(tats))
            if tats[oldest] > now_ms and len(tats) <= self._buckets_max:
                return
            del tats[oldest]

    def used_until(self, name: object, tat_ms: float) -> None:
        """Others used the same bucket: it is as far ahead of its time as this says, or as it was. Unless it is
        forgotten, then it stays so."""
        if self._tats.get(name, tat_ms) < tat_ms:
            self._tats[name] = tat_ms

    def give_back(self, name: object, rate: RateSpec, count: int = 1) -> None:
        """What was just taken was not used."""
        if name in self._tats:
            self._tats[name] -= count * rate.per_s * 1000.0 / rate.n


def own(_kind: str) -> Buckets:
    """Buckets that nobody else takes of."""
    return Buckets()


def too_many(detail: str, wait_s: float) -> Refusal:
    """The 429 of an empty bucket; Retry-After is in whole seconds, at least 1 (RFC 9110, 10.2.3)."""
    return Refusal("rate_limited", detail, retry_after_s=max(1, math.ceil(wait_s)))


def network_of(client: str) -> str:
    """What counts as one client: an IPv4 address, or a /64 of IPv6, which is what one customer of a network has."""
    if ":" not in client:
        return client
    try:
        return str(ipaddress.IPv6Network((client.partition("%")[0], _NETWORK_BITS), strict=False).network_address)
    except ValueError:
        return client
