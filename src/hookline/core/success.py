"""What an HTTP answer means: success, to be tried again, or settled for good. Pure.

    natural    what its status says by itself
    answer     the same, with the endpoint's `success_when`

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

from hookline.core.attempt import RETRY_AFTER_S_MAX, Kind
from hookline.core.errors import Refusal
from hookline.core.filter import Filter, compile_filter
from hookline.core.json_text import parse
from hookline.core.json_text import pointer as step
from hookline.core.retry import status_range

STATUSES_MAX: Final = 100
_ROOTS: Final = frozenset({"status", "headers", "body"})
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
    condition = compile_filter(spec["filter"], pointer=f"{pointer}/filter", roots=_ROOTS) if "filter" in spec else None
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
