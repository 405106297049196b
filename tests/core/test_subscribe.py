"""What a client writes is read and checked, and each fault is refused where it is."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.subscribing import FULL, URL, build, parse

from hookline.core.endpoint import AuthSpec, RateSpec
from hookline.core.errors import Refusal
from hookline.core.subscribe import check_spec, decode_spec, encode_spec, parse_spec


def refusal(body: bytes) -> Refusal:
    """Why an endpoint is refused."""
    with pytest.raises(Refusal) as refused:
        check_spec(parse_spec(body))
    return refused.value


# ----------------------------------------------------------------------------------------------------- reading


def test_an_url_is_enough() -> None:
    """Everything but the url has a default."""
    spec = parse()
    assert (spec.kind, spec.method, spec.format, spec.event_types) == ("http", "POST", "standard", ["*"])
    assert (spec.timeout_s, spec.concurrency_max, spec.verify, spec.uid) == (15.0, 32, "none", None)


def test_every_member_is_read() -> None:
    """A spec with all members comes out as it was written."""
    spec = parse(**FULL)
    assert spec.rate == RateSpec(10, 2.0, 20)
    assert spec.auth == AuthSpec("bearer", token="s3cret-token")
    assert msgspec.to_builtins(spec)["metadata"] == FULL["metadata"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"{}x", "malformed_json"),
        (b"{'url': 'x'}", "malformed_json"),
        (b'{"url": NaN}', "malformed_json"),
        (b'{"url": "\xff"}', "malformed_json"),
        (b'\xef\xbb\xbf{"url": "x"}', "malformed_json"),
        ('{"url": "x"}'.encode("utf-16"), "malformed_json"),
        (b'{"url": "\\ud800"}', "malformed_json"),
        (b'{"url": "a", "url": "b"}', "malformed_json"),
        (b'{"url": "a", "u\\u0072l": "b"}', "malformed_json"),
        (b'{"url": "a", "metadata": {"x": "1", "x": "2"}}', "malformed_json"),
        (b'{"url": "a", "config": [[{"x": 1, "x": 2}]]}', "malformed_json"),
        (b'{"config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b'{"url": "http://a", "config": {"x": ' + b"[" * 127 + b"]" * 127 + b"}}", "too_deep"),
        (b'{"url": "' + b"a" * 300_000 + b'"}', "payload_too_large"),
        (b"[]", "invalid_endpoint"),
        (b"null", "invalid_endpoint"),
        (b'"http://a"', "invalid_endpoint"),
        (b"{}", "invalid_endpoint"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, code: str) -> None:
    """Broken JSON, repeated names at any depth, other encodings, and what is too deep or too large."""
    assert refusal(body).code == code


@pytest.mark.parametrize(
    ("member", "value", "code", "pointer"),
    [
        ("foo", 1, "unknown_field", "/foo"),
        ("a/b~c", 1, "unknown_field", "/a~1b~0c"),
        ("state", "active", "unknown_field", "/state"),
        ("url", 1, "invalid_endpoint", "/url"),
        ("url", None, "invalid_endpoint", "/url"),
        ("url", "", "address_refused", "/url"),
        ("url", "http://example.com/" + "a" * 4096, "address_refused", "/url"),
        ("url", "http://127.1/", "address_refused", "/url"),
        ("url", "ftp://example.com/", "address_refused", "/url"),
        ("kind", 5, "invalid_endpoint", "/kind"),
        ("uid", "", "invalid_endpoint", "/uid"),
        ("uid", "a b", "invalid_endpoint", "/uid"),
        ("uid", "a\n", "invalid_endpoint", "/uid"),
        ("uid", "ep_" + "0" * 24, "invalid_endpoint", "/uid"),
        ("uid", "a" * 256, "invalid_endpoint", "/uid"),
        ("event_types", [], "invalid_event_type", "/event_types"),
        ("event_types", "order.*", "invalid_event_type", "/event_types"),
        ("event_types", ["a", 3], "invalid_event_type", "/event_types/1"),
        ("event_types", ["a", "*.b"], "invalid_event_type", "/event_types/1"),
        ("event_types", ["a"] * 1001, "invalid_event_type", "/event_types"),
        ("filter", 5, "invalid_filter", "/filter"),
        ("filter", {"type": {"$gtt": 1}}, "invalid_filter", "/filter"),
        ("method", "GET", "invalid_endpoint", "/method"),
        ("method", "post", "invalid_endpoint", "/method"),
        ("format", "xml", "invalid_endpoint", "/format"),
        ("headers", {"Host": "x"}, "invalid_header", "/headers/Host"),
        ("headers", {"X": 1}, "invalid_header", "/headers"),
        ("headers", {f"x{n}": "" for n in range(51)}, "invalid_header", "/headers"),
        ("secret", "whsec_", "invalid_secret", "/secret"),
        ("secret", 5, "invalid_secret", "/secret"),
        ("retry", 5, "invalid_retry", "/retry"),
        ("retry", {"schedule_s": [-1]}, "invalid_retry", "/retry/schedule_s/0"),
        ("success_when", {"status": []}, "invalid_endpoint", "/success_when/status"),
        ("rate", {"n": 0}, "invalid_endpoint", "/rate/n"),
        ("rate", {"n": 1, "per_s": 0}, "invalid_endpoint", "/rate/per_s"),
        ("rate", {"n": 1, "per_m": 1}, "unknown_field", "/rate/per_m"),
        ("rate", {"per_s": 1}, "invalid_endpoint", "/rate/n"),
        ("timeout_s", 0.5, "invalid_endpoint", "/timeout_s"),
        ("timeout_s", 61, "invalid_endpoint", "/timeout_s"),
        ("timeout_s", "15", "invalid_endpoint", "/timeout_s"),
        ("concurrency_max", 0, "invalid_endpoint", "/concurrency_max"),
        ("concurrency_max", 1.5, "invalid_endpoint", "/concurrency_max"),
        ("order", "keys", "invalid_endpoint", "/order"),
        ("order", True, "invalid_endpoint", "/order"),
        ("order", {}, "invalid_endpoint", "/order/by"),
        ("order", {"by": "key", "when_failed": "hope"}, "invalid_endpoint", "/order/when_failed"),
        ("order", {"by": "key", "when": "skip"}, "unknown_field", "/order/when"),
        ("response_bytes_max", 1024 * 1024 + 1, "invalid_endpoint", "/response_bytes_max"),
        ("response_bytes_max", -1, "invalid_endpoint", "/response_bytes_max"),
        ("description", "a" * 1025, "invalid_endpoint", "/description"),
        ("metadata", {"a": "b" * 1025}, "invalid_endpoint", "/metadata/a"),
        ("metadata", {"": "b"}, "invalid_endpoint", "/metadata"),
        ("metadata", {"a\nb": "b"}, "invalid_endpoint", "/metadata"),
        ("metadata", {"a" * 65: "b"}, "invalid_endpoint", "/metadata"),
        ("metadata", {str(n): "" for n in range(51)}, "invalid_endpoint", "/metadata"),
        ("config", {"a": "b" * 20_000}, "invalid_endpoint", "/config"),
        ("verify", "hope", "invalid_endpoint", "/verify"),
        ("confirm", {"timeout_s": 60}, "unknown_field", "/confirm/timeout_s"),
        ("confirm", {"within_s": 0.5}, "invalid_endpoint", "/confirm/within_s"),
        ("confirm", {}, "invalid_endpoint", "/confirm/within_s"),
        ("dead_letter", "", "invalid_endpoint", "/dead_letter"),
        ("auth", {}, "invalid_endpoint", "/auth/kind"),
        ("auth", {"kind": "digest"}, "invalid_endpoint", "/auth/kind"),
        ("auth", {"kind": "bearer"}, "invalid_endpoint", "/auth/token"),
        ("auth", {"kind": "bearer", "token": ""}, "invalid_endpoint", "/auth/token"),
        ("auth", {"kind": "bearer", "token": "a b"}, "invalid_endpoint", "/auth/token"),
        ("auth", {"kind": "bearer", "token": "a\r\nX: b"}, "invalid_endpoint", "/auth/token"),
        ("auth", {"kind": "bearer", "token": "é"}, "invalid_endpoint", "/auth/token"),
        ("auth", {"kind": "bearer", "token": "***"}, "invalid_endpoint", "/auth"),
        ("auth", {"kind": "bearer", "token": "a", "value": "b"}, "invalid_endpoint", "/auth/value"),
        ("auth", {"kind": "bearer", "tokken": "a"}, "unknown_field", "/auth/tokken"),
        ("auth", {"kind": "basic", "username": "a"}, "invalid_endpoint", "/auth/password"),
        ("auth", {"kind": "basic", "username": "a:b", "password": "c"}, "invalid_endpoint", "/auth/username"),
        ("auth", {"kind": "basic", "username": "a", "password": "c\n"}, "invalid_endpoint", "/auth/password"),
        ("auth", {"kind": "api_key", "header": "X-Key"}, "invalid_endpoint", "/auth/value"),
        ("auth", {"kind": "api_key", "header": "Host", "value": "x"}, "invalid_header", "/auth/header"),
        ("auth", {"kind": "api_key", "header": "X-Key", "value": " x"}, "invalid_endpoint", "/auth/value"),
    ],
)
def test_a_fault_is_refused_where_it_is(member: str, value: object, code: str, pointer: str) -> None:
    """Each wrong member is refused with its code and a pointer to it."""
    refused = refusal(json.dumps({"url": URL, member: value}).encode())
    assert refused.code == code
    assert (refused.pointer or "").startswith(pointer)
    assert code == "invalid_filter" or refused.pointer == pointer


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("uid", "ep_mine"),
        ("timeout_s", 1),
        ("timeout_s", 60),
        ("order", "key"),
        ("order", {"by": "key"}),
        ("auth", {"kind": "basic", "username": "bücher", "password": ""}),
        ("auth", {"kind": "api_key", "header": "Cookie", "value": "session=a b"}),
        ("secret", "whsec_QQ"),
        ("event_types", ["hookline.*"]),
        ("config", {"x": "y" * 1000}),
        ("retry", {}),
    ],
)
def test_what_is_just_right_passes(member: str, value: object) -> None:
    """Values at the edge of what is allowed are accepted."""
    parse(**{member: value})


def test_the_address_of_another_kind_is_its_senders() -> None:
    """Only http has its url parsed; a control character or a space is refused for every kind."""
    check_spec(parse_spec(b'{"url": "mailbox:anything!", "kind": "mailbox"}'))
    assert refusal(b'{"url": "mailbox:a b", "kind": "mailbox"}').code == "address_refused"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), _json, max_size=4))
def test_any_json_is_accepted_or_refused(members: dict[str, object]) -> None:
    """Whatever the members hold, it is a checked spec that can be built and stored, or a Refusal with a pointer."""
    try:
        spec = parse(**members)
    except Refusal as refused:
        assert refused.status in (400, 413, 422)  # noqa: PT017 - either way is right
        return
    build(spec, spec.auth)
    assert decode_spec(encode_spec(spec)).url == spec.url
