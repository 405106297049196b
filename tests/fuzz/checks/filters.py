"""Filters: an arbitrary filter over an arbitrary event. The input is two lines of JSON: the filter, the payload.

What must hold: a filter compiles or is refused with a pointer; matching never raises and says yes or no; its cost is
bounded by its own count of steps; and it keeps the laws of logic.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from hookline.core.errors import Refusal
from hookline.core.filter import DEPTH_MAX, compile_filter
from hookline.core.filter_operators import STEPS_MAX, Run, TooCostly
from hookline.core.json_text import parse

CALLS_MAX = STEPS_MAX * 4 * DEPTH_MAX
"""A step asks one condition of one value, behind at most 20 `$not` or names of a path, each two calls."""
TIMES = (1, 1, 1, 40, 400)
"""The payload's arrays are made so many times longer, so that small inputs make large documents."""


def documents(payload: Any, times: int) -> dict[str, Any]:
    """The event that is asked."""
    return {
        "id": "evt_1", "type": "order.created", "time": "2026-01-31T00:00:00.000Z", "source": "/shop",
        "subject": "order 7", "extension": 7, "data": longer(payload, times),
    }  # fmt: skip


def longer(value: Any, times: int) -> Any:
    """`value` with its outer arrays repeated, 100,000 items at most."""
    if isinstance(value, list):
        return value * max(1, min(times, 100_000 // max(1, len(value))))
    if isinstance(value, dict):
        return {name: longer(one, times) for name, one in value.items()}
    return value


def matches(found: Any, document: dict[str, Any]) -> bool | None:
    """What a filter says; None where the document is too big to be asked."""
    try:
        return bool(found._match(document, Run(document)))
    except (TooCostly, RecursionError):
        return None


def calls_of(found: Any, document: dict[str, Any]) -> int:
    """How many functions of the filter's own are called to match."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found.matches(document)
    finally:
        sys.setprofile(before)
    return calls


def check(data: bytes, times: int | None = None) -> None:
    """Raise unless the filter does with the payload what it must."""
    first, _, second = data.partition(b"\n")
    try:
        spec, payload = parse(first), parse(second or b"null")
    except ValueError:
        return
    check_values(spec, payload, TIMES[len(data) % len(TIMES)] if times is None else times)


def check_values(spec: Any, payload: Any, times: int = 1) -> None:
    """The same of values."""
    try:
        found = compile_filter(spec)
    except Refusal as refusal:
        assert refusal.code == "invalid_filter"
        assert refusal.pointer is not None
        assert refusal.pointer.startswith("/filter")
        return
    document = documents(payload, times)
    said = found.matches(document)
    assert isinstance(said, bool)
    exact = matches(found, document)
    assert said is (True if exact is None else exact)
    if not found.needs_data:
        assert said is found.matches({name: value for name, value in document.items() if name != "data"})
    assert calls_of(found, document) <= CALLS_MAX
    if exact is not None:
        for wrapped, wanted in (
            ({"$not": spec}, not exact),
            ({"$and": [spec, spec]}, exact),
            ({"$or": [spec, spec]}, exact),
            ({"$not": {"$not": spec}}, exact),
        ):
            try:
                again = compile_filter(wrapped)
            except Refusal:  # too deep by one, or twice too many
                continue
            assert matches(again, document) in (wanted, None)
