"""When to try again. Pure: the caller brings the dice.

    {"schedule_s": [5, 300, 1800]}                                          three waits: four tries
    {"first_s": 1, "factor": 2, "wait_s_max": 60, "attempts": 5}            five tries, after 1, 2, 4 and 8 s
    {"preset": "standard"} or {"preset": "five"}                            `PRESETS`

(`factor` is 2 and `wait_s_max` 86,400 where they are left out), each with, optionally, `"jitter": 0.2` (a wait is
spread by ± 20 %) and

    "on": {"4xx": "fail", "409": {"retry": {"schedule_s": [1, 2]}}, "500-599": "escalate", "timeout": "retry"}

Keys of `on` are a status, a range of statuses, or a reason code (`core.attempt.REASONS`). The most specific rule
wins: a single status, then a reason, then the smaller range; `redirect`, `client_error` and `server_error` stand
for a class of statuses and come just before `3xx`, `4xx`, `5xx`. A 410 keeps its own meaning (the delivery fails and
the endpoint is disabled) unless a rule names `410` or `gone`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from hookline.core.attempt import REASONS
from hookline.core.errors import Refusal
from hookline.core.json_text import pointer as step

WAIT_S_MAX: Final = 604_800.0
WAITS_MAX: Final = 100
ATTEMPTS_MAX: Final = 100
FACTOR_DEFAULT: Final = 2.0
FACTOR_MAX: Final = 100.0
WAIT_S_MAX_DEFAULT: Final = 86_400.0
JITTER_DEFAULT: Final = 0.2
JITTER_MAX: Final = 0.5
RULES_MAX: Final = 100

PRESETS: Final[Mapping[str, Mapping[str, object]]] = {
    "standard": {"schedule_s": [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]},
    "five": {"first_s": 1, "factor": 2, "wait_s_max": 60, "attempts": 5},
}
"""`standard` is the default: ten tries in about 75 hours, as Standard Webhooks recommends. `five`: five tries, 1 s,
2 s, 4 s and 8 s apart, for what is worthless later."""

_EXPONENTIAL = ("first_s", "factor", "wait_s_max", "attempts")
_TIMING = frozenset({"preset", "schedule_s", "jitter", *_EXPONENTIAL})
_UNMAPPABLE = frozenset({"endpoint_deleted", "expired", "overflow", "poison"})
_CLASS_REASONS = frozenset({"redirect", "client_error", "server_error"})
_STATUS_RANGE = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")


class Action(StrEnum):
    """What a rule does with a failed attempt."""

    RETRY = "retry"
    """Try again as the schedule says."""
    FAIL = "fail"
    """Never again: the delivery fails."""
    DISABLE = "disable"
    """The delivery fails and the endpoint is disabled."""
    ESCALATE = "escalate"
    """Try again, and tell people at once by an operational event."""


_ACTIONS = frozenset(action.value for action in Action)


class Schedule(msgspec.Struct, frozen=True):
    """The waits between tries, in seconds, and by which part of itself each is spread up and down."""

    waits_s: tuple[float, ...]
    jitter: float = JITTER_DEFAULT

    @property
    def tries_max(self) -> int:
        """How many tries there are in all."""
        return len(self.waits_s) + 1

    def wait_s(self, tries: int, dice: float) -> float | None:
        """Seconds to wait after failed try number `tries` (from 1), or None: that was the last.

        `dice` is uniform in [0, 1).
        """
        assert tries >= 1
        if tries > len(self.waits_s):
            return None
        return self.waits_s[tries - 1] * (1.0 + self.jitter * (2.0 * dice - 1.0))


class Rule(msgspec.Struct, frozen=True):
    """What to do with attempts that failed with a status from `low` to `high`, or for `reason` if it is set."""

    action: Action
    schedule: Schedule | None = None
    """A schedule of its own, counted by the delivery's tries like the policy's."""
    reason: str | None = None
    low: int = 0
    high: int = -1

    @property
    def breadth(self) -> float:
        """How many statuses it speaks of; a reason counts a little more than one status. Smaller wins."""
        if self.reason in _CLASS_REASONS:
            return 99.5
        return 1.5 if self.reason is not None else float(self.high - self.low + 1)

    def speaks_of(self, status: int | None, reason: str | None) -> bool:
        """Whether an attempt that ended so is its business."""
        if self.reason is not None:
            return self.reason == reason
        if reason == "gone" and self.low != self.high:
            return False
        return status is not None and self.low <= status <= self.high


class RetryPolicy(msgspec.Struct, frozen=True):
    """When an endpoint's failed deliveries are tried again. `rules` are ordered, most specific first."""

    schedule: Schedule
    rules: tuple[Rule, ...] = ()

    @property
    def tries_max(self) -> int:
        """No delivery is tried more often than this, whatever the answers."""
        own = (rule.schedule.tries_max for rule in self.rules if rule.schedule is not None)
        return max(self.schedule.tries_max, *own, 1)

    def rule(self, status: int | None, reason: str | None) -> Rule | None:
        """The rule for an attempt that failed with this status (if there was an answer) and reason."""
        return next((rule for rule in self.rules if rule.speaks_of(status, reason)), None)

    def wait_s(self, tries: int, dice: float, rule: Rule | None = None) -> float | None:
        """Seconds to wait after failed try number `tries` (from 1), by the rule's own schedule if it has one.

        None: the tries are used up. `dice` is uniform in [0, 1).
        """
        schedule = self.schedule if rule is None or rule.schedule is None else rule.schedule
        return schedule.wait_s(tries, dice)


def parse_retry(spec: Mapping[str, object] | None, *, pointer: str = "/retry") -> RetryPolicy:
    """An endpoint's `retry`, compiled; None is the default. Raises `Refusal` (`invalid_retry`) with a pointer."""
    if spec is None:
        return DEFAULT
    _only_known(spec, _TIMING | {"on"}, pointer)
    rules = _rules(spec["on"], f"{pointer}/on") if "on" in spec else ()
    return RetryPolicy(_schedule(spec, pointer), rules)


def status_range(text: str) -> tuple[int, int] | None:
    """The first and last status that `204`, `2xx` or `200-204` names; None: it is no such text."""
    found = _STATUS_RANGE.fullmatch(text)
    if found is None:
        return None
    if found[1] is not None:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    low, high = int(found[2]), int(found[3] or found[2])
    return (low, high) if low <= high else None


def _refused(detail: str, pointer: str) -> Refusal:
    return Refusal("invalid_retry", detail, pointer=pointer)


def _only_known(spec: Mapping[str, object], known: frozenset[str], pointer: str) -> None:
    for name in spec:
        if name not in known:
            raise _refused(f"There is no such member; known are {', '.join(sorted(known))}.", pointer + step(name))


def _number(value: object, low: float, high: float, pointer: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise _refused(f"This must be a number from {low:g} to {high:g}.", pointer)
    return float(value)


def _schedule(spec: Mapping[str, object], pointer: str) -> Schedule:
    forms = [name for name in ("preset", "schedule_s") if name in spec]
    if any(name in spec for name in _EXPONENTIAL):
        forms.append("first_s")
    if len(forms) > 1:
        raise _refused("Give one of schedule_s, preset, or first_s with factor, wait_s_max and attempts.", pointer)
    jitter = _number(spec["jitter"], 0, JITTER_MAX, f"{pointer}/jitter") if "jitter" in spec else JITTER_DEFAULT
    if not forms:
        return Schedule(DEFAULT.schedule.waits_s, jitter)
    if forms[0] == "schedule_s":
        return Schedule(_waits(spec["schedule_s"], f"{pointer}/schedule_s"), jitter)
    if forms[0] == "preset":
        preset = PRESETS.get(spec["preset"]) if isinstance(spec["preset"], str) else None
        if preset is None:
            raise _refused(f"Known presets are {', '.join(PRESETS)}.", f"{pointer}/preset")
        return Schedule(_schedule(preset, pointer).waits_s, jitter)
    return Schedule(_exponential_waits(spec, pointer), jitter)


def _waits(value: object, pointer: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= WAITS_MAX:
        raise _refused(f"This must be a list of 1 to {WAITS_MAX} waits in seconds.", pointer)
    return tuple(_number(wait, 0, WAIT_S_MAX, f"{pointer}/{position}") for position, wait in enumerate(value))


def _exponential_waits(spec: Mapping[str, object], pointer: str) -> tuple[float, ...]:
    if "first_s" not in spec or "attempts" not in spec:
        raise _refused("first_s and attempts are needed for waits that grow by a factor.", pointer)
    first_s = _number(spec["first_s"], 0, WAIT_S_MAX, f"{pointer}/first_s")
    factor = _number(spec.get("factor", FACTOR_DEFAULT), 1, FACTOR_MAX, f"{pointer}/factor")
    wait_s_max = _number(spec.get("wait_s_max", WAIT_S_MAX_DEFAULT), 0, WAIT_S_MAX, f"{pointer}/wait_s_max")
    attempts = _number(spec["attempts"], 1, ATTEMPTS_MAX, f"{pointer}/attempts")
    if not attempts.is_integer():
        raise _refused("This must be a whole number.", f"{pointer}/attempts")
    # 100 ** 98 is far below the largest float: the power cannot overflow within these limits.
    assert math.isfinite(WAIT_S_MAX * FACTOR_MAX**ATTEMPTS_MAX)
    return tuple(min(wait_s_max, first_s * factor**exponent) for exponent in range(int(attempts) - 1))


def _rules(value: object, pointer: str) -> tuple[Rule, ...]:
    if not isinstance(value, Mapping) or len(value) > RULES_MAX:
        raise _refused(f"This must be an object with at most {RULES_MAX} rules.", pointer)
    rules = [_rule(key, does, pointer + step(str(key))) for key, does in value.items()]
    return tuple(sorted(rules, key=lambda rule: rule.breadth))


def _rule(key: str, does: object, pointer: str) -> Rule:
    action, schedule = _action(does, pointer)
    if key in REASONS and key not in _UNMAPPABLE:
        return Rule(action, schedule, reason=key)
    found = status_range(key)
    if found is None:
        raise _refused("A rule is named by a status (409, 5xx, 400-499) or by a reason of an attempt.", pointer)
    return Rule(action, schedule, low=found[0], high=found[1])


def _action(does: object, pointer: str) -> tuple[Action, Schedule | None]:
    if isinstance(does, str) and does in _ACTIONS:
        return Action(does), None
    if isinstance(does, Mapping) and set(does) == {"retry"} and isinstance(does["retry"], Mapping):
        own = does["retry"]
        _only_known(own, _TIMING, f"{pointer}/retry")
        return Action.RETRY, _schedule(own, f"{pointer}/retry")
    raise _refused('A rule does "retry", "fail", "disable", "escalate" or {"retry": {schedule}}.', pointer)


DEFAULT: Final = RetryPolicy(_schedule(PRESETS["standard"], "/retry"))
"""The policy of an endpoint that names none."""
