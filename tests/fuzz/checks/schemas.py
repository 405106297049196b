"""Schemas: an arbitrary JSON Schema and an arbitrary payload, two lines.

What must hold: it compiles or is refused with a pointer; a payload is judged, never an exception, at most ten
violations; and it is judged as the reference library (jsonschema) does where that understands the schema.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import jsonschema.exceptions
import msgspec

from hookline.core.errors import Refusal
from hookline.core.json_text import parse
from hookline.core.schema import VIOLATIONS_MAX, Schema

UNLIKE = {
    "pattern", "patternProperties", "format", "multipleOf", "$ref", "$dynamicRef", "$recursiveRef", "$id", "$schema",
    "$vocabulary", "$anchor", "$dynamicAnchor", "unevaluatedProperties", "unevaluatedItems", "contentSchema",
    "contentEncoding", "contentMediaType",
}  # fmt: skip
"""Where the two are known to differ in what they promise: regular expressions, formats, division of numbers,
references, content."""


def check(data: bytes) -> None:
    """Raise unless the schema does with the payload what it must."""
    first, _, second = data.partition(b"\n")
    try:
        schema = Schema(first)
    except Refusal as refusal:
        assert refusal.code == "invalid_schema"
        assert refusal.pointer is not None
        assert refusal.pointer.startswith("/schema")
        return
    found = schema.violations_of(second, "application/json")
    assert len(found) <= VIOLATIONS_MAX
    assert all(violation.pointer.startswith("/data") for violation in found)
    assert len(msgspec.json.encode(found)) < 32_768
    try:
        payload = parse(second)
    except ValueError:
        assert found
        return
    assert bool(found) == bool(schema.violations(payload))
    node = parse(first)
    if names(node).isdisjoint(UNLIKE) and plain(node) and plain(payload):
        try:
            wanted = jsonschema.Draft202012Validator(node).is_valid(payload)
        except (jsonschema.exceptions.SchemaError, RecursionError):
            return
        assert wanted == (not found), f"the reference says {wanted}: {json.dumps(node)} {json.dumps(payload)}"


def names(node: Any) -> set[str]:
    """Every key within."""
    if isinstance(node, dict):
        return set(node).union(*(names(one) for one in node.values()))
    return set().union(*(names(one) for one in node)) if isinstance(node, list) else set()


def plain(node: Any) -> bool:
    """Whether all numbers within are small: both libraries then compare them alike."""
    if isinstance(node, dict):
        return all(plain(one) for one in node.values())
    if isinstance(node, list):
        return all(plain(one) for one in node)
    return not isinstance(node, int | float) or abs(node) < 2**53
