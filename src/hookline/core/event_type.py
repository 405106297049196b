"""Event types: which names are good, which patterns match them, and an index of patterns that scales.

A pattern is a name, a prefix and `.*` (any depth: `order.*` matches `order.created` and `order.line.added`, not
`order`), or `*`. Names that begin with `hookline.` are ours, for operational events: only patterns that begin with
`hookline.` match them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

from hookline.core.errors import Refusal

NAME_CHARS_MAX: Final = 255
REMEMBERED_MAX: Final = 65_536
"""Names and values together that an index remembers as found: what publishers send again and again is few."""
RESERVED: Final = "hookline."
"""What the names of operational events begin with."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,254}")

T = TypeVar("T", bound=Hashable)


def is_type(name: str) -> bool:
    """Whether `name` is 1 to 255 of `[A-Za-z0-9_.:/-]`, alphanumeric first."""
    return _NAME.fullmatch(name) is not None


def check_type(name: str) -> None:
    """Raise `Refusal` (`invalid_event_type`) unless `name` is an event type."""
    if not is_type(name):
        raise Refusal(
            "invalid_event_type",
            "An event type is 1 to 255 of A-Z a-z 0-9 _ . : / - and begins with a letter or a digit.",
            pointer="/type",
        )


def check_pattern(pattern: str) -> None:
    """Raise `Refusal` (`invalid_event_type`) unless `pattern` is `*`, an event type, or a prefix and `.*`."""
    if pattern == "*":
        return
    if len(pattern) > NAME_CHARS_MAX or not is_type(pattern.removesuffix(".*")):
        raise Refusal(
            "invalid_event_type",
            "A pattern is *, an event type as order.created, or a prefix as order.* (a star only at the end).",
        )


def is_operational(name: str) -> bool:
    """Whether this is one of our own events, which nobody can publish."""
    return name.startswith(RESERVED)


def pattern_matches(pattern: str, name: str) -> bool:
    """Whether an endpoint that asks for `pattern` wants events called `name`."""
    if pattern == "*":
        return not is_operational(name)
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1])
    return pattern == name


class PatternIndex(Generic[T]):
    """Who wants which event types: finding them costs the parts of the name, whatever the number of patterns.

    Values must be hashable and are found once each, in the order in which they were first added.
    """

    def __init__(self) -> None:
        self._names: dict[str, dict[T, int]] = {}
        self._prefixes: dict[str, dict[T, int]] = {}
        self._all: dict[T, int] = {}
        self._places: dict[T, list[int]] = {}
        """Of each value: its place in the order, and under how many patterns it stands."""
        self._next = 0
        self._found: dict[str, tuple[T, ...]] = {}
        """What `match` said of late; nothing when the patterns have changed since."""
        self._found_size = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, patterns: Iterable[str], value: T) -> None:
        """From now on `value` is found by names that match any of `patterns`. What is there already stays."""
        self._forget()
        for pattern in patterns:
            found = self._bucket(pattern, make=True)
            if value in found:
                continue
            place = self._places.get(value)
            if place is None:
                place = self._places[value] = [self._next, 0]
                self._next += 1
            place[1] += 1
            behind = next(reversed(found.values()), -1)
            found[value] = place[0]
            if behind > place[0]:
                ordered = sorted(found.items(), key=_by_place)
                found.clear()
                found.update(ordered)

    def remove(self, patterns: Iterable[str], value: T) -> None:
        """`value` is no longer found by `patterns`. What is not there is passed over."""
        self._forget()
        for pattern in patterns:
            found = self._bucket(pattern, make=False)
            if value not in found:
                continue
            del found[value]
            if not found:
                self._drop(pattern)
            place = self._places[value]
            place[1] -= 1
            if place[1] == 0:
                del self._places[value]

    def match(self, name: str) -> tuple[T, ...]:
        """The values that want events called `name`."""
        known = self._found.get(name)
        if known is not None:
            return known
        known = tuple(self._match(name))
        self._found_size += 1 + len(known)
        if self._found_size > REMEMBERED_MAX:
            self._forget()
            self._found_size = 1 + len(known)
        if self._found_size <= REMEMBERED_MAX:
            self._found[name] = known
        return known

    def _forget(self) -> None:
        self._found.clear()
        self._found_size = 0

    def _match(self, name: str) -> Iterable[T]:
        hits = []
        found = self._names.get(name)
        if found:
            hits.append(found)
        if self._prefixes:
            prefixes = self._prefixes
            dot = name.find(".")
            while dot >= 0:
                found = prefixes.get(name[: dot + 1])
                if found:
                    hits.append(found)
                dot = name.find(".", dot + 1)
        if self._all and not name.startswith(RESERVED):
            hits.append(self._all)
        if not hits:
            return ()
        if len(hits) == 1:
            return hits[0]
        merged: dict[T, int] = {}
        for found in hits:
            merged.update(found)
        return [value for value, _ in sorted(merged.items(), key=_by_place)]

    def _bucket(self, pattern: str, *, make: bool) -> dict[T, int]:
        if pattern == "*":
            return self._all
        table, key = (self._prefixes, pattern[:-1]) if pattern.endswith(".*") else (self._names, pattern)
        found = table.get(key)
        if found is None:
            found = {}
            if make:
                table[key] = found
        return found

    def _drop(self, pattern: str) -> None:
        if pattern.endswith(".*"):
            del self._prefixes[pattern[:-1]]
        elif pattern != "*":
            del self._names[pattern]


def _by_place(item: tuple[object, int]) -> int:
    return item[1]
