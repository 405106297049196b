"""The items of an array in JSON text, with the exact text of each: found by walking, never written again.

The text must be valid JSON (`core.verifiers.json_body.parse` has said so). Of two equal keys the last counts, as for
every other reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.expression import Step, read_inner
from hookline.core.verifiers.json_body import BodyError, parse

ITEMS_MAX: Final = 10_000
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_decode: Final = json.JSONDecoder().raw_decode


class TooManyItems(Exception):
    """More than `ITEMS_MAX`."""


@dataclass(frozen=True, slots=True)
class Found:
    """An item."""

    value: Any
    text: str
    """Exactly as it stands."""
    pointer: str
    """Where: a JSON pointer."""
    parent: Any
    """The nearest element of a `*` above it; None: there is none."""


def items_at(text: str, steps: Sequence[Step]) -> list[Found] | None:
    """The elements of the array at the end of `steps`; None where they lead to none.

    Of what a `*` goes through, an element that the rest does not lead on from is an item itself: nothing is lost.
    Raises `TooManyItems`.
    """
    return _walk(text, _skip(text, 0), tuple(steps), "", None)


def _walk(text: str, at: int, steps: tuple[Step, ...], pointer: str, parent: Any) -> list[Found] | None:
    if not steps:
        return _elements(text, at, pointer, parent) if text[at] == "[" else None
    (kind, name), rest = steps[0], steps[1:]
    if kind == "name":
        place = _member_at(text, at, name)
        return None if place is None else _walk(text, place, rest, f"{pointer}/{_escaped(name)}", parent)
    if kind != "each":
        return _inner(text, at, steps, pointer, parent)
    if text[at] != "[":
        return None
    found: list[Found] = []
    for one in _elements(text, at, pointer, parent):
        inside = _walk(one.text, 0, rest, one.pointer, one.value)
        found.extend([one] if inside is None else inside)
        _check(found)
    return found


def _inner(text: str, at: int, steps: tuple[Step, ...], pointer: str, parent: Any) -> list[Found] | None:
    """Go on in the text that a string holds."""
    if text[at] != '"':
        return None
    value: Any = _decode(text, at)[0]
    while steps and steps[0][0] == "base64":
        value, steps = read_inner("base64", value), steps[1:]
    if not isinstance(value, str) or not steps or steps[0][0] != "json":
        return None
    try:
        parse(value)
    except BodyError:
        return None
    return _walk(value, _skip(value, 0), steps[1:], pointer, parent)


def _elements(text: str, at: int, pointer: str, parent: Any) -> list[Found]:
    found: list[Found] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        value, end = _decode(text, at)
        found.append(Found(value, text[at:end], f"{pointer}/{len(found)}", parent))
        _check(found)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _check(found: list[Found]) -> None:
    if len(found) > ITEMS_MAX:
        raise TooManyItems(f"more than {ITEMS_MAX} items")


def _member_at(text: str, at: int, name: str) -> int | None:
    """Where the value of an object's member, or an element of an array, begins."""
    if text[at] == "{":
        place = None
        for key, value_at in _members(text, at):
            if key == name:
                place = value_at
        return place
    if text[at] != "[" or not (name.isascii() and name.isdigit()):
        return None
    at = _skip(text, at + 1)
    left = int(name[:8])
    while text[at] != "]":
        if not left:
            return at
        left -= 1
        at = _skip(text, _decode(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)
    return None


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        yield key, at
        at = _skip(text, _decode(text, at)[1])
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
