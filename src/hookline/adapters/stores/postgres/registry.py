"""Endpoints and event types, with a version that is raised by every change of them, of tenants and of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hookline.adapters.stores.postgres import rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core.endpoint import EndpointState
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import EndpointRow, EventTypeRow, HealthRow, RegistryChanges

_encode = msgspec.msgpack.Encoder().encode
_decode_warnings = msgspec.msgpack.Decoder(list[str]).decode

_ENDPOINT: Final = "id, tenant, uid, state, spec, sealed, created_at_ms, updated_at_ms, version, deleted, warnings"
_TYPE: Final = "tenant, name, number, mode, schema, example, description, created_at_ms, version"
# Of each name its highest version; a tombstone is alone.
_CURRENT: Final = "number = (SELECT max(o.number) FROM event_types o WHERE o.tenant = t.tenant AND o.name = t.name)"


def _endpoint(row: Mapping[str, Any]) -> EndpointRow:
    return EndpointRow(
        id=row["id"],
        tenant=row["tenant"],
        uid=row["uid"],
        state=EndpointState(row["state"]),
        spec=row["spec"],
        sealed=row["sealed"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        version=row["version"],
        deleted=row["deleted"] > 0,
        warnings=_decode_warnings(row["warnings"]),
    )


def _event_type(row: Mapping[str, Any]) -> EventTypeRow:
    return EventTypeRow(
        tenant=row["tenant"],
        name=row["name"],
        number=row["number"],
        mode=row["mode"],
        schema=row["schema"],
        example=row["example"],
        description=row["description"],
        created_at_ms=row["created_at_ms"],
        version=row["version"],
        deleted=row["number"] == 0,
    )


async def changes(transaction: Transaction, since: int) -> RegistryChanges:
    """`Registry.changes`: one snapshot."""
    version = await transaction.value("SELECT value FROM meta WHERE name = 'registry_version'")
    live, keys, types = "version > $1", "version > $1", "version > $1"
    if since == 0:
        live, keys, types = f"{live} AND deleted = 0", f"{keys} AND NOT deleted", f"{types} AND number > 0"
    return RegistryChanges(
        version,
        [
            _endpoint(row)
            for row in await transaction.rows(f"SELECT {_ENDPOINT} FROM endpoints WHERE {live} ORDER BY version", since)
        ],
        [
            _event_type(row)
            for row in await transaction.rows(
                f"SELECT {_TYPE} FROM event_types t WHERE {types} AND {_CURRENT} ORDER BY version", since
            )
        ],
        [
            rows.tenant(row)
            for row in await transaction.rows("SELECT * FROM tenants WHERE version > $1 ORDER BY version", since)
        ],
        [rows.key(row) for row in await transaction.rows(f"SELECT * FROM keys WHERE {keys} ORDER BY version", since)],
        [rows.source(r) for r in await transaction.rows(f"SELECT * FROM sources WHERE {keys} ORDER BY version", since)],
    )


async def healths(transaction: Transaction) -> list[HealthRow]:
    """`Registry.healths`."""
    now_ms = transaction.now_ms

    def from_now_s(at_ms: int | None) -> float | None:
        return None if at_ms is None else max(0.0, (at_ms - now_ms) / 1000)

    found = await transaction.rows(
        "SELECT s.* FROM endpoint_states s JOIN endpoints e ON e.id = s.endpoint_id"
        " WHERE e.deleted = 0 AND s.version > 0"
    )
    return [
        HealthRow(
            row["endpoint_id"],
            row["version"],
            row["packed"],
            from_now_s(row["wait_until_ms"]) or None,
            from_now_s(row["probe_at_ms"]),
        )
        for row in found
    ]


async def _find(transaction: Transaction, endpoint_id: bytes) -> EndpointRow:
    found = await transaction.row(f"SELECT {_ENDPOINT} FROM endpoints WHERE id = $1 FOR UPDATE", endpoint_id)
    if found is None or found["deleted"]:
        raise NotFound("no such endpoint")
    return _endpoint(found)


async def _check_uid(transaction: Transaction, row: EndpointRow) -> None:
    if row.uid is None:
        return
    sql = "SELECT id FROM endpoints WHERE tenant = $1 AND uid = $2 AND deleted = 0"
    found = await transaction.value(sql, row.tenant, row.uid)
    if found is not None and found != row.id:
        raise Conflict(f"another endpoint has the uid {row.uid}", code="uid_taken")


async def require_tenant(transaction: Transaction, tenant: str) -> None:
    """Raise `NotFound` when a tenant is deleted: what is made for him at the same time would outlive him."""
    if await transaction.value("SELECT deleted FROM tenants WHERE id = $1", tenant):
        raise NotFound("no such tenant")


async def put_endpoint(transaction: Transaction, row: EndpointRow, expected_version: int | None) -> EndpointRow:
    """`Registry.put_endpoint`. Its lock is the registry's: all who change it come one after the other."""
    version = await transaction.raise_registry()
    now_ms = transaction.now_ms
    warnings = _encode(list(row.warnings))
    if expected_version is None:
        if await transaction.value("SELECT id FROM endpoints WHERE id = $1", row.id) is not None:
            raise Conflict("an endpoint with this id exists")
        await require_tenant(transaction, row.tenant)
        await _check_uid(transaction, row)
        await transaction.run(
            f"INSERT INTO endpoints ({_ENDPOINT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, 0, $9)",
            row.id,
            row.tenant,
            row.uid,
            row.state.value,
            row.spec,
            row.sealed,
            now_ms,
            version,
            warnings,
        )
        await transaction.run("INSERT INTO endpoint_states (endpoint_id) VALUES ($1)", row.id)
        return msgspec.structs.replace(row, created_at_ms=now_ms, updated_at_ms=now_ms, version=version, deleted=False)
    was = await _find(transaction, row.id)
    if was.tenant != row.tenant:
        raise NotFound("no such endpoint")
    if was.version != expected_version:
        raise Conflict("the endpoint changed meanwhile")
    await _check_uid(transaction, row)
    _tell_state(transaction, was, row.state)
    await transaction.run(
        "UPDATE endpoints SET uid = $1, state = $2, spec = $3, sealed = $4, warnings = $5, updated_at_ms = $6,"
        " version = $7 WHERE id = $8",
        row.uid,
        row.state.value,
        row.spec,
        row.sealed,
        warnings,
        now_ms,
        version,
        row.id,
    )
    if row.state is EndpointState.ACTIVE and was.state is not EndpointState.ACTIVE:
        await _forget_health(transaction, row.id)
    return msgspec.structs.replace(
        row, created_at_ms=was.created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


async def _forget_health(transaction: Transaction, endpoint_id: bytes) -> None:
    # Negative: there is no health, but its versions go on, so that nobody who judged by the old one is heard.
    await transaction.run(
        "UPDATE endpoint_states SET version = -abs(version), packed = ''::bytea, wait_until_ms = NULL,"
        " probe_at_ms = NULL WHERE endpoint_id = $1",
        endpoint_id,
    )


def _tell_state(transaction: Transaction, was: EndpointRow, state: EndpointState) -> None:
    if state is not was.state:
        transaction.changed(was.tenant, was.id, None, was.state.value, state.value)


async def set_endpoint_state(
    transaction: Transaction, endpoint_id: bytes, state: EndpointState, expected_version: int | None
) -> EndpointRow:
    """`Registry.set_endpoint_state`."""
    version = await transaction.raise_registry()
    row = await _find(transaction, endpoint_id)
    if expected_version is not None and row.version != expected_version:
        raise Conflict("the endpoint changed meanwhile")
    await transaction.run(
        "UPDATE endpoints SET state = $1, updated_at_ms = $2, version = $3 WHERE id = $4",
        state.value,
        transaction.now_ms,
        version,
        endpoint_id,
    )
    if state is EndpointState.ACTIVE:
        await _forget_health(transaction, endpoint_id)
    _tell_state(transaction, row, state)
    return msgspec.structs.replace(row, state=state, updated_at_ms=transaction.now_ms, version=version)


async def delete_endpoint(transaction: Transaction, endpoint_id: bytes) -> None:
    """`Registry.delete_endpoint`."""
    version = await transaction.raise_registry()
    row = await _find(transaction, endpoint_id)
    await transaction.run(
        "UPDATE endpoints SET deleted = 1, updated_at_ms = $1, version = $2 WHERE id = $3",
        transaction.now_ms,
        version,
        endpoint_id,
    )
    transaction.changed(row.tenant, endpoint_id, None, row.state.value, "deleted")


async def event_type_versions(transaction: Transaction, tenant: str, name: str) -> list[EventTypeRow]:
    """`Registry.event_type_versions`."""
    sql = f"SELECT {_TYPE} FROM event_types WHERE tenant = $1 AND name = $2 AND number > 0 ORDER BY number DESC"
    return [_event_type(row) for row in await transaction.rows(sql, tenant, name)]


async def put_event_type(transaction: Transaction, row: EventTypeRow, *, create: bool) -> EventTypeRow:
    """`Registry.put_event_type`."""
    version = await transaction.raise_registry()
    versions = await event_type_versions(transaction, row.tenant, row.name)
    if create and versions:
        raise Conflict(f"there is an event type {row.name}", code="name_taken")
    if not create and not versions:
        raise NotFound(f"no event type {row.name}")
    await require_tenant(transaction, row.tenant)
    if versions and versions[0].schema == row.schema:
        current = versions[0]
        await transaction.run(
            "UPDATE event_types SET mode = $1, example = $2, description = $3, version = $4"
            " WHERE tenant = $5 AND name = $6 AND number = $7",
            row.mode,
            row.example,
            row.description,
            version,
            row.tenant,
            row.name,
            current.number,
        )
        return msgspec.structs.replace(
            row, number=current.number, created_at_ms=current.created_at_ms, version=version, deleted=False
        )
    if not versions:  # a tombstone of an earlier one
        await _forget_event_type(transaction, row.tenant, row.name)
    number = versions[0].number + 1 if versions else 1
    stored = msgspec.structs.replace(
        row, number=number, created_at_ms=transaction.now_ms, version=version, deleted=False
    )
    await _add_event_type(transaction, stored)
    return stored


async def delete_event_type(transaction: Transaction, tenant: str, name: str) -> None:
    """`Registry.delete_event_type`."""
    version = await transaction.raise_registry()
    versions = await event_type_versions(transaction, tenant, name)
    if not versions:
        raise NotFound(f"no event type {name}")
    await bury_event_type(transaction, tenant, name, versions[0].mode, version)


async def bury_event_type(transaction: Transaction, tenant: str, name: str, mode: str, version: int) -> None:
    """Put a tombstone in the place of an event type's versions."""
    await _forget_event_type(transaction, tenant, name)
    tombstone = EventTypeRow(
        tenant=tenant, name=name, number=0, mode=mode, created_at_ms=transaction.now_ms, version=version
    )
    await _add_event_type(transaction, tombstone)


async def _forget_event_type(transaction: Transaction, tenant: str, name: str) -> None:
    await transaction.run("DELETE FROM event_types WHERE tenant = $1 AND name = $2", tenant, name)


async def _add_event_type(transaction: Transaction, row: EventTypeRow) -> None:
    await transaction.run(
        f"INSERT INTO event_types ({_TYPE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        row.tenant,
        row.name,
        row.number,
        row.mode,
        row.schema,
        row.example,
        row.description,
        row.created_at_ms,
        row.version,
    )


async def event_type_names(transaction: Transaction, tenant: str) -> Sequence[Any]:
    """(name, mode) of each event type of a tenant."""
    sql = f"SELECT name, mode FROM event_types t WHERE tenant = $1 AND number > 0 AND {_CURRENT}"
    return await transaction.rows(sql, tenant)
