"""What a person configures: endpoints (with their filter, retry, success_when, headers, url), patches of them, keys,
tenants and replays. The input is two lines of JSON: a document and a patch of it.

What must hold: taken, or refused below 500 with a pointer; what was taken is stored, read again and compiled; waits
are finite and bounded; a merge patch keeps RFC 7396.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from tests.fuzz.checks.publication import refused

from hookline.core import api_key, tenant
from hookline.core.attempt import REASONS
from hookline.core.endpoint import EndpointState, Secrets, SigningKey
from hookline.core.errors import Refusal
from hookline.core.json_text import check_utf8, decoded
from hookline.core.merge_patch import merged
from hookline.core.replay import pack_replay, parse_endpoint_replay, parse_replay, unpack_replay
from hookline.core.retry import ATTEMPTS_MAX, WAIT_S_MAX, WAITS_MAX, RetryPolicy, parse_retry
from hookline.core.subscribe import build_endpoint, check_spec, decode_spec, encode_spec, merge_patch, parse_spec
from hookline.core.success import parse_success

_SECRETS = Secrets([SigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
_decode_key = msgspec.json.Decoder(api_key.KeySpec).decode
_decode_tenant = msgspec.json.Decoder(tenant.TenantSpec).decode


def check(data: bytes) -> None:
    """Raise unless every reader of configuration does with the document what it must."""
    first, _, second = data.partition(b"\n")
    for read in (_endpoint, _key, _tenant, _replay):
        try:
            read(first, second)
        except Refusal as refusal:
            refused(refusal)
    try:
        document, patch = msgspec.json.decode(first), msgspec.json.decode(second)
    except (ValueError, RecursionError):  # every reader has refused it already
        return
    for parse in (parse_retry, parse_success):
        _by_itself(parse, document)
    if isinstance(patch, dict) and _shallow(document) and _shallow(patch):
        _merge(document, patch)


def _endpoint(body: bytes, patch: bytes) -> None:
    spec = parse_spec(body)
    check_spec(spec)
    stored = encode_spec(spec)
    again = decode_spec(stored)
    check_spec(again)
    assert encode_spec(again) == stored
    endpoint = build_endpoint(
        id=b"\1" * 12, tenant="default", uid=spec.uid, version=1, state=EndpointState.ACTIVE, spec=again,
        secrets=_SECRETS,
    )  # fmt: skip
    policy(endpoint.retry)
    changed = merge_patch(spec, patch)
    check_spec(changed)
    assert encode_spec(decode_spec(encode_spec(changed))) == encode_spec(changed)


def policy(retry: RetryPolicy) -> None:
    """Raise unless every wait is finite and bounded, whatever the answers and the dice."""
    assert 1 <= retry.tries_max <= max(WAITS_MAX + 1, ATTEMPTS_MAX)
    for status in (None, 100, 200, 301, 404, 409, 410, 429, 500, 503, 599):
        for reason in (None, *REASONS):
            rule = retry.rule(status, reason)
            for tries in (1, 2, retry.tries_max, retry.tries_max + 1):
                for dice in (0.0, 0.5, 0.999_999):
                    wait_s = retry.wait_s(tries, dice, rule)
                    assert wait_s is None or 0 <= wait_s <= WAIT_S_MAX * 1.5
            assert retry.wait_s(retry.tries_max, 0.5, rule) is None


def _key(body: bytes, patch: bytes) -> None:
    spec = api_key.check_spec(decoded(_decode_key, _text(body), code="invalid_key", noun="key"))
    key = api_key.build_key(b"\1" * 12, b"\2" * 32, spec)
    assert key.allowed is None or isinstance(key.allowed("order.created"), bool)
    assert api_key.check_spec(spec) == spec


def _tenant(body: bytes, patch: bytes) -> None:
    tenant.check_spec(decoded(_decode_tenant, _text(body), code="invalid_tenant", noun="tenant"))


def _text(body: bytes) -> bytes:
    check_utf8(body)
    return body


def _replay(body: bytes, patch: bytes) -> None:
    try:
        spec = parse_replay(body)
    except Refusal as refusal:
        refused(refusal)
        spec = parse_endpoint_replay(body, b"\1" * 12)
    assert unpack_replay(pack_replay(spec, 1)).spec == spec


def _by_itself(parse: Callable[..., Any], document: Any) -> None:
    if isinstance(document, dict):
        for member in (document, document.get("retry"), document.get("success_when")):
            if isinstance(member, dict):
                try:
                    found = parse(member)
                except Refusal as refusal:
                    refused(refusal)
                else:
                    if isinstance(found, RetryPolicy):
                        policy(found)


def _shallow(value: Any, left: int = 100) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left > 0 and all(_shallow(one, left - 1) for one in inner)


def _merge(target: Any, patch: dict[str, Any]) -> None:
    before = json.dumps([target, patch])
    once = merged(target, patch)
    assert json.dumps([target, patch]) == before
    assert merged(once, patch) == once or "NaN" in before
    for name, value in patch.items():
        if value is None:
            assert name not in once
        elif not isinstance(value, dict):
            assert once[name] is value
    kept = target if isinstance(target, dict) else {}
    assert {n: once[n] for n in kept if n not in patch} == {n: v for n, v in kept.items() if n not in patch}
