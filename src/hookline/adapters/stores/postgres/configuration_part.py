"""Endpoints, event types, tenants and keys, on PostgreSQL: `ports.store.Registry` and `Access`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from hookline.adapters.stores.postgres import access, registry
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.core.endpoint import EndpointState
from hookline.ports.store import EndpointRow, EventTypeRow, HealthRow, KeyRow, RegistryChanges, TenantRow


class ConfigurationPart(PostgresBase):
    """Endpoints, event types, tenants and keys."""

    async def changes(self, since: int) -> RegistryChanges:
        """`Registry.changes`."""
        return await self._read(partial(registry.changes, since=since))

    async def healths(self) -> Sequence[HealthRow]:
        """`Registry.healths`."""
        return await self._read(registry.healths)

    async def put_endpoint(self, row: EndpointRow, expected_version: int | None = None) -> EndpointRow:
        """`Registry.put_endpoint`."""
        return await self._write(partial(registry.put_endpoint, row=row, expected_version=expected_version))

    async def set_endpoint_state(
        self, endpoint_id: bytes, state: EndpointState, expected_version: int | None = None
    ) -> EndpointRow:
        """`Registry.set_endpoint_state`."""
        return await self._write(
            partial(
                registry.set_endpoint_state, endpoint_id=endpoint_id, state=state, expected_version=expected_version
            )
        )

    async def delete_endpoint(self, endpoint_id: bytes) -> None:
        """`Registry.delete_endpoint`."""
        await self._write(partial(registry.delete_endpoint, endpoint_id=endpoint_id))

    async def put_event_type(self, row: EventTypeRow, *, create: bool) -> EventTypeRow:
        """`Registry.put_event_type`."""
        return await self._write(partial(registry.put_event_type, row=row, create=create))

    async def delete_event_type(self, tenant: str, name: str) -> None:
        """`Registry.delete_event_type`."""
        await self._write(partial(registry.delete_event_type, tenant=tenant, name=name))

    async def event_type_versions(self, tenant: str, name: str) -> Sequence[EventTypeRow]:
        """`Registry.event_type_versions`."""
        return await self._read(partial(registry.event_type_versions, tenant=tenant, name=name))

    async def put_tenant(self, row: TenantRow, expected_version: int | None = None) -> TenantRow:
        """`Access.put_tenant`."""
        return await self._write(partial(access.put_tenant, row=row, expected_version=expected_version))

    async def delete_tenant(self, tenant: str) -> None:
        """`Access.delete_tenant`."""
        await self._write(partial(access.delete_tenant, tenant=tenant))

    async def put_key(self, row: KeyRow) -> KeyRow:
        """`Access.put_key`."""
        return await self._write(partial(access.put_key, row=row))

    async def delete_key(self, key_id: bytes) -> None:
        """`Access.delete_key`."""
        await self._write(partial(access.delete_key, key_id=key_id))

    async def key_uses(self) -> Mapping[bytes, int]:
        """`Access.key_uses`."""
        return await self._read(access.key_uses)

    async def note_key_uses(self, uses: Mapping[bytes, int]) -> None:
        """`Access.note_key_uses`."""
        await self._write(partial(access.note_key_uses, uses=uses))
