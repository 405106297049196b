"""Tenants: created, given limits, deleted with all they have. Free of HTTP; only the operator comes here.

A tenant that was never created can be used all the same: he has no limits of his own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hookline.core.errors import Conflict, Refusal
from hookline.core.event import TENANT_DEFAULT
from hookline.core.json_text import decoded
from hookline.core.merge_patch import merged
from hookline.core.tenant import TenantSpec, check_spec
from hookline.flow.catalogue import Catalogue
from hookline.flow.changing import on_the_newest
from hookline.flow.reading import read
from hookline.flow.registry import Registry
from hookline.ports.store import Access, Page, TenantRow

_CODE: Final = "invalid_tenant"
_NOUN: Final = "tenant"
_SPEC = msgspec.json.Decoder(TenantSpec)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class Tenants:
    """The service behind `/v1/tenants`. Methods raise `Refusal`, `NotFound`, `Conflict`, `StoreUnavailable`."""

    def __init__(self, store: Access, registry: Registry, catalogue: Catalogue) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue

    async def create(self, body: bytes) -> TenantRow:
        """Lay down a tenant's limits. One that was deleted can be created again."""
        spec = read(_SPEC, body, code=_CODE, noun=_NOUN)
        check_spec(spec)
        if spec.dead_letter is not None:
            await self._catalogue.check_dead_letter(spec.id, spec.dead_letter, _CODE)
        return await self._changed(await self._store.put_tenant(TenantRow(spec.id, _encode(spec))))

    async def get(self, name: str) -> TenantRow:
        """One tenant."""
        return await self._catalogue.tenant(name)

    async def page(self, limit: int, after: bytes | None) -> Page[TenantRow]:
        """A page of tenants, by name."""
        return await self._catalogue.tenants(limit, after)

    async def patch(self, name: str, body: bytes) -> TenantRow:
        """Change a tenant by a JSON Merge Patch (RFC 7396); limits hold from the next request on."""
        patch = read(_OBJECT, body, code=_CODE, noun=_NOUN)
        if patch.get("id", name) != name:
            raise Refusal(_CODE, "A tenant's id cannot be changed.", pointer="/id")
        patch["id"] = name

        async def put(row: TenantRow) -> TenantRow:
            document = merged(_OBJECT.decode(row.spec), patch)
            spec = decoded(_SPEC.decode, _encode(document), code=_CODE, noun=_NOUN)
            check_spec(spec)
            if spec.dead_letter is not None and "dead_letter" in patch:
                await self._catalogue.check_dead_letter(name, spec.dead_letter, _CODE)
            return await self._store.put_tenant(msgspec.structs.replace(row, spec=_encode(spec)), row.version)

        return await self._changed(await on_the_newest(lambda: self._catalogue.tenant(name), put))

    async def delete(self, name: str) -> None:
        """Delete a tenant with his endpoints, keys and event types; what else he has expires. Nobody may act for him
        until he is created again."""
        if name == TENANT_DEFAULT:
            detail = f"The tenant {TENANT_DEFAULT} is everybody's who names none: it cannot be deleted."
            raise Conflict(detail, code="wrong_state")
        await self._store.delete_tenant(name)
        await self._registry.take_over()

    async def _changed(self, row: TenantRow) -> TenantRow:
        await self._registry.take_over()
        return row
