"""When an endpoint counts as failing, when it is probed, when it is given up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.health import HEALTHY, Health, SlowStart, Step, after_failure, after_success

T0 = 1_700_000_000_000
DAY_MS = 86_400_000


def fail(health: Health, *instants_ms: int) -> Step:
    """The step of the last of several failures."""
    step = Step(health)
    for now_ms in instants_ms:
        step = after_failure(step.health, now_ms)
    return step


def failing() -> Health:
    """Ten failures, a second apart, the last at T0 + 9 s."""
    return fail(HEALTHY, *(T0 + 1000 * second for second in range(10))).health


def test_ten_failures_in_a_row_are_failing() -> None:
    """Nine failures a second apart change nothing for the deliveries; with the tenth the endpoint is failing."""
    step = fail(HEALTHY, *(T0 + 1000 * second for second in range(9)))
    assert (step.health.failing, step.became_failing, step.probe_s) == (False, False, None)
    step = after_failure(step.health, T0 + 9000)
    assert (step.health.failing, step.became_failing, step.probe_s, step.disable) == (True, True, 1.0, False)


def test_a_burst_counts_once() -> None:
    """Any number of failures within a second is one failure, and says that nothing changed."""
    first = after_failure(HEALTHY, T0)
    for now_ms in range(T0, T0 + 1000, 7):
        assert after_failure(first.health, now_ms) == Step(first.health)
    assert after_failure(first.health, T0 + 1000).health.failures == 2


def test_a_success_ends_the_row() -> None:
    """After nine failures and a success, nine more do not make it failing."""
    nine = fail(HEALTHY, *(T0 + 1000 * second for second in range(9)))
    step = after_success(nine.health, T0 + 9000)
    assert step == Step(HEALTHY, changed=True)
    again = fail(step.health, *(T0 + 10_000 + 1000 * second for second in range(9)))
    assert not again.health.failing


def test_success_of_a_healthy_endpoint_changes_nothing() -> None:
    """The usual case costs nothing and stores nothing."""
    assert after_success(HEALTHY, T0) == Step(HEALTHY)


def test_probes_come_after_1_2_4_up_to_60_seconds() -> None:
    """Each failed probe doubles the wait for the next, up to a minute."""
    health, now_ms, waits = failing(), T0 + 9000, [1.0]
    for _ in range(9):
        now_ms += int(waits[-1] * 1000)
        step = after_failure(health, now_ms)
        assert step.changed
        assert not step.became_failing
        assert step.probe_s is not None
        health = step.health
        waits.append(step.probe_s)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_what_was_in_flight_moves_no_probe() -> None:
    """A failure that ends before the next probe was due, of an attempt begun earlier, is not counted."""
    step = fail(failing(), T0 + 10_000, T0 + 12_000)
    assert step.probe_s == 4
    for now_ms in (T0 + 12_001, T0 + 14_000, T0 + 15_400):
        assert after_failure(step.health, now_ms) == Step(step.health)
    assert after_failure(step.health, T0 + 16_000).probe_s == 8


def test_a_success_recovers_it() -> None:
    """One success makes a failing endpoint healthy, and says so once."""
    step = after_success(failing(), T0 + 20_000)
    assert (step.health, step.changed, step.recovered, step.probe_s) == (HEALTHY, True, True, None)
    assert not after_success(step.health, T0 + 20_001).recovered


def test_five_days_without_a_success_disable_it() -> None:
    """The first failed probe five days after the row began disables the endpoint; a minute before, none does."""
    health = failing()
    step = after_failure(health, T0 + 5 * DAY_MS - 60_000)
    assert not step.disable
    assert after_failure(step.health, T0 + 5 * DAY_MS).disable


def test_ten_rare_failures_do_not_disable_at_once() -> None:
    """Failures a day apart make it failing on the tenth day; it is probed before it is disabled."""
    step = fail(HEALTHY, *(T0 + DAY_MS * day for day in range(10)))
    assert (step.became_failing, step.disable) == (True, False)
    assert after_failure(step.health, T0 + 9 * DAY_MS + 1000).disable


def test_a_clock_that_goes_back_stops_nothing() -> None:
    """A failure that seems earlier than the last one is counted: nothing waits for a clock to catch up."""
    assert after_failure(failing(), T0 - 3_600_000).changed
    assert after_failure(fail(HEALTHY, T0).health, T0 - 3_600_000).health.failures == 2


@given(st.lists(st.tuples(st.integers(0, 100_000), st.booleans()), max_size=200))
def test_failing_and_recovered_alternate(history: list[tuple[int, bool]]) -> None:
    """Over any history became_failing and recovered take turns, and a probe is due exactly while failing."""
    health, now_ms, failing_now = HEALTHY, T0, False
    for passed_ms, success in history:
        now_ms += passed_ms
        step = after_success(health, now_ms) if success else after_failure(health, now_ms)
        assert step.changed == (step.health != health)
        assert step.became_failing == (step.health.failing and not failing_now)
        assert step.recovered == (failing_now and not step.health.failing)
        assert (step.probe_s is not None) == (step.changed and step.health.failing)
        assert (step.health.probe_s is not None) == step.health.failing
        health, failing_now = step.health, step.health.failing
        assert Health.unpack(health.pack()) == health


def test_the_stored_form_can_grow() -> None:
    """An array that is shorter or longer than ours is read: versions beside each other understand it."""
    assert Health.unpack(msgspec.msgpack.encode([3, T0])) == Health(3, T0)
    longer = [*msgspec.to_builtins(failing()), "more"]
    assert Health.unpack(msgspec.msgpack.encode(longer)) == failing()
    assert HEALTHY.pack() == b""
    assert len(failing().pack()) < 32


@pytest.mark.rule(n=14)
@pytest.mark.parametrize(
    ("history", "cap"),
    [("", 1), ("s", 2), ("sss", 4), ("sssf", 2), ("sssff", 1), ("fff", 1), ("s" * 50, 32), ("s" * 50 + "f", 16)],
)
def test_slow_start(history: str, cap: int) -> None:
    """From 1, a success adds 1, a failure halves, never above the endpoint's own limit nor below 1."""
    slow = SlowStart(32)
    for letter in history:
        if letter == "s":
            slow.success()
        else:
            slow.failure()
    assert slow.cap == cap
    slow.restart()
    assert slow.cap == 1
