"""Keys: who may be one, how they are compared, and what every fault gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.api_key import Key, digest
from hookline.core.errors import Refusal
from hookline.web.auth import MANAGE, OPERATOR, PUBLISH, READ, Authority, operator_keys

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=256)


def headers(*values: bytes, tenant: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """Header fields with these Authorization values."""
    pairs = [(b"authorization", value) for value in values]
    return pairs if tenant is None else [*pairs, (b"hookline-tenant", tenant)]


@given(PRINTABLE, PRINTABLE)
def test_any_printable_key_opens_and_only_that(key, other):
    """Whatever 8 to 256 printable characters the key is, it opens every scope, and another does not."""
    authority = Authority(operator_keys(key))
    for scope in (PUBLISH, READ, MANAGE, OPERATOR):
        principal = authority.authorize(headers(b"Bearer " + key.encode()), scope)
        assert (principal.tenant, principal.every_tenant) == ("default", True)
    assert authority.authorize(headers(b"bEARER   " + key.encode() + b" "), READ).tenant == "default"
    if other != key:
        with pytest.raises(Refusal) as refusal:
            authority.authorize(headers(b"Bearer " + other.encode()), READ)
        assert refusal.value.code == "unauthorized"


@given(st.lists(st.binary(max_size=300), max_size=3), st.none() | st.binary(max_size=80))
def test_any_bytes_are_refused_or_accepted(values, tenant):
    """Whatever bytes the two headers have, the answer is a principal or a refusal, never another error."""
    authority = Authority(operator_keys("correct-horse-battery"))
    try:
        authority.authorize(headers(*values, tenant=tenant), READ)
    except Refusal as refusal:
        assert refusal.code == "unauthorized"  # noqa: PT017  only this exception is allowed


@pytest.mark.parametrize("key", ["short", "x" * 257, "has\ttabs-in-it", "ünïcödé-key", "1234567 ", "", "a\nbcdefgh"])
def test_what_is_no_key(key):
    """A key that is too short, too long or not printable ASCII is refused when it is set."""
    with pytest.raises(ValueError, match="8 to 256"):
        operator_keys(key)


def test_several_keys():
    """Several keys are valid at once, each with what it may."""
    third = digest("third-key")
    keys = {**operator_keys("first-key-0", "second-key"), third: Key("acme", frozenset({READ}), third)}
    authority = Authority(keys)
    for key, tenant in ((b"first-key-0", "default"), (b"second-key", "default"), (b"third-key", "acme")):
        assert authority.authorize(headers(b"Bearer " + key), READ).tenant == tenant
    with pytest.raises(Refusal, match="may not manage"):
        authority.authorize(headers(b"Bearer third-key"), MANAGE)


@pytest.mark.parametrize(
    ("tenant", "good"),
    [(b"a", True), (b"A-z_0.9", True), (b"x" * 64, True), (b"", False), (b"x" * 65, False), (b"a/b", False),
     (b"a b", False), (b"\xc3\xa4", False), (b"a\n", False), (b".", False), (b"..", False), (b"...", True)],
)  # fmt: skip
def test_tenant_names(tenant, good):
    """The operator may name a tenant of 1 to 64 of A-Z a-z 0-9 _ . - and nothing else."""
    authority = Authority(operator_keys("correct-horse-battery"))
    fields = headers(b"Bearer correct-horse-battery", tenant=tenant)
    if good:
        principal = authority.authorize(fields, READ)
        assert (principal.tenant, principal.every_tenant) == (tenant.decode(), False)
    else:
        with pytest.raises(Refusal) as refusal:
            authority.authorize(fields, READ)
        assert refusal.value.code == "invalid_parameter"
