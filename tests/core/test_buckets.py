"""Buckets by name: each is exact, and all together are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.buckets import Buckets, burst_of, network_of
from hookline.core.endpoint import RateSpec

RATES = st.builds(RateSpec, st.integers(1, 20), st.sampled_from([0.5, 1.0, 60.0]), st.none() | st.integers(1, 30))


@given(RATES, st.lists(st.tuples(st.floats(0, 5), st.integers(1, 10)), max_size=40))
def test_no_more_than_the_rate_and_the_burst(rate, asked):
    """Whatever is asked when, in any time no more than the burst and the rate's share is taken."""
    buckets, now_s, taken = Buckets(), 1000.0, 0
    for wait_s, count in asked:
        now_s += wait_s
        wanted = min(count, burst_of(rate))
        if buckets.take("a", now_s * 1000, rate, wanted) == 0:
            taken += wanted
    assert taken <= burst_of(rate) + (now_s - 1000.0) * rate.n / rate.per_s + 0.01


@given(RATES, st.lists(st.integers(1, 10), min_size=1, max_size=20), st.integers(1, 10))
def test_the_wait_that_is_told_is_enough_and_not_too_long(rate, before, count):
    """Who comes back after the wait gets his tokens, and a moment earlier he does not."""
    buckets, now_ms, wanted = Buckets(), 1_000_000.0, min(count, burst_of(rate))
    for earlier in before:
        buckets.take("a", now_ms, rate, min(earlier, burst_of(rate)))
    wait_s = buckets.take("a", now_ms, rate, wanted)
    if wait_s == 0:
        return
    early = wait_s * 1000 - max(2.0, wait_s * 0.01)
    assert early <= 0 or buckets.take("a", now_ms + early, rate, wanted) > 0
    assert buckets.take("a", now_ms + wait_s * 1000 + 0.01, rate, wanted) == 0


def test_what_is_given_back_can_be_taken_again():
    """A token that was taken and not used is there for the next."""
    buckets, rate = Buckets(), RateSpec(2, 60.0)
    assert buckets.take("a", 1000.0, rate, 2) == 0
    assert buckets.take("a", 1000.0, rate) > 0
    buckets.give_back("a", rate)
    assert buckets.take("a", 1000.0, rate) == 0
    buckets.give_back("never used", rate)


@pytest.mark.parametrize("buckets_max", [1, 8])
def test_memory_is_bounded(buckets_max):
    """However many names come, only so many buckets are kept, the most recent ones."""
    buckets, rate = Buckets(buckets_max), RateSpec(1, 3600.0)
    for name in range(100):
        assert buckets.take(name, 1000.0, rate) == 0
    assert len(buckets) <= buckets_max
    assert buckets.take(99, 1000.0, rate) > 0


def test_full_buckets_are_forgotten():
    """A bucket that is full again does not stay while others come."""
    buckets, rate = Buckets(), RateSpec(1, 1.0)
    for name in range(100):
        assert buckets.take(name, name * 2000.0 + 2000.0, rate) == 0
    assert len(buckets) <= 3


@pytest.mark.parametrize(
    ("client", "network"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("2001:db8:1:2::9", "2001:db8:1:2::"),
     ("fe80::1%eth0", "fe80::"), ("", ""), ("odd:thing", "odd:thing")],
)  # fmt: skip
def test_what_counts_as_one_client(client, network):
    """An IPv4 address by itself, IPv6 by its /64, and what is neither as it is."""
    assert network_of(client) == network
