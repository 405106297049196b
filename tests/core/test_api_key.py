"""API keys: what may be asked for, and what is made of it."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.api_key import KeySpec, build_key, check_spec, digest, end_ms, hint, make_key
from hookline.core.errors import Refusal
from hookline.core.event_type import pattern_matches
from hookline.core.json_text import decoded

DECODE = msgspec.json.Decoder(KeySpec).decode
TYPES = st.sampled_from(["a", "b", "order.created", "order.line.added", "order", "orders.x", "a.b.c"])
PATTERNS = st.sampled_from(["*", "a", "a.*", "order.*", "order.created", "order.line.*", "b"])


def spec_of(**members: object) -> KeySpec:
    """A spec as a client writes it."""
    return decoded(DECODE, json.dumps(members).encode(), code="invalid_key", noun="API key")


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_known_by_its_digest(random):
    """A key is printable, long enough for a header, known again with spaces around it, and hinted at by its end."""
    key = make_key(random)
    assert key.isascii()
    assert key.startswith("hl_")
    assert len(key) == 46
    assert digest(f" {key} ") == digest(key)
    assert key.endswith(hint(key))
    assert len(hint(key)) == 4


@given(st.lists(PATTERNS, min_size=1, max_size=4), TYPES)
def test_what_a_key_may_publish(patterns, event_type):
    """A key may publish exactly the types that one of its patterns matches."""
    key = build_key(b"i", b"d", check_spec(KeySpec(["publish"], "acme", event_types=patterns)))
    may = key.allowed is None or key.allowed(event_type)
    assert may == any(pattern_matches(pattern, event_type) for pattern in patterns)


def test_without_patterns_all_may_be_published():
    """No patterns, and the pattern for all, ask nothing at each publish."""
    assert build_key(b"i", b"d", KeySpec(["publish"], "acme")).allowed is None
    assert build_key(b"i", b"d", KeySpec(["publish"], "acme", event_types=["a", "*"])).allowed is None


@pytest.mark.parametrize(
    ("members", "limited"),
    [({}, False), ({"event_types": ["a"]}, False), ({"expires_at": "2030-01-01T00:00:00Z"}, True),
     ({"rate": {"n": 1}}, True), ({"address_rate": {"n": 1}}, True)],
)  # fmt: skip
def test_only_limited_keys_are_looked_at_closer(members, limited):
    """An end or a rate makes a key limited; what it may publish does not."""
    spec = check_spec(spec_of(scopes=["publish"], tenant="acme", **members))
    assert build_key(b"i", b"d", spec).limited is limited


def test_a_spec_is_kept_in_one_form():
    """Scopes are there once, in their order, and an end is UTC with milliseconds."""
    spec = check_spec(
        spec_of(scopes=["read", "publish", "read"], tenant="acme", expires_at="2030-01-01T02:00:00.1234+02:00")
    )
    assert spec.scopes == ["read", "publish"]
    assert spec.expires_at == "2030-01-01T00:00:00.123Z"
    assert end_ms(spec) == 1_893_456_000_123


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"scopes": []}, "invalid_key", "/scopes"),
        ({"scopes": ["admin"]}, "invalid_key", "/scopes/0"),
        ({"scopes": ["publish"] * 5}, "invalid_key", "/scopes"),
        ({"tenant": "a b"}, "invalid_key", "/tenant"),
        ({"tenant": "acme\n"}, "invalid_key", "/tenant"),
        ({"tenant": ""}, "invalid_key", "/tenant"),
        ({"tenant": "x" * 65}, "invalid_key", "/tenant"),
        ({"tenant": None}, "invalid_key", "/tenant"),
        ({"scopes": ["operator"]}, "invalid_key", "/tenant"),
        ({"scopes": ["read", "operator"]}, "invalid_key", "/tenant"),
        ({"scopes": ["read"], "event_types": ["a"]}, "invalid_key", "/event_types"),
        ({"event_types": []}, "invalid_key", "/event_types"),
        ({"event_types": ["a"] * 101}, "invalid_key", "/event_types"),
        ({"event_types": ["a", "a b"]}, "invalid_event_type", "/event_types/1"),
        ({"event_types": ["a*"]}, "invalid_event_type", "/event_types/0"),
        ({"event_types": ["hookline.*"]}, "reserved_event_type", "/event_types/0"),
        ({"expires_at": "tomorrow"}, "invalid_key", "/expires_at"),
        ({"expires_at": "2030-02-30T00:00:00Z"}, "invalid_key", "/expires_at"),
        ({"expires_at": "1969-12-31T23:59:59Z"}, "invalid_key", "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "invalid_key", "/expires_at"),
        ({"rate": {"n": 0}}, "invalid_key", "/rate/n"),
        ({"rate": {}}, "invalid_key", "/rate/n"),
        ({"address_rate": {"n": 1, "per_s": 0}}, "invalid_key", "/address_rate/per_s"),
        ({"rate": {"n": 1, "per_m": 1}}, "unknown_field", "/rate/per_m"),
        ({"description": "x" * 256}, "invalid_key", "/description"),
        ({"key": "mine"}, "unknown_field", "/key"),
    ],
)  # fmt: skip
def test_a_fault_is_refused_where_it_is(members, code, pointer):
    """Each fault has its code and points to where it is."""
    with pytest.raises(Refusal) as refusal:
        check_spec(spec_of(**{"scopes": ["publish"], "tenant": "acme", **members}))
    assert (refusal.value.code, refusal.value.pointer) == (code, pointer)
