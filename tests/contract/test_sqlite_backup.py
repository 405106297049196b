"""A backup of the embedded store while it works: whole, of one moment, and in nobody's way."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hookline.adapters.clock import SystemClock
from hookline.adapters.stores.sqlite import SqliteStore, backup, queries
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, DataError, Refusal, StoreUnavailable
from hookline.ports.store import Counts, OpenRef
from hookline.testing.store_contract.case import Case, outcome

CLOSED = {"delivered": State.DELIVERED, "failed": State.FAILED, "discarded": State.DISCARDED}
OPEN = {"pending": State.PENDING, "leased": State.LEASED, "held": State.HELD, "unconfirmed": State.UNCONFIRMED}


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few pages per step, so that a small file takes many."""
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 4)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A started store on the system's clock."""
    store = SqliteStore(str(tmp_path / "h.db"), SystemClock(), disk_free_min_bytes=0)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def case(store: SqliteStore) -> Case:
    """The store with a flow's moves."""

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    return Case(store, None, reopen)  # type: ignore[arg-type]  # nobody tells this clock anything


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where copies go: a folder of their own."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


async def fill(case: Case, events: int = 200, size: int = 5_000) -> bytes:
    """Events with payloads, so that the file has pages; their endpoint."""
    endpoint = await case.endpoint()
    await case.accept(*(case.new(endpoint, data=os.urandom(size)) for _ in range(events)))
    return endpoint


def names(target: Path) -> list[str]:
    """What is in the folder of the copies."""
    return [path.name for path in target.parent.iterdir()]


def read(path: Path, sql: str, *parameters: Any) -> list[Any]:
    """Rows of a file that nobody else uses, opened by SQLite as it comes."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, parameters).fetchall()


def counted(path: Path) -> Counts:
    """The books as the rows say."""
    opened, closed = (
        dict(read(path, f"SELECT state, count(*) FROM {table} GROUP BY state")) for table in ("open", "closed")
    )
    numbers = {word: opened.get(int(state), 0) for word, state in OPEN.items()}
    numbers |= {word: closed.get(int(state), 0) for word, state in CLOSED.items()}
    (events,) = read(path, "SELECT count(*) FROM events")[0]
    return Counts(events=events, deliveries=sum(numbers.values()), **numbers)


async def books(path: Path) -> Counts:
    """The books as the store says that is started on the file."""
    store = SqliteStore(str(path), SystemClock(), disk_free_min_bytes=0)
    await store.start()
    try:
        return await store.counts(None)
    finally:
        await store.stop()


class Load:
    """Publishers and workers that never pause."""

    def __init__(self, case: Case, endpoint: bytes) -> None:
        self._case = case
        self._endpoint = endpoint
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: list[tuple[int, bytes]] = []
        """(when, event) of all that was answered."""

    def start(self) -> None:
        loads: list[Callable[[], Awaitable[None]]] = [self._publish, self._publish, self._deliver, self._fail]
        self._tasks = [asyncio.create_task(self._always(load)) for load in loads]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _always(self, load: Callable[[], Awaitable[None]]) -> None:
        while True:
            await load()

    async def _publish(self) -> None:
        new = self._case.new(self._endpoint, data=os.urandom(300))
        await self._case.accept(new)
        self.acknowledged.append((self._case.store.now_ms(), new.event.id))

    async def _deliver(self) -> None:
        """Handed off and delivered, the next one failed, the next one left leased."""
        leases = [await self._case.handed_off(self._endpoint) for _ in range(3)]
        await self._case.record(outcome(leases[0]), outcome(leases[1], State.FAILED, reason="timeout"))

    async def _fail(self) -> None:
        """A commit that is rolled back."""
        lost = OpenRef(self._case.new_id(), 1, self._endpoint, "default", b"", State.LEASED)
        with pytest.raises(DataError):
            await self._case.store.record([outcome(lost, State.LEASED)])


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what other threads bring about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


# --------------------------------------------------------------------------------------------------- while it works


@pytest.mark.rule(n=21)
async def test_under_load(store: SqliteStore, case: Case, target: Path, small_steps: None) -> None:
    """While events are accepted, recorded and rolled back, and the log begins anew, the copy is sound, its books are
    its rows, and everything that was acknowledged before its instant is in it."""
    load = Load(case, await fill(case))
    assert store._checkpointer is not None
    store._checkpointer._restart_bytes = 0
    load.start()
    await eventually(lambda: len(load.acknowledged) > 20)
    restarts, commits, before = store._checkpointer.restarts, store.commits, len(load.acknowledged)
    copying = asyncio.create_task(store.backup(str(target)))
    await eventually(lambda: store._copy is not None)
    copy = store._copy
    while not copying.done():
        store._checkpointer._wake.set()
        await asyncio.sleep(0.005)
    result = await copying
    during = len(load.acknowledged) - before
    await eventually(lambda: len(load.acknowledged) > before + during + 5)
    await load.stop()
    assert store._checkpointer.restarts > restarts
    assert copy is not None
    assert copy.steps > 50
    assert copy.restarts == 0
    assert store.commits > commits + 10
    assert during > 10
    assert read(target, "PRAGMA integrity_check") == [("ok",)]
    there = {row[0] for row in read(target, "SELECT id FROM events")}
    assert {event for at_ms, event in load.acknowledged if at_ms < result.as_of_ms} <= there
    assert sum(event in there for _, event in load.acknowledged[before:]) > 0
    assert any(event not in there for _, event in load.acknowledged)
    rows = counted(target)
    assert rows.leased > 0 < rows.failed
    assert await books(target) == rows


async def test_what_a_copy_is(store: SqliteStore, case: Case, target: Path) -> None:
    """One plain file for its owner only, which says of what instant it is; nothing else is left in its folder."""
    await fill(case)
    before_ms = store.now_ms()
    result = await store.backup(str(target))
    assert before_ms <= result.as_of_ms <= store.now_ms()
    assert names(target) == [target.name]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_size == result.size_bytes
    assert read(target, "PRAGMA journal_mode") == [("delete",)]
    assert read(target, "SELECT value FROM meta WHERE name = 'backup_as_of_ms'") == [(result.as_of_ms,)]
    assert names(target) == [target.name]  # reading it makes nothing
    assert read(target, "SELECT count(*) FROM events") == [(200,)]


async def test_the_store_itself_is_as_it_was(store: SqliteStore, case: Case, target: Path) -> None:
    """A backup writes nothing into the store, and a later one has what came since."""
    endpoint = await fill(case)
    assert store._connection is not None
    changes = store._connection.total_changes
    await store.backup(str(target))
    assert store._connection.total_changes == changes
    await case.one(endpoint)
    again = target.with_name("again.db")
    await store.backup(str(again))
    assert read(again, "SELECT count(*) FROM events") == [(201,)]
    assert (await case.counts()).events == 201


class Beside:
    """Writes that are rolled back, one after the other, while a backup runs."""

    def __init__(self, store: SqliteStore, endpoint: bytes) -> None:
        self._store = store
        self._endpoint = endpoint
        self._task = asyncio.create_task(self._run())
        self.count = 0

    async def _run(self) -> None:
        def work(transaction: Transaction) -> None:
            transaction.execute("DELETE FROM events")
            raise DataError("this is not to be")

        while True:
            with pytest.raises(DataError):
                await self._store._write(work)
            self.count += 1

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.rule(n=21)
async def test_what_is_rolled_back_does_not_make_it_begin_again(
    store: SqliteStore, case: Case, target: Path, small_steps: None
) -> None:
    """Commits that fail meanwhile neither end the backup nor are in it."""
    beside = Beside(store, await fill(case))
    await store.backup(str(target))
    await beside.stop()
    assert beside.count > 10
    assert (await case.counts()).events == 200
    assert await books(target) == counted(target) == await case.counts()


@pytest.mark.rule(n=21)
async def test_beginning_again_has_an_end(
    store: SqliteStore, case: Case, target: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that is thrown back again and again is given up, with the reason."""
    monkeypatch.setattr(queries, "ROLLBACK_TO", "ROLLBACK")
    monkeypatch.setattr(backup, "RESTARTS_MAX", 2)
    beside = Beside(store, await fill(case))
    with pytest.raises(StoreUnavailable, match="begin again too often"):
        await store.backup(str(target))
    await beside.stop()
    assert names(target) == []
    assert (await case.counts()).events == 200


@pytest.mark.rule(n=21)
async def test_the_loop_is_never_blocked(
    store: SqliteStore, case: Case, target: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that waits for a disk waits in another thread."""
    await fill(case)
    loop_thread = asyncio.get_running_loop()
    seen: list[str] = []
    for name in ("open_copy", "make_plain", "_sync", "check_room"):
        original = getattr(backup, name)

        def watched(*arguments: Any, original: Any = original, name: str = name) -> Any:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            seen.append(name)
            return original(*arguments)

        monkeypatch.setattr(backup, name, watched)
    await store.backup(str(target))
    assert asyncio.get_running_loop() is loop_thread
    assert {"open_copy", "make_plain", "_sync", "check_room"} <= set(seen)


async def test_one_at_a_time(store: SqliteStore, case: Case, target: Path, small_steps: None) -> None:
    """While one runs another is refused and leaves nothing; afterwards there can be one again."""
    await fill(case)
    first = asyncio.create_task(store.backup(str(target)))
    await eventually(lambda: store._copy is not None and store._copy.steps > 1)
    other = target.with_name("other.db")
    with pytest.raises(Conflict) as refused:
        await store.backup(str(other))
    assert refused.value.code == "wrong_state"
    await first
    assert not other.exists()
    await store.backup(str(other))
    assert other.exists()


# ------------------------------------------------------------------------------------------------ when it cannot be


async def test_an_existing_file_is_left_alone(store: SqliteStore, target: Path) -> None:
    """What is there is neither written nor removed."""
    target.write_text("mine")
    with pytest.raises(Refusal) as refused:
        await store.backup(str(target))
    assert refused.value.code == "invalid_parameter"
    assert target.read_text() == "mine"
    assert names(target) == [target.name]


@pytest.mark.parametrize("name", ["nowhere/copy.db", "h.db/copy.db", "copies"])
async def test_no_place_for_a_file(store: SqliteStore, tmp_path: Path, target: Path, name: str) -> None:
    """A folder that is none, and a name that is a folder's, are refused with a sentence."""
    with pytest.raises(Refusal) as refused:
        await store.backup(str(tmp_path / name))
    assert refused.value.code == "invalid_parameter"


async def test_what_a_killed_process_left_is_no_hindrance(store: SqliteStore, case: Case, target: Path) -> None:
    """Half a copy from before is removed and replaced by a whole one."""
    await fill(case)
    for ending in (".partial", ".partial-journal", ".partial-wal"):
        Path(str(target) + ending).write_bytes(b"half" * 5000)
    await store.backup(str(target))
    assert names(target) == [target.name]
    assert read(target, "PRAGMA integrity_check") == [("ok",)]


async def test_no_room_before_it_begins(
    store: SqliteStore, case: Case, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that would not fit, or would leave the store less than it needs, is not begun."""
    await fill(case)
    assert store._checkpointer is not None
    size_bytes = Path(store.path).stat().st_size + Path(f"{store.path}-wal").stat().st_size
    store._disk.free_bytes_min = 1_000_000
    monkeypatch.setattr(backup, "free_bytes", lambda folder: size_bytes + 999_999)
    with pytest.raises(Refusal) as refused:
        await store.backup(str(target))
    assert refused.value.code == "disk_full"
    assert names(target) == []
    monkeypatch.setattr(backup, "free_bytes", lambda folder: size_bytes + 1_000_000)
    await store.backup(str(target))


async def test_the_disk_fills_up_meanwhile(
    store: SqliteStore, case: Case, target: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is `disk_full`, nothing of the copy is left, and the store goes on as if nothing had been."""
    endpoint = await fill(case)
    original = backup.open_copy

    def small(path: str) -> sqlite3.Connection:
        connection = original(path)
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    monkeypatch.setattr(backup, "open_copy", small)
    with pytest.raises(Refusal) as refused:
        await store.backup(str(target))
    assert refused.value.code == "disk_full"
    assert names(target) == []
    await case.one(endpoint)
    assert await store.check() is None
    monkeypatch.setattr(backup, "open_copy", original)
    await store.backup(str(target))
    assert read(target, "SELECT count(*) FROM events") == [(201,)]


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(errno.EIO, StoreUnavailable, "store_unavailable"), (errno.ENOSPC, Refusal, "disk_full")],
)
async def test_a_failed_fsync_of_the_copy(
    store: SqliteStore,
    case: Case,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    code: str,
) -> None:
    """What is not surely on the disk is no backup; it is not the store's disk, and the store goes on."""
    endpoint = await fill(case)

    def fail(path: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(backup, "_sync", fail)
    with pytest.raises(error) as refused:
        await store.backup(str(target))
    assert getattr(refused.value, "code") == code  # noqa: B009
    assert names(target) == []
    await case.one(endpoint)


async def test_a_failed_write_on_the_way(
    store: SqliteStore, case: Case, target: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that the system tells only once, while the copy grows, is not forgotten."""
    await fill(case)
    monkeypatch.setattr(backup, "FLUSH_EVERY_BYTES", 1)
    monkeypatch.setattr(backup, "SERVE_S_MIN", 0.02)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await store.backup(str(target))
    assert names(target) == []


# --------------------------------------------------------------------------------------------------------- given up


async def test_cancelled(
    store: SqliteStore, case: Case, target: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives it up finds nothing of it left; the store goes on, and can be copied again."""
    endpoint = await fill(case)
    copying = asyncio.create_task(store.backup(str(target)))
    await eventually(lambda: store._copy is not None and store._copy.steps > 1)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert names(target) == []
    delivery = await case.one(endpoint)
    await store.backup(str(target))
    assert read(target, "SELECT count(*) FROM events WHERE id = ?", delivery[: ids.ROOT_BYTES]) == [(1,)]


async def test_a_stop_does_not_wait_for_it(tmp_path: Path, target: Path, small_steps: None) -> None:
    """Stopping gives the backup up, with what was being written safe; whoever waits for it is told."""
    store = SqliteStore(str(tmp_path / "h.db"), SystemClock(), disk_free_min_bytes=0)
    await store.start()
    case = Case(store, None, None)  # type: ignore[arg-type]
    endpoint = await fill(case)
    copying = asyncio.create_task(store.backup(str(target)))
    await eventually(lambda: store._copy is not None and store._copy.steps > 1)
    last = asyncio.create_task(case.one(endpoint))
    await asyncio.sleep(0)
    await store.stop()
    await last
    with pytest.raises(StoreUnavailable, match="given up"):
        await copying
    assert names(target) == []
    with pytest.raises(StoreUnavailable):
        await store.backup(str(target))
    assert (await books(tmp_path / "h.db")).events == 201
