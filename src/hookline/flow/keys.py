"""API keys: issued, changed, replaced, revoked. Free of HTTP; only the operator comes here.

A key is in one answer only, that to its creation; what is kept is its SHA-256.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hookline.core.api_key import RANDOM_BYTES, KeySpec, check_spec, digest, end_ms, hint, make_key
from hookline.core.errors import NotFound, Refusal
from hookline.core.ids import IdMaker
from hookline.core.json_text import decoded
from hookline.core.merge_patch import merged
from hookline.core.page import format_time
from hookline.flow.catalogue import Catalogue
from hookline.flow.key_guard import KeyGuard
from hookline.flow.reading import read, read_optional
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.store import KeyRow, Page, Store

OVERLAP_S_DEFAULT: Final = 86_400.0
OVERLAP_S_MAX: Final = 30 * 86_400.0
_CODE: Final = "invalid_key"
_NOUN: Final = "API key"


class KeyRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long the old key goes on being valid beside the new one."""

    overlap_s: Annotated[float, Meta(ge=0, le=OVERLAP_S_MAX)] = OVERLAP_S_DEFAULT


class Issued(msgspec.Struct, frozen=True):
    """A new key, the only time that it is seen."""

    row: KeyRow
    key: str


_SPEC = msgspec.json.Decoder(KeySpec)
_ROTATION = msgspec.json.Decoder(KeyRotation)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class Keys:
    """The service behind `/v1/keys`. `tenant` is for whom the operator acts; None: for any.

    Methods raise `Refusal`, `NotFound` (also for another tenant's), `Conflict` and `StoreUnavailable`.
    """

    def __init__(
        self, store: Store, registry: Registry, catalogue: Catalogue, guard: KeyGuard, clock: Clock, ids: IdMaker
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._guard = guard
        self._clock = clock
        self._ids = ids
        self._changing = asyncio.Lock()
        """One change after the other: each is made of what the one before left."""

    async def create(self, tenant: str | None, body: bytes) -> Issued:
        """Issue a key; it works as soon as this returns."""
        spec = read(_SPEC, body, code=_CODE, noun=_NOUN)
        if tenant is not None and "operator" not in spec.scopes:
            if spec.tenant not in (None, tenant):
                raise Refusal(_CODE, f"This is asked for {tenant} (Hookline-Tenant).", pointer="/tenant")
            spec = msgspec.structs.replace(spec, tenant=tenant)
        return await self._issue(self._checked(spec))

    async def get(self, tenant: str | None, key_id: bytes) -> KeyRow:
        """One key."""
        return await self._catalogue.key(tenant, key_id)

    async def page(self, tenant: str | None, limit: int, before: bytes | None) -> Page[KeyRow]:
        """A page of keys, newest first."""
        return await self._catalogue.keys(tenant, limit, before)

    async def last_uses(self) -> Mapping[bytes, int]:
        """When each key was last used, ms since 1970; keys never used are missing."""
        return await self._guard.last_uses()

    async def patch(self, tenant: str | None, key_id: bytes, body: bytes) -> KeyRow:
        """Change what a key may by a JSON Merge Patch (RFC 7396); it holds from the next request on."""
        patch = read(_OBJECT, body, code=_CODE, noun=_NOUN)
        async with self._changing:
            row = await self._catalogue.key(tenant, key_id)
            if patch.get("tenant", row.tenant) != row.tenant:
                raise Refusal(_CODE, "A key's tenant cannot be changed: issue another key.", pointer="/tenant")
            patch["tenant"] = row.tenant
            document = merged(_OBJECT.decode(row.spec), patch)
            spec = decoded(_SPEC.decode, _encode(document), code=_CODE, noun=_NOUN)
            spec = self._checked(spec) if "expires_at" in patch else check_spec(spec)
            return await self._put(msgspec.structs.replace(row, spec=_encode(spec)))

    async def rotate(self, tenant: str | None, key_id: bytes, body: bytes) -> Issued:
        """Issue a key with the same rights; the old one ends with the overlap, or when it would have ended."""
        rotation = read_optional(_ROTATION, body, code="invalid_parameter", noun="rotation")
        async with self._changing:
            row = await self._catalogue.key(tenant, key_id)
            spec = _SPEC.decode(row.spec)
            now_ms, ends_ms = self._store.now_ms(), end_ms(spec)
            if ends_ms is not None and ends_ms <= now_ms:
                raise Refusal(_CODE, "This key has ended: issue another one.")
            issued = await self._issue(spec)
            last_ms = now_ms + int(rotation.overlap_s * 1000)
            if ends_ms is None or last_ms < ends_ms:
                ending = msgspec.structs.replace(spec, expires_at=format_time(last_ms))
                await self._put(msgspec.structs.replace(row, spec=_encode(ending)))
            return issued

    async def delete(self, tenant: str | None, key_id: bytes) -> None:
        """Revoke a key: from now on it is unknown."""
        row = await self._catalogue.key(tenant, key_id)
        await self._store.delete_key(row.id)
        await self._registry.take_over()

    def _checked(self, spec: KeySpec) -> KeySpec:
        checked = check_spec(spec)
        ends_ms = end_ms(checked)
        if ends_ms is not None and ends_ms <= self._store.now_ms():
            raise Refusal(_CODE, "A key ends in the future.", pointer="/expires_at")
        return checked

    async def _issue(self, spec: KeySpec) -> Issued:
        key = make_key(self._clock.random_bytes(RANDOM_BYTES))
        key_id = self._ids.make(self._store.now_ms())
        row = KeyRow(key_id, spec.tenant, digest(key), hint(key), _encode(spec))
        try:
            return Issued(await self._put(row), key)
        except NotFound:
            detail = f"The tenant {spec.tenant} is deleted: create it again first."
            raise Refusal(_CODE, detail, pointer="/tenant") from None

    async def _put(self, row: KeyRow) -> KeyRow:
        stored = await self._store.put_key(row)
        await self._registry.take_over()
        return stored
