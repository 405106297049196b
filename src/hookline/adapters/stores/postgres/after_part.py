"""What comes after an attempt, on PostgreSQL: `ports.store.Confirmations`, `Retention` and `Replays`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hookline.adapters.stores.postgres import confirm, erase, history, partitions, replays, retention
from hookline.adapters.stores.postgres.foundation import PostgresBase
from hookline.adapters.stores.postgres.history import Horizon
from hookline.ports.store import Again, Keep, OpenRef, Page, Purged, ReplayRow, ReplayStep, Unconfirmed


class AfterPart(PostgresBase):
    """What comes after an attempt."""

    _expired_after = b""
    _purge_place = retention.Place()

    async def confirm(self, delivery_id: bytes, success: bool, message: bytes) -> bool:
        """`Confirmations.confirm`."""
        return await self._write(partial(confirm.confirm, delivery_id=delivery_id, success=success, message=message))

    async def unconfirmed(self, limit: int = 500) -> Sequence[Unconfirmed]:
        """`Confirmations.unconfirmed`."""
        return await self._read(partial(confirm.unconfirmed, limit=limit))

    async def expired(self, keep: Keep, limit: int = 500) -> Sequence[OpenRef]:
        """`Retention.expired`."""
        walk = partial(retention.expired, after=self._expired_after, keep=keep, limit=limit)
        found, self._expired_after = await self._read(walk)
        return found

    async def purge(self, keep: Keep, limit: int = 1000) -> Purged:
        """`Retention.purge`. What goes with its day goes when the circle is closed."""
        horizon = Horizon(keep, self.now_ms(), drops=bool(self._session_dsn))
        step = await self._read(partial(retention.look, place=self._purge_place, horizon=horizon, limit=limit))
        purged = Purged(step.examined)
        if step.keys:
            purged = await self._write(partial(retention.remove, step=step))
        self._purge_place = step.following
        return purged if step.examined else await self._drop_days(horizon)

    async def _drop_days(self, horizon: Horizon) -> Purged:
        """Drop the days that nothing needs any more; how many rows those had, as the server last counted them."""
        if not self._session_dsn:
            return Purged()
        days = history.ending(await self._run(partitions.present), horizon)
        if not days:
            return Purged()
        days = await self._write(partial(history.not_needed, horizon=horizon, days=days))
        dropped = await self._in_session(partial(partitions.drop, days=days))
        count = {table: sum(part.rows for part in dropped if part.table == table) for table in partitions.TABLES}
        return Purged(0, count["closed"], count["events"])

    async def erase(self, tenant: str | None, event_id: bytes) -> int:
        """`Retention.erase`: the payload and what is open in one commit, then what attempts have kept, in more; a
        repeat finishes what a crash left."""
        discarded = await self._write(partial(erase.erase, tenant=tenant, event_id=event_id))
        left = await self._read(partial(erase.ranges, event_id=event_id))
        while left:
            left = await self._write(partial(erase.step, left=left))
        return discarded

    async def put_replay(self, row: ReplayRow) -> ReplayRow:
        """`Replays.put_replay`."""
        return await self._write(partial(replays.put_replay, row=row))

    async def end_replay(self, tenant: str | None, replay_id: bytes, state: str, detail: str = "") -> ReplayRow:
        """`Replays.end_replay`."""
        return await self._write(
            partial(replays.end_replay, tenant=tenant, replay_id=replay_id, state=state, detail=detail)
        )

    async def step_replay(
        self,
        replay_id: bytes,
        before: bytes | None,
        after: bytes,
        examined: int,
        again: Sequence[Again],
        registry_version: int,
    ) -> ReplayStep:
        """`Replays.step_replay`."""
        work = partial(
            replays.step_replay,
            replay_id=replay_id,
            before=before,
            after=after,
            examined=examined,
            again=again,
            registry_version=registry_version,
        )
        return await self._write(work)

    async def replay_of(self, tenant: str | None, replay_id: bytes) -> ReplayRow | None:
        """`Replays.replay_of`."""
        return await self._read(partial(replays.replay_of, tenant=tenant, replay_id=replay_id))

    async def replays(self, tenant: str | None, limit: int, before: bytes | None) -> Page[ReplayRow]:
        """`Replays.replays`."""
        return await self._read(partial(replays.replays, tenant=tenant, limit=limit, before=before))

    async def running_replays(self) -> Sequence[ReplayRow]:
        """`Replays.running_replays`."""
        return await self._read(replays.running_replays)
