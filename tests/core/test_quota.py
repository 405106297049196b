"""Token buckets and shares."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.endpoint import RateSpec
from hookline.core.quota import share, take

T0 = 1_700_000_000_000.0


def test_a_full_bucket_gives_its_burst() -> None:
    """A bucket never used gives its burst at once, then waits for one interval."""
    rate = RateSpec(n=10, per_s=1.0, burst=5)
    taken, tat_ms, wait_s = take(0.0, T0, rate, 100)
    assert (taken, wait_s) == (5, pytest.approx(0.1))
    assert take(tat_ms, T0, rate, 1)[0] == 0
    assert take(tat_ms, T0 + 99, rate, 1)[0] == 0
    assert take(tat_ms, T0 + 100, rate, 5)[0] == 1
    assert take(tat_ms, T0 + 10_000, rate, 100)[0] == 5


def test_without_burst_it_is_n() -> None:
    """The burst is n unless it is named."""
    assert take(0.0, T0, RateSpec(n=7, per_s=60.0), 100)[0] == 7


def test_what_is_left_costs_no_wait() -> None:
    """As long as a token is left the wait is 0; taking nothing changes nothing."""
    rate = RateSpec(n=2, per_s=1.0)
    taken, tat_ms, wait_s = take(0.0, T0, rate, 1)
    assert (taken, wait_s) == (1, 0.0)
    assert take(tat_ms, T0, rate, 0) == (0, tat_ms, 0.0)


def test_a_slower_rate_of_before_is_forgotten() -> None:
    """After a change from one a day to ten a second the next token comes within an interval, not in a day."""
    _, tat_ms, wait_s = take(0.0, T0, RateSpec(n=1, per_s=86_400.0), 1)
    assert wait_s == 86_400
    taken, tat_ms, wait_s = take(tat_ms, T0, RateSpec(n=10), 1)
    assert (taken, wait_s) == (0, pytest.approx(0.1))
    assert take(tat_ms, T0 + 100, RateSpec(n=10), 1)[0] == 1


_rates = st.builds(RateSpec, n=st.integers(1, 1000), per_s=st.floats(0.1, 3600), burst=st.none() | st.integers(1, 1000))


@given(_rates, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 50)), min_size=1, max_size=60))
def test_never_more_than_burst_and_rate(rate: RateSpec, asks: list[tuple[int, int]]) -> None:
    """Over any span, no more than burst + n per per_s are taken."""
    tat_ms, now_ms, total = 0.0, T0, 0
    for passed_ms, want in asks:
        now_ms += passed_ms
        taken, tat_ms, wait_s = take(tat_ms, now_ms, rate, want)
        assert 0 <= taken <= want
        assert wait_s >= 0
        total += taken
    span_s = (now_ms - T0) / 1000
    assert total <= (rate.burst or rate.n) + span_s * rate.n / rate.per_s + 1e-2


@given(_rates, st.integers(1, 100_000))
def test_after_the_wait_there_is_a_token(rate: RateSpec, want: int) -> None:
    """Who waits as long as he was told (rounded up to the clock's millisecond) gets at least one."""
    _, tat_ms, wait_s = take(0.0, T0, rate, want)
    later_ms = T0 + math.ceil(wait_s * 1000)
    assert take(tat_ms, later_ms, rate, 1)[0] == 1


@pytest.mark.parametrize(
    ("cap", "limit", "in_use", "expected"),
    [
        (32, 1024, 0, 32),
        (1024, 1024, 0, 128),
        (32, 64, 0, 8),
        (32, 64, 56, 1),
        (32, 64, 64, 1),
        (32, 64, 99, 1),
        (0, 64, 0, 0),
    ],
)
def test_shares_of_a_limit(cap: int, limit: int, in_use: int, expected: int) -> None:
    """A party gets its cap, but at most an eighth of what is free, and 1 while it may have any."""
    assert share(cap, limit, in_use) == expected
