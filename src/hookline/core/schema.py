"""JSON Schema 2020-12 of an event type: made once, asked at every publish, and what it says in a person's words.

`format` is asserted (date-time, date, time, duration, email, uri, uuid, ipv4, ipv6, hostname and the rest of the
vocabulary; a format it does not name is a note). Nothing is ever fetched: a reference must lead into the schema itself
or to a meta-schema. Patterns run in time linear to the text, so look-around and back-references are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jsonschema_rs
import msgspec

from hookline.core.errors import Refusal
from hookline.core.json_text import check_depth, check_syntax, check_utf8, cut, is_json, parse, pointer
from hookline.core.schema_cost import Cost

SCHEMA_BYTES_MAX: Final = 256 * 1024
SCHEMA_DEPTH_MAX: Final = 64
VIOLATIONS_MAX: Final = 10
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT_CHARS_MAX: Final = 200
_STEPS_MAX: Final = 2_000_000
_WORK_MAX: Final = 200_000_000
"""Bytes of a payload times subschemas that may meet them: what is more would hold everybody up for seconds."""
_WEIGHT_ANY_SIZE: Final = 200
_ALTERNATIVES_MAX: Final = 5
_NESTED: Final = ("anyOf", "oneOf")
_PATTERN_BYTES_MAX: Final = 1024 * 1024


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One thing that a payload gets wrong."""

    pointer: str
    """Where, as a JSON pointer into the event: `/data/amount`."""
    expected: str
    """What the schema wants there."""
    found: str
    """What is there: JSON, cut to 200 characters, or `nothing`."""


class Schema:
    """A compiled schema."""

    def __init__(self, schema: bytes) -> None:
        """Compile the text of a schema: at most 256 KiB, 64 deep, 100 patterns, 20,000 subschemas with its references.

        Raises `Refusal` (`invalid_schema`) with a pointer into the schema, which stands at `/schema` in the request.
        """
        node = _read(schema)
        cost = Cost(node) if isinstance(node, dict) else None
        self._cost = cost
        self._weight = cost.weight if cost is not None else 1
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                node,
                validate_formats=True,
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES_MAX),
            )
        except jsonschema_rs.ValidationError as error:
            raise _fault(error) from None
        except (ValueError, RecursionError) as error:
            raise _refused(cut(f"It cannot be compiled: {error}", _TEXT_CHARS_MAX)) from None

    def violations_of(self, data: bytes, content_type: str) -> list[Violation]:
        """What is wrong with a payload: nothing, when it is as the schema says. At most 10. Never raises."""
        if not is_json(content_type):
            return [Violation("/data", "a JSON payload", f"a payload of type {cut(content_type, 100)}")]
        try:
            return self.violations(parse(data))
        except ValueError:
            return [Violation("/data", "a JSON payload", "nothing" if not data else "a payload that is not JSON")]

    def violations(self, data: object) -> list[Violation]:
        """What is wrong with a parsed payload (as `json_text.parse` gives it). At most 10. Never raises."""
        try:
            if self._too_big(data):
                return [Violation("/data", "a payload that a schema of this size can check", "a bigger one")]
            if self._validator.is_valid(data):
                return []
            if self._cost is None or not self._cost.exceeds(data, _STEPS_MAX):
                errors = list(self._validator.iter_errors(data))
            elif self._cost.alternatives:
                return [Violation("/data", "a payload as the schema says (too big to say more)", _show(data))]
            else:
                errors = self._first_error(data)
            found = [violation for error in errors for violation in _violations(error)]
        except (ValueError, RecursionError) as error:  # what no parser of JSON gives
            return [Violation("/data", "a payload that is JSON", cut(str(error), _TEXT_CHARS_MAX))]
        return found[:VIOLATIONS_MAX]

    def _first_error(self, data: object) -> list[jsonschema_rs.ValidationError]:
        try:
            self._validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []

    def _too_big(self, data: object) -> bool:
        if self._weight <= _WEIGHT_ANY_SIZE:
            return False
        try:
            return len(msgspec.json.encode(data)) * self._weight > _WORK_MAX
        except OverflowError:  # an integer that msgspec does not write
            return len(repr(data)) * self._weight > _WORK_MAX


def _refused(detail: str, at: str = "") -> Refusal:
    return Refusal("invalid_schema", detail, pointer=f"/schema{at}")


def _read(schema: bytes) -> Any:
    if len(schema) > SCHEMA_BYTES_MAX:
        raise _refused(f"A schema has at most {SCHEMA_BYTES_MAX} bytes.")
    try:
        check_utf8(schema)
        check_syntax(schema)
        check_depth(schema, SCHEMA_DEPTH_MAX)
    except Refusal as refusal:
        raise _refused(refusal.detail) from None
    node = parse(schema)
    if not isinstance(node, dict | bool):
        raise _refused("A schema is an object, true or false.")
    if isinstance(node, dict) and str(node.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        raise _refused(f"Only JSON Schema 2020-12 is understood: {DIALECT}", "/$schema")
    return node


def _fault(error: jsonschema_rs.ValidationError) -> Refusal:
    at = _pointer(error.instance_path)
    what = error.message
    if error.kind.name == "$ref" or "registry" in what or what.startswith("Pointer"):
        what = f"{what}. A reference leads to a place in the schema itself; nothing is fetched"
    elif error.kind.name == "format" and "regex" in what:
        what = f"{what} that can be used: look-around and back-references are not, nor a pattern beyond 1 MiB"
    return _refused(cut(f"It is no schema: {what}.", 400), at)


def _pointer(path: list[str | int]) -> str:
    return "".join(pointer(str(step)) for step in path)


# ----------------------------------------------------------------------------------- in a person's words


def _violations(error: jsonschema_rs.ValidationError) -> list[Violation]:
    at = "/data" + _pointer(error.instance_path)
    kind: Any = error.kind
    name = kind.name
    if name == "required":
        return [Violation(at + pointer(kind.property), "a value: it is required", "nothing")]
    if name in ("additionalProperties", "unevaluatedProperties"):
        members = error.instance if isinstance(error.instance, dict) else {}
        return [Violation(at + pointer(m), "nothing: no such member", _show(members.get(m))) for m in kind.unexpected]
    if name == "propertyNames":
        return [Violation(at, f"member names that are {_expected(kind.error)}", _show(kind.error.instance))]
    return [Violation(at, _expected(error), _show(error.instance))]


_EXPECTED: Final[Mapping[str, Callable[[Any], str]]] = {
    "type": lambda kind: " or ".join(kind.types),
    "enum": lambda kind: "one of " + ", ".join(_show(option) for option in kind.options),
    "const": lambda kind: _show(kind.expected_value),
    "minimum": lambda kind: f"a number of at least {_show(kind.limit)}",
    "maximum": lambda kind: f"a number of at most {_show(kind.limit)}",
    "exclusiveMinimum": lambda kind: f"a number above {_show(kind.limit)}",
    "exclusiveMaximum": lambda kind: f"a number below {_show(kind.limit)}",
    "multipleOf": lambda kind: f"a multiple of {_show(kind.multiple_of)}",
    "minLength": lambda kind: f"at least {kind.limit} characters",
    "maxLength": lambda kind: f"at most {kind.limit} characters",
    "minItems": lambda kind: f"at least {kind.limit} items",
    "maxItems": lambda kind: f"at most {kind.limit} items",
    "minProperties": lambda kind: f"at least {kind.limit} members",
    "maxProperties": lambda kind: f"at most {kind.limit} members",
    "uniqueItems": lambda _: "items of which no two are equal",
    "contains": lambda _: "an item as contains says",
    "pattern": lambda kind: f"text that matches {kind.pattern}",
    "format": lambda kind: f"format {kind.format}",
    "anyOf": lambda kind: f"at least one of {_alternatives(kind)}",
    "oneOf": lambda kind: f"exactly one of {_alternatives(kind)}",
    "not": lambda kind: f"anything but {_show(kind.schema)}",
    "falseSchema": lambda _: "nothing: no value is allowed here",
    "unevaluatedItems": lambda _: "no more items",
    "additionalItems": lambda _: "no more items",
}


def _alternatives(kind: Any) -> str:
    """What each alternative missed first, where that can be said in short."""
    firsts = [errors[0] for errors in kind.context if errors]
    if not 1 < len(firsts) == len(kind.context) <= _ALTERNATIVES_MAX or any(one.kind.name in _NESTED for one in firsts):
        return f"{len(kind.context)} alternatives"
    missed = [violation for one in firsts for violation in _violations(one)[:1]]
    return "; ".join(f"{one.expected} at {one.pointer}" for one in missed)


def _expected(error: jsonschema_rs.ValidationError) -> str:
    words = _EXPECTED.get(error.kind.name)
    return cut(words(error.kind) if words is not None else f"what {error.kind.name} says", _TEXT_CHARS_MAX)


def _show(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):  # a number beyond 64 bits
        text = repr(value)
    return cut(text, _TEXT_CHARS_MAX)
