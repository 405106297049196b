"""From what a client writes to an endpoint that can be used, and back."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.core.endpoint import AuthSpec, Endpoint, EndpointSpec, EndpointState, RateSpec, Secrets, SigningKey
from hookline.core.errors import Refusal
from hookline.core.subscribe import (
    build_endpoint,
    check_spec,
    decode_spec,
    encode_spec,
    keep_auth,
    merge_patch,
    parse_spec,
)

URL = "https://example.com/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FULL: dict[str, Any] = {
    "url": "https://example.com:8443/hook?a=1",
    "kind": "http",
    "uid": "customer-7:main",
    "event_types": ["order.*", "user.created"],
    "filter": {"data.total": {"$gt": 100}},
    "method": "PUT",
    "format": "cloudevents",
    "headers": {"X-Custom": "a b"},
    "auth": {"kind": "bearer", "token": "s3cret-token"},
    "secret": SECRET,
    "retry": {"schedule_s": [1, 2], "on": {"4xx": "fail"}},
    "success_when": {"status": [200]},
    "rate": {"n": 10, "per_s": 2, "burst": 20},
    "timeout_s": 5,
    "concurrency_max": 4,
    "order": {"by": "key", "when_failed": "skip"},
    "response_bytes_max": 0,
    "description": "The shop's\nmain endpoint",
    "metadata": {"team": "payments ☃"},
}


def parse(**members: object) -> EndpointSpec:
    """A spec as a client would create it, fully checked."""
    spec = parse_spec(json.dumps({"url": URL, **members}).encode())
    check_spec(spec)
    return spec


def refusal(body: bytes) -> Refusal:
    """Why an endpoint is refused."""
    with pytest.raises(Refusal) as refused:
        check_spec(parse_spec(body))
    return refused.value


def build(spec: EndpointSpec, auth: AuthSpec | None = None) -> Endpoint:
    """The endpoint of a spec."""
    return build_endpoint(
        id=b"endpoint-id.",
        tenant="acme",
        uid=spec.uid,
        version=7,
        state=EndpointState.ACTIVE,
        spec=spec,
        secrets=Secrets([SigningKey(SECRET)], auth),
    )


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
        ("url", "", "invalid_endpoint", "/url"),
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
        ("verify", "test", "not_supported", "/verify"),
        ("verify", "hope", "invalid_endpoint", "/verify"),
        ("confirm", {"timeout_s": 60}, "not_supported", "/confirm"),
        ("dead_letter", "other", "not_supported", "/dead_letter"),
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


# ---------------------------------------------------------------------------------------------- storing, showing


def test_nothing_secret_is_stored_with_the_spec() -> None:
    """The stored form holds no secret and no credential, and is read again."""
    for auth in (
        {"kind": "bearer", "token": "canary"},
        {"kind": "basic", "username": "canary", "password": "canary"},
        {"kind": "api_key", "header": "X-Key", "value": "canary"},
    ):
        stored = encode_spec(parse(**{**FULL, "auth": auth}))
        assert b"canary" not in stored
        assert SECRET.encode() not in stored
        again = decode_spec(stored)
        assert again.secret is None
        assert again.auth is not None
        assert again.auth.kind == auth["kind"]
        assert encode_spec(again) == stored
    assert b"X-Key" in stored


def test_masked_credentials_stand_for_those_stored() -> None:
    """A spec whose credentials are masked keeps the stored ones, where they have the same form."""
    stored = AuthSpec("basic", username="bob", password="pw")
    shown = decode_spec(encode_spec(parse(auth=msgspec.to_builtins(stored))))
    assert keep_auth(shown, stored) == stored
    assert keep_auth(parse(), stored) is None
    new = AuthSpec("bearer", token="t")
    assert keep_auth(parse(auth={"kind": "bearer", "token": "t"}), stored) == new
    for other in (None, new):
        with pytest.raises(Refusal):
            keep_auth(shown, other)


def test_half_masked_credentials_are_refused() -> None:
    """A new user name with the mask as password would store the mask: it is refused."""
    spec = EndpointSpec(url=URL, auth=AuthSpec("basic", username="new", password="***"))
    with pytest.raises(Refusal) as refused:
        keep_auth(spec, AuthSpec("basic", username="bob", password="pw"))
    assert refused.value.pointer == "/auth"


# ---------------------------------------------------------------------------------------------------- patching


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, {}),
        ({"description": "new"}, {"description": "new"}),
        ({"filter": None}, {"filter": None}),
        ({"retry": None}, {"retry": None}),
        ({"headers": {"X-New": "1"}}, {"headers": {"X-Custom": "a b", "X-New": "1"}}),
        ({"headers": {"X-Custom": None}}, {"headers": {}}),
        ({"metadata": {"team": "sales", "x": "y"}}, {"metadata": {"team": "sales", "x": "y"}}),
        ({"retry": {"on": None, "schedule_s": [9]}}, {"retry": {"schedule_s": [9]}}),
        ({"event_types": ["a"]}, {"event_types": ["a"]}),
        ({"order": "key"}, {"order": "key"}),
        ({"rate": {"n": 5}}, {"rate": {"n": 5, "per_s": 2.0, "burst": 20}}),
        ({"timeout_s": None}, {"timeout_s": 15.0}),
        ({"uid": None}, {"uid": None}),
    ],
)
def test_a_patch_merges(patch: dict[str, object], expected: dict[str, object]) -> None:
    """As RFC 7396 says: objects merge, null removes, anything else replaces; the rest stays."""
    before = parse(**FULL)
    shown = msgspec.to_builtins(decode_spec(encode_spec(before)))
    after = msgspec.to_builtins(merge_patch(before, json.dumps(patch).encode()))
    assert after == {**shown, **expected}


def test_auth_is_replaced_not_merged() -> None:
    """New credentials replace the old ones whole, null removes them, silence or the mask keeps them."""
    before = parse(**FULL)
    stored = before.auth
    replaced = merge_patch(before, b'{"auth": {"kind": "api_key", "header": "X-Key", "value": "v"}}')
    assert keep_auth(replaced, stored) == AuthSpec("api_key", header="X-Key", value="v")
    assert keep_auth(merge_patch(before, b'{"auth": null}'), stored) is None
    assert keep_auth(merge_patch(before, b'{"description": "x"}'), stored) == stored
    assert keep_auth(merge_patch(before, b'{"auth": {"kind": "bearer", "token": "***"}}'), stored) == stored


@pytest.mark.parametrize(
    ("patch", "code", "pointer"),
    [
        (b"[]", "invalid_endpoint", ""),
        (b"5", "invalid_endpoint", ""),
        (b"{", "malformed_json", None),
        (b'{"url": null}', "invalid_endpoint", "/url"),
        (b'{"url": "http://0x7f.1/"}', "address_refused", "/url"),
        (b'{"secret": "whsec_QUJD"}', "invalid_secret", "/secret"),
        (b'{"secret": null}', "invalid_secret", "/secret"),
        (b'{"id": "ep_1"}', "unknown_field", "/id"),
        (b'{"rate": {"n": 0}}', "invalid_endpoint", "/rate/n"),
        (b'{"retry": {"first_s": 1, "attempts": 2}}', "invalid_retry", "/retry"),
        (b'{"auth": {"token": "new"}}', "invalid_endpoint", "/auth/kind"),
        (b'{"headers": {"Host": "x"}}', "invalid_header", "/headers/Host"),
        (b'{"description": "a", "description": "b"}', "malformed_json", None),
        (b'{"config": {"x": 1e400}}', "invalid_endpoint", ""),
    ],
)
def test_a_patch_is_checked_like_a_new_endpoint(patch: bytes, code: str, pointer: str | None) -> None:
    """A patch that would make a wrong endpoint is refused where it is wrong."""
    with pytest.raises(Refusal) as refused:
        merge_patch(parse(**FULL), patch)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)


# ---------------------------------------------------------------------------------------------------- building


def test_everything_is_compiled_once() -> None:
    """The built endpoint holds the parsed address, compiled rules and its headers as bytes."""
    built = build(parse(**FULL))
    assert built.target is not None
    assert (built.target.host, built.target.port, built.target.path) == ("example.com", 8443, "/hook?a=1")
    assert built.headers == ((b"X-Custom", b"a b"),)
    assert (built.lane, built.retry.tries_max, built.timeout_s) == ("skip", 3, 5.0)
    assert built.filter is not None
    assert built.success is not None
    assert (built.id, built.tenant, built.uid, built.version) == (b"endpoint-id.", "acme", "customer-7:main", 7)
    assert [key.secret for key in built.signing] == [SECRET]


@pytest.mark.parametrize(
    ("order", "lane"),
    [(None, None), ("key", "wait"), ({"by": "key"}, "wait"), ({"by": "key", "when_failed": "skip"}, "skip")],
)
def test_order_becomes_a_lane(order: object, lane: str | None) -> None:
    """Without order there are no lanes; with it a failed head blocks its lane unless told otherwise."""
    assert build(parse(order=order)).lane == lane


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (AuthSpec("bearer", token="t0k"), (b"authorization", b"Bearer t0k")),
        (AuthSpec("api_key", header="X-Key", value="a b"), (b"X-Key", b"a b")),
        (
            AuthSpec("basic", username="bücher", password="p:w"),
            (b"authorization", b"Basic " + base64.b64encode("bücher:p:w".encode())),
        ),
    ],
)
def test_credentials_become_one_header(auth: AuthSpec, header: tuple[bytes, bytes]) -> None:
    """The header comes from the stored secrets, never from the spec, where it is masked."""
    masked = decode_spec(encode_spec(parse(auth={k: v for k, v in msgspec.to_builtins(auth).items() if v is not None})))
    assert build(masked, auth).auth_headers == (header,)
    assert build(masked).auth_headers == ()


def test_another_kind_has_no_http_target() -> None:
    """The address of another kind is left to its sender."""
    assert build(parse_spec(b'{"url": "mailbox:x", "kind": "mailbox"}')).target is None
