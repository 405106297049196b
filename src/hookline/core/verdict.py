"""What an attempt means: for its delivery, its endpoint and the endpoint's health. Pure.

    answer     status, headers, body of an HTTP answer → the sender's outcome (with the endpoint's `success_when`)
    natural    the same without `success_when`
    judge      outcome + retry policy → the delivery's next state, and whatever else follows

`success_when` is `{"status": [200, "2xx", "200-204"], "filter": {…}}`: the statuses that are a success (default:
all 2xx), and a filter over `status`, `headers` (names in lower case) and `body` (where it is JSON). An answer with a
status of success that does not meet the filter, and a 2xx that is not listed, is `answer_rejected`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from hookline.core.attempt import RETRY_AFTER_S_MAX, Kind, Outcome, cause_of
from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.errors import Refusal
from hookline.core.filter import Filter, compile_filter
from hookline.core.json_text import parse
from hookline.core.json_text import pointer as step
from hookline.core.retry import Action, Rule, status_range

STATUSES_MAX: Final = 100
_PAUSING: Final = frozenset({429, 502, 503, 504})

# ------------------------------------------------------------------------------------------------ Retry-After

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_HTTP_DATES: Final = (
    re.compile(rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]+day, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Seconds that a Retry-After header asks for, clamped to [0, 86,400]; None: there is none, or it is garbage.

    Whole or decimal seconds, or an HTTP-date in any of its three forms (RFC 9110, 5.6.7 and 10.2.3). `now_s` is the
    wall clock, in seconds since 1970.
    """
    text = value.strip(" \t") if value is not None else ""
    if not text or len(text) > 64 or not text.isascii():
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_S_MAX)
    for form in _HTTP_DATES:
        found = form.fullmatch(text)
        if found is not None:
            at_s = _instant_s(found, now_s)
            return None if at_s is None else min(max(0.0, at_s - now_s), RETRY_AFTER_S_MAX)
    return None


def _instant_s(found: re.Match[str], now_s: float) -> float | None:
    year = int(found["year"])
    if len(found["year"]) == 2:
        # The year with these digits that is nearest; none is more than 50 years ahead.
        now_year = datetime.fromtimestamp(now_s, UTC).year
        year += now_year - now_year % 100
        if year > now_year + 50:
            year -= 100
        elif year <= now_year - 50:
            year += 100
    month = _MONTHS.index(found["month"]) + 1
    second = min(int(found["second"]), 59)  # a leap second
    try:
        at = datetime(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
    return at.timestamp()


# -------------------------------------------------------------------------------------------------- the answer


def natural(status: int, retry_after: str | None, now_s: float) -> tuple[Kind, str | None, float | None]:
    """What an HTTP status says by itself: kind, reason, and how long the whole endpoint is to wait (or None).

    2xx delivered; 410 gone; 429, and 502, 503, 504 with a Retry-After that can be read: `rate_limited`; other 3xx,
    4xx, 5xx: to be tried again; anything else is not an answer: `protocol`.
    """
    if 200 <= status <= 299:
        return Kind.DELIVERED, None, None
    if status == 410:
        return Kind.GONE, "gone", None
    if status in _PAUSING:
        wait_s = retry_after_s(retry_after, now_s)
        if status == 429 or wait_s is not None:
            return Kind.RETRY, "rate_limited", wait_s
    if 300 <= status <= 399:
        return Kind.RETRY, "redirect", None
    if 400 <= status <= 499:
        return Kind.RETRY, "client_error", None
    if 500 <= status <= 599:
        return Kind.RETRY, "server_error", None
    return Kind.RETRY, "protocol", None


class SuccessRule(msgspec.Struct, frozen=True):
    """An endpoint's `success_when`, compiled."""

    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    filter: Filter | None = None

    def lists(self, status: int) -> bool:
        """Whether the status is one of success."""
        return any(low <= status <= high for low, high in self.statuses)

    def met(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Whether an answer is a success: its status is listed and it passes the filter. Never raises."""
        if not self.lists(status):
            return False
        return self.filter is None or self.filter.matches(_answer_document(status, headers, body))


def _answer_document(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Mapping[str, object]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    document: dict[str, object] = {"status": status, "headers": joined}
    try:
        document["body"] = parse(body)
    except ValueError:
        # Not JSON: the document has no body, and a condition on it is not met.
        pass
    return document


def parse_success(spec: Mapping[str, object] | None, *, pointer: str = "/success_when") -> SuccessRule | None:
    """An endpoint's `success_when`, compiled; None where there is none.

    Raises `Refusal` (`invalid_endpoint`, or `invalid_filter` for its filter) with a pointer to the fault.
    """
    if spec is None:
        return None
    for name in spec:
        if name not in ("status", "filter"):
            raise Refusal("unknown_field", "Known are status and filter.", pointer=pointer + step(name))
    if not spec:
        raise Refusal("invalid_endpoint", "Give status, filter, or both.", pointer=pointer)
    statuses = _statuses(spec["status"], f"{pointer}/status") if "status" in spec else ((200, 299),)
    condition = compile_filter(spec["filter"], pointer=f"{pointer}/filter") if "filter" in spec else None
    return SuccessRule(statuses, condition)


def _statuses(value: object, pointer: str) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= STATUSES_MAX:
        detail = f"This must be a list of 1 to {STATUSES_MAX} statuses or ranges of statuses."
        raise Refusal("invalid_endpoint", detail, pointer=pointer)
    return tuple(_status_range(entry, f"{pointer}/{position}") for position, entry in enumerate(value))


def _status_range(entry: object, pointer: str) -> tuple[int, int]:
    text = str(entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry
    found = status_range(text) if isinstance(text, str) else None
    if found is None:
        raise Refusal("invalid_endpoint", 'A status is written 200, "2xx" or "200-204".', pointer=pointer)
    return found


def answer(
    rule: SuccessRule | None,
    status: int,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    now_s: float,
) -> tuple[Kind, str | None, float | None]:
    """What a whole HTTP answer means, as `natural` and with the endpoint's `success_when`.

    `body` is what was read of it; a filter on a body that was cut off is not met, because it is no JSON then.
    """
    if rule is None and 200 <= status <= 299:
        return Kind.DELIVERED, None, None
    if rule is not None and rule.met(status, headers, body):
        return Kind.DELIVERED, None, None
    asked = next((value.decode("latin-1") for name, value in headers if name.lower() == b"retry-after"), None)
    kind, reason, wait_s = natural(status, asked, now_s)
    if rule is not None and (kind is Kind.DELIVERED or rule.lists(status)):
        return Kind.RETRY, "answer_rejected", wait_s
    return kind, reason, wait_s


# ------------------------------------------------------------------------------------------------- the verdict


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
