"""Tenants and API keys, with the registry's version raised by every change of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hookline.adapters.stores.postgres import registry, rows, sources
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import KeyRow, TenantRow


async def _tenant(transaction: Transaction, tenant: str) -> TenantRow | None:
    found = await transaction.row("SELECT * FROM tenants WHERE id = $1", tenant)
    return None if found is None else rows.tenant(found)


async def put_tenant(transaction: Transaction, row: TenantRow, expected_version: int | None) -> TenantRow:
    """`Access.put_tenant`."""
    version = await transaction.raise_registry()
    now_ms = transaction.now_ms
    was = await _tenant(transaction, row.id)
    if expected_version is None:
        if was is not None and not was.deleted:
            raise Conflict(f"there is a tenant {row.id}", code="name_taken")
        created_at_ms = now_ms
    else:
        if was is None or was.deleted:
            raise NotFound("no such tenant")
        if was.version != expected_version:
            raise Conflict("the tenant changed meanwhile")
        created_at_ms = was.created_at_ms
    await transaction.run(
        "INSERT INTO tenants (id, spec, created_at_ms, updated_at_ms, version) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, created_at_ms = excluded.created_at_ms,"
        " updated_at_ms = excluded.updated_at_ms, version = excluded.version, deleted = false",
        row.id,
        row.spec,
        created_at_ms,
        now_ms,
        version,
    )
    return msgspec.structs.replace(
        row, created_at_ms=created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


async def delete_tenant(transaction: Transaction, tenant: str) -> None:
    """`Access.delete_tenant`."""
    version = await transaction.raise_registry()
    was = await _tenant(transaction, tenant)
    if was is None or was.deleted:
        raise NotFound("no such tenant")
    now_ms = transaction.now_ms
    await transaction.run(
        "UPDATE tenants SET deleted = true, updated_at_ms = $1, version = $2 WHERE id = $3", now_ms, version, tenant
    )
    endpoints = await transaction.rows("SELECT id, state FROM endpoints WHERE tenant = $1 AND deleted = 0", tenant)
    for endpoint in endpoints:
        transaction.changed(tenant, endpoint["id"], None, endpoint["state"], "deleted")
    await transaction.run(
        "UPDATE endpoints SET deleted = 1, updated_at_ms = $1, version = $2 WHERE tenant = $3 AND deleted = 0",
        now_ms,
        version,
        tenant,
    )
    await sources.delete_of(transaction, tenant, version)
    await transaction.run(
        "UPDATE keys SET deleted = true, created_at_ms = $1, version = $2 WHERE tenant = $3 AND NOT deleted",
        now_ms,
        version,
        tenant,
    )
    for name, mode in await registry.event_type_names(transaction, tenant):
        await registry.bury_event_type(transaction, tenant, name, mode, version)


async def _key(transaction: Transaction, key_id: bytes) -> KeyRow | None:
    found = await transaction.row("SELECT * FROM keys WHERE id = $1", key_id)
    return None if found is None else rows.key(found)


async def put_key(transaction: Transaction, row: KeyRow) -> KeyRow:
    """`Access.put_key`."""
    version = await transaction.raise_registry()
    was = await _key(transaction, row.id)
    if was is None:
        if row.tenant is not None:
            await registry.require_tenant(transaction, row.tenant)
        taken = await transaction.value("SELECT id FROM keys WHERE digest = $1 AND NOT deleted", row.digest)
        if taken is not None:
            raise Conflict("another key has this digest")
        stored = msgspec.structs.replace(row, created_at_ms=transaction.now_ms, version=version, deleted=False)
        await transaction.run(
            "INSERT INTO keys (id, tenant, digest, hint, spec, created_at_ms, version)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            row.id,
            row.tenant,
            row.digest,
            row.hint,
            row.spec,
            stored.created_at_ms,
            version,
        )
        return stored
    if was.deleted or was.tenant != row.tenant:  # what was revoked stays so, whoever changes it at the same time
        raise NotFound("no such key")
    await transaction.run(
        "UPDATE keys SET hint = $1, spec = $2, version = $3 WHERE id = $4", row.hint, row.spec, version, row.id
    )
    return msgspec.structs.replace(was, hint=row.hint, spec=row.spec, version=version)


async def delete_key(transaction: Transaction, key_id: bytes) -> None:
    """`Access.delete_key`. From then on `created_at_ms` is when it was revoked."""
    version = await transaction.raise_registry()
    was = await _key(transaction, key_id)
    if was is None or was.deleted:
        raise NotFound("no such key")
    await transaction.run(
        "UPDATE keys SET deleted = true, created_at_ms = $1, version = $2 WHERE id = $3",
        transaction.now_ms,
        version,
        key_id,
    )


async def key_uses(transaction: Transaction) -> dict[bytes, int]:
    """`Access.key_uses`."""
    sql = "SELECT id, last_used_ms FROM keys WHERE NOT deleted AND last_used_ms IS NOT NULL"
    return {row["id"]: row["last_used_ms"] for row in await transaction.rows(sql)}


async def note_key_uses(transaction: Transaction, uses: Mapping[bytes, int]) -> None:
    """`Access.note_key_uses`."""
    await transaction.run(
        "UPDATE keys k SET last_used_ms = greatest(coalesce(k.last_used_ms, 0), u.used)"
        " FROM unnest($1::bytea[], $2::bigint[]) AS u (id, used) WHERE k.id = u.id AND NOT k.deleted",
        list(uses),
        list(uses.values()),
    )
