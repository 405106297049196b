"""Rows as the core's words, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.kept_event import event_of, pack_attributes
from hookline.core import ids
from hookline.core.event import Event
from hookline.ports.store import KeyRow, SourceRow, TenantRow


def _value(column: str | None) -> str | None:
    if column:
        return column
    return "" if column is None else None


def event_parameters(event: Event) -> tuple[Any, ...]:
    """The parameters of one row of `queries.EVENTS_ADD`.

    A `source_id` or `subject` that is None is stored as '' and '' as NULL: None is the common case, and binding a
    None costs 0.5 µs.
    """
    source_id = event.source_id
    subject = event.subject
    return (
        bytearray(event.id),
        event.tenant,
        event.type,
        event.source,
        source_id or ("" if source_id is None else None),
        subject or ("" if subject is None else None),
        event.content_type,
        bytearray(pack_attributes(event)),
        bytearray(event.data),
    )


def event(row: Sequence[Any]) -> Event:
    """The event of a row of `queries.EVENT_COLUMNS`."""
    identifier, tenant, kind, source, source_id, subject, content_type, attributes, encoding, data = row
    texts = (tenant, kind, source, _value(source_id), _value(subject), content_type)
    return event_of(identifier, *texts, attributes, encoding, data)


def tenant(row: Sequence[Any]) -> TenantRow:
    """The tenant of a row of `queries.TENANT_COLUMNS`."""
    identifier, spec, created_at_ms, updated_at_ms, version, deleted = row
    return TenantRow(identifier, spec, created_at_ms, updated_at_ms, version, bool(deleted))


def key(row: Sequence[Any]) -> KeyRow:
    """The key of a row of `queries.KEY_COLUMNS`."""
    identifier, tenant_id, digest, hint, spec, created_at_ms, version, deleted = row
    return KeyRow(identifier, tenant_id, digest, hint, spec, created_at_ms, version, bool(deleted))


def source(row: Sequence[Any]) -> SourceRow:
    """The source of a row of `source_queries.SOURCE_COLUMNS`."""
    identifier, tenant_id, name, uid, spec, sealed, created_at_ms, updated_at_ms, version, deleted = row
    times = (created_at_ms, updated_at_ms, version)
    return SourceRow(identifier, tenant_id, name, uid, spec, sealed, *times, deleted=bool(deleted))


class OpenRow(msgspec.Struct, gc=False):
    """A row of `queries.OPEN_COLUMNS`."""

    id: bytes
    replay_of: bytes | None
    endpoint_id: bytes
    tenant: str
    state: int
    rank: int
    due_ms: int
    fence: int
    lease_until_ms: int
    tries: int
    attempts: int
    lost: int
    size_bytes: int
    lane: str | None
    seq: int | None
    reason: str | None

    @property
    def event_id(self) -> bytes:
        """The event it delivers."""
        return self.replay_of if self.replay_of is not None else self.id[: ids.ROOT_BYTES]


class ClosedRow(msgspec.Struct, gc=False):
    """A row of `closed`, in the order of `queries.CLOSED_FIND` and `CLOSED_ADD`."""

    id: bytes
    replay_of: bytes | None
    endpoint_id: bytes
    tenant: str
    state: int
    finished_ms: int
    fence: int
    tries: int
    attempts: int
    size_bytes: int
    lane: str | None
    seq: int | None
    reason: str | None

    @property
    def event_id(self) -> bytes:
        """The event it delivers."""
        return self.replay_of if self.replay_of is not None else self.id[: ids.ROOT_BYTES]
