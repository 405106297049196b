"""The embedded store beside its writer: readers, lists, checkpoints, and the sweep of lanes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hookline.adapters.stores.sqlite import SqliteStore, archive, checkpoint, foundation, upkeep
from hookline.adapters.stores.sqlite.checkpoint import Checkpointer
from hookline.adapters.stores.sqlite.connection import hurried, open_checkpointer, open_reader, open_writer
from hookline.adapters.stores.sqlite.many import _chunks
from hookline.adapters.stores.sqlite.readers import Gate
from hookline.core import ids
from hookline.core.errors import StoreUnavailable
from hookline.ports.store import AcceptRequest, NewDelivery, NewEvent, Query
from hookline.testing.clock import START_WALL_MS, ToldClock
from hookline.testing.samples import sample_id
from hookline.testing.store_contract.case import Case

FOREVER = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class HurriedClock(ToldClock):
    """Every look at it costs a tenth of a second."""

    def monotonic_s(self) -> float:
        self.advance(0.1)
        return super().monotonic_s()


@pytest.fixture
async def store(tmp_path: Path, clock: ToldClock) -> AsyncIterator[SqliteStore]:
    """A started store."""
    store = SqliteStore(str(tmp_path / "h.db"), clock, disk_free_min_bytes=0)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def case(store: SqliteStore, clock: ToldClock) -> Case:
    """The store with a flow's moves."""

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    return Case(store, clock, reopen)


# ---------------------------------------------------------------------------------------------------------- readers


@pytest.mark.rule(n=20)
async def test_a_long_read_is_interrupted(tmp_path: Path) -> None:
    """A read over 250 ms is given up, and its reader serves the next one."""
    store = SqliteStore(str(tmp_path / "h.db"), HurriedClock(), disk_free_min_bytes=0)
    await store.start()
    with pytest.raises(StoreUnavailable, match="too long"):
        await store._read(lambda connection: connection.execute(FOREVER).fetchone())
    assert (await store.counts(None)).deliveries == 0
    await store.stop()


async def test_a_reader_that_cannot_be_opened_is_done_without(store: SqliteStore) -> None:
    """While no further reader can be opened (no file descriptor is left), a read waits for one that is there."""
    await store.counts(None)
    reading, may_end = threading.Event(), threading.Event()

    def long(connection: sqlite3.Connection) -> int:
        reading.set()
        assert may_end.wait(30)
        found: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        return found

    others = [asyncio.create_task(store._read(long))]
    await asyncio.to_thread(reading.wait)
    moved = Path(store.path).rename(Path(store.path).with_suffix(".moved"))
    others.append(asyncio.create_task(store._read(long)))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in others)
    may_end.set()
    assert await asyncio.gather(*others) == [0, 0]
    moved.rename(store.path)


@pytest.mark.rule(n=20)
async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    """A reader's connection refuses every change."""
    with pytest.raises(StoreUnavailable, match="readonly"):
        await store._read(lambda connection: connection.execute("DELETE FROM meta"))


@pytest.mark.rule(n=20)
async def test_reads_wait_while_a_checkpoint_wants_the_place(store: SqliteStore) -> None:
    """With the gate closed a new read waits; it runs as soon as the gate is open."""
    with store._gate.emptied(0) as empty:
        assert empty
        reading = asyncio.ensure_future(store.counts(None))
        done, _ = await asyncio.wait([reading], timeout=0.05)
        assert not done
    assert (await reading).deliveries == 0


async def test_a_running_read_is_waited_for_only_so_long(store: SqliteStore) -> None:
    """The gate tells truthfully that a read still runs."""
    entered, leave = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> None:
        entered.set()
        leave.wait()

    reading = asyncio.ensure_future(store._read(slow))
    await asyncio.to_thread(entered.wait)
    with store._gate.emptied(0) as empty:
        assert not empty
    leave.set()
    await reading


# ------------------------------------------------------------------------------------------------------------ lists

QUERIES = [
    Query("default"),
    Query(None),
    Query("default", type="order.created", reason="timeout"),
    Query("default", state="failed"),
    Query(None, state="failed"),
    Query("default", state="delivered", endpoint_id=sample_id(1)),
    Query("default", state="held"),
    Query("default", event_id=sample_id(1)),
    Query("default", before=sample_id(9), since_ms=1, until_ms=START_WALL_MS),
]


@pytest.mark.parametrize("query", QUERIES)
def test_no_list_sorts_or_scans_history(tmp_path: Path, query: Query) -> None:
    """Every statement of every list walks an index in its order."""
    SqliteStore.migrate(str(tmp_path / "h.db"))
    statements: list[str] = []
    with closing(open_reader(str(tmp_path / "h.db"))) as connection:
        connection.set_trace_callback(statements.append)
        archive.deliveries(connection, query)
        archive.events(connection, query)
        connection.set_trace_callback(None)
        assert len(statements) >= 4
        for statement in statements:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert all(step.startswith("SEARCH") for step in plan), plan


async def fill(store: SqliteStore, count: int, **changes: Any) -> None:
    """That many closed deliveries, one per millisecond from the start on, written behind the store's back."""
    row = {"state": 4, "reason": None, "tenant": "default", **changes}

    def work(transaction: Any) -> None:
        transaction.connection.executemany(
            "INSERT INTO closed (id, endpoint_id, tenant, state, reason, finished_ms, fence, tries, attempts,"
            " size_bytes) VALUES (?, x'00', ?, ?, ?, 0, 1, 1, 1, 0)",
            [
                (ids.delivery_id(sample_id(1, START_WALL_MS + n), 1), row["tenant"], row["state"], row["reason"])
                for n in range(count)
            ],
        )

    await store._write(work)


@pytest.mark.rule(n=20)
async def test_a_page_is_short_rather_than_slow(store: SqliteStore, case: Case) -> None:
    """A filter that nothing meets examines 10,000 rows at most and returns where to go on; the end is found."""
    await fill(store, 12_000)
    page = await store.deliveries(Query("default", reason="timeout"))
    pages = 1
    while page.next is not None:
        assert list(page.rows) == []
        page = await store.deliveries(Query("default", reason="timeout", before=page.next))
        pages += 1
    assert pages == 3  # of 5,000 rows of each table
    assert len(await case.listed(limit=250)) == 12_000


async def test_failed_ones_are_found_at_once_in_a_long_history(store: SqliteStore) -> None:
    """What a tenant has not got is on the first page, however much was delivered since."""
    await fill(store, 1, state=5, reason="timeout", tenant="theirs")
    failed = await store._read(lambda connection: connection.execute("SELECT id FROM closed").fetchone()[0])

    def later(transaction: Any) -> None:
        transaction.execute("UPDATE closed SET id = ?", (ids.delivery_id(sample_id(1, START_WALL_MS - 1), 1),))

    await store._write(later)
    await fill(store, 11_000)
    page = await store.deliveries(Query("theirs", state="failed"))
    assert [row.id for row in page.rows] == [ids.delivery_id(sample_id(1, START_WALL_MS - 1), 1)]
    assert failed != page.rows[0].id
    assert page.next is None


async def test_an_old_event_is_found_at_once_in_a_long_history(store: SqliteStore, case: Case) -> None:
    """The deliveries of an event, replays included, are on the first page, however much came since."""
    endpoint = await case.endpoint()
    delivery = await case.one(endpoint)
    event_id = delivery[: ids.ROOT_BYTES]
    case.clock.advance(60)
    root = case.new_id()
    await store.replay("default", event_id, root, [NewDelivery(endpoint, 1)], await case.version())
    case.clock.advance(60)
    await fill(store, 11_000)
    page = await store.deliveries(Query("default", event_id=event_id))
    assert [row.id for row in page.rows] == [ids.delivery_id(root, 1), delivery]
    assert page.next is None


async def test_a_page_of_big_events_is_bounded_in_bytes(store: SqliteStore, case: Case) -> None:
    """A page of events stops at 16 MiB of payload, and the pages together are complete."""
    size = 1024 * 1024
    for _ in range(3):
        items = [NewEvent(case.event(data=bytes(size))) for _ in range(7)]
        await store.accept([AcceptRequest("default", items)], 0)
    page = await store.events(Query("default"))
    assert len(page.rows) == 16
    assert len(await case.listed_events()) == 21


# ------------------------------------------------------------------------------------------------------ checkpoints


def written(path: Path, rows: int = 20) -> sqlite3.Connection:
    """A file with something in its WAL."""
    connection = open_writer(str(path))
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [(bytes(8192),)] * rows)
    return connection


def frames(path: Path) -> int:
    """How many frames of the WAL are not in the file."""
    with closing(open_checkpointer(str(path))) as connection:
        _, log, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(log - moved)


def checkpointer(
    path: Path,
    writer: sqlite3.Connection,
    checkpoints: sqlite3.Connection | None = None,
    stays_long: Callable[[int], None] = pytest.fail,
) -> Checkpointer:
    """One whose every step also begins the WAL again, beside a writer that is never in a transaction."""
    return Checkpointer(
        checkpoints or open_checkpointer(str(path)),
        open_reader(str(path)),
        Gate(),
        lambda call: call(writer),
        pytest.fail,
        restart_bytes=0,
        stays_long=stays_long,
    )


@pytest.mark.rule(n=20)
def test_a_step_moves_the_wal_and_a_long_one_begins_again(tmp_path: Path) -> None:
    """PASSIVE moves every page; above the limit RESTART lets the WAL begin again, so that it does not grow."""
    path = tmp_path / "x.db"
    with closing(written(path)) as connection:
        steps = checkpointer(path, connection)
        steps.wrote(5)
        assert steps.wal_bytes == 5
        steps.step()
        assert (steps.restarts, steps.wal_bytes) == (1, 0)
        length = Path(f"{path}-wal").stat().st_size
        for _ in range(10):
            connection.executemany("INSERT INTO t VALUES (?)", [(bytes(8192),)] * 5)
            steps.step()
        assert Path(f"{path}-wal").stat().st_size == length
        assert frames(path) == 0
        steps.close()
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (1000,)


@pytest.mark.rule(n=20)
def test_a_reader_keeps_the_wal_from_beginning_again_but_not_the_writer_waiting(tmp_path: Path) -> None:
    """With a reader in its snapshot RESTART gives up within its 10 ms, which is said, but not each time; when it has
    gone, it succeeds."""
    path = tmp_path / "x.db"
    said: list[int] = []
    with closing(written(path)) as connection, closing(open_reader(str(path))) as reader:
        steps = checkpointer(path, connection, stays_long=said.append)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        connection.execute("INSERT INTO t VALUES (1)")
        steps.step()
        steps.step()
        assert steps.restarts == 0
        assert said == [steps.wal_bytes]
        assert steps.wal_bytes > 0
        connection.execute("INSERT INTO t VALUES (2)")
        reader.execute("ROLLBACK")
        steps.step()
        assert steps.restarts == 1
        steps.close()


class _Interrupted(sqlite3.Connection):
    """When a PASSIVE checkpoint was decided on and has not begun, others commit and try to begin the WAL again."""

    writer: sqlite3.Connection
    refused = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "PASSIVE" in sql:
            self.writer.execute("INSERT INTO t VALUES (zeroblob(9000))")
            with hurried(self.writer, 0):
                self.refused += self.writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
        return super().execute(sql, *parameters)


def test_nobody_begins_the_wal_again_under_a_checkpoint(tmp_path: Path) -> None:
    """While a PASSIVE checkpoint runs, what it moves cannot be overtaken by a WAL that begins again (the race of
    https://sqlite.org/wal.html#walresetbug), whether the WAL was moved completely before or not."""
    path = tmp_path / "x.db"
    with closing(written(path)) as connection:
        checkpoints = sqlite3.connect(path, isolation_level=None, factory=_Interrupted)
        checkpoints.writer = connection
        steps = Checkpointer(checkpoints, open_reader(str(path)), Gate(), lambda call: call(connection), pytest.fail)
        steps.step()
        assert checkpoints.refused == 1
        assert frames(path) == 0  # the next commit may begin the WAL again
        steps.step()
        assert checkpoints.refused == 2
        steps.close()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (22,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class _BadDisk(sqlite3.Connection):
    """A disk that fails when the file is synced."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *parameters)


def test_a_checkpoint_that_cannot_sync_is_fatal(tmp_path: Path) -> None:
    """The kernel may have dropped the pages that it could not write: nobody may go on as if they were there."""
    path = tmp_path / "x.db"
    told: list[str] = []
    with closing(written(path)) as connection:
        bad = sqlite3.connect(path, factory=_BadDisk)
        steps = Checkpointer(bad, open_reader(str(path)), Gate(), lambda call: call(connection), told.append)
        steps.step()
        assert told == ["the checkpoint failed: disk I/O error"]
        steps.close()
    assert len(told) == 2


@pytest.mark.rule(n=20)
async def test_a_wal_over_1_gib_stops_acceptance(
    store: SqliteStore, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit accept answers `overloaded`; outcomes are still recorded, and below it all is as before."""
    endpoint = await case.endpoint()
    lease = await case.handed_off(endpoint)
    monkeypatch.setattr(foundation, "WAL_BYTES_MAX", -1)
    with pytest.raises(StoreUnavailable) as refused:
        await case.one(endpoint)
    assert refused.value.code == "overloaded"
    assert await case.close(lease)
    monkeypatch.setattr(foundation, "WAL_BYTES_MAX", checkpoint.WAL_BYTES_MAX)
    await case.one(endpoint)


# ------------------------------------------------------------------------------------------------------------ lanes


@pytest.mark.rule(n=13)
@pytest.mark.parametrize(
    "damage", ["UPDATE lanes SET head = NULL", "DELETE FROM lanes", "UPDATE lanes SET head = x'00'"]
)
async def test_the_sweep_mends_a_lane_without_a_head(store: SqliteStore, case: Case, damage: str) -> None:
    """A lane whose row was lost or names nobody is found, promoted and counted; a sound one is left alone."""
    endpoint = await case.endpoint()
    first, second = [await case.one(endpoint, lane="a") for _ in range(2)]
    await case.one(endpoint, lane="b")
    assert await store.sweep_lanes() == 0

    def harm(transaction: Any) -> None:
        transaction.execute(damage + " WHERE lane = 'a'")
        transaction.execute("UPDATE open SET state = 2 WHERE id = ?", (first,))
        transaction.moved("default", endpoint, 0, 2)

    await store._write(harm)
    assert await case.words(first, second) == ["held", "held"]
    assert await store.sweep_lanes() == 1
    assert await case.words(first, second) == ["pending", "held"]
    assert await store.sweep_lanes() == 0
    assert (await case.counts()).pending == 2


@pytest.mark.rule(n=13)
async def test_the_sweep_goes_in_a_circle(store: SqliteStore, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep looks at a bounded number of lanes and the next one goes on from there, so that all are seen."""
    monkeypatch.setattr(upkeep, "LANES_PER_SWEEP", 2)
    endpoint = await case.endpoint()
    for lane in "abcde":
        await case.one(endpoint, lane=lane)

    def harm(transaction: Any) -> None:
        transaction.execute("UPDATE lanes SET head = NULL")
        transaction.execute("UPDATE open SET state = 2")
        transaction.moved("default", endpoint, 0, 2, 5)

    await store._write(harm)
    assert [await store.sweep_lanes() for _ in range(4)] == [2, 2, 1, 0]
    assert (await case.counts()).pending == 5


# ------------------------------------------------------------------------------------------------------------- many


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 1000])
def test_chunks_cover_everything_once(count: int) -> None:
    """The statements of few sizes together have every row once, in order."""
    covered = [at for _, start, end in _chunks(count) for at in range(start, end)]
    assert covered == list(range(count))
