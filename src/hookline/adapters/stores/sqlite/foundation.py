"""What every part of the embedded store stands on: the file, its writer, its readers, beginning and end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import TypeVar

from hookline.adapters.stores.scripts import Migration
from hookline.adapters.stores.sqlite import (
    migrate,
    queries,
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
from hookline.core.errors import StoreUnavailable
from hookline.ports.clock import Clock

T = TypeVar("T")

DISK_FREE_BYTES_MIN = 512 * 1024 * 1024
LONG_READ_S_MAX = 10.0
"""For what the program itself reads whole at its start: the registry, healths, what is due."""
CLAIM_BYTES_MAX = 16 * 1024 * 1024


class SqliteBase:
    """`ports.store.Store` on one SQLite file; the files beside it end in `-wal`, `-shm` and `-lock`.

    `disk_free_min_bytes`: with less left on the disk nothing new is accepted. `fatal` is called when the disk fails
    under a commit; it must not return in production (docs/reliability.md, rule 1). `busy_ms`: how long a locked file is
    waited for. `warn` is told on the event loop of what a person should look at: a name, and the bytes it is about.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        disk_free_min_bytes: int = DISK_FREE_BYTES_MIN,
        fatal: Callable[[str], None] = end_process,
        busy_ms: int = BUSY_MS,
        warn: Callable[[str, int], None] = lambda _name, _bytes: None,
    ) -> None:
        self.path = path
        self._own_clock = clock
        self._clock = StoreClock(clock)
        self._disk = DiskGuard(path, clock, disk_free_min_bytes)
        self._lock = FileLock(path)
        self._fatal = fatal
        self._busy_ms = busy_ms
        self._warn = warn
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
        loop = asyncio.get_running_loop()
        self._checkpointer = Checkpointer(
            checkpoints,
            guard,
            self._gate,
            writer.between,
            self._fatal,
            stays_long=lambda wal_bytes: _on(loop, self._warn, "wal_stays_long", wal_bytes),
        )
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
    def migrations(path: str) -> list[Migration]:
        """Every migration of the program and whether the file has it; also while a process has it open. Raises
        `StoreUnavailable` (not a database, written by a newer Hookline)."""
        return migrate.status_of_file(path)

    @staticmethod
    def migrate(path: str) -> list[Migration]:
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

    def now_ms(self) -> int:
        """`Deliveries.now_ms`."""
        return self._clock.now_ms()


def _on(loop: asyncio.AbstractEventLoop, tell: Callable[[str, int], None], name: str, size_bytes: int) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody listens any more
        loop.call_soon_threadsafe(tell, name, size_bytes)
