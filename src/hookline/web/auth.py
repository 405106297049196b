"""Who calls, and what he may: `Authorization: Bearer <key>` and, for the operator, `Hookline-Tenant`.

Keys are known by their SHA-256 only. Whatever is wrong with a header or a key (missing, malformed, not ASCII, there
twice, unknown, revoked, past its end) is one and the same 401.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from hookline.core.api_key import Key, digest
from hookline.core.errors import Refusal
from hookline.core.event import TENANT_DEFAULT
from hookline.core.tenant import TENANT_RULE, is_tenant
from hookline.flow.key_guard import KeyGuard
from hookline.flow.registry import Registry
from hookline.web.errors import not_found

PUBLISH: Final = "publish"
READ: Final = "read"
MANAGE: Final = "manage"
OPERATOR: Final = "operator"
"""The scopes. `operator` includes the others and may act for any tenant; alone it may manage tenants and keys."""

KEY_CHARS_MIN: Final = 8
KEY_CHARS_MAX: Final = 256
_KEY: Final = re.compile(rf"[\x20-\x7e]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}")
_NO_SCOPES: Final = frozenset[str]()


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who calls, with the tenant he acts for."""

    tenant: str
    scopes: frozenset[str] = _NO_SCOPES
    every_tenant: bool = False
    """The operator named no tenant: what sums up (`/v1/stats`) covers all."""
    allowed: Callable[[str], bool] | None = None
    """Which event types he may publish; None: all."""
    key: Key | None = None
    """The key that he called with."""


def operator_keys(*keys: str) -> dict[bytes, Key]:
    """The operator's keys, ready for `Authority`. Raises `ValueError` when one is not 8 to 256 printable ASCII."""
    for key in keys:
        if not _KEY.fullmatch(key.strip(" ")):
            raise ValueError(f"An API key is {KEY_CHARS_MIN} to {KEY_CHARS_MAX} printable ASCII characters.")
    return {digest(key): Key(None, frozenset({OPERATOR}), digest(key)) for key in keys}


def _unauthorized() -> Refusal:
    return Refusal("unauthorized", "A valid API key is needed: Authorization: Bearer <key>.")


class Authority:
    """Knows the keys: `configured` by their SHA-256, and those that the registry has, which `guard` looks after."""

    def __init__(
        self, configured: Mapping[bytes, Key], registry: Registry | None = None, guard: KeyGuard | None = None
    ) -> None:
        self._configured = configured
        self._issued: Mapping[bytes, Key] = {} if registry is None else registry.keys
        self._deleted_tenants = frozenset[str]() if registry is None else registry.deleted_tenants
        self._guard = guard

    def authorize(self, headers: Iterable[tuple[bytes, bytes]], scope: str, client: str = "") -> Principal:
        """Who sends these headers (lower-case names) from this address.

        Raises `Refusal`: `unauthorized`, `rate_limited`, `forbidden`, `invalid_parameter`, and `not_found` when the
        tenant is deleted.
        """
        authorizations: list[bytes] = []
        tenants: list[bytes] = []
        for name, value in headers:
            if name == b"authorization":
                authorizations.append(value)
            elif name == b"hookline-tenant":
                tenants.append(value)
        return self.judge(authorizations, tenants, scope, client)

    def judge(
        self, authorizations: Sequence[bytes], tenants: Sequence[bytes], scope: str, client: str = ""
    ) -> Principal:
        """The same, from the values of the two header fields."""
        if len(authorizations) != 1:
            raise _unauthorized()
        key = self._key(authorizations[0])
        if key.id is not None:
            self.look_after(key, key.id, client)
        if scope not in key.scopes and OPERATOR not in key.scopes:
            raise Refusal(
                "forbidden",
                f"This key may not {scope}." if scope != OPERATOR else "Only the operator's key may do this.",
            )
        if not tenants:
            tenant = key.tenant or TENANT_DEFAULT
        elif len(tenants) != 1 or not is_tenant(tenants[0].decode("latin-1")):
            raise Refusal("invalid_parameter", f"Hookline-Tenant is {TENANT_RULE}, given once.")
        else:
            tenant = tenants[0].decode("ascii")
            if key.tenant is not None and key.tenant != tenant:
                raise Refusal("forbidden", "Only the operator's key may act for another tenant.")
        if tenant in self._deleted_tenants and scope != OPERATOR:
            raise not_found()
        return Principal(tenant, key.scopes, key.tenant is None and not tenants, key.allowed, key)

    def holds(self, key: Key, tenant: str) -> bool:
        """Whether what was judged of this key for this tenant (not with the scope `operator`) is what would be judged
        now, before it is looked after. Changed in whatever, a key is another object."""
        known_as = key.digest
        now = self._configured.get(known_as) or self._issued.get(known_as)
        return now is key and tenant not in self._deleted_tenants

    def _key(self, authorization: bytes) -> Key:
        if authorization[:7].lower() != b"bearer ":
            raise _unauthorized()
        given = hashlib.sha256(authorization[7:].strip(b" ")).digest()
        # Found by its digest: what the time of a look-up tells of a digest tells nothing of any key. That it is the
        # right one is compared in constant time.
        key = self._configured.get(given) or self._issued.get(given)
        if key is None or not hmac.compare_digest(key.digest, given):
            raise _unauthorized()
        return key

    def look_after(self, key: Key, key_id: bytes, client: str) -> None:
        """Count a request with an issued key. Raises `Refusal`: `unauthorized` past its end, `rate_limited`."""
        guard = self._guard
        if guard is None:
            return
        if key.limited:
            if guard.has_ended(key):
                raise _unauthorized()
            guard.count(key, client)
        if key_id not in guard.noted:
            guard.note(key_id)
