"""The real SQLite store on a database in memory, without its threads: the loop does their work after a while.

The adapter's transactions, SQL and schema are the real ones, and so is how jobs share a commit. Only files, fsync,
threads and checkpoints are not there (`tests/crash` has those). Triggers keep a log of every change of a row, which
is rolled back with the transaction that made it: that is what `truth` reads.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from hookline.adapters.stores.sqlite import migrate, queries, upkeep
from hookline.adapters.stores.sqlite.connection import translate
from hookline.adapters.stores.sqlite.guard import DiskGuard
from hookline.adapters.stores.sqlite.readers import READ_S_MAX
from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.adapters.stores.sqlite.writer import Writer, _Job, _resolve
from hookline.core import ids
from hookline.core.errors import DataError, StoreUnavailable
from hookline.ports.store import AcceptRequest, AcceptResult, HealthChange, RecordItem, RecordResult
from tests.simulate.loop import SimulatedClock, SimulatedLoop
from tests.simulate.truth import Truth

T = TypeVar("T")

POISON = b"cannot be stored"
"""What has this in it is no data for the store."""
UNFOLD_MAX = 5
"""So few at once, so that a big fan-out takes several commits here too."""
_OPEN = (
    "VALUES ('{what}', {row}.id, {row}.event_id, {row}.endpoint_id, {row}.state, {row}.fence, {row}.lost, {row}.due_ms,"
    " {row}.lease_until_ms, {row}.handoff, {row}.lane, {row}.seq, {more}, {row}.reason, {row}.attempts)"
)
_CLOSED = (
    "VALUES ('{what}', {row}.id, {row}.event_id, {row}.endpoint_id, {row}.state, {row}.fence, 0, 0, 0, 0, {row}.lane,"
    " {row}.seq, NULL, {row}.reason, {row}.attempts)"
)


def _trigger(name: str, event: str, values: str) -> str:
    return f"CREATE TRIGGER watch_{name} AFTER {event} BEGIN INSERT INTO watched {values}; END;\n"


_WATCH = (
    "CREATE TABLE watched (what, id, event_id, endpoint_id, state, fence, lost, due_ms, lease_until_ms, handoff, lane,"
    " seq, before, reason, attempts);\n"
    + _trigger("opened", "INSERT ON open", _OPEN.format(what="opened", row="new", more="NULL"))
    + _trigger(
        "changed",
        "UPDATE OF state, fence, due_ms, lost, seq ON open",
        _OPEN.format(what="changed", row="new", more="old.due_ms"),
    )
    + _trigger("closed", "INSERT ON closed", _CLOSED.format(what="closed", row="new"))
    + _trigger("settled", "UPDATE OF state ON closed", _CLOSED.format(what="closed", row="new"))
    + _trigger("gone", "DELETE ON closed", _CLOSED.format(what="gone", row="old"))
    + _trigger(
        "tried",
        "INSERT ON attempts",
        "(what, id, fence) VALUES ('tried', new.delivery_id, new.fence)",
    )
    + _trigger("told", "INSERT ON events", "(what, id) VALUES ('told', new.id)")
    + _trigger("purged", "DELETE ON events", "(what, id) VALUES ('purged', old.id)")
)


@cache
def _empty() -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(f"PRAGMA page_size = {migrate.PAGE_BYTES}")
    migrate.up(connection)
    connection.execute("UPDATE meta SET value = 1 WHERE name = 'stream_epoch'")
    connection.executescript(_WATCH)
    return connection.serialize()


class Disk:
    """What stays when a process ends."""

    def __init__(self, truth: Truth) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self.connection.deserialize(_empty())
        self.free_bytes = 1 << 40
        self.truth = truth

    def rows(self, sql: str, *given: object) -> list[Any]:
        """What is committed."""
        return self.connection.execute(sql, given).fetchall()


class _Writer(Writer):
    """The real writer's transactions, by the loop instead of a thread."""

    def __init__(self, store: SimulatedStore, loop: SimulatedLoop, latency_s: Callable[[], float]) -> None:
        super().__init__(store.disk.connection, store.now_ms, wrote=lambda _size: None, fatal=lambda _why: None)
        self._simulated = loop
        self._disk = store.disk
        self._latency_s = latency_s
        self._queued: list[_Job] = []
        self._busy = False
        self._now = store.now_ms

    async def run(self, work: Callable[[Transaction], T], *, items: int = 1, size_bytes: int = 0) -> T:
        if self._stopping:
            raise StoreUnavailable("the store is stopped", code="draining")
        future = self._simulated.create_future()
        self._queued.append(_Job(work, future, items, size_bytes))
        if not self._busy:
            self._busy = True
            self._simulated.call_later(self._latency_s(), self._do)
        result: T = await future
        return result

    def _do(self) -> None:
        jobs, self._queued = self._queued, []
        self._commit(jobs)
        self._simulated.call_later(self._latency_s(), self._done, jobs)

    def _done(self, jobs: Sequence[_Job]) -> None:
        _resolve(jobs)
        self._busy = bool(self._queued)
        if self._busy:
            self._simulated.call_later(self._latency_s(), self._do)

    def _together(self, jobs: Sequence[_Job]) -> Exception | None:
        error = super()._together(jobs)
        if error is None:
            self._disk.truth.committed(self._disk.connection, self._now())
        return error

    def end(self) -> None:
        self._stopping = True


class SimulatedStore(SqliteStore):
    """The store of one process, on a disk that outlives it."""

    def __init__(self, disk: Disk, loop: SimulatedLoop, clock: SimulatedClock, chance: random.Random) -> None:
        super().__init__("simulated.db", clock)
        self.disk = disk
        self._loop = loop
        self._chance = chance
        self._disk = DiskGuard("simulated.db", clock, 1 << 20, free=lambda _directory: disk.free_bytes)
        self.quiet = False
        """Reads do not wait: the walk looks for itself."""
        self.poisoned: set[tuple[bytes, int]] = set()
        """Attempts (delivery, fence) that could not be stored as they were."""

    def _latency_s(self) -> float:
        dice = self._chance.random()
        if dice < 0.4:
            return 0.0
        return dice * 0.02 if dice < 0.98 else dice * 0.5

    async def start(self) -> None:
        connection = self.disk.connection
        self._orphans = upkeep.Orphans(connection)
        stored_ms = connection.execute(queries.META, ("clock_ms",)).fetchone()[0]
        newest = connection.execute(queries.NEWEST_IDS).fetchone()
        known_ms = [ids.time_ms(identifier) for identifier in newest if identifier is not None]
        self._clock.at_least(max(stored_ms, *(ms + 1 for ms in known_ms), 0))
        self._connection = connection
        self._writer = _Writer(self, self._loop, self._latency_s)
        self.disk.truth.process_began(self.now_ms())

    async def stop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or not isinstance(self._writer, _Writer):
            return
        await self._writer.run(upkeep.keep_clock)
        self._writer.end()

    async def _read(self, work: Callable[[sqlite3.Connection], T], read_s_max: float = READ_S_MAX) -> T:
        if self._connection is None:
            raise StoreUnavailable("the store is not started")
        if not self.quiet:
            await self._own_clock.sleep(self._latency_s())
        try:
            result = work(self.disk.connection)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            meaning = translate(error)
            assert meaning is not None
            raise meaning from error
        if not self.quiet and self._chance.random() < 0.3:
            await self._own_clock.sleep(self._latency_s())  # what was read is old by the time it is looked at
        return result

    # ---------------------------------------------------------------------------- what cannot be stored, and bounds

    async def accept(self, requests: Sequence[AcceptRequest], registry_version: int) -> Sequence[AcceptResult]:
        for request in requests:
            for place, item in enumerate(request.items):
                if POISON in item.event.data and not item.event.type.startswith("hookline."):
                    raise DataError("told so", item=place if len(requests) == 1 else None)
        return await super().accept(requests, registry_version)

    async def record(
        self, items: Sequence[RecordItem], healths: Sequence[HealthChange] = (), registry_version: int = 0
    ) -> RecordResult:
        for item in items:
            if item.attempt is not None and POISON in item.attempt:
                self.poisoned.add((item.delivery_id, item.fence))
                raise DataError("told so")
        return await super().record(items, healths, registry_version)

    async def unfold(self, limit: int = 500) -> tuple[dict[bytes, float], bool]:
        return await super().unfold(min(limit, UNFOLD_MAX))
