"""The embedded store: one file, one process, one writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import TypeVar

from hookline.adapters.stores.sqlite import (
    accept,
    again,
    archive,
    claim,
    counters,
    migrate,
    queries,
    record,
    registry,
    upkeep,
)
from hookline.adapters.stores.sqlite.checkpoint import WAL_BYTES_MAX, Checkpointer
from hookline.adapters.stores.sqlite.clock import StoreClock
from hookline.adapters.stores.sqlite.connection import BUSY_MS, open_checkpointer, open_reader, open_writer
from hookline.adapters.stores.sqlite.guard import DiskGuard, FileLock, create_private, refuse_network
from hookline.adapters.stores.sqlite.readers import READ_S_MAX, Gate, Readers
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.adapters.stores.sqlite.writer import Writer, end_process
from hookline.core import ids
from hookline.core.endpoint import EndpointState
from hookline.core.errors import StoreUnavailable
from hookline.core.event import Event
from hookline.ports.clock import Clock
from hookline.ports.store import (
    AcceptRequest,
    AcceptResult,
    AttemptRow,
    ClaimEntry,
    ClaimResult,
    Counts,
    DeliveryRow,
    EndpointRow,
    EventTypeRow,
    HealthChange,
    HealthRow,
    NewDelivery,
    OpenRef,
    Page,
    Query,
    RecordItem,
    RecordResult,
    RegistryChanges,
)

T = TypeVar("T")

DISK_FREE_BYTES_MIN = 512 * 1024 * 1024
LONG_READ_S_MAX = 10.0
"""For what the program itself reads whole at its start: the registry, healths, what is due."""
CLAIM_BYTES_MAX = 16 * 1024 * 1024


class SqliteStore:
    """`ports.store.Store` on one SQLite file; the files beside it end in `-wal`, `-shm` and `-lock`.

    `disk_free_min_bytes`: with less left on the disk nothing new is accepted. `fatal` is called when the disk fails
    under a commit; it must not return in production (docs/reliability.md, rule 1). `busy_ms`: how long a locked file is
    waited for.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        disk_free_min_bytes: int = DISK_FREE_BYTES_MIN,
        fatal: Callable[[str], None] = end_process,
        busy_ms: int = BUSY_MS,
    ) -> None:
        self.path = path
        self._own_clock = clock
        self._clock = StoreClock(clock)
        self._disk = DiskGuard(path, clock, disk_free_min_bytes)
        self._lock = FileLock(path)
        self._fatal = fatal
        self._busy_ms = busy_ms
        self._gate = Gate()
        self._connection: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._checkpointer: Checkpointer | None = None
        self._orphans: upkeep.Orphans | None = None
        self._dedupe_after = (b"", -1)
        self._lane_after: upkeep.Lane = (b"", "")

    # ------------------------------------------------------------------------------------ beginning and end

    async def start(self) -> None:
        """`Store.start`."""
        connection, checkpoints, guard = await asyncio.to_thread(self._open)
        writer = Writer(connection, self.now_ms, wrote=self._wrote, fatal=self._fatal)
        self._checkpointer = Checkpointer(checkpoints, guard, self._gate, writer.between, self._fatal)
        self._readers = Readers(self.path, self._own_clock, self._gate)
        self._connection = connection
        self._writer = writer
        writer.start()
        self._checkpointer.start()

    def _wrote(self, size_bytes: int) -> None:
        if self._checkpointer is not None:
            self._checkpointer.wrote(size_bytes)

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection, sqlite3.Connection]:
        """The connections of the writer, of checkpoints and of their guard, after all that must hold was checked."""
        refuse_network(self.path)
        self._lock.take()
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            create_private(self.path)
            connection = undo.enter_context(closing(open_writer(self.path, self._busy_ms)))
            try:
                migrate.up_at_start(connection, self.path)
                self._orphans = upkeep.Orphans(connection)
                stored_ms = connection.execute(queries.META, ("clock_ms",)).fetchone()[0]
                newest = connection.execute(queries.NEWEST_IDS).fetchone()
                checkpoints = undo.enter_context(closing(open_checkpointer(self.path)))
                guard = open_reader(self.path)
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self.path} cannot be used: {error}") from error
            undo.pop_all()
        known_ms = [ids.time_ms(identifier) for identifier in newest if identifier is not None]
        # Above the newest id, not at it: the counters of the ids of that millisecond are not known any more.
        self._clock.at_least(max(stored_ms, *(ms + 1 for ms in known_ms), 0))
        return connection, checkpoints, guard

    async def stop(self) -> None:
        """`Store.stop`. Stopping twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is None or self._writer is None or self._readers is None or self._checkpointer is None:
            return
        try:
            await self._writer.run(upkeep.keep_clock)
        except StoreUnavailable:  # a full disk must not keep it from stopping; the newest ids bound the clock too
            pass
        await asyncio.to_thread(self._checkpointer.stop)
        await self._writer.stop()
        await self._readers.stop()
        await asyncio.to_thread(self._checkpointer.close)
        connection.close()
        self._lock.release()

    async def check(self) -> str | None:
        """`Store.check`."""
        if self._connection is None or self._writer is None:
            return "the store is not started"
        reason = self._why_full()
        if reason is not None:
            return str(reason)
        if self._writer.failure is not None:
            # The last commit failed: only a commit that succeeds can tell whether that is over.
            try:
                await self._writer.run(upkeep.keep_clock)
            except StoreUnavailable as error:
                return str(error)
        return None

    @staticmethod
    def migrations(path: str) -> list[migrate.Migration]:
        """Every migration of the program and whether the file has it; also while a process has it open. Raises
        `StoreUnavailable` (not a database, written by a newer Hookline)."""
        return migrate.status_of_file(path)

    @staticmethod
    def migrate(path: str) -> list[migrate.Migration]:
        """Apply what is missing, whatever the file's size; what was applied. Raises `StoreUnavailable`, also when a
        process has the file open."""
        refuse_network(path)
        lock = FileLock(path)
        lock.take()
        try:
            create_private(path)
            with closing(open_writer(path)) as connection:
                return migrate.up(connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{path} could not be migrated: {error}") from error
        finally:
            lock.release()

    @property
    def wal_bytes(self) -> int:
        """How long the write-ahead log is, about."""
        return 0 if self._checkpointer is None else self._checkpointer.wal_bytes

    @property
    def commits(self) -> int:
        """Shared commits since the start."""
        return 0 if self._writer is None else self._writer.commits

    def _why_full(self) -> StoreUnavailable | None:
        reason = self._disk.reason()
        if reason is not None:
            return StoreUnavailable(reason, code="disk_full", retry_after_s=10)
        if self.wal_bytes > WAL_BYTES_MAX:
            return StoreUnavailable("the write-ahead log is over 1 GiB", code="overloaded")
        return None

    async def _write(self, work: Callable[[Transaction], T], items: int = 1, size_bytes: int = 0) -> T:
        if self._writer is None:
            raise StoreUnavailable("the store is not started")
        return await self._writer.run(work, items=items, size_bytes=size_bytes)

    async def _read(self, work: Callable[[sqlite3.Connection], T], read_s_max: float = READ_S_MAX) -> T:
        if self._readers is None:
            raise StoreUnavailable("the store is not started")
        return await self._readers.run(work, read_s_max)

    # ------------------------------------------------------------------------------------------- deliveries

    def now_ms(self) -> int:
        """`Deliveries.now_ms`."""
        return self._clock.now_ms()

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

    # --------------------------------------------------------------------------------------------- registry

    async def changes(self, since: int) -> RegistryChanges:
        """`Registry.changes`."""
        return await self._read(partial(registry.changes, since=since), LONG_READ_S_MAX)

    async def healths(self) -> Sequence[HealthRow]:
        """`Registry.healths`."""
        return await self._read(partial(registry.healths, now_ms=self.now_ms()), LONG_READ_S_MAX)

    async def put_endpoint(self, row: EndpointRow, expected_version: int | None = None) -> EndpointRow:
        """`Registry.put_endpoint`."""
        return await self._write(partial(registry.put_endpoint, row=row, expected_version=expected_version))

    async def set_endpoint_state(self, endpoint_id: bytes, state: EndpointState) -> EndpointRow:
        """`Registry.set_endpoint_state`."""
        return await self._write(partial(registry.set_endpoint_state, endpoint_id=endpoint_id, state=state))

    async def delete_endpoint(self, endpoint_id: bytes) -> None:
        """`Registry.delete_endpoint`."""
        await self._write(partial(registry.delete_endpoint, endpoint_id=endpoint_id))

    async def put_event_type(self, row: EventTypeRow, *, create: bool) -> EventTypeRow:
        """`Registry.put_event_type`."""
        return await self._write(partial(registry.put_event_type, row=row, create=create))

    async def delete_event_type(self, tenant: str, name: str) -> None:
        """`Registry.delete_event_type`."""
        await self._write(partial(registry.delete_event_type, tenant=tenant, name=name))

    async def event_type_versions(self, tenant: str, name: str) -> Sequence[EventTypeRow]:
        """`Registry.event_type_versions`."""
        return await self._read(partial(registry.event_type_versions, tenant=tenant, name=name))

    # ---------------------------------------------------------------------------------------------- archive

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
        return await self._read(partial(archive.runnable_oldest_s, now_ms=self.now_ms()))

    # ----------------------------------------------------------------------------------------------- upkeep

    async def lost(self, limit: int = 1000) -> Sequence[OpenRef]:
        """`Upkeep.lost`."""
        orphans = self._orphans
        if orphans is None:
            raise StoreUnavailable("the store is not started")
        return await self._read(partial(orphans.lost, now_ms=self.now_ms(), limit=limit))

    async def oldest(self, endpoint_id: bytes, limit: int) -> Sequence[OpenRef]:
        """`Upkeep.oldest`: by due time, live ones before replays."""
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
