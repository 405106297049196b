"""What the operators of filters do with one value. Total: whatever the values are, the answer is yes or no.

Values are those of JSON. Numbers compare as numbers and strings as strings (by code point); a boolean is no number;
different types are never equal and never ordered. A value that is missing meets no operator but `$exist: false`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

STEPS_MAX: Final = 50_000


class Missing:
    """The type of a value that is not there."""


MISSING: Final = Missing()


class TooCostly(Exception):
    """The document is too big to be asked this."""


class Run:
    """One evaluation of a filter: the whole document, for `$ref`, and the steps that are left."""

    __slots__ = ("document", "steps")

    def __init__(self, document: Mapping[str, object]) -> None:
        self.document = document
        self.steps = STEPS_MAX

    def charge(self, steps: int) -> None:
        """Raise `TooCostly` when these steps are more than are left."""
        self.steps -= steps
        if self.steps < 0:
            raise TooCostly


Matcher = Callable[[object, Run], bool]
Operator = Callable[[object, object, Run], bool]


def equal(value: object, other: object, run: Run) -> bool:
    """Deep equality of JSON: 1 equals 1.0, true does not equal 1, the order of keys is nothing."""
    kind = type(value)
    if kind is str:
        return value == other
    if kind is int or kind is float:
        return (type(other) is int or type(other) is float) and value == other
    if kind is bool or value is None:
        return value is other
    if isinstance(value, list):
        if not isinstance(other, list) or len(value) != len(other):
            return False
        run.charge(len(value))
        return all(equal(one, two, run) for one, two in zip(value, other, strict=True))
    if isinstance(value, dict):
        if not isinstance(other, dict) or value.keys() != other.keys():
            return False
        run.charge(len(value))
        return all(equal(one, other[key], run) for key, one in value.items())
    return False


def not_equal(value: object, other: object, run: Run) -> bool:
    """`$neq`: both are there and differ."""
    return value is not MISSING and other is not MISSING and not equal(value, other, run)


def _comparable(value: object, other: object) -> bool:
    if type(value) is str:
        return type(other) is str
    return (type(value) is int or type(value) is float) and (type(other) is int or type(other) is float)


def greater(value: object, other: object, _run: Run) -> bool:
    """`$gt`."""
    return _comparable(value, other) and value > other  # type: ignore[operator]


def greater_or_equal(value: object, other: object, _run: Run) -> bool:
    """`$gte`."""
    return _comparable(value, other) and value >= other  # type: ignore[operator]


def less(value: object, other: object, _run: Run) -> bool:
    """`$lt`."""
    return _comparable(value, other) and value < other  # type: ignore[operator]


def less_or_equal(value: object, other: object, _run: Run) -> bool:
    """`$lte`."""
    return _comparable(value, other) and value <= other  # type: ignore[operator]


def contains(value: object, other: object, run: Run) -> bool:
    """`$contains`: a string has this part, or an array this element."""
    if isinstance(value, str):
        return isinstance(other, str) and _charged(value, run) and other in value
    if isinstance(value, list):
        run.charge(len(value))
        return any(equal(one, other, run) for one in value)
    return False


def is_in(value: object, other: object, run: Run) -> bool:
    """`$in`: it is one of a list (of an array, any element is), or else as `$contains`."""
    if not isinstance(other, list):
        return contains(value, other, run)
    if isinstance(value, list):
        run.charge(len(value) * (1 + len(other)))
        return any(equal(one, two, run) for one in value for two in other)
    run.charge(len(other))
    return any(equal(value, one, run) for one in other)


def not_in(value: object, other: object, run: Run) -> bool:
    """`$nin`: both are there, and not `$in`."""
    return value is not MISSING and other is not MISSING and not is_in(value, other, run)


def starts_with(value: object, other: object, _run: Run) -> bool:
    """`$startsWith` a string, or any of a list of strings."""
    return isinstance(value, str) and value.startswith(_affixes(other))


def ends_with(value: object, other: object, _run: Run) -> bool:
    """`$endsWith` a string, or any of a list of strings."""
    return isinstance(value, str) and value.endswith(_affixes(other))


def same(value: object, other: object, run: Run) -> bool:
    """`$ref`: equal, or the element of an array."""
    if equal(value, other, run):
        return True
    if isinstance(value, list):
        run.charge(len(value))
        return any(equal(one, other, run) for one in value)
    return False


def _affixes(other: object) -> str | tuple[str, ...]:
    if isinstance(other, str):
        return other
    return tuple(one for one in other if isinstance(one, str)) if isinstance(other, list) else ()


def _charged(text: str, run: Run) -> bool:
    # Looking through a long string costs as much as many small steps.
    if len(text) > 1024:
        run.charge(len(text) >> 6)
    return True


def one_of(options: list[object]) -> Matcher:
    """`$in` a list of constants: as `is_in`, by hash."""
    strings = frozenset(one for one in options if isinstance(one, str))
    numbers = frozenset(one for one in options if isinstance(one, int | float) and not isinstance(one, bool))
    singles = [one for one in options if one is None or isinstance(one, bool)]

    def scalar(value: object) -> bool:
        kind = type(value)
        if kind is str:
            return value in strings
        if kind is int or kind is float:
            return value in numbers
        return any(value is one for one in singles)

    def match(value: object, run: Run) -> bool:
        if isinstance(value, list):
            run.charge(len(value))
            return any(scalar(one) for one in value)
        return scalar(value)

    return match


def exists(value: object, _run: Run) -> bool:
    """`$exist` true: it is there."""
    return value is not MISSING


def exists_not(value: object, _run: Run) -> bool:
    """`$exist` false: it is not there."""
    return value is MISSING
