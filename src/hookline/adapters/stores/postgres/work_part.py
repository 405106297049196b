"""What runs beside, on PostgreSQL: `ports.store.Upkeep`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.postgres import again, counters, instances, upkeep
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.core.errors import StoreUnavailable
from hookline.ports.store import NewDelivery, OpenRef, Pulse


class WorkPart(PostgresBase):
    """What runs beside."""

    _lane_after: upkeep.Lane = (b"", "")

    async def pulse(self) -> Pulse:
        """`Upkeep.pulse`."""
        found = await self._one(instances.PULSE)
        return Pulse(found["registry_version"], found["workers"], found["first"] == self.instance, found["erasures"])

    async def lost(self, limit: int = 1000) -> Sequence[OpenRef]:
        """`Upkeep.lost`."""
        try:
            beats = {row["id"]: row["beat"] for row in await self._rows(instances.BEATS)}
            silent = self._watch.silent(beats, self.instance)
            if silent:
                await self._rows(instances.BURY, silent)
            await self._rows(instances.FORGET)
            return await self._read(partial(upkeep.lost, limit=limit))
        except StoreUnavailable:
            self._watch.failed()
            raise

    async def oldest(self, endpoint_id: bytes, limit: int) -> Sequence[OpenRef]:
        """`Upkeep.oldest`."""
        return await self._read(partial(upkeep.oldest, endpoint_id=endpoint_id, limit=limit))

    async def open_by_endpoint(self, above: int) -> dict[bytes, int]:
        """`Upkeep.open_by_endpoint`."""
        return await self._read(partial(counters.open_above, above=above))

    async def unfold(self, limit: int = 500) -> tuple[dict[bytes, float], bool]:
        """`Upkeep.unfold`."""
        return await self._write(partial(upkeep.unfold, limit=limit))

    async def close_deleted(self, limit: int = 1000) -> int:
        """`Upkeep.close_deleted`."""
        return await self._write(partial(upkeep.close_deleted, limit=limit))

    async def sweep_lanes(self) -> int:
        """`Upkeep.sweep_lanes`: up to 1,000 lanes per call, in a circle."""
        walk = partial(upkeep.lanes_in_doubt, after=self._lane_after, limit=upkeep.LANES_PER_SWEEP)
        doubtful, self._lane_after = await self._read(walk)
        if not doubtful:
            return 0
        return await self._write(partial(upkeep.settle_lanes, doubtful=doubtful))

    async def fold(self) -> int:
        """`Upkeep.fold`."""
        return await self._write(upkeep.fold)

    async def purge_dedupe(self, limit: int = 1000) -> int:
        """`Upkeep.purge_dedupe`."""
        return await self._write(partial(upkeep.purge_dedupe, limit=limit))

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
        return await self._write(work)
