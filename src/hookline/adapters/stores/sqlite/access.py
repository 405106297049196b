"""Tenants and API keys, with the registry's version raised by every change of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from hookline.adapters.stores.sqlite import queries, registry, rows, sources
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import KeyRow, TenantRow


def _tenant(transaction: Transaction, tenant: str) -> TenantRow | None:
    found = transaction.execute(queries.TENANT_FIND, (tenant,)).fetchone()
    return None if found is None else rows.tenant(found)


def put_tenant(transaction: Transaction, row: TenantRow, expected_version: int | None) -> TenantRow:
    """`Access.put_tenant`, in the writer's transaction."""
    now_ms = transaction.now_ms
    was = _tenant(transaction, row.id)
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
    version = transaction.raise_registry()
    transaction.execute(queries.TENANT_PUT, (row.id, row.spec, created_at_ms, now_ms, version))
    return msgspec.structs.replace(
        row, created_at_ms=created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


def delete_tenant(transaction: Transaction, tenant: str) -> None:
    """`Access.delete_tenant`, in the writer's transaction."""
    was = _tenant(transaction, tenant)
    if was is None or was.deleted:
        raise NotFound("no such tenant")
    now_ms, version = transaction.now_ms, transaction.raise_registry()
    transaction.execute(queries.TENANT_DELETE, (now_ms, version, tenant))
    for endpoint_id, state in transaction.execute(queries.ENDPOINTS_OF_TENANT, (tenant,)).fetchall():
        transaction.changed(tenant, endpoint_id, None, state, "deleted")
    transaction.execute(queries.ENDPOINTS_DELETE_OF, (now_ms, version, tenant))
    sources.delete_of(transaction, tenant, version)
    transaction.execute(queries.KEYS_DELETE_OF, (now_ms, version, tenant))
    for name, mode in transaction.execute(queries.EVENT_TYPE_NAMES_OF, (tenant,)).fetchall():
        registry.bury_event_type(transaction, tenant, name, mode, version)


def _key(transaction: Transaction, key_id: bytes) -> KeyRow | None:
    found = transaction.execute(queries.KEY_FIND, (key_id,)).fetchone()
    return None if found is None else rows.key(found)


def put_key(transaction: Transaction, row: KeyRow) -> KeyRow:
    """`Access.put_key`, in the writer's transaction."""
    was = _key(transaction, row.id)
    if was is None:
        if row.tenant is not None:
            registry.require_tenant(transaction, row.tenant)
        if transaction.execute(queries.KEY_BY_DIGEST, (row.digest,)).fetchone() is not None:
            raise Conflict("another key has this digest")
        version = transaction.raise_registry()
        stored = msgspec.structs.replace(row, created_at_ms=transaction.now_ms, version=version, deleted=False)
        parameters = (row.id, row.tenant, row.digest, row.hint, row.spec, stored.created_at_ms, version)
        transaction.execute(queries.KEY_ADD, parameters)
        return stored
    if was.deleted or was.tenant != row.tenant:  # what was revoked stays so, whoever changes it at the same time
        raise NotFound("no such key")
    version = transaction.raise_registry()
    transaction.execute(queries.KEY_REPLACE, (row.hint, row.spec, version, row.id))
    return msgspec.structs.replace(was, hint=row.hint, spec=row.spec, version=version)


def delete_key(transaction: Transaction, key_id: bytes) -> None:
    """`Access.delete_key`, in the writer's transaction."""
    was = _key(transaction, key_id)
    if was is None or was.deleted:
        raise NotFound("no such key")
    transaction.execute(queries.KEY_DELETE, (transaction.now_ms, transaction.raise_registry(), key_id))


def key_uses(connection: sqlite3.Connection) -> dict[bytes, int]:
    """`Access.key_uses`, from a reader."""
    return dict(connection.execute(queries.KEY_USES).fetchall())


def note_key_uses(transaction: Transaction, uses: Mapping[bytes, int]) -> None:
    """`Access.note_key_uses`, in the writer's transaction."""
    transaction.execute_many(queries.KEY_USED, [(used_ms, key_id) for key_id, used_ms in uses.items()])
