"""What is checked of JSON that is kept and not read."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.errors import Refusal
from hookline.core.json_text import check_depth, check_keys, is_json, media_type, parse, pointer

STRINGS = st.text(st.sampled_from('[]{}"\\a,:é'), max_size=4)
NESTED = st.recursive(
    st.one_of(st.integers(0, 9), STRINGS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(STRINGS, inner, max_size=3)),
    max_leaves=30,
)


def depth_of(value):
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@given(value=NESTED, depth_max=st.integers(1, 6), spaces=st.sampled_from([None, 1]))
def test_depth_is_what_a_parser_sees(value, depth_max, spaces):
    """A text is refused exactly when its value nests deeper than allowed, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, indent=spaces).encode()
    refused = False
    try:
        check_depth(text, depth_max)
    except Refusal as refusal:
        refused = refusal.code == "too_deep"
    assert refused is (depth_of(value) > depth_max)


@given(members=st.lists(st.tuples(STRINGS, NESTED), max_size=5), spaces=st.sampled_from(["", " ", "\r\n\t"]))
def test_keys_are_unique_when_a_parser_sees_each_once(members, spaces):
    """An object is refused exactly when a key is there twice on its top level."""
    text = "{" + ",".join(f"{spaces}{json.dumps(n)}{spaces}:{spaces}{json.dumps(v)}{spaces}" for n, v in members) + "}"
    refused = False
    try:
        check_keys(text.encode(), msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
    except Refusal as refusal:
        refused = refusal.code == "malformed_json"
    assert refused is (len({name for name, _ in members}) < len(members))


LARGEST = sys.float_info.max


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":[1,2.5,true,null,"x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b"1e999", LARGEST),
        (b"-1e999", -LARGEST),
        (b'{"a":1e999,"b":1.5e-999}', {"a": LARGEST, "b": 0.0}),
        (b"9" * 5000, LARGEST),
        (b"-" + b"9" * 5000, -LARGEST),
        (b"9" * 40, int("9" * 40)),
    ],
)
def test_every_number_of_json_is_read(text, value):
    """Numbers beyond a double are the largest double of their sign; there is no infinity."""
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[1e999,NaN]", b'[1e999,"\\ud800"]', b"\xff", b'"\xff"', b"[" * 100_000, b"[1e999" * 9000],
)
def test_what_is_not_json_is_a_value_error(text):
    """Reading what is not JSON raises ValueError and nothing else."""
    with pytest.raises(ValueError):
        parse(text)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(st.one_of(st.integers(), FINITE, st.text(), st.none(), st.booleans()), st.lists, max_leaves=10))
def test_what_a_json_library_writes_is_read(value):
    """Whatever the standard library writes is read as the same."""
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("content_type", "essence", "charset", "json_"),
    [
        ("application/json", "application/json", None, True),
        ("Application/JSON ; Charset=UTF-8", "application/json", "utf-8", True),
        ('application/json; a="b"; charset="utf8"', "application/json", "utf8", True),
        ("application/json;charset=utf-16", "application/json", "utf-16", False),
        ("application/vnd.api+json", "application/vnd.api+json", None, True),
        ("text/json", "text/json", None, True),
        ("application/jsonl", "application/jsonl", None, False),
        ("application/xml", "application/xml", None, False),
        ("json", "json", None, False),
        ("", "", None, False),
    ],
)
def test_media_types(content_type, essence, charset, json_):
    """JSON is what has the subtype json or +json and no other charset than UTF-8."""
    assert media_type(content_type) == (essence, charset)
    assert is_json(content_type) is json_


def test_pointers_escape():
    """A tilde and a slash in a name are escaped as RFC 6901 says."""
    assert pointer("a/b~c") == "/a~1b~0c"
