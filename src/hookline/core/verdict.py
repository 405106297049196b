"""What an attempt means for its delivery, for its endpoint, and for the endpoint's health. Pure.

`judge` joins what the sender says (for HTTP: `core.success`) with the endpoint's retry policy.
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
    """DELIVERED, UNCONFIRMED, FAILED, or PENDING (again after `wait_s`)."""
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


_DELIVERED: Final = Verdict(State.DELIVERED, tries=1, success=True)
_DELIVERED_EARLY: Final = Verdict(State.DELIVERED, success=True)
_ALIVE: Final = frozenset({"client_error", "answer_rejected", "rejected", "gone"})
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

    Health: a success is one; anything to be tried again counts against the endpoint, and so do time-outs, missing
    connections, 3xx, 429 and 5xx that a rule turns into `fail`. An answer that settles the matter (a 4xx, a
    refused answer, the receiver's own word) says nothing about the endpoint: it is alive and does its work.
    """
    if not outcome.started:
        return Verdict(State.PENDING, keep_due=True, reason=outcome.reason)
    used = 0 if early else 1
    if outcome.kind is Kind.DELIVERED:
        return _DELIVERED_EARLY if early else _DELIVERED
    if outcome.kind is Kind.UNCONFIRMED:
        return Verdict(State.UNCONFIRMED, tries=used, success=True)
    rule = endpoint.retry.rule(outcome.status, outcome.reason)
    action = _NATURAL_ACTION[outcome.kind] if rule is None else rule.action
    if action is Action.FAIL or action is Action.DISABLE:
        return _settled(outcome, used, disable=action is Action.DISABLE, by_rule=rule is not None)
    return _again(outcome, endpoint, rule, tries=tries, dice=dice, early=early)


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
