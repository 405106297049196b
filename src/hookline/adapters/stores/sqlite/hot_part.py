"""The way of an event, on SQLite: `ports.store.Deliveries`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.sqlite import accept, claim, queries, record
from hookline.adapters.stores.sqlite.foundation import CLAIM_BYTES_MAX, LONG_READ_S_MAX, SqliteBase
from hookline.ports.store import (
    AcceptRequest,
    AcceptResult,
    ClaimEntry,
    ClaimResult,
    HealthChange,
    RecordItem,
    RecordResult,
)


class HotPart(SqliteBase):
    """The way of an event, on SQLite: `ports.store.Deliveries`."""

    async def accept(self, requests: Sequence[AcceptRequest], registry_version: int) -> Sequence[AcceptResult]:
        """`Deliveries.accept`. Raises `StoreUnavailable` code `disk_full` when the disk is nearly full."""
        full = self._why_full()
        if full is not None:
            raise full
        items, size_bytes = accept.weigh(requests)
        work = partial(accept.accept, requests=requests, registry_version=registry_version)
        return await self._write(work, items, size_bytes)

    async def claim(self, entries: Sequence[ClaimEntry], bytes_max: int = CLAIM_BYTES_MAX) -> ClaimResult:
        """`Deliveries.claim`."""
        return await self._write(partial(claim.claim, entries=entries, bytes_max=bytes_max), len(entries))

    async def claim_ids(
        self, delivery_ids: Sequence[bytes], entries: Sequence[ClaimEntry], bytes_max: int = CLAIM_BYTES_MAX
    ) -> ClaimResult:
        """`Deliveries.claim_ids`."""
        work = partial(claim.claim, entries=entries, bytes_max=bytes_max, delivery_ids=delivery_ids)
        return await self._write(work, len(delivery_ids))

    async def record(
        self, items: Sequence[RecordItem], healths: Sequence[HealthChange] = (), registry_version: int = 0
    ) -> RecordResult:
        """`Deliveries.record`."""
        count, size_bytes = record.weigh(items)
        work = partial(record.record, items=items, healths=healths, registry_version=registry_version)
        return await self._write(work, count + len(healths), size_bytes)

    async def release(self, leases: Sequence[tuple[bytes, int]]) -> Sequence[bool]:
        """`Deliveries.release`."""
        return await self._write(partial(record.release, leases=leases), len(leases))

    async def due(self) -> dict[bytes, float]:
        """`Deliveries.due`."""
        return await self._read(partial(claim.due, now_ms=self.now_ms()), LONG_READ_S_MAX)

    async def endpoints_of(self, delivery_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """`Deliveries.endpoints_of`."""
        return await self._read(lambda connection: dict(queries.ENDPOINTS_OF.rows(connection, delivery_ids)))
