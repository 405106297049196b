"""Sources, what is in their quarantine, and what they refused of late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hookline.adapters.stores.postgres import registry, rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.errors import Conflict, NotFound
from hookline.core.event import Event
from hookline.ports.store import Page, QuarantinedRow, RejectionRow, SourceRow

_END: Final = b"\xff" * ids.ROOT_BYTES
_decode = msgspec.msgpack.Decoder(Event).decode


async def _find(transaction: Transaction, source_id: bytes) -> SourceRow:
    found = await transaction.row("SELECT * FROM sources WHERE id = $1 FOR UPDATE", source_id)
    if found is None or found["deleted"]:
        raise NotFound("no such source")
    return rows.source(found)


async def _check_names(transaction: Transaction, row: SourceRow) -> None:
    """A reference must mean one source, whether it is a name or a uid."""
    found = await transaction.rows(
        "SELECT name, uid FROM sources WHERE tenant = $1 AND NOT deleted AND id <> $2"
        " AND (name IN ($3, $4) OR uid IN ($3, $4))",
        row.tenant,
        row.id,
        row.name,
        row.uid,
    )
    if any(row.name in (one["name"], one["uid"]) for one in found):
        raise Conflict(f"another source has the name {row.name}", code="name_taken")
    if found:
        raise Conflict(f"another source has the uid {row.uid}", code="uid_taken")


async def put_source(transaction: Transaction, row: SourceRow, expected_version: int | None) -> SourceRow:
    """`Sources.put_source`."""
    version = await transaction.raise_registry()
    now_ms = transaction.now_ms
    if expected_version is None:
        if await transaction.value("SELECT id FROM sources WHERE id = $1", row.id) is not None:
            raise Conflict("a source with this id exists")
        await registry.require_tenant(transaction, row.tenant)
        await _check_names(transaction, row)
        await transaction.run(
            "INSERT INTO sources (id, tenant, name, uid, spec, sealed, created_at_ms, updated_at_ms, version)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
            row.id,
            row.tenant,
            row.name,
            row.uid,
            row.spec,
            row.sealed,
            now_ms,
            version,
        )
        return msgspec.structs.replace(row, created_at_ms=now_ms, updated_at_ms=now_ms, version=version, deleted=False)
    was = await _find(transaction, row.id)
    if was.tenant != row.tenant:
        raise NotFound("no such source")
    if was.version != expected_version:
        raise Conflict("the source changed meanwhile")
    await _check_names(transaction, row)
    await transaction.run(
        "UPDATE sources SET name = $1, uid = $2, spec = $3, sealed = $4, updated_at_ms = $5, version = $6"
        " WHERE id = $7",
        row.name,
        row.uid,
        row.spec,
        row.sealed,
        now_ms,
        version,
        row.id,
    )
    return msgspec.structs.replace(
        row, created_at_ms=was.created_at_ms, updated_at_ms=now_ms, version=version, deleted=False
    )


async def delete_source(transaction: Transaction, source_id: bytes) -> None:
    """`Sources.delete_source`."""
    version = await transaction.raise_registry()
    await _find(transaction, source_id)
    kept = await transaction.value("SELECT kept FROM quarantine_totals WHERE source_id = $1", source_id)
    if kept:
        raise Conflict(f"{kept} of its requests are in quarantine: release or drop them first", code="wrong_state")
    await transaction.run(
        "UPDATE sources SET deleted = true, sealed = ''::bytea, updated_at_ms = $1, version = $2 WHERE id = $3",
        transaction.now_ms,
        version,
        source_id,
    )
    await transaction.run("DELETE FROM rejections WHERE source_id = $1", source_id)


async def delete_of(transaction: Transaction, tenant: str, version: int) -> None:
    """Delete a tenant's sources with him; what is in their quarantine is purged soon."""
    await transaction.run(
        "DELETE FROM rejections r USING sources s WHERE s.id = r.source_id AND s.tenant = $1 AND NOT s.deleted", tenant
    )
    await transaction.run(
        "UPDATE sources SET deleted = true, sealed = ''::bytea, updated_at_ms = $1, version = $2"
        " WHERE tenant = $3 AND NOT deleted",
        transaction.now_ms,
        version,
        tenant,
    )


# ------------------------------------------------------------------------------------------------ quarantine


async def drop(transaction: Transaction, source_id: bytes, quarantined_id: bytes) -> None:
    """`Sources.drop_quarantined`."""
    gone = await transaction.rows(
        "DELETE FROM quarantine WHERE id = $1 AND source_id = $2 RETURNING source_id", quarantined_id, source_id
    )
    if not gone:
        raise NotFound("no such request in quarantine")
    await _count_down(transaction, gone)


async def purge(transaction: Transaction, keys: Sequence[Any]) -> int:
    """Remove what has waited for too long; how many."""
    gone = await transaction.rows("DELETE FROM quarantine WHERE id = ANY ($1) RETURNING source_id", list(keys))
    await _count_down(transaction, gone)
    return len(gone)


async def _count_down(transaction: Transaction, gone: Sequence[Mapping[str, Any]]) -> None:
    counts: dict[bytes, int] = {}
    for row in gone:
        counts[row["source_id"]] = counts.get(row["source_id"], 0) + 1
    for source_id, count in sorted(counts.items()):
        await transaction.run("UPDATE quarantine_totals SET kept = kept - $1 WHERE source_id = $2", count, source_id)
        await transaction.run("DELETE FROM quarantine_totals WHERE source_id = $1 AND kept <= 0", source_id)


def _quarantined(row: Mapping[str, Any]) -> QuarantinedRow:
    event = msgspec.structs.replace(_decode(row["event"]), data=row["data"])
    return QuarantinedRow(event, row["source_id"], row["problem"], row["size"])


async def quarantined(
    transaction: Transaction, source_id: bytes, limit: int, before: bytes | None
) -> Page[QuarantinedRow]:
    """`Sources.quarantined`."""
    found = await transaction.rows(
        "SELECT source_id, event, problem, octet_length(data) AS size, ''::bytea AS data FROM quarantine"
        " WHERE source_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        source_id,
        before or _END,
        limit + 1,
    )
    page = [_quarantined(row) for row in found[:limit]]
    return Page(page, page[-1].id if len(found) > limit else None)


async def quarantined_of(transaction: Transaction, source_id: bytes, quarantined_id: bytes) -> QuarantinedRow | None:
    """`Sources.quarantined_of`."""
    found = await transaction.row(
        "SELECT source_id, event, problem, octet_length(data) AS size, data FROM quarantine"
        " WHERE source_id = $1 AND id = $2",
        source_id,
        quarantined_id,
    )
    return None if found is None else _quarantined(found)


# ------------------------------------------------------------------------------------------------ rejections


async def add_rejections(transaction: Transaction, refused: Sequence[RejectionRow], kept: int) -> None:
    """`Sources.add_rejections`."""
    await transaction.run(
        "INSERT INTO rejections (source_id, id, packed) SELECT u.source_id, u.id, u.packed"
        " FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS u (source_id, id, packed)"
        " JOIN sources s ON s.id = u.source_id AND NOT s.deleted ON CONFLICT DO NOTHING",
        [row.source_id for row in refused],
        [row.id for row in refused],
        [row.packed for row in refused],
    )
    for source_id in sorted({row.source_id for row in refused}):
        await transaction.run(
            "DELETE FROM rejections WHERE source_id = $1 AND id <="
            " (SELECT id FROM rejections WHERE source_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
            source_id,
            kept,
        )


async def rejections(
    transaction: Transaction, source_id: bytes, limit: int, before: bytes | None
) -> Page[RejectionRow]:
    """`Sources.rejections`."""
    found = await transaction.rows(
        "SELECT id, source_id, packed FROM rejections WHERE source_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        source_id,
        before or _END,
        limit + 1,
    )
    page = [RejectionRow(*row) for row in found[:limit]]
    return Page(page, page[-1].id if len(found) > limit else None)
