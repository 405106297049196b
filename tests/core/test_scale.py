"""How many processes deliver: up while work waits, down when there is room, and never to and fro."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.scale import REGRET_S, SHRINK_S, Demand, Scale

IDLE = Demand(oldest_s=0.0, in_flight=0, slots=100)
WAITING = Demand(oldest_s=5.0, in_flight=10, slots=100)
BETWEEN = Demand(oldest_s=0.5, in_flight=10, slots=100)


def counts(scale: Scale, demands: list[Demand], begin: int = 1, at_s: float = 0.0) -> list[int]:
    """How many there are after each second."""
    found, now = [], begin
    for second, demand in enumerate(demands):
        now = scale.wanted(now, demand, at_s + second)
        found.append(now)
    return found


def test_a_load_step_goes_up_and_down_one_at_a_time() -> None:
    """While work waits there is one more every few seconds, up to the most; when nothing waits one fewer, and so on."""
    found = counts(Scale(1, 4), [WAITING] * 30 + [IDLE] * 60)
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert (found[2], max(found), found[29], found[-1]) == (1, 4, 4, 1)
    assert set(steps) == {-1, 0, 1}
    assert steps.index(-1) >= 30 + SHRINK_S - 2


@pytest.mark.parametrize(
    "demand",
    [
        BETWEEN,
        Demand(oldest_s=0.0, in_flight=60, slots=100),
        Demand(oldest_s=0.0, in_flight=0, slots=100, cores=0.7),
    ],
)
def test_between_busy_and_calm_nothing_changes(demand: Demand) -> None:
    """Some waiting, more than half of the slots in use, or a processor that the others could not spare: it stays."""
    assert set(counts(Scale(1, 4), [demand] * 300, begin=2)) == {2}


def test_full_slots_are_demand() -> None:
    """Where attempts take long, what waits may be young: slots in use say that one more is wanted."""
    assert counts(Scale(1, 2), [Demand(oldest_s=0.0, in_flight=85, slots=100)] * 5)[-1] == 2


def test_a_moment_is_no_demand() -> None:
    """A second of waiting now and then starts nothing."""
    assert set(counts(Scale(1, 4), ([WAITING] * 2 + [BETWEEN]) * 50)) == {1}


def test_an_end_that_is_taken_back_makes_the_next_wait_longer() -> None:
    """When one fewer proves too few, the next end comes after twice the calm, and so on; never is it to and fro."""
    scale, now, ends = Scale(1, 2), 1, []
    for second in range(2000):
        demand = IDLE if now == 2 else WAITING
        after = scale.wanted(now, demand, float(second))
        if after < now:
            ends.append(second)
        now = after
    waits = [later - sooner for sooner, later in itertools.pairwise(ends)]
    assert waits == sorted(waits)
    assert waits[0] >= 2 * SHRINK_S
    assert len(ends) < 10


def test_after_a_long_rest_the_wait_is_short_again() -> None:
    """What was regretted long ago is forgotten."""
    scale = Scale(1, 2)
    counts(scale, [WAITING] * 5 + [IDLE] * 15 + [WAITING] * 5 + [IDLE] * 25)
    found = counts(scale, [IDLE] * 5 + [WAITING] * 5 + [IDLE] * 14, at_s=100 + REGRET_S)
    assert (found[0], max(found), found[-1]) == (1, 2, 1)


@given(
    st.integers(1, 5),
    st.integers(0, 5),
    st.lists(
        st.builds(Demand, st.floats(0, 100), st.integers(0, 5000), st.integers(1, 5000), st.floats(0, 64)), max_size=80
    ),
)
def test_whatever_is_said_the_bounds_hold(least: int, more: int, demands: list[Demand]) -> None:
    """There are never fewer than the least nor more than the most."""
    found = counts(Scale(least, least + more), demands, begin=least)
    assert all(least <= count <= least + more for count in found)
