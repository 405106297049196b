"""Filters: which events an endpoint wants, by their content, in the `$`-operator JSON language of the field.

A filter is an object whose conditions must all be met. A key is a field, or a path with dots (a field whose own name
has the dots goes first); its value is what is asked of it:

    "order.created", 1, true, null      it is equal; of an array, any element is (at any depth)
    [a, b]                              it is an array in which every one of these is found
    {field: …}                          it is an object whose fields meet this; of an array, any element does
    {"$op": operand}                    see below; several are all met. An operand is a constant or {"$ref": path}
    {"$ref": "data.lines[0].sku"}       it is equal to what is at another path of the document

    $eq $neq (also $ne)    deep equality, not of elements     $gt $gte $lt $lte    numbers, or strings
    $in $nin               is one of a list; of a string      $contains            a part of a string, an element
                           or an array: `$contains`                                of an array
    $startsWith $endsWith  a string, or a list of strings     $exist (also $exists)  true or false
    $and $or               lists of conditions on it          $not                 a condition on it

A value that is not there meets nothing but `{"$exist": false}`, and what is in a value that is not there is not
there either. `$neq` and `$nin` ask for a value that is there and is another one; `{"$not": {"$eq": …}}` is also met
by one that is not there. The behaviour is that of Hookdeck's and Outpost's filters, where those do not contradict
themselves or each other.

A filter is compiled once, to closures, and is bounded: its size when it is made, its steps when it runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hookline.core import filter_operators as operators
from hookline.core.errors import Refusal
from hookline.core.filter_operators import MISSING, Matcher, Operator, Run, TooCostly
from hookline.core.json_text import cut
from hookline.core.json_text import pointer as step

CONDITIONS_MAX: Final = 200
DEPTH_MAX: Final = 20
STRING_BYTES_MAX: Final = 1024
OPTIONS_MAX: Final = 1000
AFFIXES_MAX: Final = 20
SPEC_BYTES_MAX: Final = 64 * 1024

_PATH: Final = re.compile(r"[^.\[\]]+(?:\[[0-9]{1,7}\])*(?:\.[^.\[\]]+(?:\[[0-9]{1,7}\])*)*")
_LOGICAL: Final = frozenset({"$and", "$or", "$not"})
_PATH_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


class Filter:
    """A compiled filter. `needs_data`: it asks for the payload, so the document must have it parsed."""

    __slots__ = ("_match", "needs_data")

    def __init__(self, match: Matcher, *, needs_data: bool) -> None:
        self._match = match
        self.needs_data = needs_data

    def matches(self, document: Mapping[str, object]) -> bool:
        """Whether the document meets every condition. Never raises, whatever the document.

        A document too big to be asked (more than 50,000 steps through its arrays) counts as wanted: an event too
        many is seen, one too few is not.
        """
        try:
            return self._match(document, Run(document))
        except (TooCostly, RecursionError):
            return True


def compile_filter(spec: object, *, pointer: str = "/filter", roots: frozenset[str] | None = None) -> Filter:
    """Compile a filter. Raises `Refusal` (`invalid_filter`) with a JSON pointer to the fault below `pointer`.

    `roots` are the names that a document has outermost; None: an event's, where an unknown name may be a CloudEvents
    extension, but only `data` has anything in it. Limits: 200 conditions, 20 deep, strings of 1 KiB, 1,000 values of
    `$in` (20 of `$startsWith`), 64 KiB in all.
    """
    if not isinstance(spec, dict):
        raise _refused("A filter is an object.", pointer)
    compiler = _Compiler(roots)
    match = compiler.condition(spec, pointer, 1, root=True)
    if _size_bytes(spec) > SPEC_BYTES_MAX:
        raise _refused(f"A filter has at most {SPEC_BYTES_MAX} bytes.", pointer)
    return Filter(match, needs_data=compiler.needs_data)


def _size_bytes(spec: object) -> int:
    try:
        return len(msgspec.json.encode(spec))
    except (TypeError, ValueError, OverflowError):  # a number that msgspec does not write
        return len(repr(spec))


def _refused(detail: str, pointer: str) -> Refusal:
    return Refusal("invalid_filter", detail, pointer=pointer)


class _Compiler:
    """The walk over a filter: counts its conditions, notes whether it asks for the payload."""

    def __init__(self, roots: frozenset[str] | None) -> None:
        self._roots = roots
        self.conditions = 0
        self.needs_data = False

    def condition(self, spec: object, pointer: str, depth: int, *, root: bool = False) -> Matcher:
        """What `spec` asks of one value."""
        if depth > DEPTH_MAX:
            raise _refused(f"A filter is at most {DEPTH_MAX} deep.", pointer)
        before = self.conditions
        if not spec or not isinstance(spec, dict | list):
            self._count(pointer)
        if isinstance(spec, dict):
            return self._object(spec, pointer, depth, root=root)
        if root:
            raise _refused("This must be an object.", pointer)
        if isinstance(spec, list):
            items = [self.condition(item, f"{pointer}/{n}", depth + 1) for n, item in enumerate(spec)]
            return _contains_all(items, self.conditions - before)
        return _implicit(_scalar(spec, pointer))

    def _count(self, pointer: str) -> None:
        self.conditions += 1
        if self.conditions > CONDITIONS_MAX:
            raise _refused(f"A filter has at most {CONDITIONS_MAX} conditions.", pointer)

    def _object(self, spec: dict[Any, Any], pointer: str, depth: int, *, root: bool) -> Matcher:
        before = self.conditions
        parts: list[Matcher] = []
        fields: list[Matcher] = []
        for name, sub in spec.items():
            if not isinstance(name, str):
                raise _refused("The keys of a filter are strings.", pointer)
            at = pointer + step(cut(name, 64))
            _scalar(name, at)
            if name.startswith("$"):
                parts.append(self._operator(name, sub, at, depth, root=root))
            else:
                fields.append(self._field(name, sub, at, depth, root=root))
        mixed = next((name for name in spec if fields and name.startswith("$") and name not in _LOGICAL), None)
        if mixed is not None:
            raise _refused(f"{mixed} stands beside fields: is a $ missing, or are these fields of it?", pointer)
        if fields or not spec:
            parts.append(_fields(fields, self.conditions - before))
        return parts[0] if len(parts) == 1 else _all(parts)

    def _field(self, name: str, spec: object, pointer: str, depth: int, *, root: bool) -> Matcher:
        path = name.split(".")
        if "" in path or len(path) > DEPTH_MAX:
            raise _refused(f"A path is 1 to {DEPTH_MAX} names with a dot between.", pointer)
        if root:
            self._check_root(path[0], len(path) > 1, pointer)
        before = self.conditions
        match = self.condition(spec, pointer, depth + 1)
        return _member(name, match, self.conditions - before)

    def _operator(self, name: str, spec: object, pointer: str, depth: int, *, root: bool) -> Matcher:
        if name in ("$and", "$or"):
            if not isinstance(spec, list) or not spec:
                raise _refused(f"{name} takes a list of conditions.", pointer)
            parts = [self.condition(part, f"{pointer}/{n}", depth + 1, root=root) for n, part in enumerate(spec)]
            return _all(parts) if name == "$and" else _any(parts)
        if name == "$not":
            return _not(self.condition(spec, pointer, depth + 1, root=root))
        if root:
            raise _refused(f"{name} needs a field: outermost are fields, $and, $or and $not.", pointer)
        self._count(pointer)
        if name == "$ref":
            return _with_reference(operators.same, self._reference(spec, pointer))
        if name in ("$exist", "$exists"):
            if not isinstance(spec, bool):
                raise _refused(f"{name} takes true or false.", pointer)
            return operators.exists if spec else operators.exists_not
        if name not in _OPERATORS:
            raise _refused(f"There is no operator {cut(name, 64)}. Known are: {_KNOWN}.", pointer)
        if isinstance(spec, dict) and "$ref" in spec:
            if len(spec) > 1:
                raise _refused("$ref stands alone.", pointer)
            return _with_reference(_OPERATORS[name][0], self._reference(spec["$ref"], pointer + "/$ref"))
        return _with_constant(name, spec, pointer)

    def _reference(self, spec: object, pointer: str) -> Callable[[Run], object]:
        if not isinstance(spec, str) or len(spec) > STRING_BYTES_MAX or _PATH.fullmatch(spec) is None:
            detail = "$ref takes the path of another field, as data.lines[0].sku, from the top ([$index] is not known)."
            raise _refused(detail, pointer)
        steps = [name or int(index) for name, index in _PATH_STEP.findall(spec)]
        if len(steps) > DEPTH_MAX:
            raise _refused(f"A path has at most {DEPTH_MAX} steps.", pointer)
        self._check_root(str(steps[0]), len(steps) > 1, pointer)
        return _at(steps)

    def _check_root(self, name: str, inner: bool, pointer: str) -> None:
        """Refuse an outermost name that no document can have: it would never be met."""
        if self._roots is not None:
            if name not in self._roots:
                raise _refused(
                    f"There is no {cut(name, 64)} here. Known are: {' '.join(sorted(self._roots))}.", pointer
                )
        elif name == "data":
            self.needs_data = True
        elif inner:
            raise _refused(f"There is nothing in {cut(name, 64)}: paths into an event begin with data.", pointer)


# --------------------------------------------------------------------------------------------------- constants


def _scalar(value: object, pointer: str) -> str | int | float | None:
    if isinstance(value, str):
        if len(value) > STRING_BYTES_MAX or len(value.encode("utf-8", "replace")) > STRING_BYTES_MAX:
            raise _refused(f"A string in a filter has at most {STRING_BYTES_MAX} bytes.", pointer)
        return value
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise _refused("This is no value of JSON.", pointer)


def _constant(value: object, pointer: str, depth: int = 0) -> object:
    if depth > DEPTH_MAX:
        raise _refused(f"A filter is at most {DEPTH_MAX} deep.", pointer)
    if isinstance(value, list):
        return [_constant(item, f"{pointer}/{n}", depth + 1) for n, item in enumerate(value)]
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise _refused("The keys of an object are strings.", pointer)
        return {n: _constant(item, pointer + step(cut(n, 64)), depth + 1) for n, item in value.items()}
    return _scalar(value, pointer)


def _ordered(value: object, pointer: str) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _refused("This takes a number or a string.", pointer)
    return _scalar(value, pointer)


def _single(value: object, pointer: str) -> object:
    if isinstance(value, list | dict):
        raise _refused("This takes a string, a number, a boolean or null.", pointer)
    return _scalar(value, pointer)


def _options(value: object, pointer: str) -> object:
    if not isinstance(value, list):
        return _single(value, pointer)
    if len(value) > OPTIONS_MAX:
        raise _refused(f"A list has at most {OPTIONS_MAX} values.", pointer)
    return [_single(item, f"{pointer}/{n}") for n, item in enumerate(value)]


def _affixes(value: object, pointer: str) -> object:
    values = value if isinstance(value, list) else [value]
    if 1 <= len(values) <= AFFIXES_MAX and all(isinstance(item, str) for item in values):
        return _options(value, pointer)
    raise _refused(f"This takes a string or a list of 1 to {AFFIXES_MAX} strings.", pointer)


_OPERATORS: Final[Mapping[str, tuple[Operator, Callable[[object, str], object]]]] = {
    "$eq": (operators.equal, _constant),
    "$neq": (operators.not_equal, _constant),
    "$ne": (operators.not_equal, _constant),
    "$gt": (operators.greater, _ordered),
    "$gte": (operators.greater_or_equal, _ordered),
    "$lt": (operators.less, _ordered),
    "$lte": (operators.less_or_equal, _ordered),
    "$in": (operators.is_in, _options),
    "$nin": (operators.not_in, _options),
    "$contains": (operators.contains, _single),
    "$startsWith": (operators.starts_with, _affixes),
    "$endsWith": (operators.ends_with, _affixes),
}
_KNOWN: Final = " ".join([*_OPERATORS, "$exist", "$exists", "$ref", "$and", "$or", "$not"])

# ---------------------------------------------------------------------------------------------------- closures


def _with_constant(name: str, spec: object, pointer: str) -> Matcher:
    operator, check = _OPERATORS[name]
    constant = check(spec, pointer)
    if name == "$in" and isinstance(constant, list):
        return operators.one_of(constant)
    if name == "$nin" and isinstance(constant, list):
        found = operators.one_of(constant)
        return lambda value, run: value is not MISSING and not found(value, run)
    return lambda value, run: operator(value, constant, run)


def _with_reference(operator: Operator, reference: Callable[[Run], object]) -> Matcher:
    def match(value: object, run: Run) -> bool:
        other = reference(run)
        return value is not MISSING and other is not MISSING and operator(value, other, run)

    return match


def _at(steps: list[str | int]) -> Callable[[Run], object]:
    def get(run: Run) -> object:
        value: object = run.document
        for one in steps:
            if isinstance(value, dict):
                value = value.get(one, MISSING)
            elif isinstance(value, list) and isinstance(one, int) and one < len(value):
                value = value[one]
            else:
                return MISSING
        return value

    return get


def _implicit(constant: str | float | None) -> Matcher:
    is_text = isinstance(constant, str)

    def match(value: object, run: Run) -> bool:
        if isinstance(value, list):
            run.charge(len(value))
            for one in value:  # noqa: SIM110 - a generator takes three times as long
                if match(one, run):
                    return True
            return False
        return value == constant if is_text else operators.equal(value, constant, run)

    return match


# The weight is how many conditions each element of an array is asked.


def _contains_all(items: list[Matcher], weight: int) -> Matcher:
    def match(value: object, run: Run) -> bool:
        if not isinstance(value, list):
            return False
        run.charge(len(value) * weight)
        return all(any(item(one, run) for one in value) for item in items)

    return match


def _fields(fields: list[Matcher], weight: int) -> Matcher:
    def match(value: object, run: Run) -> bool:
        if isinstance(value, list):
            run.charge(len(value) * weight)
            for one in value:  # noqa: SIM110 - as above
                if match(one, run):
                    return True
            return False
        if not isinstance(value, dict):
            if not fields:
                return False
            value = MISSING  # it has no fields: each of them is missing
        for field in fields:  # noqa: SIM110 - as above
            if not field(value, run):
                return False
        return True

    return match


def _member(name: str, match: Matcher, weight: int) -> Matcher:
    first, dot, rest = name.partition(".")
    if not dot:
        return lambda value, run: match(value.get(name, MISSING) if isinstance(value, dict) else MISSING, run)
    inner = _fields([_member(rest, match, weight)], weight)

    def field(value: object, run: Run) -> bool:
        if not isinstance(value, dict):
            return inner(MISSING, run)
        return match(value[name], run) if name in value else inner(value.get(first, MISSING), run)

    return field


def _all(parts: list[Matcher]) -> Matcher:
    def match(value: object, run: Run) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if not part(value, run):
                return False
        return True

    return match


def _any(parts: list[Matcher]) -> Matcher:
    def match(value: object, run: Run) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(value, run):
                return True
        return False

    return match


def _not(part: Matcher) -> Matcher:
    return lambda value, run: not part(value, run)
