"""A database made of a backup: everything in it, nobody's leases, and nothing of before comes back."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from hookline.adapters.stores.sqlite import SqliteStore, backup, migrate
from hookline.adapters.stores.sqlite.connection import open_writer
from hookline.adapters.stores.sqlite.restore import restore
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import NotFound, Refusal, StoreUnavailable
from hookline.testing.clock import START_WALL_MS, ToldClock
from hookline.testing.store_contract.case import Case
from hookline.testing.store_contract.stream import behind


@asynccontextmanager
async def started(path: Path, clock: ToldClock | None = None) -> AsyncIterator[Case]:
    """A store that runs while the block does, with a flow's moves."""
    clock = clock or ToldClock()
    store = SqliteStore(str(path), clock, disk_free_min_bytes=0)
    await store.start()

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    try:
        yield Case(store, clock, reopen)
    finally:
        await store.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the backup lies: a folder of its own."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the restored database goes: a folder of its own."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "h.db"


async def backed_up(case: Case, source: Path) -> int:
    """A backup of the store; its instant."""
    assert isinstance(case.store, SqliteStore)
    return (await case.store.backup(str(source))).as_of_ms


async def small(tmp_path: Path, source: Path) -> int:
    """A backup with one delivery in it; its instant."""
    async with started(tmp_path / "first.db") as case:
        await case.one(await case.endpoint())
        return await backed_up(case, source)


def names(path: Path) -> set[str]:
    """What is in the folder of a file."""
    return {file.name for file in path.parent.iterdir()}


def meta(path: Path) -> dict[str, int]:
    """What a file says of itself."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def changed(path: Path, *statements: str) -> None:
    """A file that somebody has changed."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for sql in statements:
            connection.execute(sql)


def killed(path: Path, where: Path) -> None:
    """What SIGKILL leaves of a running store: the file and its log."""
    for ending in ("-wal", ""):
        subprocess.run(["cp", f"{path}{ending}", f"{where}{ending}"], check=True)


# ------------------------------------------------------------------------------------------------------- what is in it


async def test_everything_is_there(tmp_path: Path, source: Path, target: Path) -> None:
    """Events, deliveries in every state, attempts, configuration and books are as they were at the backup."""
    async with started(tmp_path / "first.db") as case:
        endpoint = await case.endpoint(uid="mine")
        delivered = await case.handed_off(endpoint)
        await case.close(delivered)
        failed, _ = await case.failed(endpoint)
        first, second = await case.one(endpoint, lane="k"), await case.one(endpoint, lane="k")
        waiting = await case.one(endpoint, wait_s=1e9)
        deliveries = (delivered.delivery_id, failed, first, second, waiting)
        words, counts = await case.words(*deliveries), await case.counts()
        registry, events = await case.store.changes(0), await case.listed_events()
        as_of_ms = await backed_up(case, source)
        later = await case.one(endpoint)
    assert restore(str(source), str(target)) == (as_of_ms, None)
    assert names(target) == {"h.db", "h.db-lock"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    async with started(target) as case:
        assert await case.words(*deliveries) == words == ["delivered", "failed", "pending", "held", "pending"]
        assert await case.counts() == counts
        assert await case.store.changes(0) == registry
        assert await case.listed_events() == events
        assert len(await case.store.attempts(delivered.delivery_id)) == 1
        assert await case.store.delivery(None, later) is None
        assert [claimed.delivery_id for claimed in await case.claim(endpoint)] == [first]


@pytest.mark.rule(n=21)
async def test_leases_are_void(tmp_path: Path, source: Path, target: Path) -> None:
    """What was being delivered is pending at once, nobody's, with the books in accord; nothing is to be taken back."""
    async with started(tmp_path / "first.db") as case:
        endpoint, other = await case.endpoint(), await case.endpoint("other")
        leases = [await case.handed_off(endpoint) for _ in range(3)]
        leases.append(await case.handed_off(other, tenant="other"))
        await case.store.fold()
        leases.append(await case.handed_off(endpoint))
        assert (await case.counts()).leased == 5
        await backed_up(case, source)
    restore(str(source), str(target))
    async with started(target) as case:
        counts = await case.counts()
        assert (counts.leased, counts.pending, counts.deliveries) == (0, 5, 5)
        assert (await case.counts("other")).pending == 1
        assert (await case.counts(None, endpoint)).pending == 4
        assert await case.words(*(lease.delivery_id for lease in leases)) == ["pending"] * 5
        assert list(await case.store.lost()) == []
        claimed = await case.claim(endpoint)
        assert {one.delivery_id for one in claimed} == {lease.delivery_id for lease in leases if lease != leases[3]}
        assert {(one.fence, one.lost, one.tries) for one in claimed} == {(2, 0, 0)}
        assert not await case.close(leases[0])  # the old process, back from the dead


async def test_many_leases(tmp_path: Path, source: Path, target: Path) -> None:
    """More leases than one step voids are void all the same."""
    async with started(tmp_path / "first.db") as case:
        endpoint = await case.endpoint()
        await case.accept(*(case.new(endpoint, lease_s=30.0) for _ in range(999)))
        await case.accept(*(case.new(endpoint, lease_s=30.0) for _ in range(999)))
        await backed_up(case, source)
    restore(str(source), str(target))
    async with started(target) as case:
        counts = await case.counts()
        assert (counts.leased, counts.pending) == (0, 1998)


async def test_a_lane_has_its_head(tmp_path: Path, source: Path, target: Path) -> None:
    """An older delivery that waited for the one in flight goes first, and the sweep finds nothing to mend."""
    async with started(tmp_path / "first.db") as case:
        endpoint = await case.endpoint()
        older, younger = await case.one(endpoint, lane="k"), await case.one(endpoint, lane="k")
        await case.close(await case.claim_one(endpoint), State.FAILED, lane_waits=False, reason="timeout")
        await case.claim_one(endpoint)
        await case.store.reopen(None, older)
        assert await case.words(older, younger) == ["held", "leased"]
        await backed_up(case, source)
    restore(str(source), str(target))
    async with started(target) as case:
        assert await case.words(older, younger) == ["pending", "held"]
        assert await case.store.sweep_lanes() == 0
        assert (await case.claim_one(endpoint)).delivery_id == older


# ------------------------------------------------------------------------------------------- nothing goes back


@pytest.mark.rule(n=17)
async def test_the_clock_goes_on(tmp_path: Path, source: Path, target: Path) -> None:
    """Ids made after a restore are above all of the backup's and of the replaced database's, whatever the wall says;
    the file says when it was made, and of what instant it is."""
    future_ms = 4_000_000_000_000
    async with started(tmp_path / "first.db", ToldClock(future_ms)) as case:
        await case.one(await case.endpoint())
        as_of_ms = await backed_up(case, source)
    async with started(target, ToldClock(future_ms + 3_600_000)) as case:
        lost = await case.one(await case.endpoint())
    restore(str(source), str(target), replace=True)
    said = meta(target)
    assert said["backup_as_of_ms"] == as_of_ms >= future_ms
    assert said["restored_ms"] == said["clock_ms"] > ids.time_ms(lost)
    async with started(target, ToldClock(START_WALL_MS)) as case:
        assert case.new_id() > lost


async def test_positions_of_before_are_not_resumed(tmp_path: Path, source: Path, target: Path) -> None:
    """Who read along before the restore is told so, also where the numbers would fit; a new reader misses nothing."""
    async with started(tmp_path / "first.db") as case:
        endpoint = await case.endpoint()
        await case.one(endpoint)
        await backed_up(case, source)
        positions = [await case.store.stream_end()]
        await case.one(endpoint)
        positions.append(await case.store.stream_end())
    restore(str(source), str(target))
    async with started(target) as case:
        start = await case.store.stream_end()
        event = (await case.one(endpoint))[: ids.ROOT_BYTES]
        for position in positions:
            with pytest.raises(NotFound):
                await case.store.stream(position)
        assert await behind(case, start) == [("event", event)]


async def test_a_backup_of_what_was_restored(tmp_path: Path, source: Path, target: Path) -> None:
    """It says its own instant, not the first one's."""
    first_ms = await small(tmp_path, source)
    restore(str(source), str(target))
    again = source.with_name("again.db")
    async with started(target) as case:
        case.clock.advance(60)
        second_ms = await backed_up(case, again)
    assert second_ms > first_ms
    assert meta(again)["backup_as_of_ms"] == second_ms


async def test_a_copy_by_other_means(tmp_path: Path, source: Path, target: Path) -> None:
    """A file with its log beside it is restored whole; without an instant of its own it is as of what it knows last."""
    first = tmp_path / "first.db"
    async with started(first) as case:
        delivery = await case.one(await case.endpoint())
        killed(first, source)
    assert restore(str(source), str(target)).as_of_ms == ids.time_ms(delivery) + 1
    async with started(target) as case:
        assert await case.words(delivery) == ["pending"]


async def test_an_older_schema(tmp_path: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup by an earlier release is restored as it is, and migrated by the start."""
    first = migrate._scripts()[:1]
    with monkeypatch.context() as before, closing(open_writer(str(source))) as connection:
        before.setattr(migrate, "_scripts", lambda: first)
        migrate.up(connection)
    restore(str(source), str(target))
    assert [migration.applied for migration in SqliteStore.migrations(str(target))][:2] == [True, False]
    async with started(target) as case:
        await case.one(await case.endpoint())
        assert await case.store.stream(await case.store.stream_end()) == []


# ------------------------------------------------------------------------------------------- what was there before


async def test_what_is_there_is_not_replaced(tmp_path: Path, source: Path, target: Path) -> None:
    """An existing database is refused and untouched, unless it is to be replaced."""
    await small(tmp_path, source)
    async with started(target) as case:
        await case.endpoint()
    before = target.read_bytes()
    with pytest.raises(Refusal) as refused:
        restore(str(source), str(target))
    assert refused.value.code == "invalid_parameter"
    assert target.read_bytes() == before
    assert names(target) == {"h.db", "h.db-lock"}


async def test_what_is_replaced_is_kept(tmp_path: Path, source: Path, target: Path) -> None:
    """It stays with its log under a name of its own, none of it gets into the new one, and whatever is restored over
    that in turn, nothing that was kept is touched."""
    await small(tmp_path, source)
    first = tmp_path / "killed.db"
    async with started(first) as case:
        for _ in range(50):
            await case.one(await case.endpoint())
        killed(first, target)
    for ending in ("", "-2", "-3"):
        assert restore(str(source), str(target), replace=True).kept == f"{target}.replaced{ending}"
        async with started(target) as case:
            assert (await case.counts()).events == 1
    for ending, events in (("", 50), ("-2", 1), ("-3", 1)):
        async with started(Path(f"{target}.replaced{ending}")) as case:
            assert (await case.counts()).events == events


async def test_a_log_that_was_kept_stays(tmp_path: Path, source: Path, target: Path) -> None:
    """A name is not given to a database while a log has it that is not its own."""
    await small(tmp_path, source)
    target.write_bytes(b"this was a database" * 500)
    log = Path(f"{target}.replaced-wal")
    log.write_bytes(b"of another")
    assert restore(str(source), str(target), replace=True).kept == f"{target}.replaced-2"
    assert log.read_bytes() == b"of another"


async def test_a_log_without_its_file(tmp_path: Path, source: Path, target: Path) -> None:
    """A log that an earlier database has left is not taken for the new one's."""
    await small(tmp_path, source)
    first = tmp_path / "killed.db"
    async with started(first) as case:
        for _ in range(50):
            await case.one(await case.endpoint())
        killed(first, target)
    target.unlink()
    restore(str(source), str(target))
    async with started(target) as case:
        assert (await case.counts()).events == 1


async def test_a_damaged_database_can_be_replaced(tmp_path: Path, source: Path, target: Path) -> None:
    """What cannot be read is no reason not to replace it."""
    await small(tmp_path, source)
    target.write_bytes(b"this was a database" * 500)
    restore(str(source), str(target), replace=True)
    async with started(target) as case:
        assert (await case.counts()).events == 1


async def test_a_link_stays_one(tmp_path: Path, source: Path, target: Path) -> None:
    """Where the name is a link, the file that it names is replaced."""
    await small(tmp_path, source)
    elsewhere = tmp_path / "elsewhere.db"
    async with started(elsewhere):
        pass
    target.symlink_to(elsewhere)
    restore(str(source), str(target), replace=True)
    assert target.is_symlink()
    assert meta(elsewhere)["restored_ms"] > 0


# ------------------------------------------------------------------------------------------------------- refused


async def test_not_under_a_running_process(tmp_path: Path, source: Path, target: Path) -> None:
    """While a process has the database open it is not replaced, whatever is asked for."""
    await small(tmp_path, source)
    async with started(target) as case:
        with pytest.raises(StoreUnavailable, match="another process"):
            restore(str(source), str(target), replace=True)
        await case.one(await case.endpoint())
        assert await case.store.check() is None
    assert "h.db.replaced" not in names(target)


def hurt(path: Path) -> None:
    """Zeros in the middle of the file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(8192))


def cut(path: Path) -> None:
    """Only the first half of the file."""
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no database " * 1000), "not a database"),
        (lambda path: path.write_bytes(b""), "no database of Hookline"),
        (hurt, "is damaged|malformed"),
        (cut, "is damaged|malformed"),
        (lambda path: changed(path, "DROP TABLE schema_migrations"), "no database of Hookline"),
        (lambda path: changed(path, "INSERT INTO schema_migrations VALUES (9999, 'x', 'x')"), "newer Hookline"),
        (lambda path: changed(path, "UPDATE schema_migrations SET checksum = 'x'"), "is not the one this program has"),
    ],
)
async def test_what_is_no_backup(tmp_path: Path, source: Path, target: Path, spoil: Any, says: str) -> None:
    """Damaged, foreign and newer files are refused with the reason; what is there stays, and nothing is left."""
    await small(tmp_path, source)
    spoil(source)
    async with started(target) as case:
        await case.endpoint()
    before = target.read_bytes()
    with pytest.raises(StoreUnavailable, match=says):
        restore(str(source), str(target), replace=True)
    assert target.read_bytes() == before
    assert names(target) == {"h.db", "h.db-lock"}


async def test_nothing_to_restore(tmp_path: Path, source: Path, target: Path) -> None:
    """A missing source, a folder, the target itself, and a folder that is none are refused with a sentence."""
    await small(tmp_path, source)
    for wrong in (source.with_name("other.db"), tmp_path):
        with pytest.raises(Refusal, match="is no file"):
            restore(str(wrong), str(target))
    with pytest.raises(Refusal, match="are the same file"):
        restore(str(source), str(source), replace=True)
    with pytest.raises(Refusal, match="is no place for a file"):
        restore(str(source), str(tmp_path / "nowhere" / "h.db"))
    assert names(target) == set()
    assert names(source) == {"copy.db"}


async def test_no_room(tmp_path: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the copy does not fit, nothing is begun."""
    await small(tmp_path, source)
    monkeypatch.setattr(backup, "free_bytes", lambda folder: source.stat().st_size - 1)
    with pytest.raises(Refusal) as refused:
        restore(str(source), str(target))
    assert refused.value.code == "disk_full"
    assert names(target) == set()
