"""Sources as they are stored, with what is kept beside them: requests that wait for a person, and those refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.core.event import Event
from hookline.ports.store.archive import Page

QUARANTINED_MAX = 10_000
"""Requests that one source may have in quarantine; what is more is refused."""
REJECTIONS_KEPT = 100
"""Rejections that are kept of each source: the newest."""


class SourceRow(msgspec.Struct, frozen=True, gc=False):
    """A source as stored. `spec` is its JSON without secrets, `sealed` its encrypted secrets."""

    id: bytes
    tenant: str
    name: str
    uid: str | None
    spec: bytes
    sealed: bytes
    created_at_ms: int = 0
    updated_at_ms: int = 0
    version: int = 0
    """The registry version of its last change; set by the store."""
    deleted: bool = False


class NewQuarantine(msgspec.Struct, frozen=True, gc=False):
    """Why a `NewEvent` is not accepted but kept for a person: it goes into the quarantine of its source."""

    source_id: bytes
    problem: bytes
    """What is wrong with it, as JSON (an RFC 9457 problem)."""
    kept_max: int = QUARANTINED_MAX
    """With so many kept already, it is not."""


class QuarantinedRow(msgspec.Struct, frozen=True, gc=False):
    """What waits in quarantine. `event.id` is its own id, 12 bytes, which is that of no event."""

    event: Event
    """The event that it would be. In a list without its payload."""
    source_id: bytes
    problem: bytes
    size_bytes: int
    """Of the payload."""

    @property
    def id(self) -> bytes:
        """12 bytes; outside `qrn_…`."""
        return self.event.id


class RejectionRow(msgspec.Struct, frozen=True, gc=False):
    """A refused request as it is kept for a while: `packed` is a `core.rejection.Rejection`."""

    id: bytes
    source_id: bytes
    packed: bytes


class Sources(Protocol):
    """Where events come in from outside. `Registry.changes` reads the rows of sources; what is quarantined comes by
    `Deliveries.accept` (`NewEvent.quarantine`) and goes by it too (`NewEvent.released`)."""

    async def put_source(self, row: SourceRow, expected_version: int | None = None) -> SourceRow:
        """Create (`expected_version` None) or replace; returns the row as stored, with times. Raises the registry
        version by 1. A name or uid belongs to one source of its tenant, also as the other of the two.

        Raises `Conflict` code `name_taken` or `uid_taken`; code `conflict` when it changed since `expected_version`;
        `NotFound`, also when its tenant is deleted.
        """
        ...

    async def delete_source(self, source_id: bytes) -> None:
        """A tombstone; its name and uid are free again, its rejections go. Raises the registry version by 1. Raises
        `NotFound`; `Conflict` code `wrong_state` while it has anything in quarantine."""
        ...

    async def quarantined(self, source_id: bytes, limit: int, before: bytes | None) -> Page[QuarantinedRow]:
        """What a source has in quarantine, newest first, without payloads; only ids below `before`."""
        ...

    async def quarantined_of(self, source_id: bytes, quarantined_id: bytes) -> QuarantinedRow | None:
        """One of them, with its payload."""
        ...

    async def drop_quarantined(self, source_id: bytes, quarantined_id: bytes) -> None:
        """A person decided: it goes for ever, also from the free pages of the file. A repeat of its request stays a
        duplicate. Raises `NotFound`."""
        ...

    async def add_rejections(self, rows: Sequence[RejectionRow], kept: int = REJECTIONS_KEPT) -> None:
        """Keep these; of each source only the newest `kept` stay. Those of sources that are gone are passed over."""
        ...

    async def rejections(self, source_id: bytes, limit: int, before: bytes | None) -> Page[RejectionRow]:
        """What is kept of a source, newest first; only ids below `before`."""
        ...
