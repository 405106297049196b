"""Where events come in, on PostgreSQL: `ports.store.Sources`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.postgres import sources
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.ports.store import REJECTIONS_KEPT, Page, QuarantinedRow, RejectionRow, SourceRow


class SourcesPart(PostgresBase):
    """Where events come in, on PostgreSQL: `ports.store.Sources`."""

    async def put_source(self, row: SourceRow, expected_version: int | None = None) -> SourceRow:
        """`Sources.put_source`."""
        return await self._write(partial(sources.put_source, row=row, expected_version=expected_version))

    async def delete_source(self, source_id: bytes) -> None:
        """`Sources.delete_source`."""
        await self._write(partial(sources.delete_source, source_id=source_id))

    async def quarantined(self, source_id: bytes, limit: int, before: bytes | None) -> Page[QuarantinedRow]:
        """`Sources.quarantined`."""
        return await self._read(partial(sources.quarantined, source_id=source_id, limit=limit, before=before))

    async def quarantined_of(self, source_id: bytes, quarantined_id: bytes) -> QuarantinedRow | None:
        """`Sources.quarantined_of`."""
        return await self._read(partial(sources.quarantined_of, source_id=source_id, quarantined_id=quarantined_id))

    async def drop_quarantined(self, source_id: bytes, quarantined_id: bytes) -> None:
        """`Sources.drop_quarantined`."""
        await self._write(partial(sources.drop, source_id=source_id, quarantined_id=quarantined_id))

    async def add_rejections(self, rows: Sequence[RejectionRow], kept: int = REJECTIONS_KEPT) -> None:
        """`Sources.add_rejections`."""
        await self._write(partial(sources.add_rejections, refused=rows, kept=kept))

    async def rejections(self, source_id: bytes, limit: int, before: bytes | None) -> Page[RejectionRow]:
        """`Sources.rejections`."""
        return await self._read(partial(sources.rejections, source_id=source_id, limit=limit, before=before))
