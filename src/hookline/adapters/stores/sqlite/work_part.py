"""What runs beside, on SQLite: `ports.store.Upkeep`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.sqlite import again, counters, queries, upkeep
from hookline.adapters.stores.sqlite.foundation import LONG_READ_S_MAX, SqliteBase
from hookline.core.errors import StoreUnavailable
from hookline.ports.store import (
    NewDelivery,
    OpenRef,
    Pulse,
)


class WorkPart(SqliteBase):
    """What runs beside, on SQLite: `ports.store.Upkeep`."""

    async def pulse(self) -> Pulse:
        """`Upkeep.pulse`: there is nobody but this process."""
        return await self._read(
            lambda connection: Pulse(
                connection.execute(queries.META, ("registry_version",)).fetchone()[0],
                erasures=(connection.execute(queries.META, ("erasures",)).fetchone() or (0,))[0],
            )
        )

    async def lost(self, limit: int = 1000) -> Sequence[OpenRef]:
        """`Upkeep.lost`."""
        orphans = self._orphans
        if orphans is None:
            raise StoreUnavailable("the store is not started")
        # A wall clock that somebody set forward ends no lease before its time (docs/reliability.md, rule 17).
        now_ms = self.now_ms() - self._clock.jumped_ms()
        return await self._read(partial(orphans.lost, now_ms=now_ms, limit=limit))

    async def oldest(self, endpoint_id: bytes, limit: int) -> Sequence[OpenRef]:
        """`Upkeep.oldest`."""
        return await self._read(partial(upkeep.oldest, endpoint_id=endpoint_id, limit=limit))

    async def open_by_endpoint(self, above: int) -> dict[bytes, int]:
        """`Upkeep.open_by_endpoint`."""
        return await self._read(partial(counters.open_above, above=above), LONG_READ_S_MAX)

    async def unfold(self, limit: int = 500) -> tuple[dict[bytes, float], bool]:
        """`Upkeep.unfold`."""
        return await self._write(partial(upkeep.unfold, limit=limit), limit)

    async def close_deleted(self, limit: int = 1000) -> int:
        """`Upkeep.close_deleted`."""
        return await self._write(partial(upkeep.close_deleted, limit=limit))

    async def sweep_lanes(self) -> int:
        """`Upkeep.sweep_lanes`: up to 1,000 lanes per call, in a circle."""
        walk = partial(upkeep.lanes_in_doubt, after=self._lane_after, limit=upkeep.LANES_PER_SWEEP)
        doubtful, self._lane_after = await self._read(walk)
        if not doubtful:
            return 0
        return await self._write(partial(upkeep.settle_lanes, doubtful=doubtful), len(doubtful))

    async def fold(self) -> int:
        """`Upkeep.fold`."""
        return await self._write(upkeep.fold)

    async def purge_dedupe(self, limit: int = 1000) -> int:
        """`Upkeep.purge_dedupe`: the next `limit` keys, in a circle."""
        work = partial(upkeep.purge_dedupe, after=self._dedupe_after, limit=limit)
        forgotten, self._dedupe_after = await self._write(work)
        return forgotten

    async def reopen(self, tenant: str | None, delivery_id: bytes) -> OpenRef:
        """`Upkeep.reopen`."""
        return await self._write(partial(again.reopen, tenant=tenant, delivery_id=delivery_id))

    async def discard(self, tenant: str | None, delivery_id: bytes) -> None:
        """`Upkeep.discard`."""
        await self._write(partial(again.discard, tenant=tenant, delivery_id=delivery_id))

    async def replay(
        self, tenant: str | None, event_id: bytes, root: bytes, deliveries: Sequence[NewDelivery], registry_version: int
    ) -> dict[bytes, float]:
        """`Upkeep.replay`."""
        work = partial(
            again.replay,
            tenant=tenant,
            event_id=event_id,
            root=root,
            deliveries=deliveries,
            registry_version=registry_version,
        )
        return await self._write(work, len(deliveries))
