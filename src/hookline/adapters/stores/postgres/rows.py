"""Rows as the core's words, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.adapters.stores.kept_event import event_of, pack_attributes
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import DataError
from hookline.core.event import Event
from hookline.ports.store import KeyRow, OpenRef, SourceRow, TenantRow

EVENT_COLUMNS: Final = "id, tenant, type, source, source_id, subject, content_type, attributes, encoding, data"
OPEN_COLUMNS: Final = (
    "id, event_id, endpoint_id, tenant, state, rank, due_ms, fence, lease_until_ms, tries, attempts, lost, size_bytes,"
    " lane, seq, reason"
)
CLOSED_COLUMNS: Final = (
    "id, event_id, endpoint_id, tenant, state, finished_ms, fence, tries, attempts, size_bytes, lane, seq, reason"
)


def attributes(event: Event) -> bytes:
    """An event's attributes as stored. Raises `DataError`."""
    try:
        return pack_attributes(event)
    except (OverflowError, ValueError, TypeError) as error:
        raise DataError(str(error)[:500]) from error


def event(row: Mapping[str, Any], identifier: bytes | None = None) -> Event:
    """The event of a row with `EVENT_COLUMNS`."""
    return event_of(
        row["id"] if identifier is None else identifier,
        row["tenant"],
        row["type"],
        row["source"],
        row["source_id"],
        row["subject"],
        row["content_type"],
        row["attributes"],
        row["encoding"],
        row["data"],
    )


def tenant(row: Mapping[str, Any]) -> TenantRow:
    """The tenant of a row."""
    return TenantRow(row["id"], row["spec"], row["created_at_ms"], row["updated_at_ms"], row["version"], row["deleted"])


def key(row: Mapping[str, Any]) -> KeyRow:
    """The key of a row."""
    return KeyRow(
        row["id"],
        row["tenant"],
        row["digest"],
        row["hint"],
        row["spec"],
        row["created_at_ms"],
        row["version"],
        row["deleted"],
    )


def source(row: Mapping[str, Any]) -> SourceRow:
    """The source of a row."""
    return SourceRow(**dict(row))


def event_id(row: Mapping[str, Any]) -> bytes:
    """The event that a row of `open` or `closed` delivers."""
    replay_of: bytes | None = row["event_id"]
    identifier: bytes = row["id"]
    return identifier[: ids.ROOT_BYTES] if replay_of is None else replay_of


def open_ref(row: Mapping[str, Any]) -> OpenRef:
    """The reference of a row of `open`."""
    return OpenRef(
        row["id"], row["fence"], row["endpoint_id"], row["tenant"], event_id(row), State(row["state"]), row["lost"]
    )
