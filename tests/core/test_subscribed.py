"""What is stored and shown of an endpoint, how it is patched, and how it is compiled."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from tests.core.subscribing import FULL, SECRET, URL, build, parse

from hookline.core.endpoint import AuthSpec, EndpointSpec
from hookline.core.errors import Refusal
from hookline.core.subscribe import decode_spec, encode_spec, keep_auth, merge_patch, parse_spec

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
