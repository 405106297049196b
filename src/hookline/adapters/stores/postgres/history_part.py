"""What happened, on PostgreSQL: `ports.store.Archive` and `Stream`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.postgres import archive, counters, stream
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.core.event import Event
from hookline.ports.store import AttemptRow, Counts, DeliveryRow, Entry, Page, Query


class HistoryPart(PostgresBase):
    """What happened."""

    async def events(self, query: Query) -> Page[Event]:
        """`Archive.events`."""
        return await self._read(partial(archive.events, query=query))

    async def event(self, tenant: str | None, event_id: bytes) -> Event | None:
        """`Archive.event`."""
        return await self._read(partial(archive.event, tenant=tenant, event_id=event_id))

    async def deliveries(self, query: Query) -> Page[DeliveryRow]:
        """`Archive.deliveries`."""
        return await self._read(partial(archive.deliveries, query=query))

    async def delivery(self, tenant: str | None, delivery_id: bytes) -> DeliveryRow | None:
        """`Archive.delivery`."""
        return await self._read(partial(archive.delivery, tenant=tenant, delivery_id=delivery_id))

    async def attempts(self, delivery_id: bytes) -> Sequence[AttemptRow]:
        """`Archive.attempts`."""
        return await self._read(partial(archive.attempts, delivery_id=delivery_id))

    async def counts(self, tenant: str | None, endpoint_id: bytes | None = None) -> Counts:
        """`Archive.counts`."""
        return await self._read(partial(counters.counts, tenant=tenant, endpoint_id=endpoint_id))

    async def runnable_oldest_s(self) -> tuple[int, float]:
        """`Archive.runnable_oldest_s`."""
        return await self._read(archive.runnable_oldest_s)

    async def stream_end(self) -> bytes:
        """`Stream.stream_end`."""
        return await self._read(stream.stream_end)

    async def stream(self, after: bytes, limit: int = 500, until: bytes | None = None) -> Sequence[Entry]:
        """`Stream.stream`: at most 2,500 entries."""
        return await self._read(partial(stream.stream, after=after, limit=limit, until=until))
