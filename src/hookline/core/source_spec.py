"""A source from what a client writes to what can be used, and back to what may be shown.

    parse_spec     bytes → SourceSpec, each fault with a pointer     check_spec      the deep checks
    merge_patch    RFC 7396 on the API's form                        build_source    compiled, with its secrets
    keep_secrets   its secrets apart, masked where they stood        encode_spec, decode_spec   as it is stored

Which verifier it means is `core.verified_by`'s business.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from hookline.core import ids
from hookline.core.configuration import check_document, check_metadata, check_uid
from hookline.core.errors import Refusal
from hookline.core.event_type import check_pattern, check_type, is_operational
from hookline.core.expression import ExpressionError
from hookline.core.json_text import decoded, pointer
from hookline.core.merge_patch import merged
from hookline.core.reading import check as check_reading
from hookline.core.reply import compile_template
from hookline.core.schema import Schema
from hookline.core.secret import MASK
from hookline.core.source import (
    CONNECTION_HEADERS,
    DEDUPE_S_DEFAULT,
    DEDUPE_S_MAX,
    NAME_PATTERN,
    TOKEN,
    TOKEN_BYTES,
    Kept,
    MediaTypes,
    Ranges,
    Source,
    SourceSecrets,
    SourceSpec,
    is_credential,
)
from hookline.core.verified_by import credential_headers
from hookline.core.verifiers.preset import Preset, Reading

CODE: Final = "invalid_source"
CONFIG_BYTES_MAX: Final = 128 * 1024
ANSWER_MARGIN_S: Final = 0.5
"""An answer that is waited for is given so long before the provider gives up."""
_CODE_BY_MEMBER: Final = {"headers": "invalid_header", "schemas": "invalid_schema"}
_NAME: Final = re.compile(NAME_PATTERN)
_TOKEN: Final = re.compile(rf"{TOKEN}[0-9a-f]{{{2 * TOKEN_BYTES}}}")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|(?:\*\+)?[a-z0-9!#$&^_.+-]+)|\*/\*", re.IGNORECASE)
_CONTENT_TYPE: Final = re.compile(r"[\x20-\x7e]{1,255}")
_HEADER: Final = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]{1,254}\*?")
_MERGED: Final = frozenset({"config", "reading", "answer", "metadata", "rate", "address_rate"})
_NULL: Final = b"null"
HTTP: Final = "http"
_OF_REQUESTS: Final = (
    "verifier",
    "token",
    "methods",
    "content_types",
    "ip_ranges",
    "rate",
    "address_rate",
    "answer",
    "spool",
)
_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(SourceSpec)}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SourceSpec)
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _refused(detail: str, at: str, code: str = CODE) -> Refusal:
    return Refusal(code, detail, pointer=at)


# ----------------------------------------------------------------------------------------------------- reading


def parse_spec(body: bytes) -> SourceSpec:
    """A new source as a client wrote it: its form is checked here, its meaning by `check_spec`.

    Raises `Refusal` with a pointer: `malformed_json` (also for a repeated name), `unknown_field`, and the code of
    the member at fault. At most 256 KiB.
    """
    check_document(body, "A source")
    return _decoded(body)


def _decoded(body: bytes) -> SourceSpec:
    try:
        spec = decoded(_decoder.decode, body, code=CODE, noun="source")
    except Refusal as refusal:
        at = refusal.pointer or ""
        code = _CODE_BY_MEMBER.get(at.split("/")[1] if at else "", refusal.code)
        if refusal.code != CODE or code == refusal.code:
            raise
        raise Refusal(code, refusal.detail, pointer=at) from None
    if spec.kind == HTTP and spec.verifier is None:
        detail = "Who sends has to be proven: name a verifier (GET /v1/source-presets lists them), or say none."
        raise _refused(detail, "/verifier")
    return spec


def merge_patch(spec: SourceSpec, body: bytes) -> SourceSpec:
    """`spec` with a JSON Merge Patch (RFC 7396) applied to its API form; its form is checked like a new one's.

    Differing from the RFC, `verifier` and each schema of `schemas` are replaced as a whole. A secret that is not
    patched, or comes back masked as it was shown, is masked in the result: see `keep_secrets`. The name stays: it is
    part of the address that the provider has. Raises `Refusal`.
    """
    check_document(body, "A source")
    patch = decoded(_decode_members, body, code=CODE, noun="source")
    members = _decode_members(encode_spec(spec))
    for name, value in patch.items():
        raw = bytes(value)
        if raw == _NULL:
            members.pop(name, None)
        elif name in members and raw.startswith(b"{") and (name in _MERGED or name == "schemas"):
            before = bytes(members[name])
            members[name] = Raw(_with_schemas(before, raw) if name == "schemas" else _with_members(before, raw))
        else:
            members[name] = value
    changed = _decoded(_encoder.encode(members))
    if changed.name != spec.name:
        raise _refused("A source's name is part of its address and stays; create another source.", "/name")
    if changed.kind != spec.kind:
        raise _refused("A source's kind stays; create another source.", "/kind")
    return changed


def _with_members(before: bytes, patch: bytes) -> bytes:
    target = None if before == _NULL else _decode_object(before)
    return _encoder.encode(merged(target, decoded(_decode_object, patch, code=CODE, noun="source")))


def _with_schemas(before: bytes, patch: bytes) -> bytes:
    schemas = _decode_members(before)
    for name, schema in _decode_members(patch).items():
        if bytes(schema) == _NULL:
            schemas.pop(name, None)
        else:
            schemas[name] = schema
    return _encoder.encode(schemas)


# ---------------------------------------------------------------------------------------------------- checking


def check_spec(spec: SourceSpec, preset: Preset) -> None:
    """All checks that need nothing but the spec and its verifier's preset; raises `Refusal` with a pointer. What is in
    `config` is checked by `core.verified_by`."""
    if not _NAME.fullmatch(spec.name):
        raise _refused("A name has 1 to 64 letters, digits and _ . - and begins with a letter or digit.", "/name")
    if ids.parse(ids.SOURCE, spec.name) is not None or is_token(spec.name):
        raise _refused("A name cannot look like an id (src_…) or a token (tok_…).", "/name")
    if spec.uid is not None:
        check_uid(spec.uid, ids.SOURCE, CODE)
    if len(_encoder.encode(spec.config)) > CONFIG_BYTES_MAX:
        raise _refused(f"The config is larger than {CONFIG_BYTES_MAX // 1024} KiB.", "/config")
    for place, content_type in enumerate(spec.content_types or ()):
        if not _MEDIA_TYPE.fullmatch(content_type):
            detail = "A content type is written as application/json, text/*, application/*+json or */*."
            raise _refused(detail, f"/content_types/{place}")
    _each("/ip_ranges", spec.ip_ranges or (), _check_range)
    _each("/headers", spec.headers or (), _check_header)
    _check_reading(spec, preset)
    _check_dedupe(spec, preset)
    if spec.kind == HTTP:
        _check_answer(spec, preset)
    else:
        _check_consumes(spec)
    _schemas(spec.schemas)
    check_metadata(spec.metadata, CODE)


def _each(at: str, texts: list[str] | tuple[()], check: Callable[[str], Refusal | None]) -> None:
    for place, text in enumerate(texts):
        refusal = check(text)
        if refusal is not None:
            refusal.pointer = f"{at}/{place}"
            raise refusal


def _check_consumes(spec: SourceSpec) -> None:
    """Raise `Refusal` for a member that means something for requests only."""
    for name in _OF_REQUESTS:
        if getattr(spec, name) != _DEFAULTS[name]:
            detail = f"A source of kind {spec.kind} takes messages from a broker and no requests: {name} means nothing."
            raise _refused(detail, f"/{name}")


def _check_range(text: str) -> Refusal | None:
    try:
        Ranges([text])
    except ValueError:
        return Refusal(CODE, "This is no network, as 192.0.2.0/24 or 2001:db8::/32 (no bits beyond the mask).")
    return None


def _check_header(name: str) -> Refusal | None:
    lower = name.lower()
    if not _HEADER.fullmatch(name):
        return Refusal("invalid_header", "This is not a header's name, or the beginning of one as x-github-*.")
    if not name.endswith("*") and (lower in CONNECTION_HEADERS or is_credential(lower)):
        return Refusal("invalid_header", "Headers of the connection and credentials are not kept with events.")
    return None


def _check_reading(spec: SourceSpec, preset: Preset) -> None:
    try:
        check_reading(_reading(spec, preset))
    except ExpressionError as error:
        member, _, why = str(error).partition(": ")
        raise _refused(f"This cannot be read: {why}.", f"/reading/{member}") from None
    default_type = spec.reading.default_type
    if default_type is not None:
        try:
            check_type(default_type)
        except Refusal as refusal:
            raise _refused(refusal.detail, "/reading/default_type") from None
        if is_operational(default_type):
            raise _refused("Types that begin with hookline. are the server's own.", "/reading/default_type")


def _check_dedupe(spec: SourceSpec, preset: Preset) -> None:
    if spec.dedupe_window_s is not None and spec.dedupe_window_s < preset.retry_window_s:
        detail = (
            f"{preset.title} repeats a request for up to {preset.retry_window_s:g} s: a shorter window would take "
            "repeats for new events. To take every request, set reading.id to an empty text."
        )
        raise _refused(detail, "/dedupe_window_s")


def _check_answer(spec: SourceSpec, preset: Preset) -> None:
    answer, own = spec.answer, preset.reply_in(_mode(spec))
    if answer.content_type is not None and not _CONTENT_TYPE.fullmatch(answer.content_type):
        raise _refused("A content type is printable ASCII.", "/answer/content_type")
    if answer.body is not None:
        status = answer.status or own.status
        if status in (204, 205) and answer.body:
            raise _refused(f"An answer {status} has no body.", "/answer/body")
        try:
            compile_template(answer.body, answer.content_type or own.content_type)
        except ExpressionError as error:
            raise _refused(f"This cannot be read: {error}.", "/answer/body") from None
    if (answer.after == "delivered") != (answer.endpoint is not None):
        detail = 'With "after": "delivered", and only then, endpoint names whose answer is passed on.'
        raise _refused(detail, "/answer/endpoint")


def _schemas(schemas: Mapping[str, Raw]) -> dict[str, Schema]:
    made: dict[str, Schema] = {}
    for name, schema in schemas.items():
        at = "/schemas" + pointer(name)
        try:
            check_pattern(name)
        except Refusal as refusal:
            raise _refused(refusal.detail, at, "invalid_event_type") from None
        try:
            made[name] = Schema(bytes(schema))
        except Refusal as refusal:
            inner = (refusal.pointer or "").removeprefix("/schema")
            raise _refused(refusal.detail, at + inner, refusal.code) from None
    return made


def is_token(text: str) -> bool:
    """Whether this has the form of an unguessable address."""
    return _TOKEN.fullmatch(text) is not None


# ---------------------------------------------------------------------------------------------- storing, showing


def encode_spec(spec: SourceSpec) -> bytes:
    """The spec as JSON, to be stored and shown; its secrets were masked by `keep_secrets`."""
    return _encoder.encode(spec)


def decode_spec(encoded: bytes) -> SourceSpec:
    """What `encode_spec` made. The real secrets are in `SourceSecrets`."""
    return _decoder.decode(encoded)


# ---------------------------------------------------------------------------------------------------- compiling


def build_source(
    *,
    id: bytes,  # noqa: A002 - the field's own word
    tenant: str,
    version: int,
    spec: SourceSpec,
    preset: Preset,
    secrets: SourceSecrets | None,
) -> Source:
    """The source as the flow uses it: everything compiled once. The spec was checked; None for secrets: they cannot be
    opened. Raises `Refusal` where a stored spec breaks today's rules."""
    answer = spec.answer
    own = preset.reply_in(_mode(spec))
    body = own.body if answer.body is None else answer.body
    reply = dataclasses.replace(
        own, status=answer.status or own.status, content_type=answer.content_type or own.content_type, body=body
    )
    methods = tuple(spec.methods) if spec.methods is not None else preset.methods
    effective = dataclasses.replace(preset, methods=methods, reading=_reading(spec, preset), reply=reply)
    # The mask is what anybody may know: it must never be taken for the secret, even where that cannot be opened.
    config = {key: value for key, value in spec.config.items() if value != MASK}
    config.update({} if secrets is None else secrets.config)
    window_s = max(DEDUPE_S_DEFAULT, preset.retry_window_s) if spec.dedupe_window_s is None else spec.dedupe_window_s
    return Source(
        id=id,
        tenant=tenant,
        name=spec.name,
        version=version,
        preset=effective,
        config=config,
        enabled=spec.enabled,
        readable=secrets is not None,
        methods=frozenset(methods),
        content_types=None if spec.content_types is None else MediaTypes(spec.content_types),
        ranges=None if spec.ip_ranges is None else Ranges(spec.ip_ranges),
        rate=spec.rate,
        address_rate=spec.address_rate,
        body_bytes_max=spec.body_bytes_max,
        headers=Kept(spec.headers, credential_headers(spec.verifier or "", config)),
        dedupe_s=min(window_s, DEDUPE_S_MAX),
        after=answer.after,
        wait_s=min(answer.wait_s, max(ANSWER_MARGIN_S, preset.answer_within_s - ANSWER_MARGIN_S)),
        endpoint=answer.endpoint,
        schemas=_schemas(spec.schemas),
        on_invalid=spec.on_invalid if spec.kind == HTTP or spec.on_invalid == "accept" else "quarantine",
        kind=spec.kind,
        uid=spec.uid,
        token=None if secrets is None else secrets.token,
        spool=spec.spool,
        addressed=not spec.token and spec.kind == HTTP,
    )


def _mode(spec: SourceSpec) -> str:
    """Of its configuration; empty: none is said."""
    mode = spec.config.get("mode")
    return mode if isinstance(mode, str) else ""


def _reading(spec: SourceSpec, preset: Preset) -> Reading:
    own = {name: value for name, value in msgspec.structs.asdict(spec.reading).items() if value is not None}
    return dataclasses.replace(preset.reading, **own)
