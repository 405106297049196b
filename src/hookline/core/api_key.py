"""API keys: what they may, how they are written and known. They are stored as SHA-256 only and shown once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hookline.core.endpoint import RateSpec
from hookline.core.errors import Refusal
from hookline.core.event_type import check_pattern, is_operational
from hookline.core.page import format_time, parse_time
from hookline.core.tenant import TENANT_RULE, TenantName, is_tenant

PREFIX: Final = "hl_"
RANDOM_BYTES: Final = 32
HINT_CHARS: Final = 4

Scope = Literal["publish", "read", "manage", "operator"]
PUBLISH: Final = "publish"
OPERATOR: Final = "operator"

_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: later times cannot be written."""


class KeySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/keys` takes."""

    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=4)]
    tenant: TenantName | None = None
    """For whom; None only with the scope `operator`, which may act for any."""
    description: Annotated[str, Meta(max_length=255)] = ""
    event_types: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=100)] | None = None
    """Patterns of the types that it may publish (as `order.*`); None: all."""
    expires_at: str | None = None
    """RFC 3339; from then on it is unknown. None: never."""
    rate: RateSpec | None = None
    """Requests with this key; beyond it 429 with Retry-After."""
    address_rate: RateSpec | None = None
    """The same, for each client address by itself."""


class Key(msgspec.Struct, frozen=True, gc=False):
    """A key as it is asked at every request: compiled once."""

    tenant: str | None
    """None: the operator's, for any tenant."""
    scopes: frozenset[str]
    digest: bytes = b""
    id: bytes | None = None
    """None: the operator's configured key, which has no row."""
    allowed: Callable[[str], bool] | None = None
    """Which event types it may publish; None: all."""
    expires_at_ms: int | None = None
    rate: RateSpec | None = None
    address_rate: RateSpec | None = None
    limited: bool = False
    """Whether it has an end or a rate: others need not be looked at closer."""


def make_key(random: bytes) -> str:
    """A new key of `RANDOM_BYTES` random bytes."""
    assert len(random) == RANDOM_BYTES
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def digest(key: str) -> bytes:
    """How a key is known. Spaces around it do not survive a header, so they do not count."""
    return hashlib.sha256(key.strip(" ").encode("ascii")).digest()


def hint(key: str) -> str:
    """The last characters: enough to tell which key it is, not enough to use it."""
    return key[-HINT_CHARS:]


def check_spec(spec: KeySpec) -> KeySpec:
    """All checks that need nothing but the spec; returns it with scopes once each and `expires_at` as UTC.

    Raises `Refusal` with a pointer: `invalid_key`, and `invalid_event_type` or `reserved_event_type` for a pattern.
    """
    if spec.tenant is not None and not is_tenant(spec.tenant):
        raise _refused(f"A tenant is {TENANT_RULE}.", "/tenant")
    if OPERATOR in spec.scopes and spec.tenant is not None:
        raise _refused("A key with the scope operator belongs to no tenant: it may act for any.", "/tenant")
    if OPERATOR not in spec.scopes and spec.tenant is None:
        raise _refused("A key belongs to a tenant, unless it has the scope operator.", "/tenant")
    if spec.event_types is not None:
        _check_patterns(spec)
    expires_at_ms = end_ms(spec)
    if expires_at_ms is not None and not 0 <= expires_at_ms <= _LAST_MS:
        raise _refused("A key ends between 1970 and 9999.", "/expires_at")
    return msgspec.structs.replace(
        spec,
        scopes=list(dict.fromkeys(spec.scopes)),
        expires_at=None if expires_at_ms is None else format_time(expires_at_ms),
    )


def _check_patterns(spec: KeySpec) -> None:
    if PUBLISH not in spec.scopes:
        raise _refused("event_types says what a key may publish: it needs the scope publish.", "/event_types")
    for position, pattern in enumerate(spec.event_types or ()):
        at = f"/event_types/{position}"
        try:
            check_pattern(pattern)
        except Refusal as refusal:
            raise Refusal(refusal.code, refusal.detail, pointer=at) from None
        if is_operational(pattern):
            detail = "Names that begin with hookline. are ours: nobody can publish them."
            raise Refusal("reserved_event_type", detail, pointer=at)


def end_ms(spec: KeySpec) -> int | None:
    """When the key ends, ms since 1970; None: never. Raises `Refusal` (`invalid_key`)."""
    if spec.expires_at is None:
        return None
    try:
        return parse_time(spec.expires_at)
    except Refusal as refusal:
        raise _refused(refusal.detail, "/expires_at") from None


def build_key(identifier: bytes, known_as: bytes, spec: KeySpec) -> Key:
    """The key as it is asked at every request. The spec was checked."""
    expires_at_ms = end_ms(spec)
    return Key(
        spec.tenant,
        frozenset(spec.scopes),
        known_as,
        identifier,
        _allowed(spec.event_types),
        expires_at_ms,
        spec.rate,
        spec.address_rate,
        expires_at_ms is not None or spec.rate is not None or spec.address_rate is not None,
    )


def _allowed(patterns: Sequence[str] | None) -> Callable[[str], bool] | None:
    if patterns is None or "*" in patterns:
        return None
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith(".*"))
    names = frozenset(pattern for pattern in patterns if not pattern.endswith(".*"))

    def allowed(event_type: str) -> bool:
        return event_type in names or event_type.startswith(prefixes)

    return allowed


def _refused(detail: str, pointer: str) -> Refusal:
    return Refusal("invalid_key", detail, pointer=pointer)
