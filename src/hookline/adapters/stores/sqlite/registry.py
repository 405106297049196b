"""Endpoints and event types, with a version that is raised by every change of them, of tenants and of keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.sqlite import queries, rows, source_queries
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.endpoint import EndpointState
from hookline.core.errors import Conflict, NotFound
from hookline.ports.store import EndpointRow, EventTypeRow, HealthRow, RegistryChanges

_encode = msgspec.msgpack.Encoder().encode
_decode_warnings = msgspec.msgpack.Decoder(list[str]).decode


def _endpoint(row: Sequence[Any]) -> EndpointRow:
    identifier, tenant, uid, state, spec, sealed, created_at_ms, updated_at_ms, version, deleted, warnings = row
    return EndpointRow(
        id=identifier,
        tenant=tenant,
        uid=uid,
        state=EndpointState(state),
        spec=spec,
        sealed=sealed,
        created_at_ms=created_at_ms,
        updated_at_ms=updated_at_ms,
        version=version,
        deleted=bool(deleted),
        warnings=_decode_warnings(warnings),
    )


def _event_type(row: Sequence[Any]) -> EventTypeRow:
    tenant, name, number, mode, schema, example, description, created_at_ms, version, deleted = row
    return EventTypeRow(
        tenant=tenant,
        name=name,
        number=number,
        mode=mode,
        schema=schema,
        example=example,
        description=description,
        created_at_ms=created_at_ms,
        version=version,
        deleted=bool(deleted),
    )


def changes(connection: sqlite3.Connection, since: int) -> RegistryChanges:
    """`Registry.changes`, from a reader: one snapshot."""
    version = connection.execute(queries.META, ("registry_version",)).fetchone()[0]
    if since == 0:
        endpoints = connection.execute(queries.ENDPOINTS_LIVE)
        event_types = connection.execute(queries.EVENT_TYPES_LIVE)
        keys = connection.execute(queries.KEYS_LIVE)
        sources = connection.execute(source_queries.SOURCES_LIVE)
    else:
        endpoints = connection.execute(queries.ENDPOINTS_SINCE, (since,))
        event_types = connection.execute(queries.EVENT_TYPES_SINCE, (since,))
        keys = connection.execute(queries.KEYS_SINCE, (since,))
        sources = connection.execute(source_queries.SOURCES_SINCE, (since,))
    return RegistryChanges(
        version,
        [_endpoint(row) for row in endpoints],
        [_event_type(row) for row in event_types],
        [rows.tenant(row) for row in connection.execute(queries.TENANTS_SINCE, (since,))],
        [rows.key(row) for row in keys],
        [rows.source(row) for row in sources],
    )


def healths(connection: sqlite3.Connection, now_ms: int) -> list[HealthRow]:
    """`Registry.healths`, from a reader."""

    def from_now_s(at_ms: int | None) -> float | None:
        return None if at_ms is None else max(0.0, (at_ms - now_ms) / 1000)

    return [
        HealthRow(endpoint_id, version, packed, from_now_s(wait_until_ms) or None, from_now_s(probe_at_ms))
        for endpoint_id, version, packed, wait_until_ms, probe_at_ms in connection.execute(queries.HEALTHS)
    ]


def _find(transaction: Transaction, endpoint_id: bytes) -> EndpointRow:
    found = transaction.execute(queries.ENDPOINT_FIND, (endpoint_id,)).fetchone()
    if found is None or found[9]:
        raise NotFound("no such endpoint")
    return _endpoint(found)


def _check_uid(transaction: Transaction, row: EndpointRow) -> None:
    if row.uid is None:
        return
    found = transaction.execute(queries.ENDPOINT_BY_UID, (row.tenant, row.uid)).fetchone()
    if found is not None and found[0] != row.id:
        raise Conflict(f"another endpoint has the uid {row.uid}", code="uid_taken")


def require_tenant(transaction: Transaction, tenant: str) -> None:
    """Raise `NotFound` when a tenant is deleted: what is made for him at the same time would outlive him."""
    found = transaction.execute(queries.TENANT_DELETED, (tenant,)).fetchone()
    if found is not None and found[0]:
        raise NotFound("no such tenant")


def put_endpoint(transaction: Transaction, row: EndpointRow, expected_version: int | None) -> EndpointRow:
    """`Registry.put_endpoint`, in the writer's transaction."""
    now_ms = transaction.now_ms
    if expected_version is None:
        if transaction.execute(queries.ENDPOINT_FIND, (row.id,)).fetchone() is not None:
            raise Conflict("an endpoint with this id exists")
        require_tenant(transaction, row.tenant)
        _check_uid(transaction, row)
        version = transaction.raise_registry()
        stored = msgspec.structs.replace(
            row, created_at_ms=now_ms, updated_at_ms=now_ms, version=version, deleted=False
        )
        transaction.execute(
            queries.ENDPOINT_ADD,
            (
                row.id,
                row.tenant,
                row.uid,
                row.state.value,
                row.spec,
                row.sealed,
                now_ms,
                now_ms,
                version,
                _encode(list(row.warnings)),
            ),
        )
        return stored
    was = _find(transaction, row.id)
    if was.tenant != row.tenant:
        raise NotFound("no such endpoint")
    if was.version != expected_version:
        raise Conflict("the endpoint changed meanwhile")
    _check_uid(transaction, row)
    version = transaction.raise_registry()
    _tell_state(transaction, was, row.state)
    warnings = _encode(list(row.warnings))
    transaction.execute(
        queries.ENDPOINT_REPLACE, (row.uid, row.state.value, row.spec, row.sealed, warnings, now_ms, version, row.id)
    )
    if row.state is EndpointState.ACTIVE and was.state is not EndpointState.ACTIVE:
        transaction.execute(queries.HEALTH_FORGET, (row.id,))
    return msgspec.structs.replace(
        row, created_at_ms=was.created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


def _tell_state(transaction: Transaction, was: EndpointRow, state: EndpointState) -> None:
    if state is not was.state:
        transaction.changed(was.tenant, was.id, None, was.state.value, state.value)


def set_endpoint_state(
    transaction: Transaction, endpoint_id: bytes, state: EndpointState, expected_version: int | None
) -> EndpointRow:
    """`Registry.set_endpoint_state`, in the writer's transaction."""
    row = _find(transaction, endpoint_id)
    if expected_version is not None and row.version != expected_version:
        raise Conflict("the endpoint changed meanwhile")
    version = transaction.raise_registry()
    transaction.execute(queries.ENDPOINT_STATE_SET, (state.value, transaction.now_ms, version, endpoint_id))
    if state is EndpointState.ACTIVE:
        transaction.execute(queries.HEALTH_FORGET, (endpoint_id,))
    _tell_state(transaction, row, state)
    return msgspec.structs.replace(row, state=state, updated_at_ms=transaction.now_ms, version=version)


def delete_endpoint(transaction: Transaction, endpoint_id: bytes) -> None:
    """`Registry.delete_endpoint`, in the writer's transaction."""
    row = _find(transaction, endpoint_id)
    version = transaction.raise_registry()
    transaction.execute(queries.ENDPOINT_DELETE, (transaction.now_ms, version, endpoint_id))
    transaction.changed(row.tenant, endpoint_id, None, row.state.value, "deleted")


def event_type_versions(connection: sqlite3.Connection, tenant: str, name: str) -> list[EventTypeRow]:
    """`Registry.event_type_versions`, from a reader or in the writer's transaction."""
    return [_event_type(row) for row in connection.execute(queries.EVENT_TYPE_VERSIONS, (tenant, name))]


def put_event_type(transaction: Transaction, row: EventTypeRow, *, create: bool) -> EventTypeRow:
    """`Registry.put_event_type`, in the writer's transaction."""
    versions = event_type_versions(transaction.connection, row.tenant, row.name)
    if create and versions:
        raise Conflict(f"there is an event type {row.name}", code="name_taken")
    if not create and not versions:
        raise NotFound(f"no event type {row.name}")
    require_tenant(transaction, row.tenant)
    version = transaction.raise_registry()
    if versions and versions[0].schema == row.schema:
        current = versions[0]
        transaction.execute(
            queries.EVENT_TYPE_CHANGE,
            (row.mode, row.example, row.description, version, row.tenant, row.name, current.number),
        )
        return msgspec.structs.replace(
            row, number=current.number, created_at_ms=current.created_at_ms, version=version, deleted=False
        )
    if not versions:  # a tombstone of an earlier one
        transaction.execute(queries.EVENT_TYPE_DELETE, (row.tenant, row.name))
    number = versions[0].number + 1 if versions else 1
    stored = msgspec.structs.replace(
        row, number=number, created_at_ms=transaction.now_ms, version=version, deleted=False
    )
    _add_event_type(transaction, stored)
    return stored


def delete_event_type(transaction: Transaction, tenant: str, name: str) -> None:
    """`Registry.delete_event_type`, in the writer's transaction."""
    versions = event_type_versions(transaction.connection, tenant, name)
    if not versions:
        raise NotFound(f"no event type {name}")
    bury_event_type(transaction, tenant, name, versions[0].mode, transaction.raise_registry())


def bury_event_type(transaction: Transaction, tenant: str, name: str, mode: str, version: int) -> None:
    """Put a tombstone in the place of an event type's versions."""
    transaction.execute(queries.EVENT_TYPE_DELETE, (tenant, name))
    tombstone = EventTypeRow(
        tenant=tenant, name=name, number=0, mode=mode, created_at_ms=transaction.now_ms, version=version
    )
    _add_event_type(transaction, tombstone)


def _add_event_type(transaction: Transaction, row: EventTypeRow) -> None:
    transaction.execute(
        queries.EVENT_TYPE_ADD,
        (
            row.tenant,
            row.name,
            row.number,
            row.mode,
            row.schema,
            row.example,
            row.description,
            row.created_at_ms,
            row.version,
        ),
    )
