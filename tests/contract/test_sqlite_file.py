"""The embedded store's file: who may open it, where it may lie, what is in it, and its clock."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from hookline.adapters.stores.scripts import Migration, Script
from hookline.adapters.stores.sqlite import SqliteStore, guard, migrate
from hookline.adapters.stores.sqlite.clock import StoreClock
from hookline.adapters.stores.sqlite.connection import open_writer
from hookline.core.delivery import State
from hookline.core.errors import StoreUnavailable
from hookline.testing.clock import START_WALL_MS, ToldClock
from hookline.testing.samples import endpoint_row
from hookline.testing.store_contract.case import Case


@asynccontextmanager
async def started(path: Path, clock: ToldClock | None = None, **options: Any) -> AsyncIterator[SqliteStore]:
    """A store that runs while the block does."""
    store = SqliteStore(str(path), clock or ToldClock(), **{"disk_free_min_bytes": 0, **options})
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


# ------------------------------------------------------------------------------------------------------ one process


@pytest.mark.rule(n=1)
async def test_a_second_process_refuses_to_start(tmp_path: Path) -> None:
    """While one has the file open another is refused with the reason, and may start once the first has stopped."""
    path = tmp_path / "h.db"
    async with started(path):
        with pytest.raises(StoreUnavailable, match="another process has this database open"):
            await SqliteStore(str(path), ToldClock()).start()
    async with started(path) as store:
        assert await store.check() is None


async def test_a_start_that_failed_leaves_no_lock(tmp_path: Path) -> None:
    """What cannot be opened is refused with a sentence, again and again, and keeps nobody out."""
    path = tmp_path / "h.db"
    path.write_bytes(b"this is not a database" * 100)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="not a database"):
            await SqliteStore(str(path), ToldClock()).start()
        with pytest.raises(StoreUnavailable, match="not a database"):
            SqliteStore.migrations(str(path))
    path.unlink()
    async with started(path):
        pass


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path in a folder that does not exist is refused with a sentence."""
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await SqliteStore(str(tmp_path / "none" / "h.db"), ToldClock()).start()


@pytest.mark.rule(n=1)
async def test_the_files_are_private_and_durable(tmp_path: Path) -> None:
    """Only the owner may read the files; the writer syncs every commit, in pages of 8 KiB, without checkpoints."""
    async with started(tmp_path / "h.db") as store:
        await store.put_endpoint(endpoint_row())
        for name in ("h.db", "h.db-wal", "h.db-lock"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        connection = store._connection
        assert connection is not None
        asked = ("journal_mode", "synchronous", "page_size", "wal_autocheckpoint", "secure_delete")
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
        assert found == ["wal", 2, 8192, 0, 2]  # FULL; FAST


async def test_a_stop_leaves_one_file(tmp_path: Path) -> None:
    """After a stop everything is in the database file; stopping again does nothing."""
    store = SqliteStore(str(tmp_path / "h.db"), ToldClock(), disk_free_min_bytes=0)
    await store.start()
    await store.put_endpoint(endpoint_row())
    await store.stop()
    await store.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.db", "h.db-lock"]


# ------------------------------------------------------------------------------------------------ where it may lie

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/share rw,relatime - nfs4 server:/export rw,vers=4.2
31 22 0:41 / /mnt/with\\040space rw,relatime shared:7 master:2 - cifs //server/share rw
32 22 0:42 / /mnt/share/local rw,relatime - xfs /dev/vdb rw
33 22 0:43 / /home rw,relatime - ext4 /dev/vdc rw
34 22 0:44 / /home rw,relatime - fuse.sshfs user@host: rw
not a line of mountinfo
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/hookline", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share/local/x", "xfs"),
        ("/mnt/with space/x", "cifs"),
        ("/home/me", "fuse.sshfs"),  # mounted over another: the last one is what one sees
    ],
)
def test_the_file_system_of_a_folder(directory: str, kind: str) -> None:
    """The longest mount point that contains the folder decides, and of equal ones the last."""
    assert guard.file_system(directory, MOUNTS) == kind


@pytest.mark.rule(n=1)
async def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database on NFS is refused before anything of it is made."""
    monkeypatch.setattr(guard, "file_system", lambda directory, mountinfo: "nfs")
    with pytest.raises(StoreUnavailable, match=r"network file system \(nfs\)"):
        await SqliteStore(str(tmp_path / "h.db"), ToldClock()).start()
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_asked_each_half_second(tmp_path: Path) -> None:
    """The guard believes an answer for 0.5 s, then asks again, and notices when there is room again."""
    clock, answers = ToldClock(), [1024, 0, 1024]
    asked: list[str] = []

    def free(directory: str) -> int:
        asked.append(directory)
        return answers[len(asked) - 1]

    disk = guard.DiskGuard(str(tmp_path / "h.db"), clock, 512, free)
    assert disk.reason() is None
    clock.advance(0.4)
    assert disk.reason() is None
    assert asked == [str(tmp_path)]
    clock.advance(0.2)
    assert "are free on the disk" in str(disk.reason())
    clock.advance(0.5)
    assert disk.reason() is None
    assert len(asked) == 3


@pytest.mark.rule(n=22)
async def test_a_nearly_full_disk_takes_outcomes_but_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the limit accept answers `disk_full` and `check` says why, while record and registry go on."""
    clock = ToldClock()
    async with started(tmp_path / "h.db", clock) as store:

        async def reopen() -> SqliteStore:
            raise NotImplementedError

        case = Case(store, clock, reopen)
        endpoint = await case.endpoint()
        lease = await case.handed_off(endpoint)
        store._disk = guard.DiskGuard(store.path, clock, 2**62)
        with pytest.raises(StoreUnavailable) as refused:
            await case.one(endpoint)
        assert refused.value.code == "disk_full"
        assert "MiB are free" in str(await store.check())
        assert await case.close(lease, State.DELIVERED)
        await case.endpoint()
        assert (await case.counts()).delivered == 1


# ------------------------------------------------------------------------------------------------------- migrations


def names(migrations: list[Migration]) -> list[tuple[int, bool]]:
    """Numbers, and whether they are applied."""
    return [(migration.number, migration.applied) for migration in migrations]


@pytest.mark.rule(n=26)
async def test_migrations_of_a_new_file(tmp_path: Path) -> None:
    """A new file has none; they are applied once, by hand or by a start, in order of their numbers."""
    path = str(tmp_path / "h.db")
    known = [migration.number for migration in SqliteStore.migrations(path)]
    assert list(tmp_path.iterdir()) == []  # asking makes nothing
    assert known == list(range(1, len(known) + 1))
    assert names(SqliteStore.migrations(path)) == [(number, False) for number in known]
    assert names(SqliteStore.migrate(path)) == [(number, True) for number in known]
    assert SqliteStore.migrate(path) == []
    assert names(SqliteStore.migrations(path)) == [(number, True) for number in known]
    async with started(Path(path)) as store:
        assert names(SqliteStore.migrations(path)) == [(number, True) for number in known]
        assert (await store.changes(0)).version == 0


async def test_nobody_migrates_a_file_in_use(tmp_path: Path) -> None:
    """Migrating by hand is refused while a process has the file open."""
    async with started(tmp_path / "h.db") as store:
        with pytest.raises(StoreUnavailable, match="another process"):
            SqliteStore.migrate(store.path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE schema_migrations SET checksum = 'other' WHERE number = 1", "is not the one this program has"),
        ("INSERT INTO schema_migrations VALUES (9999, 'later', 'x')", "written by a newer Hookline"),
    ],
)
async def test_a_schema_that_is_not_ours_is_refused(tmp_path: Path, change: str, says: str) -> None:
    """A file whose migrations differ from the program's is not touched."""
    path = tmp_path / "h.db"
    SqliteStore.migrate(str(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    with pytest.raises(StoreUnavailable, match=says):
        await SqliteStore(str(path), ToldClock()).start()
    with pytest.raises(StoreUnavailable, match=says):
        SqliteStore.migrations(str(path))


@pytest.mark.rule(n=26)
async def test_a_big_file_is_not_migrated_by_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the limit with migrations missing says what to run; without any missing it starts."""
    monkeypatch.setattr(migrate, "BYTES_MAX_AT_START", 10)
    path = tmp_path / "h.db"
    with closing(open_writer(str(path))) as connection:
        connection.execute("CREATE TABLE something (x)")
    with pytest.raises(StoreUnavailable, match="hookline migrate up"):
        await SqliteStore(str(path), ToldClock()).start()
    assert SqliteStore.migrate(str(path))
    async with started(path):
        pass


@pytest.mark.rule(n=26)
def test_a_migration_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that fails half way leaves the file as it was."""
    script = Script(1, "broken", "x", "CREATE TABLE half (x); CREATE TABLE half (x);")
    monkeypatch.setattr(migrate, "_scripts", lambda: [script])
    with closing(open_writer(str(tmp_path / "h.db"))) as connection:
        with pytest.raises(sqlite3.Error):
            migrate.up(connection)
        assert names(migrate.status(connection)) == [(1, False)]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()
        assert tables == []


# ------------------------------------------------------------------------------------------------------------ clock


@pytest.mark.rule(n=17)
def test_the_clock_runs_on_the_monotonic_one() -> None:
    """The wall going back changes nothing, the wall going forward is followed, and time passes in between."""
    told = ToldClock()
    clock = StoreClock(told)
    assert clock.now_ms() == START_WALL_MS
    told.set_wall(START_WALL_MS - 3_600_000)
    told.advance(2.5)
    assert clock.now_ms() == START_WALL_MS + 2_500
    told.set_wall(START_WALL_MS + 60_000)
    assert clock.now_ms() == START_WALL_MS + 60_000
    told.set_wall(START_WALL_MS)
    told.advance(1)
    assert clock.now_ms() == START_WALL_MS + 61_000


def test_the_clock_remembers_jumps_for_a_while() -> None:
    """What the wall set forward within two minutes is added up; trimming and going back are no jumps."""
    told = ToldClock()
    clock = StoreClock(told)
    told.set_wall(told.wall_ms() + 900)
    assert clock.jumped_ms() == 0
    told.set_wall(told.wall_ms() + 3_600_000)
    assert clock.jumped_ms() == 3_600_000
    told.set_wall(told.wall_ms() - 3_600_000)
    told.advance(60)
    assert clock.jumped_ms() == 3_600_000
    told.set_wall(told.wall_ms() + 7_200_000)
    assert clock.jumped_ms() == 2 * 3_600_000
    told.advance(61)
    assert clock.jumped_ms() == 3_600_000
    told.advance(60)
    assert clock.jumped_ms() == 0


@pytest.mark.rule(n=17)
def test_the_clock_starts_at_what_is_known() -> None:
    """A floor ahead of the wall is where it goes on from; one behind it is nothing."""
    clock = StoreClock(ToldClock())
    clock.at_least(START_WALL_MS - 1)
    assert clock.now_ms() == START_WALL_MS
    clock.at_least(START_WALL_MS + 5_000)
    assert clock.now_ms() == START_WALL_MS + 5_000


@pytest.mark.rule(n=17)
async def test_a_stop_keeps_the_clock(tmp_path: Path) -> None:
    """A start with the wall set back goes on from where the last process stopped."""
    path, told = tmp_path / "h.db", ToldClock()
    async with started(path, told):
        told.advance(10)
    async with started(path, ToldClock(START_WALL_MS - 86_400_000)) as store:
        assert store.now_ms() == START_WALL_MS + 10_000


@pytest.mark.rule(n=17)
async def test_ids_bound_the_clock(tmp_path: Path) -> None:
    """Where the clock was not stored, the newest id says how late it was at least."""
    path, told = tmp_path / "h.db", ToldClock()
    async with started(path, told) as store:

        async def reopen() -> SqliteStore:
            raise NotImplementedError

        case = Case(store, told, reopen)
        told.advance(10)
        await case.one(await case.endpoint())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 0 WHERE name = 'clock_ms'")
    async with started(path, ToldClock(START_WALL_MS - 86_400_000)) as store:
        assert store.now_ms() > START_WALL_MS + 10_000


async def test_an_idle_store_writes_nothing(tmp_path: Path) -> None:
    """Folding without anything to fold writes the clock once a minute, not each second."""
    told = ToldClock()
    async with started(tmp_path / "h.db", told) as store:
        connection = store._connection
        assert connection is not None
        await store.fold()
        before = connection.total_changes
        for _ in range(59):
            told.advance(1)
            await store.fold()
        assert connection.total_changes == before
        told.advance(1)
        await store.fold()
        assert connection.total_changes == before + 1
