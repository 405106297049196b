"""Who calls, and what he may: `Authorization: Bearer <key>` and, for the operator, `Hookline-Tenant`.

Keys are known by their SHA-256 only and compared in constant time. Whatever is wrong with a header (missing,
malformed, not ASCII, there twice) is one and the same 401.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from hookline.core.errors import Refusal
from hookline.core.event import TENANT_DEFAULT

PUBLISH: Final = "publish"
READ: Final = "read"
MANAGE: Final = "manage"
OPERATOR: Final = "operator"
"""The scopes. `operator` includes the others and may act for any tenant."""

KEY_CHARS_MIN: Final = 8
KEY_CHARS_MAX: Final = 256
_KEY: Final = re.compile(rf"[\x20-\x7e]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}")
_TENANT: Final = re.compile(rb"[A-Za-z0-9_.-]{1,64}")
_NO_SCOPES: Final = frozenset[str]()


class Key(msgspec.Struct, frozen=True):
    """What a key may."""

    tenant: str | None
    """None: the operator's, for any tenant."""
    scopes: frozenset[str]


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who calls, with the tenant he acts for."""

    tenant: str
    scopes: frozenset[str] = _NO_SCOPES
    every_tenant: bool = False
    """The operator named no tenant: what sums up (`/v1/stats`) covers all."""


def digest(key: str) -> bytes:
    """How a key is known. Spaces around it do not survive a header, so they do not count."""
    return hashlib.sha256(key.strip(" ").encode("ascii")).digest()


def operator_keys(*keys: str) -> dict[bytes, Key]:
    """The operator's keys, ready for `Authority`. Raises `ValueError` when one is not 8 to 256 printable ASCII."""
    operator = Key(None, frozenset({OPERATOR}))
    for key in keys:
        if not _KEY.fullmatch(key.strip(" ")):
            raise ValueError(f"An API key is {KEY_CHARS_MIN} to {KEY_CHARS_MAX} printable ASCII characters.")
    return {digest(key): operator for key in keys}


def _unauthorized() -> Refusal:
    return Refusal("unauthorized", "A valid API key is needed: Authorization: Bearer <key>.")


class Authority:
    """Knows the keys. `keys` maps the SHA-256 of a key to what it may; it may change while in use."""

    def __init__(self, keys: Mapping[bytes, Key]) -> None:
        self._keys = keys

    def authorize(self, headers: Iterable[tuple[bytes, bytes]], scope: str) -> Principal:
        """Who sends these headers (lower-case names). Raises `Refusal`: `unauthorized`, `forbidden`,
        `invalid_parameter`."""
        authorizations: list[bytes] = []
        tenants: list[bytes] = []
        for name, value in headers:
            if name == b"authorization":
                authorizations.append(value)
            elif name == b"hookline-tenant":
                tenants.append(value)
        return self.judge(authorizations, tenants, scope)

    def judge(self, authorizations: Sequence[bytes], tenants: Sequence[bytes], scope: str) -> Principal:
        """The same, from the values of the two header fields."""
        if len(authorizations) != 1:
            raise _unauthorized()
        key = self._key(authorizations[0])
        if scope not in key.scopes and OPERATOR not in key.scopes:
            raise Refusal("forbidden", f"This key may not {scope}.")
        if not tenants:
            return Principal(key.tenant or TENANT_DEFAULT, key.scopes, key.tenant is None)
        if len(tenants) != 1 or _TENANT.fullmatch(tenants[0]) is None:
            raise Refusal("invalid_parameter", "Hookline-Tenant is 1 to 64 of A-Z, a-z, 0-9, _ . - and given once.")
        tenant = tenants[0].decode("ascii")
        if key.tenant is not None and key.tenant != tenant:
            raise Refusal("forbidden", "Only the operator's key may act for another tenant.")
        return Principal(tenant, key.scopes)

    def _key(self, authorization: bytes) -> Key:
        if authorization[:7].lower() != b"bearer ":
            raise _unauthorized()
        given = hashlib.sha256(authorization[7:].strip(b" ")).digest()
        found: Key | None = None
        # Every key is compared, and in constant time: how long this takes says nothing about any of them.
        for known, key in self._keys.items():
            if hmac.compare_digest(known, given):
                found = key
        if found is None:
            raise _unauthorized()
        return found
