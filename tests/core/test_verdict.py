"""What an answer means, and what becomes of a delivery."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.attempt import REASONS, Kind, Outcome
from hookline.core.delivery import State, allowed
from hookline.core.endpoint import ConfirmSpec, Endpoint, EndpointSpec, EndpointState, Secrets, SigningKey
from hookline.core.errors import Refusal
from hookline.core.subscribe import build_endpoint
from hookline.core.success import SuccessRule, answer, natural, parse_success, retry_after_s
from hookline.core.verdict import judge

NOW_S = 784_111_700.0  # Sun, 06 Nov 1994 08:48:20 GMT


def endpoint(retry: dict[str, Any] | None = None, confirm: ConfirmSpec | None = None) -> Endpoint:
    """An endpoint with a retry policy of two waits without jitter, or another."""
    spec = EndpointSpec(
        url="http://example.com/", retry=retry or {"schedule_s": [10, 100], "jitter": 0}, confirm=confirm
    )
    secrets = Secrets([SigningKey("whsec_QUJD")])
    return build_endpoint(
        id=bytes(12), tenant="default", uid=None, version=1, state=EndpointState.ACTIVE, spec=spec, secrets=secrets
    )


def with_rules(**on: object) -> Endpoint:
    """The same with rules."""
    return endpoint({"schedule_s": [10, 100], "jitter": 0, "on": {key.lstrip("_"): does for key, does in on.items()}})


# ------------------------------------------------------------------------------------------------ Retry-After


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        (" 120\t", 120),
        ("1.5", 1.5),
        ("007", 7),
        ("86401", 86_400),
        ("9" * 60, 86_400),
        ("9" * 5000, None),
        ("-5", None),
        ("+5", None),
        ("1e99", None),
        ("0x10", None),
        ("1_000", None),
        ("NaN", None),
        ("inf", None),
        (".5", None),
        ("5.", None),
        ("٣", None),
        ("soon", None),
        ("120, 240", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 77),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 77),
        ("Sun Nov  6 08:49:37 1994", 77),
        ("Sun, 06 Nov 1994 08:48:60 GMT", 39),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Sunday, 06-Nov-44 08:49:37 GMT", 86_400),
        ("Sunday, 06-Nov-45 08:49:37 GMT", 0),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 24:49:37 GMT", None),
        ("Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("1994-11-06T08:49:37Z", None),
    ],
)
def test_retry_after(value: str | None, wait_s: float | None) -> None:
    """Seconds and the three forms of HTTP-date are read and clamped to a day; garbage is ignored."""
    assert retry_after_s(value, NOW_S) == wait_s


@given(st.text(max_size=70), st.floats(0, 4e9))
def test_any_retry_after_is_a_bounded_wait_or_none(value: str, now_s: float) -> None:
    """Whatever a receiver writes, the wait is between nothing and a day."""
    wait_s = retry_after_s(value, now_s)
    assert wait_s is None or 0 <= wait_s <= 86_400


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (200, None, (Kind.DELIVERED, None, None)),
        (204, "60", (Kind.DELIVERED, None, None)),
        (299, None, (Kind.DELIVERED, None, None)),
        (301, None, (Kind.RETRY, "redirect", None)),
        (304, "60", (Kind.RETRY, "redirect", None)),
        (400, None, (Kind.RETRY, "client_error", None)),
        (404, "60", (Kind.RETRY, "client_error", None)),
        (410, "60", (Kind.GONE, "gone", None)),
        (429, None, (Kind.RETRY, "rate_limited", None)),
        (429, "junk", (Kind.RETRY, "rate_limited", None)),
        (429, "60", (Kind.RETRY, "rate_limited", 60)),
        (500, "60", (Kind.RETRY, "server_error", None)),
        (501, None, (Kind.RETRY, "server_error", None)),
        (502, "60", (Kind.RETRY, "rate_limited", 60)),
        (503, "60", (Kind.RETRY, "rate_limited", 60)),
        (503, "0", (Kind.RETRY, "rate_limited", 0)),
        (503, None, (Kind.RETRY, "server_error", None)),
        (503, "junk", (Kind.RETRY, "server_error", None)),
        (504, "999999", (Kind.RETRY, "rate_limited", 86_400)),
        (100, None, (Kind.RETRY, "protocol", None)),
        (199, None, (Kind.RETRY, "protocol", None)),
        (600, None, (Kind.RETRY, "protocol", None)),
        (0, None, (Kind.RETRY, "protocol", None)),
    ],
)
def test_what_a_status_says_by_itself(
    status: int, retry_after: str | None, expected: tuple[Kind, str | None, float | None]
) -> None:
    """Kind, reason and the endpoint's wait of every class of statuses."""
    assert natural(status, retry_after, NOW_S) == expected
    headers = [] if retry_after is None else [(b"Retry-After", retry_after.encode())]
    assert answer(None, status, headers, b"", NOW_S) == expected


@given(st.integers(-1, 999))
def test_every_reason_of_an_answer_is_in_the_table(status: int) -> None:
    """Whatever status comes, the reason is a known one, or there is none because it was delivered."""
    kind, reason, _ = natural(status, "1", NOW_S)
    assert (reason is None) == (kind is Kind.DELIVERED)
    assert reason is None or reason in REASONS


OK_BODY = {"filter": {"body.accepted": {"$eq": True}}}
REJECTED = (Kind.RETRY, "answer_rejected", None)
DELIVERED = (Kind.DELIVERED, None, None)


@pytest.mark.parametrize(
    ("spec", "status", "headers", "body", "expected"),
    [
        ({"status": [200]}, 200, [], b"", DELIVERED),
        ({"status": [200]}, 201, [], b"", REJECTED),
        ({"status": ["2xx"]}, 299, [], b"", DELIVERED),
        ({"status": ["200-204", 409]}, 409, [], b"", DELIVERED),
        ({"status": ["200-204", 409]}, 404, [], b"", (Kind.RETRY, "client_error", None)),
        ({"status": [410]}, 410, [], b"", DELIVERED),
        ({"status": [200]}, 410, [], b"", (Kind.GONE, "gone", None)),
        (OK_BODY, 200, [], b'{"accepted": true}', DELIVERED),
        (OK_BODY, 200, [], b'{"accepted": false}', REJECTED),
        (OK_BODY, 200, [], b'{"accepted": tr', REJECTED),
        (OK_BODY, 200, [], b"", REJECTED),
        (OK_BODY, 200, [], b"\xff\xfe", REJECTED),
        (OK_BODY, 200, [], b"[" * 100_000, REJECTED),
        (OK_BODY, 500, [], b'{"accepted": true}', (Kind.RETRY, "server_error", None)),
        ({"status": [503], **OK_BODY}, 503, [(b"retry-after", b"9")], b"{}", (Kind.RETRY, "answer_rejected", 9)),
        ({"filter": {"status": {"$in": [200, 202]}}}, 202, [], b"", DELIVERED),
        ({"filter": {"status": {"$in": [200, 202]}}}, 201, [], b"", REJECTED),
        ({"filter": {"headers.x-result": {"$eq": "ok"}}}, 200, [(b"X-Result", b"ok")], b"", DELIVERED),
        (
            {"filter": {"headers.x-result": {"$eq": "a, b"}}},
            200,
            [(b"X-Result", b"a"), (b"x-result", b"b")],
            b"",
            DELIVERED,
        ),
        ({"filter": {"headers.x-result": {"$eq": "ok"}}}, 200, [(b"X-Result", b"\xff")], b"", REJECTED),
    ],
)
def test_success_when(
    spec: dict[str, object],
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    expected: tuple[Kind, str | None, float | None],
) -> None:
    """Listed statuses that pass the filter are delivered; the other 2xx, and listed ones that fail it, are rejected."""
    assert answer(parse_success(spec), status, headers, body, NOW_S) == expected


def test_no_rule_is_no_rule() -> None:
    """Without success_when nothing is compiled; a rule with statuses alone asks for nothing else."""
    assert parse_success(None) is None
    assert parse_success({"status": [200]}) == SuccessRule(((200, 200),))


@pytest.mark.parametrize(
    ("spec", "code", "pointer"),
    [
        ({}, "invalid_endpoint", "/success_when"),
        ({"statuses": [200]}, "unknown_field", "/success_when/statuses"),
        ({"status": []}, "invalid_endpoint", "/success_when/status"),
        ({"status": 200}, "invalid_endpoint", "/success_when/status"),
        ({"status": [200] * 101}, "invalid_endpoint", "/success_when/status"),
        ({"status": [200, True]}, "invalid_endpoint", "/success_when/status/1"),
        ({"status": [99]}, "invalid_endpoint", "/success_when/status/0"),
        ({"status": [200.0]}, "invalid_endpoint", "/success_when/status/0"),
        ({"status": ["204-200"]}, "invalid_endpoint", "/success_when/status/0"),
        ({"filter": 5}, "invalid_filter", "/success_when/filter"),
    ],
)
def test_a_wrong_success_when_is_refused_where_it_is_wrong(spec: dict[str, object], code: str, pointer: str) -> None:
    """A fault is refused with a pointer to it."""
    with pytest.raises(Refusal) as refused:
        parse_success(spec)
    assert refused.value.code == code
    assert (refused.value.pointer or "").startswith(pointer)


# ------------------------------------------------------------------------------------------------- verdicts


def failed(status: int | None = None, reason: str = "timeout", retry_after: float | None = None) -> Outcome:
    """An attempt that may work later."""
    return Outcome(Kind.RETRY, reason=reason, status=status, retry_after_s=retry_after)


def test_delivered() -> None:
    """A success closes the delivery, uses up its try and speaks for the endpoint."""
    verdict = judge(Outcome(Kind.DELIVERED, status=200), endpoint(), tries=0, dice=0.5)
    assert (verdict.after, verdict.tries, verdict.success, verdict.reason) == (State.DELIVERED, 1, True, None)


def test_a_failure_is_tried_again_until_the_tries_are_used_up() -> None:
    """Two waits are three tries: the third failure is the dead letter, with the last reason."""
    target = endpoint()
    first, second, third = (judge(failed(), target, tries=tries, dice=0.5) for tries in range(3))
    assert (first.after, first.wait_s, first.tries) == (State.PENDING, 10, 1)
    assert (second.after, second.wait_s, second.tries) == (State.PENDING, 100, 1)
    assert (third.after, third.wait_s, third.tries) == (State.FAILED, 0, 1)
    assert third.reason == "timeout"
    assert {step.cause for step in (first, second, third)} == {"overload"}
    assert {step.success for step in (first, second, third)} == {False}


def test_a_policy_that_became_shorter_ends_at_once() -> None:
    """A delivery that has more tries behind it than today's policy allows fails with its next failure."""
    assert judge(failed(), endpoint(), tries=50, dice=0.5).after is State.FAILED


def test_retry_after_lengthens_the_wait_and_stops_the_endpoint() -> None:
    """The delivery waits at least as long as the receiver asked, and the endpoint as long as it asked."""
    long = judge(failed(429, "rate_limited", 60.0), endpoint(), tries=0, dice=0.5)
    assert (long.wait_s, long.endpoint_wait_s) == (60, 60)
    short = judge(failed(429, "rate_limited", 1.0), endpoint(), tries=0, dice=0.5)
    assert (short.wait_s, short.endpoint_wait_s) == (10, 1)
    last = judge(failed(429, "rate_limited", 60.0), endpoint(), tries=2, dice=0.5)
    assert (last.after, last.endpoint_wait_s) == (State.FAILED, 60)


def test_gone_disables_the_endpoint() -> None:
    """After 410 the delivery has failed and the endpoint is to be disabled."""
    verdict = judge(Outcome(Kind.GONE, reason="gone", status=410), endpoint(), tries=0, dice=0.5)
    assert (verdict.after, verdict.disable, verdict.reason) == (State.FAILED, True, "gone")
    softer = judge(Outcome(Kind.GONE, reason="gone", status=410), with_rules(gone="retry"), tries=0, dice=0.5)
    assert (softer.after, softer.disable) == (State.PENDING, False)


def test_rejected_is_final() -> None:
    """What a sender calls permanent fails with its first try, and says nothing about the endpoint."""
    verdict = judge(Outcome(Kind.REJECTED, reason="rejected"), endpoint(), tries=0, dice=0.5)
    assert (verdict.after, verdict.tries, verdict.reason, verdict.success) == (State.FAILED, 1, "rejected", None)


@pytest.mark.parametrize(
    ("on", "outcome", "after", "reason", "disable", "escalate", "success"),
    [
        ({"_4xx": "fail"}, failed(400, "client_error"), State.FAILED, "rejected", False, False, None),
        ({"_4xx": "disable"}, failed(401, "client_error"), State.FAILED, "rejected", True, False, None),
        ({"_4xx": "escalate"}, failed(400, "client_error"), State.PENDING, "client_error", False, True, False),
        ({"_5xx": "fail"}, failed(500, "server_error"), State.FAILED, "rejected", False, False, False),
        ({"_4xx": "fail"}, failed(429, "rate_limited", 5.0), State.FAILED, "rejected", False, False, False),
        ({"timeout": "fail"}, failed(), State.FAILED, "timeout", False, False, False),
        ({"answer_rejected": "fail"}, failed(200, "answer_rejected"), State.FAILED, "rejected", False, False, None),
        (
            {"rejected": "retry"},
            Outcome(Kind.REJECTED, reason="rejected"),
            State.PENDING,
            "rejected",
            False,
            False,
            False,
        ),
        ({"_4xx": "fail"}, failed(500, "server_error"), State.PENDING, "server_error", False, False, False),
    ],
)
def test_rules_map_what_happened(
    on: dict[str, object],
    outcome: Outcome,
    after: State,
    reason: str,
    disable: bool,
    escalate: bool,
    success: bool | None,
) -> None:
    """The endpoint's rules decide over retry, fail, disable and escalate, and over what health is told."""
    verdict = judge(outcome, with_rules(**on), tries=0, dice=0.5)
    assert (verdict.after, verdict.reason, verdict.disable) == (after, reason, disable)
    assert (verdict.escalate, verdict.success) == (escalate, success)


def test_escalation_is_told_also_at_the_end() -> None:
    """The last failure of a rule that escalates is told like the first."""
    verdict = judge(failed(500, "server_error"), with_rules(_5xx="escalate"), tries=2, dice=0.5)
    assert (verdict.after, verdict.escalate) == (State.FAILED, True)


def test_a_rule_with_its_own_waits() -> None:
    """A rule's schedule is used for what it speaks of."""
    target = with_rules(_409={"retry": {"schedule_s": [1], "jitter": 0}})
    assert judge(failed(409, "client_error"), target, tries=0, dice=0.5).wait_s == 1
    assert judge(failed(409, "client_error"), target, tries=1, dice=0.5).after is State.FAILED
    assert judge(failed(404, "client_error"), target, tries=1, dice=0.5).wait_s == 100


@pytest.mark.rule(n=14)
def test_an_early_probe_uses_up_no_try() -> None:
    """A probe before the delivery's own time that fails leaves it as it was, however often."""
    for tries in range(4):
        verdict = judge(failed(), endpoint(), tries=tries, dice=0.5, early=True)
        assert (verdict.after, verdict.tries, verdict.keep_due, verdict.wait_s) == (State.PENDING, 0, True, 0)
        assert verdict.success is False
    delivered = judge(Outcome(Kind.DELIVERED, status=200), endpoint(), tries=0, dice=0.5, early=True)
    assert (delivered.after, delivered.success) == (State.DELIVERED, True)
    gone = judge(Outcome(Kind.GONE, reason="gone", status=410), endpoint(), tries=0, dice=0.5, early=True)
    assert (gone.after, gone.disable) == (State.FAILED, True)


def test_what_has_not_started_changes_nothing() -> None:
    """A sender without room uses up no try and says nothing about the endpoint."""
    verdict = judge(Outcome(Kind.RETRY, reason="connect", started=False), endpoint(), tries=0, dice=0.5)
    assert (verdict.after, verdict.tries, verdict.keep_due, verdict.success) == (State.PENDING, 0, True, None)


_outcomes = st.one_of(
    st.builds(
        lambda status, asked: Outcome(
            natural(status, asked, NOW_S)[0],
            reason=natural(status, asked, NOW_S)[1],
            retry_after_s=natural(status, asked, NOW_S)[2],
            status=status,
        ),
        st.integers(100, 599),
        st.sampled_from([None, "0", "7", "junk", "1e99", "99999999"]),
    ),
    st.sampled_from(["timeout", "dns", "connect", "tls", "address_refused", "protocol"]).map(
        lambda reason: Outcome(Kind.RETRY, reason=reason)
    ),
    st.just(Outcome(Kind.REJECTED, reason="rejected")),
)
_policies = st.sampled_from(
    [
        {"schedule_s": [0]},
        {"schedule_s": [5] * 9, "on": {"4xx": {"retry": {"schedule_s": [1, 2, 3]}}, "5xx": "escalate"}},
        {"preset": "five", "on": {"timeout": {"retry": {"schedule_s": [1] * 20}}}},
        {"first_s": 1, "attempts": 100},
    ]
)


@given(_policies, st.lists(_outcomes, min_size=1, max_size=10), st.floats(0, 1, exclude_max=True))
def test_every_sequence_of_answers_comes_to_an_end(
    policy: dict[str, object], answers: list[Outcome], dice: float
) -> None:
    """Attempts never pass the limit, each verdict is a transition of the table, waits finite, ends explained."""
    target = endpoint(policy)
    tries = 0
    for attempts, outcome in enumerate(itertools.cycle(answers), start=1):
        assert attempts <= target.retry.tries_max
        verdict = judge(outcome, target, tries=tries, dice=dice)
        assert allowed(State.LEASED, verdict.after)
        assert math.isfinite(verdict.wait_s)
        assert 0 <= verdict.wait_s <= max(86_400, 604_800 * 1.5)
        tries += verdict.tries
        if verdict.after is not State.PENDING:
            assert (verdict.reason is None) == (verdict.after is State.DELIVERED)
            assert (verdict.cause is None) == (verdict.after is State.DELIVERED)
            break
