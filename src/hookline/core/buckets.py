"""Token buckets by name, in bounded memory: rates of keys, of client addresses, of tenants. Pure."""

from __future__ import annotations

from typing import Final

from hookline.core.endpoint import RateSpec
from hookline.core.quota import take

BUCKETS_MAX: Final = 65_536


class Buckets:
    """Buckets that are made when they are first used and forgotten when too many others were used since.

    A forgotten bucket is full again, so at most `buckets_max` names at a time are held to their rate exactly.
    """

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets_max = buckets_max
        self._tats: dict[object, float] = {}
        """By name, the one used longest ago first."""

    def __len__(self) -> int:
        return len(self._tats)

    def wait_s(self, name: object, now_ms: float, rate: RateSpec, count: int = 1) -> float:
        """How long until `count` tokens, at most the burst, can be taken: 0 when they are there. Takes none."""
        tat_ms = self._tats.get(name, 0.0)
        if take(tat_ms, now_ms, rate, count)[0] == count:
            return 0.0
        interval_ms = rate.per_s * 1000.0 / rate.n
        burst = rate.n if rate.burst is None else rate.burst
        ahead_ms = min(tat_ms - now_ms, burst * interval_ms)
        return max(0.0, ahead_ms - (burst - count) * interval_ms) / 1000.0

    def take(self, name: object, now_ms: float, rate: RateSpec, count: int = 1) -> None:
        """Take `count` tokens, which `wait_s` said are there."""
        tats = self._tats
        tat_ms = take(tats.pop(name, 0.0), now_ms, rate, count)[1]
        tats[name] = tat_ms
        if len(tats) > self._buckets_max:
            del tats[next(iter(tats))]
