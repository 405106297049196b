"""When a failed delivery is tried again, and by which rule."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.attempt import REASONS
from hookline.core.errors import Refusal
from hookline.core.retry import PRESETS, Action, RetryPolicy, Schedule, parse_retry, status_range

STANDARD = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


def waits(policy: RetryPolicy, dice: float = 0.5) -> list[float]:
    """Every wait until the tries are used up."""
    found = (policy.wait_s(tries, dice) for tries in itertools.count(1))
    return [wait for wait in itertools.takewhile(lambda wait: wait is not None, found) if wait is not None]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, list(STANDARD)),
        ({}, list(STANDARD)),
        ({"preset": "standard"}, list(STANDARD)),
        ({"preset": "five"}, [1, 2, 4, 8]),
        ({"schedule_s": [0]}, [0]),
        ({"schedule_s": [1.5, 604800]}, [1.5, 604800]),
        ({"first_s": 1, "factor": 2, "wait_s_max": 60, "attempts": 5}, [1, 2, 4, 8]),
        ({"first_s": 10, "factor": 3, "wait_s_max": 60, "attempts": 5}, [10, 30, 60, 60]),
        ({"first_s": 10, "attempts": 3}, [10, 20]),
        ({"first_s": 1, "factor": 100, "wait_s_max": 604800, "attempts": 7}, [1, 100, 10000, 604800, 604800, 604800]),
        ({"first_s": 7, "factor": 1, "wait_s_max": 60, "attempts": 1}, []),
        ({"first_s": 0, "factor": 2, "wait_s_max": 60, "attempts": 3}, [0, 0]),
    ],
)
def test_waits_without_jitter(spec: dict[str, object] | None, expected: list[float]) -> None:
    """The waits of a schedule, one less than its tries, with dice in the middle."""
    policy = parse_retry(spec)
    assert waits(policy) == expected
    assert policy.tries_max == len(expected) + 1


def test_the_default_takes_three_days() -> None:
    """The default makes ten tries within 75 h 35 min 5 s, as Standard Webhooks recommends."""
    assert parse_retry(None).tries_max == 10
    assert sum(waits(parse_retry(None))) == 75 * 3600 + 35 * 60 + 5


def test_every_preset_is_a_correct_policy() -> None:
    """Each preset can be named, and can be written out instead."""
    for name, spec in PRESETS.items():
        assert parse_retry({"preset": name}) == parse_retry(spec)


@given(
    st.floats(0, 604_800),
    st.floats(1, 100),
    st.floats(0, 604_800),
    st.integers(1, 100),
    st.floats(0, 0.5),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 1000),
)
def test_waits_are_finite_and_within_their_jitter(
    first_s: float, factor: float, wait_s_max: float, attempts: int, jitter: float, dice: float, tries: int
) -> None:
    """Any wait is a finite number of seconds, at least 0, within ± jitter of the one the schedule names."""
    spec = {"first_s": first_s, "factor": factor, "wait_s_max": wait_s_max, "attempts": attempts, "jitter": jitter}
    policy = parse_retry(spec)
    wait = policy.wait_s(tries, dice)
    if tries >= attempts:
        assert wait is None
        return
    middle = policy.wait_s(tries, 0.5)
    assert wait is not None
    assert middle is not None
    assert math.isfinite(wait)
    assert 0 <= middle <= wait_s_max
    slack = 1e-9 * middle
    assert middle * (1 - jitter) - slack <= wait <= middle * (1 + jitter) + slack


def test_jitter_spreads_to_both_sides() -> None:
    """Jitter is ± 20 % unless told otherwise; 0 switches it off."""
    policy = parse_retry({"schedule_s": [100]})
    assert [policy.wait_s(1, dice) for dice in (0, 0.25, 0.5, 0.75)] == pytest.approx([80, 90, 100, 110])
    assert parse_retry({"schedule_s": [100], "jitter": 0}).wait_s(1, 0.0) == 100


RULES = {
    "4xx": "fail",
    "400-404": "escalate",
    "409": {"retry": {"schedule_s": [1, 2]}},
    "429": "retry",
    "500-599": "escalate",
    "timeout": "disable",
    "rate_limited": "fail",
    "redirect": "fail",
    "3xx": "retry",
    "answer_rejected": "fail",
}


@pytest.mark.parametrize(
    ("status", "reason", "action"),
    [
        (400, "client_error", Action.ESCALATE),
        (404, "client_error", Action.ESCALATE),
        (405, "client_error", Action.FAIL),
        (409, "client_error", Action.RETRY),
        (429, "rate_limited", Action.RETRY),
        (503, "rate_limited", Action.FAIL),
        (503, "server_error", Action.ESCALATE),
        (302, "redirect", Action.FAIL),
        (200, "answer_rejected", Action.FAIL),
        (None, "timeout", Action.DISABLE),
        (None, "dns", None),
        (None, None, None),
        (410, "gone", None),
        (700, "protocol", None),
    ],
)
def test_the_most_specific_rule_wins(status: int | None, reason: str | None, action: Action | None) -> None:
    """A single status comes before a reason, a reason before a range, a small range before a big one."""
    rule = parse_retry({"on": RULES}).rule(status, reason)
    assert (None if rule is None else rule.action) == action


def test_the_order_of_the_rules_does_not_matter() -> None:
    """The same rules in the opposite order decide the same."""
    forward, backward = parse_retry({"on": RULES}), parse_retry({"on": dict(reversed(RULES.items()))})
    for status, reason in itertools.product([None, *range(300, 600)], [None, "timeout", "redirect", "rate_limited"]):
        first, second = forward.rule(status, reason), backward.rule(status, reason)
        assert first == second


@pytest.mark.parametrize(
    ("on", "overrides"), [({"4xx": "retry"}, False), ({"410": "retry"}, True), ({"gone": "fail"}, True)]
)
def test_only_a_rule_that_names_it_changes_what_410_means(on: dict[str, object], overrides: bool) -> None:
    """A range that happens to hold 410 does not stand in for the rule about a receiver that is gone."""
    assert (parse_retry({"on": on}).rule(410, "gone") is not None) == overrides


def test_a_rule_may_have_waits_of_its_own() -> None:
    """A rule's own schedule replaces the policy's for what it speaks of, and raises the most tries there can be."""
    policy = parse_retry(
        {"schedule_s": [60], "jitter": 0, "on": {"409": {"retry": {"schedule_s": [1, 2], "jitter": 0}}}}
    )
    rule = policy.rule(409, "client_error")
    assert [policy.wait_s(tries, 0.5, rule) for tries in (1, 2, 3)] == [1, 2, None]
    assert [policy.wait_s(tries, 0.5, None) for tries in (1, 2, 3)] == [60, None, None]
    assert policy.tries_max == 3


_schedules = st.lists(st.integers(0, 604_800), min_size=1, max_size=100).map(lambda waits: {"schedule_s": waits})
_actions = st.sampled_from(["retry", "fail", "disable", "escalate"]) | _schedules.map(lambda own: {"retry": own})
_keys = st.sampled_from(["2xx", "3xx", "4xx", "5xx", "409", "500-503", "timeout", "rate_limited", "connect"])
_answers = st.tuples(
    st.none() | st.integers(100, 599), st.sampled_from([None, "timeout", "rate_limited", "client_error", "connect"])
)


@given(_schedules, st.dictionaries(_keys, _actions), st.lists(_answers, min_size=1, max_size=20))
def test_no_sequence_of_answers_passes_the_limit(
    schedule: dict[str, object], on: dict[str, object], answers: list[tuple[int | None, str | None]]
) -> None:
    """Whatever the receiver answers, a delivery is never tried more often than tries_max, which is at most 101."""
    policy = parse_retry({**schedule, "on": on})
    assert policy.tries_max <= 101
    for tries, (status, reason) in enumerate(itertools.cycle(answers), start=1):
        rule = policy.rule(status, reason)
        if rule is not None and rule.action in (Action.FAIL, Action.DISABLE):
            break
        assert tries <= policy.tries_max
        if policy.wait_s(tries, 0.5, rule) is None:
            break


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"schedule": [1]}, "/retry/schedule"),
        ({"a/b~c": 1}, "/retry/a~1b~0c"),
        ({"schedule_s": []}, "/retry/schedule_s"),
        ({"schedule_s": 5}, "/retry/schedule_s"),
        ({"schedule_s": [1] * 101}, "/retry/schedule_s"),
        ({"schedule_s": [1, -1]}, "/retry/schedule_s/1"),
        ({"schedule_s": [604_801]}, "/retry/schedule_s/0"),
        ({"schedule_s": [True]}, "/retry/schedule_s/0"),
        ({"schedule_s": ["5"]}, "/retry/schedule_s/0"),
        ({"schedule_s": [math.nan]}, "/retry/schedule_s/0"),
        ({"schedule_s": [math.inf]}, "/retry/schedule_s/0"),
        ({"schedule_s": [1], "first_s": 1}, "/retry"),
        ({"schedule_s": [1], "preset": "five"}, "/retry"),
        ({"factor": 2}, "/retry"),
        ({"first_s": 1}, "/retry"),
        ({"attempts": 5}, "/retry"),
        ({"first_s": -1, "attempts": 5}, "/retry/first_s"),
        ({"first_s": 1, "factor": 0.5, "attempts": 5}, "/retry/factor"),
        ({"first_s": 1, "factor": 101, "attempts": 5}, "/retry/factor"),
        ({"first_s": 1, "wait_s_max": -1, "attempts": 5}, "/retry/wait_s_max"),
        ({"first_s": 1, "attempts": 0}, "/retry/attempts"),
        ({"first_s": 1, "attempts": 101}, "/retry/attempts"),
        ({"first_s": 1, "attempts": 2.5}, "/retry/attempts"),
        ({"jitter": 0.51}, "/retry/jitter"),
        ({"jitter": None}, "/retry/jitter"),
        ({"preset": "never"}, "/retry/preset"),
        ({"preset": []}, "/retry/preset"),
        ({"on": []}, "/retry/on"),
        ({"on": {"6xx": "fail"}}, "/retry/on/6xx"),
        ({"on": {"99": "fail"}}, "/retry/on/99"),
        ({"on": {"404-400": "fail"}}, "/retry/on/404-400"),
        ({"on": {"400-": "fail"}}, "/retry/on/400-"),
        ({"on": {"４００": "fail"}}, "/retry/on/４００"),
        ({"on": {"boredom": "fail"}}, "/retry/on/boredom"),
        ({"on": {"poison": "retry"}}, "/retry/on/poison"),
        ({"on": {"4xx": "ignore"}}, "/retry/on/4xx"),
        ({"on": {"4xx": None}}, "/retry/on/4xx"),
        ({"on": {"4xx": {"retry": []}}}, "/retry/on/4xx"),
        ({"on": {"4xx": {"fail": {}}}}, "/retry/on/4xx"),
        ({"on": {"4xx": {"retry": {"on": {}}}}}, "/retry/on/4xx/retry/on"),
        ({"on": {"4xx": {"retry": {"schedule_s": [-1]}}}}, "/retry/on/4xx/retry/schedule_s/0"),
        ({"on": {str(status): "fail" for status in range(400, 501)}}, "/retry/on"),
    ],
)
def test_a_wrong_policy_is_refused_where_it_is_wrong(spec: dict[str, object], pointer: str) -> None:
    """A fault in a policy is refused with a pointer to it."""
    with pytest.raises(Refusal) as refused:
        parse_retry(spec)
    assert (refused.value.code, refused.value.pointer) == ("invalid_retry", pointer)


def test_every_reason_of_an_attempt_can_be_mapped() -> None:
    """A rule can name any reason an attempt may end with, and none that only a closed delivery has."""
    closed_only = {"endpoint_deleted", "expired", "overflow", "poison"}
    for reason in REASONS:
        if reason in closed_only:
            with pytest.raises(Refusal):
                parse_retry({"on": {reason: "fail"}})
        else:
            rule = parse_retry({"on": {reason: "fail"}}).rule(None, reason)
            assert rule is not None
            assert rule.action is Action.FAIL


def test_the_last_try_has_no_wait() -> None:
    """A schedule of n waits has n + 1 tries."""
    schedule = Schedule((1.0, 2.0))
    assert schedule.tries_max == 3
    assert schedule.wait_s(3, 0.5) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("204", (204, 204)),
        ("2xx", (200, 299)),
        ("200-204", (200, 204)),
        ("204-200", None),
        ("20x", None),
        ("2XX", None),
    ],
)
def test_ranges_of_statuses(text: str, expected: tuple[int, int] | None) -> None:
    """A status, a class or a range is read; anything else is not."""
    assert status_range(text) == expected
