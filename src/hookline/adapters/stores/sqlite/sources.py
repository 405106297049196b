"""Sources, what is in their quarantine, and what they refused of late."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.sqlite import registry, rows
from hookline.adapters.stores.sqlite import source_queries as queries
from hookline.adapters.stores.sqlite.connection import overwriting
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.errors import Conflict, NotFound
from hookline.core.event import Event
from hookline.ports.store import NewEvent, Page, QuarantinedRow, RejectionRow, SourceRow

_END = b"\xff" * ids.ROOT_BYTES
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


def _find(transaction: Transaction, source_id: bytes) -> SourceRow:
    found = transaction.execute(queries.SOURCE_FIND, (source_id,)).fetchone()
    if found is None or found[9]:
        raise NotFound("no such source")
    return rows.source(found)


def _check_names(transaction: Transaction, row: SourceRow) -> None:
    """A reference must mean one source, whether it is a name or a uid."""
    found = transaction.execute(queries.SOURCE_NAMESAKES, (row.tenant, row.id, row.name, row.uid)).fetchall()
    if any(row.name in names for names in found):
        raise Conflict(f"another source has the name {row.name}", code="name_taken")
    if found:
        raise Conflict(f"another source has the uid {row.uid}", code="uid_taken")


def put_source(transaction: Transaction, row: SourceRow, expected_version: int | None) -> SourceRow:
    """`Sources.put_source`, in the writer's transaction."""
    now_ms = transaction.now_ms
    if expected_version is None:
        if transaction.execute(queries.SOURCE_FIND, (row.id,)).fetchone() is not None:
            raise Conflict("a source with this id exists")
        registry.require_tenant(transaction, row.tenant)
        _check_names(transaction, row)
        version = transaction.raise_registry()
        place = (row.id, row.tenant, row.name, row.uid)
        transaction.execute(queries.SOURCE_ADD, (*place, row.spec, row.sealed, now_ms, now_ms, version))
        return msgspec.structs.replace(row, created_at_ms=now_ms, updated_at_ms=now_ms, version=version, deleted=False)
    was = _find(transaction, row.id)
    if was.tenant != row.tenant:
        raise NotFound("no such source")
    if was.version != expected_version:
        raise Conflict("the source changed meanwhile")
    _check_names(transaction, row)
    version = transaction.raise_registry()
    transaction.execute(queries.SOURCE_REPLACE, (row.name, row.uid, row.spec, row.sealed, now_ms, version, row.id))
    return msgspec.structs.replace(
        row, created_at_ms=was.created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


def delete_source(transaction: Transaction, source_id: bytes) -> None:
    """`Sources.delete_source`, in the writer's transaction."""
    _find(transaction, source_id)
    kept = transaction.execute(queries.QUARANTINE_KEPT, (source_id,)).fetchone()
    if kept is not None and kept[0] > 0:
        raise Conflict(f"{kept[0]} of its requests are in quarantine: release or drop them first", code="wrong_state")
    version = transaction.raise_registry()
    transaction.execute(queries.SOURCE_DELETE, (transaction.now_ms, version, source_id))
    transaction.execute(queries.REJECTIONS_DELETE, (source_id,))


def delete_of(transaction: Transaction, tenant: str, version: int) -> None:
    """Delete a tenant's sources with him; what is in their quarantine is purged soon."""
    transaction.execute(queries.REJECTIONS_DELETE_OF, (tenant,))
    transaction.execute(queries.SOURCES_DELETE_OF, (transaction.now_ms, version, tenant))


# ------------------------------------------------------------------------------------------------ quarantine


def keep(transaction: Transaction, item: NewEvent) -> bool:
    """Put an item of an accept into quarantine; whether there was room."""
    event, why = item.event, item.quarantine
    assert why is not None
    up = (why.source_id, event.tenant, why.kept_max)
    if transaction.execute(queries.QUARANTINE_COUNT_UP, up).rowcount == 0:
        return False
    packed = _encode(msgspec.structs.replace(event, data=b""))
    row = (event.id, why.source_id, event.tenant, packed, why.problem, event.data)
    transaction.execute(queries.QUARANTINE_ADD, row)
    return True


def take(transaction: Transaction, tenant: str, quarantined_id: bytes) -> bool:
    """Take out what is released; whether it was there."""
    found = transaction.execute(queries.QUARANTINE_TAKE, (quarantined_id, tenant)).fetchone()
    if found is None:
        return False
    _count_down(transaction, [found])
    return True


def drop(transaction: Transaction, source_id: bytes, quarantined_id: bytes) -> None:
    """`Sources.drop_quarantined`, in the writer's transaction."""
    if transaction.execute(queries.QUARANTINE_FIND, (source_id, quarantined_id)).fetchone() is None:
        raise NotFound("no such request in quarantine")
    with overwriting(transaction.connection):
        transaction.execute(queries.QUARANTINE_DROP, (quarantined_id, source_id))
    _count_down(transaction, [(source_id,)])


def purge(transaction: Transaction, keys: Sequence[Any]) -> int:
    """Remove what has waited for too long; how many."""
    gone = queries.QUARANTINE_PURGE.rows(transaction.connection, keys)
    _count_down(transaction, gone)
    return len(gone)


def _count_down(transaction: Transaction, gone: Iterable[Sequence[bytes]]) -> None:
    counts: dict[bytes, int] = {}
    for (source_id,) in gone:
        counts[source_id] = counts.get(source_id, 0) + 1
    for source_id, count in counts.items():
        transaction.execute(queries.QUARANTINE_COUNT_DOWN, (count, source_id))
        transaction.execute(queries.QUARANTINE_COUNT_END, (source_id,))


def _quarantined(row: Sequence[Any]) -> QuarantinedRow:
    source_id, packed, problem, size_bytes, data = row
    return QuarantinedRow(msgspec.structs.replace(_decode(packed), data=data), source_id, problem, size_bytes)


def quarantined(
    connection: sqlite3.Connection, source_id: bytes, limit: int, before: bytes | None
) -> Page[QuarantinedRow]:
    """`Sources.quarantined`, from a reader."""
    found = connection.execute(queries.QUARANTINE_PAGE, (source_id, before or _END, limit + 1)).fetchall()
    page = [_quarantined(row) for row in found[:limit]]
    return Page(page, page[-1].id if len(found) > limit else None)


def quarantined_of(connection: sqlite3.Connection, source_id: bytes, quarantined_id: bytes) -> QuarantinedRow | None:
    """`Sources.quarantined_of`, from a reader."""
    found = connection.execute(queries.QUARANTINE_FIND, (source_id, quarantined_id)).fetchone()
    return None if found is None else _quarantined(found)


# ------------------------------------------------------------------------------------------------ rejections


def add_rejections(transaction: Transaction, refused: Sequence[RejectionRow], kept: int) -> None:
    """`Sources.add_rejections`, in the writer's transaction."""
    transaction.execute_many(queries.REJECTION_ADD, [(row.source_id, row.id, row.packed) for row in refused])
    transaction.execute_many(
        queries.REJECTIONS_PRUNE, [(source_id, kept) for source_id in {r.source_id for r in refused}]
    )


def rejections(
    connection: sqlite3.Connection, source_id: bytes, limit: int, before: bytes | None
) -> Page[RejectionRow]:
    """`Sources.rejections`, from a reader."""
    found = connection.execute(queries.REJECTIONS_PAGE, (source_id, before or _END, limit + 1)).fetchall()
    page = [RejectionRow(*row) for row in found[:limit]]
    return Page(page, page[-1].id if len(found) > limit else None)
