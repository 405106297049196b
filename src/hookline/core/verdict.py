"""What an attempt means for its delivery, for its endpoint, and for the endpoint's health. Pure.

`judge` joins what the sender says (for HTTP: `core.success`) with the endpoint's retry policy; `judge_confirmation`
does the same with what the receiver says afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from hookline.core.attempt import Kind, Outcome, cause_of
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.retry import Action, Rule


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a delivery after an attempt, and what else follows from it."""

    after: State
    """DELIVERED, UNCONFIRMED (for `wait_s` at most), FAILED, or PENDING (again after `wait_s`)."""
    wait_s: float = 0.0
    keep_due: bool = False
    """PENDING, but due when it was due before: nothing of its tries was used up. `wait_s` is 0 then."""
    tries: int = 0
    """How many tries it used up: 0 or 1."""
    reason: str | None = None
    """Why it was not delivered. `rejected`: there was an answer, and it settled the matter for good."""
    cause: str | None = None
    disable: bool = False
    """The endpoint is to be disabled."""
    escalate: bool = False
    """People are to be told at once."""
    endpoint_wait_s: float | None = None
    """The receiver asks the whole endpoint to wait so long."""
    success: bool | None = None
    """For the endpoint's health. True: it works. False: it fails. None: this says nothing about it."""


_SUCCESSES: Final = frozenset({Kind.DELIVERED, Kind.UNCONFIRMED})
_DELIVERED: Final = Verdict(State.DELIVERED, tries=1, success=True)
_DELIVERED_EARLY: Final = Verdict(State.DELIVERED, success=True)
_ALIVE: Final = frozenset({"client_error", "answer_rejected", "rejected", "gone", "too_large"})
_NATURAL_ACTION: Final[Mapping[Kind, Action]] = {
    Kind.RETRY: Action.RETRY,
    Kind.REJECTED: Action.FAIL,
    Kind.GONE: Action.DISABLE,
}


def judge(outcome: Outcome, endpoint: Endpoint, *, tries: int, dice: float, early: bool = False) -> Verdict:
    """Join what the sender says with the endpoint's rules.

    `tries` are those used up before this attempt; `dice` is uniform in [0, 1); `early` says that this was a probe
    before the delivery's own time: if it is to be tried again, it uses up no try and stays due as it was (an answer
    that settles the matter counts all the same). A wait is never shorter than the receiver's Retry-After.

    A success at an endpoint that asks for confirmation is unconfirmed until then; for all others it is a success,
    whatever the sender calls it.

    Health: a success is one; anything to be tried again counts against the endpoint, and so do time-outs, missing
    connections, 3xx, 429 and 5xx that a rule turns into `fail`. An answer that settles the matter (a 4xx, a
    refused answer, the receiver's own word) says nothing about the endpoint: it is alive and does its work.
    """
    if not outcome.started:
        return Verdict(State.PENDING, keep_due=True, reason=outcome.reason)
    if outcome.kind in _SUCCESSES:
        if endpoint.confirm_s is not None:
            # Also an early probe uses up its try then: it was no probe for the receiver, who has work to confirm.
            return Verdict(State.UNCONFIRMED, wait_s=endpoint.confirm_s, tries=1, success=True)
        return _DELIVERED_EARLY if early else _DELIVERED
    rule = endpoint.retry.rule(outcome.status, outcome.reason)
    action = _NATURAL_ACTION[outcome.kind] if rule is None else rule.action
    if action is Action.FAIL or action is Action.DISABLE:
        return _settled(outcome, 0 if early else 1, disable=action is Action.DISABLE, by_rule=rule is not None)
    return _again(outcome, endpoint, rule, tries=tries, dice=dice, early=early)


def judge_confirmation(success: bool | None, endpoint: Endpoint, *, tries: int, dice: float) -> Verdict:
    """What becomes of an unconfirmed delivery: the receiver confirmed a success or an error, or (None) nothing in time.

    `tries` are those used up, the unconfirmed one included. An error is a failed try, reason `answer_rejected`; it is
    tried again after the wait that belongs to it. Silence is one too, reason `timeout`; the deadline was its wait. It
    says nothing about the endpoint's health: that was told by its answer.
    """
    if success:
        return Verdict(State.DELIVERED)
    reason = "timeout" if success is None else "answer_rejected"
    cause = cause_of(reason, None)
    rule = endpoint.retry.rule(None, reason)
    action = Action.RETRY if rule is None else rule.action
    if action is Action.FAIL or action is Action.DISABLE:
        return Verdict(State.FAILED, reason=reason, cause=cause, disable=action is Action.DISABLE)
    wait_s = endpoint.retry.wait_s(tries, dice, rule)
    return Verdict(
        State.FAILED if wait_s is None else State.PENDING,
        wait_s=0.0 if success is None or wait_s is None else wait_s,
        reason=reason,
        cause=cause,
        escalate=action is Action.ESCALATE,
    )


def _settled(outcome: Outcome, used: int, *, disable: bool, by_rule: bool) -> Verdict:
    reason = outcome.reason
    if by_rule and outcome.status is not None and reason != "gone":
        reason = "rejected"
    return Verdict(
        State.FAILED,
        tries=used,
        reason=reason,
        cause=cause_of(reason, outcome.status),
        disable=disable,
        endpoint_wait_s=outcome.retry_after_s,
        success=None if outcome.reason in _ALIVE else False,
    )


def _again(outcome: Outcome, endpoint: Endpoint, rule: Rule | None, *, tries: int, dice: float, early: bool) -> Verdict:
    cause = cause_of(outcome.reason, outcome.status)
    escalate = rule is not None and rule.action is Action.ESCALATE
    asked_s = outcome.retry_after_s
    wait_s = 0.0 if early else endpoint.retry.wait_s(tries + 1, dice, rule)
    if wait_s is None:
        after, wait_s = State.FAILED, 0.0
    else:
        after = State.PENDING
        if not early and asked_s is not None:
            wait_s = max(wait_s, asked_s)
    return Verdict(
        after,
        wait_s=wait_s,
        keep_due=early,
        tries=0 if early else 1,
        reason=outcome.reason,
        cause=cause,
        escalate=escalate,
        endpoint_wait_s=asked_s,
        success=False,
    )
