"""Subscribing: from what a client writes to an endpoint that can be used, and back to what may be shown.

    parse_spec     bytes → EndpointSpec, each fault with a pointer        check_spec      the deep checks
    merge_patch    RFC 7396 on the API's form                             build_endpoint  compiled, with its secrets
    encode_spec    what is stored and shown: without secrets              decode_spec     the same, read again

The headers of an endpoint are checked in `core.request_headers`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from hookline.core import ids
from hookline.core.address import parse_url
from hookline.core.configuration import check_document, check_metadata, check_uid
from hookline.core.endpoint import AuthSpec, Endpoint, EndpointSpec, EndpointState, Secrets
from hookline.core.errors import Refusal
from hookline.core.event_type import check_pattern
from hookline.core.filter import compile_filter
from hookline.core.json_text import decoded, pointer
from hookline.core.merge_patch import merged
from hookline.core.request_headers import check_credential_header, check_headers, is_text
from hookline.core.retry import parse_retry
from hookline.core.secret import MASK, check_signing_secret
from hookline.core.success import parse_success

CONFIG_BYTES_MAX: Final = 16 * 1024

_CODE_BY_MEMBER: Final = {
    "filter": "invalid_filter",
    "headers": "invalid_header",
    "retry": "invalid_retry",
    "secret": "invalid_secret",
    "event_types": "invalid_event_type",
}
_AUTH_MEMBERS: Final = {"bearer": ("token",), "basic": ("username", "password"), "api_key": ("header", "value")}
_AUTH_ALL: Final = ("token", "username", "password", "header", "value")
_AUTH_SHOWN: Final = frozenset({"header"})

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(EndpointSpec)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

# ----------------------------------------------------------------------------------------------------- reading


def parse_spec(body: bytes) -> EndpointSpec:
    """A new endpoint as a client wrote it: its form is checked here, its meaning by `check_spec`.

    Raises `Refusal` with a pointer: `malformed_json` (also for a repeated name), `unknown_field`, and the code of
    the member at fault. At most 256 KiB.
    """
    check_document(body, "An endpoint")
    spec = _decoded(body)
    keep_auth(spec, None)
    return spec


def _decoded(body: bytes) -> EndpointSpec:
    try:
        return decoded(_decoder.decode, body, code="invalid_endpoint", noun="endpoint")
    except Refusal as refusal:
        at = refusal.pointer or ""
        code = _CODE_BY_MEMBER.get(at.split("/")[1] if at else "", refusal.code)
        if refusal.code != "invalid_endpoint" or code == refusal.code:
            raise
        raise Refusal(code, refusal.detail, pointer=at) from None


def merge_patch(spec: EndpointSpec, body: bytes) -> EndpointSpec:
    """`spec` with a JSON Merge Patch (RFC 7396) applied to its API form, checked like a new one.

    Two members differ from the RFC: `secret` cannot be patched (it is rotated), and `auth` is replaced as a whole,
    not merged. Where `auth` is not patched, or comes back masked as it was shown, the result has it masked: see
    `keep_auth`. Raises `Refusal`.
    """
    check_document(body, "An endpoint")
    patch = decoded(_decode_object, body, code="invalid_endpoint", noun="endpoint")
    if "secret" in patch:
        detail = "A secret is changed by POST …/secret/rotate, so that both are valid for a while."
        raise Refusal("invalid_secret", detail, pointer="/secret")
    document = _decode_object(encode_spec(spec))
    auth = patch.pop("auth", document["auth"])
    result = merged(document, patch)
    result["auth"] = auth
    changed = _decoded(_encoder.encode(result))
    check_spec(changed)
    return changed


# ---------------------------------------------------------------------------------------------------- checking


def check_spec(spec: EndpointSpec) -> None:
    """All checks that need nothing but the spec; raises `Refusal` with a pointer to the fault.

    Address and config belong to the sender of the endpoint's kind; only the form of an `http` URL is checked here.
    """
    if spec.kind == "http":
        parse_url(spec.url)
    elif not is_text(spec.url):
        raise Refusal("address_refused", "The address contains a control character or a space.", pointer="/url")
    if len(_encoder.encode(spec.config)) > CONFIG_BYTES_MAX:
        raise _refused(f"The config is larger than {CONFIG_BYTES_MAX // 1024} KiB.", "/config")
    if spec.uid is not None:
        check_uid(spec.uid, ids.ENDPOINT, "invalid_endpoint")
    _check_patterns(spec.event_types)
    if spec.filter is not None:
        compile_filter(spec.filter, pointer="/filter")
    check_headers(spec.headers, body_format=spec.format)
    if spec.auth is not None:
        _check_auth(spec.auth)
    if spec.secret is not None:
        check_signing_secret(spec.secret, pointer="/secret")
    parse_retry(spec.retry, pointer="/retry")
    parse_success(spec.success_when, pointer="/success_when")
    _lane(spec.order)
    check_metadata(spec.metadata, "invalid_endpoint")


def _refused(detail: str, pointer: str) -> Refusal:
    return Refusal("invalid_endpoint", detail, pointer=pointer)


def _check_patterns(patterns: list[str]) -> None:
    for position, pattern in enumerate(patterns):
        try:
            check_pattern(pattern)
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.detail, pointer=f"/event_types/{position}") from None


def _check_auth(auth: AuthSpec) -> None:
    needed = _AUTH_MEMBERS[auth.kind]
    for name in _AUTH_ALL:
        value = getattr(auth, name)
        if (value is not None) != (name in needed):
            wrong = "is missing" if name in needed else "does not belong here"
            raise _refused(f"{name} {wrong}: {auth.kind} has {' and '.join(needed)}.", f"/auth/{name}")
    if auth.kind == "basic":
        if ":" in (auth.username or ""):
            raise _refused("A username for basic authentication has no colon.", "/auth/username")
        for name in needed:
            if any(char < " " or char == "\x7f" for char in getattr(auth, name)):
                raise _refused("This contains a control character.", f"/auth/{name}")
        return
    if auth.header is not None:
        check_credential_header(auth.header, pointer="/auth/header")
    name = needed[-1]
    value = getattr(auth, name)
    if not is_text(value, spaces=auth.kind == "api_key"):
        raise _refused("This must be printable ASCII, without spaces around it.", f"/auth/{name}")


def _lane(order: str | Mapping[str, Any] | None) -> Literal["wait", "skip"] | None:
    """What happens to a lane when its head fails; None: no order is asked for."""
    if order is None:
        return None
    if isinstance(order, str):
        return "wait"
    for name in order:
        if name not in ("by", "when_failed"):
            raise Refusal("unknown_field", "Known are by and when_failed.", pointer="/order" + pointer(name))
    if order.get("by") != "key":
        raise _refused('"by" must be "key": events with the same ordering_key are kept in order.', "/order/by")
    match order.get("when_failed", "wait"):
        case "wait":
            return "wait"
        case "skip":
            return "skip"
        case _:
            raise _refused('"when_failed" is "wait" or "skip".', "/order/when_failed")


# ---------------------------------------------------------------------------------------------- storing, showing


def encode_spec(spec: EndpointSpec) -> bytes:
    """The spec as JSON, to be stored and shown: `secret` is null, credentials are masked."""
    return _encoder.encode(msgspec.structs.replace(spec, secret=None, auth=_masked(spec.auth)))


def decode_spec(encoded: bytes) -> EndpointSpec:
    """What `encode_spec` made. The real secrets are in `Secrets`."""
    return _decoder.decode(encoded)


def _masked(auth: AuthSpec | None) -> AuthSpec | None:
    if auth is None:
        return None
    hidden = {name: MASK for name in _AUTH_MEMBERS[auth.kind] if name not in _AUTH_SHOWN}
    return msgspec.structs.replace(auth, **hidden)


def keep_auth(spec: EndpointSpec, stored: AuthSpec | None) -> AuthSpec | None:
    """The credentials that a created or patched spec asks for: its own, or those stored where it has them masked.

    Raises `Refusal` when the mask stands for nothing that is stored.
    """
    auth = spec.auth
    if auth is None or not any(getattr(auth, name) == MASK for name in _AUTH_MEMBERS[auth.kind]):
        return auth
    if stored is None or _masked(stored) != auth:
        raise _refused(f"{MASK} is what is shown in place of credentials: send the real ones.", "/auth")
    return stored


def build_endpoint(
    *,
    id: bytes,  # noqa: A002 - the field's own word
    tenant: str,
    uid: str | None,
    version: int,
    state: EndpointState,
    spec: EndpointSpec,
    secrets: Secrets,
    deleted: bool = False,
) -> Endpoint:
    """The endpoint as the flow uses it: everything compiled once. The spec was checked; credentials come from
    `secrets`. Raises `Refusal` where a stored spec breaks today's rules."""
    return Endpoint(
        id=id,
        tenant=tenant,
        version=version,
        state=state,
        kind=spec.kind,
        url=spec.url,
        target=parse_url(spec.url) if spec.kind == "http" else None,
        config=spec.config,
        patterns=tuple(spec.event_types),
        filter=None if spec.filter is None else compile_filter(spec.filter),
        method=spec.method,
        format=spec.format,
        headers=tuple((name.encode("ascii"), value.encode("ascii")) for name, value in spec.headers.items()),
        signing=tuple(secrets.signing),
        auth_headers=() if secrets.auth is None else (_auth_header(secrets.auth),),
        retry=parse_retry(spec.retry),
        success=parse_success(spec.success_when),
        rate=spec.rate,
        timeout_s=spec.timeout_s,
        concurrency_max=spec.concurrency_max,
        lane=_lane(spec.order),
        response_bytes_max=spec.response_bytes_max,
        uid=uid,
        deleted=deleted,
        confirm_s=None if spec.confirm is None else spec.confirm.within_s,
        dead_letter=spec.dead_letter,
        verify=spec.verify,
        credentials=secrets.auth,
    )


def _auth_header(auth: AuthSpec) -> tuple[bytes, bytes]:
    if auth.kind == "api_key":
        return (auth.header or "").encode("ascii"), (auth.value or "").encode("ascii")
    if auth.kind == "bearer":
        return b"authorization", b"Bearer " + (auth.token or "").encode("ascii")
    # RFC 7617: UTF-8, as browsers and servers have it today.
    return b"authorization", b"Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode())
