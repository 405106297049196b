"""A JSON Schema of the catalogue (draft 2020-12): compiled once, asked for every event of its type.

`format` is asserted (date-time, date, email, uri, uuid, ipv4, ipv6 …). A `$ref` stays within the schema: nothing is
fetched. Patterns run on a linear-time engine, so no payload can make one slow; what such an engine lacks
(backreferences, look-around) is refused when the schema is given.
"""

from __future__ import annotations

from typing import Final, NoReturn

import jsonschema_rs
import msgspec

from hookline.core.errors import Refusal
from hookline.core.json_text import check_depth, check_utf8, cut, parse

SCHEMA_BYTES_MAX: Final = 256 * 1024
SCHEMA_DEPTH_MAX: Final = 64
VIOLATIONS_MAX: Final = 10
_TEXT_CHARS_MAX: Final = 200
_PATTERN_BYTES_MAX: Final = 1024 * 1024


class Violation(msgspec.Struct, frozen=True):
    """A place where a payload breaks its schema: where, what was expected there, what was found."""

    pointer: str
    """JSON pointer within the event, as `/data/amount`."""
    expected: str
    found: str


def _no_fetch(uri: str) -> NoReturn:
    raise ValueError(f"{uri} would have to be fetched")


class Schema:
    """A compiled schema. Raises `Refusal` `invalid_schema` (pointer `/schema`) when it is none, refers to anything
    outside itself, or is larger than 256 KiB or deeper than 64."""

    def __init__(self, schema: bytes) -> None:
        if len(schema) > SCHEMA_BYTES_MAX:
            raise _invalid(f"A schema is at most {SCHEMA_BYTES_MAX // 1024} KiB.")
        check_utf8(schema)
        check_depth(schema, SCHEMA_DEPTH_MAX)
        try:
            document = parse(schema)
        except ValueError as error:
            raise _invalid(f"The schema is not JSON: {error}.") from None
        if not isinstance(document, dict | bool):
            raise _invalid("A schema is a JSON object, true or false.")
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                document,
                validate_formats=True,
                retriever=_no_fetch,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES_MAX),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            text = getattr(error, "message", None) or str(error)
            raise _invalid(f"The schema cannot be used: {cut(text, _TEXT_CHARS_MAX)}.") from None

    def violations(self, data: object) -> list[Violation]:
        """Where `data` (a payload as Python values) breaks the schema: at most 10 places, none when it does not."""
        if self._validator.is_valid(data):
            return []
        found: list[Violation] = []
        for error in self._validator.iter_errors(data):
            found.append(_violation(error))
            if len(found) == VIOLATIONS_MAX:
                break
        return found


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    steps = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.instance_path)
    keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
    kind = error.kind
    known = [
        getattr(kind, name) for name in ("types", "options", "expected_value", "format", "property") if hasattr(kind, name)
    ]
    detail = known[0] if known else getattr(kind, "limit", getattr(kind, "pattern", None))
    expected = keyword if detail is None else f"{keyword} {_short(detail)}"
    return Violation(cut(f"/data{steps}", 1024), expected, _short(error.instance))


def _short(value: object) -> str:
    if isinstance(value, str):
        return cut(value, _TEXT_CHARS_MAX)
    try:
        return cut(msgspec.json.encode(value).decode(), _TEXT_CHARS_MAX)
    except (TypeError, ValueError, RecursionError):
        return cut(str(value), _TEXT_CHARS_MAX)


def _invalid(detail: str) -> Refusal:
    return Refusal("invalid_schema", detail, pointer="/schema")
