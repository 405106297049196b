"""A limit per client address: what it counts, whom it forgets, and what a refused one is told."""

from __future__ import annotations

import pytest

from hookline.core.errors import Refusal
from hookline.web.address_rate import AddressRate


class Told:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def asks(rate: AddressRate, client: str, times: int) -> int:
    """How many of so many requests may."""
    may = 0
    for _ in range(times):
        try:
            rate.check(client)
        except Refusal:
            continue
        may += 1
    return may


def test_so_many_in_so_long():
    """n may come at once, then as many as the time allows; what is refused is not counted."""
    clock = Told()
    rate = AddressRate(10, 5.0, clock)
    assert asks(rate, "192.0.2.1", 100) == 10
    clock.now_s += 0.5
    assert asks(rate, "192.0.2.1", 100) == 1
    clock.now_s += 60
    assert asks(rate, "192.0.2.1", 100) == 10


@pytest.mark.parametrize(("n", "per_s", "wait_s"), [(1, 0.001, 1), (1, 30.0, 30), (2, 3.0, 2), (1, 86_400.0, 86_400)])
def test_retry_after_is_when_the_next_may(n: int, per_s: float, wait_s: int):
    """Retry-After is the time to the next request that is let in, in whole seconds, upwards."""
    clock = Told()
    rate = AddressRate(n, per_s, clock)
    for _ in range(n):
        rate.check("192.0.2.1")
    with pytest.raises(Refusal) as refused:
        rate.check("192.0.2.1")
    assert refused.value.code == "rate_limited"
    assert refused.value.retry_after_s == wait_s
    clock.now_s += wait_s
    rate.check("192.0.2.1")


def test_each_address_has_its_own():
    """One address's requests are nobody else's, in IPv4; in IPv6 those of one /64 are together."""
    rate = AddressRate(2, 60.0, Told())
    assert asks(rate, "192.0.2.1", 3) == 2
    assert asks(rate, "192.0.2.2", 3) == 2
    assert asks(rate, "2001:db8:0:1::1", 1) == 1
    assert asks(rate, "2001:db8:0:1:ffff::2", 3) == 1
    assert asks(rate, "2001:db8:0:2::1", 3) == 2
    assert asks(rate, "fe80::1%eth0", 1) + asks(rate, "fe80::2%eth1", 3) == 2
    assert asks(rate, "::not an address", 3) == 2


def test_full_buckets_are_forgotten():
    """Those who have not asked for a while take no memory once others come."""
    clock = Told()
    rate = AddressRate(5, 1.0, clock)
    for number in range(1000):
        rate.check(f"10.0.{number >> 8}.{number & 255}")
    assert len(rate) == 1000
    clock.now_s += 2
    for number in range(600):
        rate.check(f"10.1.{number >> 8}.{number & 255}")
    assert len(rate) == 600


def test_memory_is_bounded():
    """However many addresses ask at once, so many are known at most, and who asks goes on being limited."""
    clock = Told()
    rate = AddressRate(3, 3600.0, clock, addresses_max=100)
    may = 0
    for number in range(1000):
        rate.check(f"10.0.{number >> 8}.{number & 255}")
        may += asks(rate, "192.0.2.1", 1)
        assert len(rate) <= 100
    assert may == 3
