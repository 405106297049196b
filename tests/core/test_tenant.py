"""Tenants: their names and their limits; and JSON Merge Patch, by which they are changed."""

from __future__ import annotations

import json

import msgspec
import pytest

from hookline.core.errors import Refusal
from hookline.core.json_text import decoded
from hookline.core.merge_patch import merged
from hookline.core.tenant import TenantSpec, check_spec, is_tenant

DECODE = msgspec.json.Decoder(TenantSpec).decode


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("A-z_0.9", True), ("x" * 64, True), ("", False), ("x" * 65, False), ("a/b", False), ("a\n", False),
     ("ä", False), (".", False), ("..", False), ("...", True), (".a", True), ("a.", True)],
)  # fmt: skip
def test_names(name, good):
    """A name is 1 to 64 of A-Z a-z 0-9 _ . - and nothing else, and no step of a path."""
    assert is_tenant(name) is good


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"id": "a b"}, "invalid_tenant", "/id"),
        ({"id": ""}, "invalid_tenant", "/id"),
        ({"id": ".."}, "invalid_tenant", "/id"),
        ({"id": "a\n"}, "invalid_tenant", "/id"),
        ({"id": None}, "invalid_tenant", "/id"),
        ({"name": "x" * 256}, "invalid_tenant", "/name"),
        ({"endpoints_max": -1}, "invalid_tenant", "/endpoints_max"),
        ({"endpoints_max": 1.5}, "invalid_tenant", "/endpoints_max"),
        ({"events_rate": {"n": 0}}, "invalid_tenant", "/events_rate/n"),
        ({"events_rate": 5}, "invalid_tenant", "/events_rate"),
        ({"retention_s": 0.5}, "invalid_tenant", "/retention_s"),
        ({"retention_s": 1e12}, "invalid_tenant", "/retention_s"),
        ({"dead_letter": ""}, "invalid_tenant", "/dead_letter"),
        ({"metadata": {"": "x"}}, "invalid_tenant", "/metadata"),
        ({"metadata": {"a/b": "x" * 1025}}, "invalid_tenant", "/metadata/a~1b"),
        ({"metadata": {str(n): "" for n in range(51)}}, "invalid_tenant", "/metadata"),
        ({"limit": 5}, "unknown_field", "/limit"),
    ],
)  # fmt: skip
def test_a_fault_is_refused_where_it_is(members, code, pointer):
    """Each fault has its code and points to where it is."""
    with pytest.raises(Refusal) as refusal:
        check_spec(
            decoded(DECODE, json.dumps({"id": "acme", **members}).encode(), code="invalid_tenant", noun="tenant")
        )
    assert (refusal.value.code, refusal.value.pointer) == (code, pointer)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A, as far as the patch is an object
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merge_patch(target, patch, result):
    """A patch does what RFC 7396 says, and changes neither of its arguments."""
    before = json.dumps([target, patch])
    assert merged(target, patch) == result
    assert json.dumps([target, patch]) == before
