"""What a schema refuses, in which words, and that nothing about it takes for ever."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hookline.core.errors import Refusal
from hookline.core.json_text import parse
from hookline.core.schema import SCHEMA_BYTES_MAX, VIOLATIONS_MAX, Schema, Violation

JSON = "application/json"


def made(schema):
    return Schema(json.dumps(schema).encode())


def nested(levels, name="a", value=1):
    for _ in range(levels):
        value = {name: value}
    return value


ORDER = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "email": {"type": "string", "format": "email"},
        "state": {"enum": ["open", "paid"]},
        "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
        "a/b": {"maxLength": 2},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("data", "violations"),
    [
        ({"amount": 1}, []),
        ({}, [("/data/amount", "a value: it is required", "nothing")]),
        ({"amount": -1.5}, [("/data/amount", "a number of at least 0", "-1.5")]),
        ({"amount": "1"}, [("/data/amount", "number", '"1"')]),
        ({"amount": 1, "email": "x"}, [("/data/email", "format email", '"x"')]),
        ({"amount": 1, "state": None}, [("/data/state", 'one of "open", "paid"', "null")]),
        ({"amount": 1, "lines": [{"sku": 1}, {}]}, [("/data/lines/1/sku", "a value: it is required", "nothing")]),
        ({"amount": 1, "a/b": "abc"}, [("/data/a~1b", "at most 2 characters", '"abc"')]),
        ({"amount": 1, "more": [1]}, [("/data/more", "nothing: no such member", "[1]")]),
        ([1], [("/data", "object", "[1]")]),
    ],
)
def test_violations_say_where_what_and_what_instead(data, violations):
    """Each violation has a pointer into the event, what was expected there, and what was found."""
    expected = [Violation(*violation) for violation in violations]
    assert made(ORDER).violations(data) == expected
    assert made(ORDER).violations_of(json.dumps(data).encode(), JSON) == expected


@pytest.mark.parametrize(
    ("schema", "data", "expected"),
    [
        ({"const": {"x": 1}}, 2, '{"x":1}'),
        ({"maximum": 1}, 2, "a number of at most 1"),
        ({"exclusiveMinimum": 5}, 5, "a number above 5"),
        ({"exclusiveMaximum": 5}, 5, "a number below 5"),
        ({"multipleOf": 3}, 10**40, "a multiple of 3"),
        ({"type": ["string", "null"]}, 1, "null or string"),
        ({"minLength": 2}, "x", "at least 2 characters"),
        ({"minItems": 1}, [], "at least 1 items"),
        ({"maxItems": 1}, [1, 2], "at most 1 items"),
        ({"minProperties": 1}, {}, "at least 1 members"),
        ({"maxProperties": 0}, {"a": 1}, "at most 0 members"),
        ({"uniqueItems": True}, [1, 1], "items of which no two are equal"),
        ({"contains": {"const": 1}}, [2], "an item as contains says"),
        ({"pattern": "^a"}, "b", "text that matches ^a"),
        ({"not": {"type": "string"}}, "x", 'anything but {"type":"string"}'),
        ({"prefixItems": [{}], "items": False}, [1, 2], "nothing: no value is allowed here"),
        ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], "no more items"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "member names that are at most 1 characters"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "a value: it is required"),
        (
            {"anyOf": [{"type": "null"}, {"minimum": 5}]},
            1,
            "at least one of null at /data; a number of at least 5 at /data",
        ),
        ({"oneOf": [{"type": "integer"}, {"minimum": 0}]}, 1, "exactly one of 2 alternatives"),
        ({"oneOf": [{"anyOf": [False, False]}, {"type": "null"}]}, 1, "exactly one of 2 alternatives"),
        (False, 1, "nothing: no value is allowed here"),
    ],
)
def test_every_keyword_has_its_words(schema, data, expected):
    """What a schema expects is said in words, whatever keyword it was."""
    (violation,) = made(schema).violations(data)
    assert violation.expected == expected


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-01-31T23:59:59Z", "2026-01-31"),
        ("date", "2026-01-31", "2026-02-30"),
        ("email", "a@example.com", "a@"),
        ("uri", "https://example.com/x", "example.com"),
        ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"),
        ("ipv4", "192.0.2.1", "192.0.2.256"),
        ("ipv6", "2001:db8::1", "2001:db8::g"),
    ],
)
def test_formats_are_asserted(name, good, bad):
    """A format is checked, not only noted; one that nobody knows is only noted."""
    schema = made({"format": name})
    assert schema.violations(good) == []
    assert [violation.expected for violation in schema.violations(bad)] == [f"format {name}"]
    assert made({"format": "no-such-format"}).violations(bad) == []


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[1]", ""),
        (b"null", ""),
        (b'"string"', ""),
        (b"\xff", ""),
        (b'{"type":NaN}', ""),
        (b'{"a":1}' + b" " * SCHEMA_BYTES_MAX, ""),
        (b'{"not":' * 100 + b"{}" + b"}" * 100, ""),
        (b'{"not":' * 100_000, ""),
        ({"type": "text"}, "/type"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
        ({"properties": 5}, "/properties"),
        ({"required": "a"}, "/required"),
        ({"pattern": "("}, "/pattern"),
        ({"pattern": "(?=a)b"}, "/pattern"),
        ({"pattern": "(a)\\1"}, "/pattern"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "/pattern"),
        ({"$ref": "http://127.0.0.1:9/x"}, ""),
        ({"$ref": "file:///etc/passwd"}, ""),
        ({"$ref": "other.json"}, ""),
        ({"$ref": "#/nowhere"}, ""),
        ({"$ref": "#nowhere"}, ""),
        ({"$dynamicRef": "#nowhere"}, ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"$schema": "http://127.0.0.1:9/x"}, "/$schema"),
        ({"properties": {"a/b": {"$id": "https://example.com/a"}}}, "/properties/a~1b/$id"),
        ({"patternProperties": {f"^{n}": {} for n in range(101)}}, ""),
    ],
)
def test_bad_schemas_are_refused(schema, pointer):
    """What is no schema, leads elsewhere, or is too much of one is refused with a pointer, and nothing is fetched."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    with pytest.raises(Refusal) as refusal:
        Schema(text)
    assert (refusal.value.code, refusal.value.pointer) == ("invalid_schema", f"/schema{pointer}")


def doubling(levels):
    names = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**names, f"d{levels}": {"type": "integer"}}}


def test_references_that_double_are_refused():
    """A small schema that comes to millions of subschemas is refused; one that comes to some hundred is not."""
    assert made(doubling(6)).violations("x") != []
    for levels in (20, 1000):
        with pytest.raises(Refusal):
            made(doubling(levels))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"not": {"not": {"$ref": "#"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$dynamicAnchor": "n", "properties": {"a": {"$dynamicRef": "#n"}}},
        {"$id": "https://example.com/s", "properties": {"a": {"$ref": "https://example.com/s#/properties/b"}, "b": {}}},
        {"$anchor": "top", "properties": {"a": {"$ref": "#top"}}},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema#", "items": {"$ref": "#"}},
        {"prefixItems": [True], "properties": {"a": {"$ref": "#/prefixItems/0"}}},
    ],
)
def test_references_within_are_followed(schema):
    """References to places, anchors, the schema itself and its dialect are good, also in circles."""
    assert isinstance(made(schema).violations(nested(100)), list)


ALTERNATIVES = {
    "oneOf": [
        {"required": ["k"], "properties": {"a": {"$ref": "#"}, "k": {"const": 1}}},
        {"required": ["k"], "properties": {"a": {"$ref": "#"}, "k": {"const": 2}}},
        {"type": "integer"},
    ]
}


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (ALTERNATIVES, nested(100)),
        ({"items": {"type": "string"}}, [1] * 500_000),
        ({"anyOf": [{"items": {"type": "string"}}, {"type": "null"}]}, [1] * 500_000),
        ({"required": [f"f{n}" for n in range(5000)]}, {"x": ["y"] * 100_000}),
        ({"pattern": "(a+)+$"}, "a" * 100_000 + "!"),
        ({"items": {"allOf": [{"type": "integer"}] * 5000}}, [1] * 500_000),
    ],
)
@pytest.mark.timeout(20)
def test_a_costly_answer_is_a_short_one(schema, data):
    """Where telling everything would take for ever, one violation is told, soon."""
    violations = made(schema).violations(data)
    assert len(violations) == 1
    assert violations[0].pointer.startswith("/data")
    assert len(violations[0].found) <= 200


def test_violations_are_at_most_10_and_short():
    """No more than ten violations are told, and no text of them is longer than 200 characters."""
    violations = made({"items": {"enum": ["x" * 1000]}}).violations(["é" * 1000] * 50)
    assert len(violations) == VIOLATIONS_MAX
    assert all(len(one.expected) <= 200 and len(one.found) <= 200 for one in violations)
    many = made({"required": [f"f{n}" for n in range(50)], "additionalProperties": False})
    assert len(many.violations({"x": 1})) == VIOLATIONS_MAX


@pytest.mark.parametrize(
    "data",
    [b"1e999", b"-1e999", b"9" * 400, b"9" * 5000, b"-0", b"0.1e-999", b"1" + b"0" * 308, b"18446744073709551616"],
)
def test_numbers_of_any_size_are_numbers(data):
    """A number beyond a double or 64 bits is checked as the number it is, and crashes nothing."""
    assert made({"type": "number"}).violations_of(data, JSON) == []
    (violation,) = made({"const": "x"}).violations_of(data, JSON)
    assert violation.expected == '"x"'
    assert made({"minimum": 1e300}).violations_of(b"9" * 400, JSON) == []
    assert made({"maximum": 0}).violations_of(b"-1e999", JSON) == []


@pytest.mark.parametrize(
    ("data", "content_type", "found"),
    [
        (b"<a/>", "application/xml", "a payload of type application/xml"),
        (b"", JSON, "nothing"),
        (b"{", JSON, "a payload that is not JSON"),
    ],
)
def test_what_is_not_json_breaks_every_schema(data, content_type, found):
    """A payload that is not JSON cannot be as a schema says."""
    assert made({}).violations_of(data, content_type) == [Violation("/data", "a JSON payload", found)]


@pytest.mark.parametrize("data", ["\ud800", {1: 2}, object(), {"a": b"x"}])
def test_what_no_parser_gives_is_a_violation(data):
    """Python values that JSON cannot write are a violation, not an exception."""
    assert len(made({"properties": {"a": {"type": "integer"}}, "type": ["object", "string"]}).violations(data)) >= 1


NAMES = st.sampled_from(["a", "b"])
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1e300]), st.sampled_from(["", "a", "bb"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=2)),
    max_leaves=6,
)
KEYWORDS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "number", "object", "array", "null", "boolean"])}
    ),
    st.fixed_dictionaries({"minimum": st.integers(-2, 2)}),
    st.fixed_dictionaries({"maxLength": st.integers(0, 2)}),
    st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"required": st.lists(NAMES, max_size=2, unique=True)}),
    st.fixed_dictionaries({"minItems": st.integers(0, 2)}),
    st.fixed_dictionaries({"uniqueItems": st.booleans()}),
    st.booleans(),
)
SCHEMAS = st.recursive(
    KEYWORDS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(NAMES, inner, max_size=2)}),
        st.fixed_dictionaries({"additionalProperties": inner}),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"prefixItems": st.lists(inner, min_size=1, max_size=2), "items": inner}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2), "contains": inner}),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(schema=SCHEMAS, data=VALUES)
def test_schemas_agree_with_the_reference_validator(schema, data):
    """A payload has violations exactly when the reference implementation says that it is not valid."""
    violations = made(schema).violations(parse(json.dumps(data).encode()))
    assert (violations == []) is Draft202012Validator(schema).is_valid(data)
    assert all(one.pointer.startswith("/data") and one.expected and one.found for one in violations)
