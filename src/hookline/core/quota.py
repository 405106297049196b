"""Shares: how many deliveries an endpoint may start now, by its rate and by what its neighbours use. Pure."""

from __future__ import annotations

import math

from hookline.core.endpoint import RateSpec

_ROUNDING = 1e-6
_SHARES = 8


def burst_of(rate: RateSpec) -> int:
    """How many tokens a full bucket has."""
    return rate.n if rate.burst is None else rate.burst


def take(tat_ms: float, now_ms: float, rate: RateSpec, want: int) -> tuple[int, float, float]:
    """Take up to `want` tokens of a bucket that is kept as one number (GCRA, the generic cell rate algorithm).

    `tat_ms` is that number, the theoretical arrival time (0: never used); it belongs to the clock of `now_ms`.
    Returns how many were taken, the new number, and the seconds until the next token (0: there is one left). In any
    span of time at most `burst` + `n` per `per_s` are taken. A number left behind by a slower rate is cut down.
    """
    assert want >= 0
    interval_ms = rate.per_s * 1000.0 / rate.n
    burst = burst_of(rate)
    ahead_ms = min(max(tat_ms - now_ms, 0.0), burst * interval_ms)
    there = burst - ahead_ms / interval_ms
    taken = min(want, math.floor(there + _ROUNDING))
    ahead_ms += taken * interval_ms
    wait_ms = max(0.0, ahead_ms - (burst - 1) * interval_ms)
    if there - taken + _ROUNDING >= 1:
        wait_ms = 0.0
    return taken, now_ms + ahead_ms, wait_ms / 1000.0


def share(cap: int, limit: int, in_use: int) -> int:
    """How much of a shared `limit` one party may hold, of which `in_use` are taken: its own `cap`, but an eighth of
    what is free, at least 1 (a dynamic threshold: nobody can take all, and something is left for newcomers)."""
    return min(cap, max(1, (limit - in_use) // _SHARES))
