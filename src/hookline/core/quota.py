"""Shares: how many deliveries an endpoint may start now, by its rate and by what its neighbours use. Pure."""

from __future__ import annotations

import math

from hookline.core.endpoint import RateSpec

_ROUNDING = 1e-6
_SHARES = 8
_OVERDRAWN_MIN = 64


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


def overdrawn_ms_max(rate: RateSpec) -> float:
    """How far ahead of its time a bucket may be, in ms: empty, and one burst below that, or 64 tokens."""
    burst = burst_of(rate)
    return (burst + max(burst, _OVERDRAWN_MIN)) * rate.per_s * 1000.0 / rate.n


def charge(tat_ms: float, now_ms: float, rate: RateSpec, count: int) -> float:
    """The number of a bucket (see `take`) after `count` tokens of it were used, whether or not they were there.

    What several parties took of their own views of one bucket is counted like this afterwards: the bucket falls below
    empty, as far as `overdrawn_ms_max`, and nobody takes anything until that is made up for.
    """
    assert count >= 0
    limit_ms = overdrawn_ms_max(rate)
    ahead_ms = min(max(tat_ms - now_ms, 0.0), limit_ms)
    return now_ms + min(ahead_ms + count * rate.per_s * 1000.0 / rate.n, limit_ms)


def share(cap: int, limit: int, in_use: int) -> int:
    """How much of a shared `limit` one party may hold, of which `in_use` are taken: its own `cap`, but an eighth of
    what is free, at least 1 (a dynamic threshold: nobody can take all, and something is left for newcomers)."""
    return min(cap, max(1, (limit - in_use) // _SHARES))
