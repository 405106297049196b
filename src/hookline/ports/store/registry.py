"""Endpoints and event types as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.core.endpoint import EndpointState
from hookline.ports.store.record import HealthRow
from hookline.ports.store.sources import SourceRow


class EndpointRow(msgspec.Struct, frozen=True, gc=False):
    """An endpoint as stored. `spec` is its JSON without secrets, `sealed` its encrypted secrets."""

    id: bytes
    tenant: str
    uid: str | None
    state: EndpointState
    spec: bytes
    sealed: bytes
    created_at_ms: int = 0
    updated_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False
    warnings: Sequence[str] = ()


class EventTypeRow(msgspec.Struct, frozen=True, gc=False):
    """One version of an event type in the catalogue. The highest version is the current one."""

    tenant: str
    name: str
    number: int
    """The version of the schema, from 1; set by the store."""
    mode: str
    schema: bytes | None = None
    example: bytes | None = None
    description: str = ""
    created_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False


class TenantRow(msgspec.Struct, frozen=True, gc=False):
    """A tenant with limits of his own, as stored. `spec` is his `core.tenant.TenantSpec` in JSON."""

    id: str
    spec: bytes
    created_at_ms: int = 0
    updated_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False
    """Nobody may act for him until he is created again; what he has is expired."""


class KeyRow(msgspec.Struct, frozen=True, gc=False):
    """An API key as stored. `spec` is its `core.api_key.KeySpec` in JSON."""

    id: bytes
    tenant: str | None
    """None: the operator's."""
    digest: bytes
    """SHA-256 of the key, 32 bytes."""
    hint: str
    spec: bytes
    created_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False


class RegistryChanges(msgspec.Struct, frozen=True):
    """All that changed after a version, up to `version`; tombstones included (of tenants also for version 0)."""

    version: int
    endpoints: Sequence[EndpointRow]
    event_types: Sequence[EventTypeRow]
    """Current versions only."""
    tenants: Sequence[TenantRow] = ()
    keys: Sequence[KeyRow] = ()
    sources: Sequence[SourceRow] = ()


class Registry(Protocol):
    """Configuration. Each change raises the registry version by 1 in its own transaction."""

    async def changes(self, since: int) -> RegistryChanges:
        """What changed after version `since` (0: everything that is not deleted)."""
        ...

    async def healths(self) -> Sequence[HealthRow]:
        """The health of all endpoints that have a row and are not deleted."""
        ...

    async def put_endpoint(self, row: EndpointRow, expected_version: int | None = None) -> EndpointRow:
        """Create (`expected_version` None) or replace an endpoint; returns the row as stored, with times. One that
        becomes active by it is resumed: see `set_endpoint_state`.

        Raises `Conflict` code `uid_taken`; code `conflict` when it changed since `expected_version`; `NotFound`, also
        when its tenant is deleted.
        """
        ...

    async def set_endpoint_state(
        self, endpoint_id: bytes, state: EndpointState, expected_version: int | None = None
    ) -> EndpointRow:
        """Pause, resume, disable, verify. Resuming forgets health, waits and probes.

        Raises `NotFound`; `Conflict` code `conflict` when it changed since `expected_version` (None: whatever it is).
        """
        ...

    async def delete_endpoint(self, endpoint_id: bytes) -> None:
        """A tombstone; its uid is free again. Its open deliveries are closed by `Upkeep.close_deleted`."""
        ...

    async def put_event_type(self, row: EventTypeRow, *, create: bool) -> EventTypeRow:
        """Create (`Conflict` code `name_taken`), or change: a changed schema is a new version, the rest is
        changed in place (`NotFound` when there is none). `NotFound` also when its tenant is deleted."""
        ...

    async def delete_event_type(self, tenant: str, name: str) -> None:
        """Remove it from the catalogue with all its versions. Raises `NotFound`."""
        ...

    async def event_type_versions(self, tenant: str, name: str) -> Sequence[EventTypeRow]:
        """All versions, newest first; empty when unknown."""
        ...
