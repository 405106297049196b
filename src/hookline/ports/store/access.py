"""Tenants and API keys as they are stored. They are read by `Registry.changes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hookline.ports.store.registry import KeyRow, TenantRow


class Access(Protocol):
    """Who may. Each change raises the registry version by 1 in its own transaction, except `note_key_uses`."""

    async def put_tenant(self, row: TenantRow, expected_version: int | None = None) -> TenantRow:
        """Create (`expected_version` None; a deleted one may be created again) or replace; returns it as stored.

        Raises `Conflict` code `name_taken`; code `conflict` when it changed since `expected_version`; `NotFound`.
        """
        ...

    async def delete_tenant(self, tenant: str) -> None:
        """In one commit: a tombstone, his endpoints deleted (as `delete_endpoint` does), his keys and event types
        gone. Raises `NotFound` when there is no row, or it is deleted already."""
        ...

    async def put_key(self, row: KeyRow) -> KeyRow:
        """Create, or replace the one with this id (its tenant and digest never change); returns it as stored.

        Raises `Conflict` code `conflict` when another key has this digest; `NotFound` when the key is revoked, or its
        tenant deleted.
        """
        ...

    async def delete_key(self, key_id: bytes) -> None:
        """Revoke. Raises `NotFound`."""
        ...

    async def key_uses(self) -> Mapping[bytes, int]:
        """When each key was last used, ms since 1970; keys never used are missing."""
        ...

    async def note_key_uses(self, uses: Mapping[bytes, int]) -> None:
        """Remember when keys were last used: never backwards, unknown keys are passed over."""
        ...
