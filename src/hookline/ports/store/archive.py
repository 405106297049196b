"""What happened: rows, filters, pages, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from hookline.core.event import Event

T = TypeVar("T")


class Query(msgspec.Struct, frozen=True):
    """Filters of a list; None: any. `limit` ≤ 1,000. Newest first."""

    tenant: str | None
    limit: int = 50
    before: bytes | None = None
    """The cursor: only ids below it; above it where `oldest_first`."""
    oldest_first: bool = False
    since_ms: int | None = None
    """Inclusive."""
    until_ms: int | None = None
    """Exclusive."""
    type: str | None = None
    source: str | None = None
    source_id: str | None = None
    subject: str | None = None
    state: str | None = None
    """A state's word as reported: `held` and `pending` follow the endpoint's state."""
    endpoint_id: bytes | None = None
    event_id: bytes | None = None
    reason: str | None = None


class DeliveryRow(msgspec.Struct, frozen=True, gc=False):
    """A delivery as listed."""

    id: bytes
    event_id: bytes
    endpoint_id: bytes
    tenant: str
    type: str
    state: str
    """The word as reported."""
    attempts: int
    next_at_ms: int | None
    """When it is due, for a pending one."""
    reason: str | None
    """Of its last attempt, or why it was closed."""
    created_at_ms: int
    finished_at_ms: int | None
    ordering_key: str | None
    replay_of: bytes | None
    """The event it replays; None for a delivery made at acceptance."""
    erased: bool = False
    """The payload of its event was erased: it is never sent again."""


class AttemptRow(msgspec.Struct, frozen=True, gc=False):
    """A stored attempt: `packed` is what `RecordItem.attempt` was."""

    delivery_id: bytes
    fence: int
    packed: bytes


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. `next` is the cursor for `Query.before`; None: the end. May be short: a page examines at
    most 10,000 rows."""

    rows: Sequence[T]
    next: bytes | None


class Counts(msgspec.Struct, frozen=True):
    """The books. Always: deliveries = delivered + failed + discarded + pending + leased + held + unconfirmed."""

    events: int = 0
    deliveries: int = 0
    delivered: int = 0
    failed: int = 0
    discarded: int = 0
    pending: int = 0
    leased: int = 0
    held: int = 0
    unconfirmed: int = 0
    quarantined: int = 0
    """Inbound requests that wait for a person; of an endpoint none."""


class Archive(Protocol):
    """What happened. Read-only and bounded: no read takes more than 250 ms or 10,000 rows."""

    async def events(self, query: Query) -> Page[Event]:
        """Events, newest first."""
        ...

    async def event(self, tenant: str | None, event_id: bytes) -> Event | None:
        """One event (None tenant: any)."""
        ...

    async def deliveries(self, query: Query) -> Page[DeliveryRow]:
        """Deliveries, open and closed, newest first."""
        ...

    async def delivery(self, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
        """One delivery."""
        ...

    async def attempts(self, delivery_id: bytes) -> Sequence[AttemptRow]:
        """All attempts of a delivery, oldest first (at most 1,000)."""
        ...

    async def counts(self, tenant: str | None, endpoint_id: bytes | None = None) -> Counts:
        """The books of a tenant (None: of all), or of one endpoint, of one moment, without a scan of history."""
        ...

    async def runnable_oldest_s(self) -> tuple[int, float]:
        """How many endpoints have something that could start now, and how long its oldest has been due."""
        ...
