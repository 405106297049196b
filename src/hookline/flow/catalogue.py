"""The configuration as it is stored, for those who look at it: rows by tenant, kept up by the registry's changes.

Beside `flow.registry`, which holds the same compiled for routing. A read first takes over what was committed before
it, so an answer is never older than the question, whichever node changed it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable

from hookline.core import ids
from hookline.core.errors import NotFound, Refusal
from hookline.ports.store import EndpointRow, EventTypeRow, KeyRow, Page, Registry, SourceRow, TenantRow


class Catalogue:
    """Rows of endpoints, current versions of event types, sources, tenants and keys."""

    def __init__(self, store: Registry) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._version = 0
        self._endpoints: dict[str, dict[bytes, EndpointRow]] = {}
        self._uids: dict[tuple[str, str], bytes] = {}
        self._event_types: dict[str, dict[str, EventTypeRow]] = {}
        self._tenants: dict[str, TenantRow] = {}
        self._keys: dict[bytes, KeyRow] = {}
        self._sources: dict[str, dict[bytes, SourceRow]] = {}
        self._source_names: dict[tuple[str, str], bytes] = {}
        """By tenant and name, and by tenant and uid."""

    async def refresh(self) -> None:
        """Take over all changes that were committed before this call. Raises `StoreUnavailable`."""
        async with self._lock:
            changes = await self._store.changes(self._version)
            for row in changes.endpoints:
                self._put_endpoint(row)
            for type_row in changes.event_types:
                rows = self._event_types.setdefault(type_row.tenant, {})
                if type_row.deleted:
                    rows.pop(type_row.name, None)
                else:
                    rows[type_row.name] = type_row
            for tenant_row in changes.tenants:
                self._tenants.pop(tenant_row.id, None)
                if not tenant_row.deleted:
                    self._tenants[tenant_row.id] = tenant_row
            for key_row in changes.keys:
                self._keys.pop(key_row.id, None)
                if not key_row.deleted:
                    self._keys[key_row.id] = key_row
            for source_row in changes.sources:
                self._put_source(source_row)
            self._version = max(self._version, changes.version)

    def _put_endpoint(self, row: EndpointRow) -> None:
        rows = self._endpoints.setdefault(row.tenant, {})
        before = rows.pop(row.id, None)
        if before is not None and before.uid is not None and self._uids.get((row.tenant, before.uid)) == row.id:
            del self._uids[row.tenant, before.uid]
        if row.deleted:
            return
        rows[row.id] = row
        if row.uid is not None:
            self._uids[row.tenant, row.uid] = row.id

    def _put_source(self, row: SourceRow) -> None:
        rows = self._sources.setdefault(row.tenant, {})
        before = rows.pop(row.id, None)
        for name in () if before is None else (before.name, before.uid):
            if name is not None and self._source_names.get((row.tenant, name)) == row.id:
                del self._source_names[row.tenant, name]
        if row.deleted:
            return
        rows[row.id] = row
        for name in (row.name, row.uid):
            if name is not None:
                self._source_names[row.tenant, name] = row.id

    async def source(self, tenant: str, reference: str) -> SourceRow:
        """The tenant's source with this `src_…`, name or uid. Raises `NotFound`."""
        await self.refresh()
        source_id = ids.parse(ids.SOURCE, reference) or self._source_names.get((tenant, reference), b"")
        row = self._sources.get(tenant, {}).get(source_id)
        if row is None:
            raise NotFound("no such source")
        return row

    async def sources(self, tenant: str, limit: int, before: bytes | None) -> Page[SourceRow]:
        """The tenant's sources, newest first, those below the cursor `before`."""
        await self.refresh()
        rows = self._sources.get(tenant, {})
        wanted: Iterable[bytes] = rows if before is None else (i for i in rows if i < before)
        newest = heapq.nlargest(limit + 1, wanted)
        return Page([rows[i] for i in newest[:limit]], newest[limit - 1] if len(newest) > limit else None)

    async def endpoint(self, tenant: str, reference: str) -> EndpointRow:
        """The tenant's endpoint with this `ep_…` or uid. Raises `NotFound`."""
        await self.refresh()
        row = self._endpoints.get(tenant, {}).get(self.endpoint_id(tenant, reference) or b"")
        if row is None:
            raise NotFound("no such endpoint")
        return row

    async def check_dead_letter(self, tenant: str, reference: str, code: str) -> None:
        """Raise `Refusal` of this code where `dead_letter` names no endpoint of the tenant; `StoreUnavailable`."""
        try:
            await self.endpoint(tenant, reference)
        except NotFound:
            detail = "This tenant has no such endpoint: dead_letter is the id or the uid of one."
            raise Refusal(code, detail, pointer="/dead_letter") from None

    def endpoint_id(self, tenant: str, reference: str) -> bytes | None:
        """The id that an `ep_…` spells, whether known or not, or that a uid stands for; None for an unknown uid."""
        return ids.parse(ids.ENDPOINT, reference) or self._uids.get((tenant, reference))

    async def endpoint_count(self, tenant: str) -> int:
        """How many endpoints the tenant has."""
        await self.refresh()
        return len(self._endpoints.get(tenant, ()))

    async def endpoints(self, tenant: str, limit: int, before: bytes | None) -> Page[EndpointRow]:
        """The tenant's endpoints, newest first, those below the cursor `before`."""
        await self.refresh()
        rows = self._endpoints.get(tenant, {})
        wanted: Iterable[bytes] = rows if before is None else (i for i in rows if i < before)
        newest = heapq.nlargest(limit + 1, wanted)
        return Page([rows[i] for i in newest[:limit]], newest[limit - 1] if len(newest) > limit else None)

    async def event_type(self, tenant: str, name: str) -> EventTypeRow:
        """The current version. Raises `NotFound`."""
        await self.refresh()
        row = self._event_types.get(tenant, {}).get(name)
        if row is None:
            raise NotFound("no such event type")
        return row

    async def event_types(self, tenant: str, limit: int, after: bytes | None) -> Page[EventTypeRow]:
        """The tenant's event types by name, those above the cursor `after`, a name in UTF-8."""
        await self.refresh()
        rows = self._event_types.get(tenant, {})
        wanted: Iterable[str] = rows if after is None else (name for name in rows if name.encode() > after)
        first = heapq.nsmallest(limit + 1, wanted)
        return Page([rows[name] for name in first[:limit]], first[limit - 1].encode() if len(first) > limit else None)

    async def tenant(self, name: str) -> TenantRow:
        """The tenant. Raises `NotFound`, also when it is deleted or only used."""
        await self.refresh()
        row = self._tenants.get(name)
        if row is None:
            raise NotFound("no such tenant")
        return row

    async def tenants(self, limit: int, after: bytes | None) -> Page[TenantRow]:
        """Tenants by name, those above the cursor `after`, a name in UTF-8."""
        await self.refresh()
        wanted = self._tenants if after is None else (name for name in self._tenants if name.encode() > after)
        first = heapq.nsmallest(limit + 1, wanted)
        page = [self._tenants[name] for name in first[:limit]]
        return Page(page, first[limit - 1].encode() if len(first) > limit else None)

    async def key(self, tenant: str | None, key_id: bytes) -> KeyRow:
        """The key, of this tenant or (None) of anybody. Raises `NotFound`."""
        await self.refresh()
        row = self._keys.get(key_id)
        if row is None or tenant not in (None, row.tenant):
            raise NotFound("no such key")
        return row

    async def keys(self, tenant: str | None, limit: int, before: bytes | None) -> Page[KeyRow]:
        """Keys of this tenant or (None) of anybody, newest first, those below the cursor `before`."""
        await self.refresh()
        wanted = (
            key_id
            for key_id, row in self._keys.items()
            if tenant in (None, row.tenant) and (before is None or key_id < before)
        )
        newest = heapq.nlargest(limit + 1, wanted)
        return Page([self._keys[i] for i in newest[:limit]], newest[limit - 1] if len(newest) > limit else None)
