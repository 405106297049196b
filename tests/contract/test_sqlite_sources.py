"""Sources in the file: backed up and restored with the rest, dropped for good, and told of before a start."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.contract.test_sqlite_restore import backed_up, started

from hookline.adapters.stores.sqlite import SqliteStore
from hookline.adapters.stores.sqlite.restore import restore
from hookline.adapters.stores.sqlite.sealed import sealed_secrets
from hookline.ports.store import RejectionRow
from hookline.testing.store_contract.case import Case
from hookline.testing.store_contract.sources import kept_reasons, make_source, put_aside, waiting

SECRET = b"a payload that a person wants to be gone"


async def test_a_backup_has_them(tmp_path: Path):
    """A restored database has the sources, what was in quarantine with its payload, its count, and the rejections."""
    copy, target = tmp_path / "copy.db", tmp_path / "new.db"
    async with started(tmp_path / "old.db") as case:
        source = await make_source(case)
        quarantined_id = await put_aside(case, source, data=SECRET)
        await case.store.add_rejections([RejectionRow(case.new_id(), source.id, b"r")])
        await backed_up(case, copy)
    restore(str(copy), str(target))
    async with started(target) as case:
        assert list((await case.store.changes(0)).sources) == [source]
        assert await waiting(case, source) == [quarantined_id]
        row = await case.store.quarantined_of(source.id, quarantined_id)
        assert row is not None
        assert row.event.data == SECRET
        assert (await case.counts()).quarantined == 1
        assert await kept_reasons(case, source) == [b"r"]


@pytest.mark.parametrize("size_bytes", [100, 100_000])
async def test_what_is_dropped_is_overwritten(tmp_path: Path, size_bytes: int):
    """Of a dropped request's payload nothing is left in the file, neither in its pages nor in the free ones."""
    path = tmp_path / "h.db"
    data = SECRET * (size_bytes // len(SECRET))
    async with started(path) as case:
        source = await make_source(case)
        quarantined_id = await put_aside(case, source, data=data)
        await put_aside(case, source)
        await _checkpointed(case)
        assert SECRET in path.read_bytes()
        await case.store.drop_quarantined(source.id, quarantined_id)
        await _checkpointed(case)
        assert SECRET not in path.read_bytes()


async def _checkpointed(case: Case) -> None:
    """Everything is in the file itself, and nothing is in the log beside it."""
    store = case.store
    assert isinstance(store, SqliteStore)
    await store.stop()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await store.start()


async def test_what_is_sealed_is_told_before_a_start(tmp_path: Path):
    """The sealed secrets of sources are read from the file with those of endpoints, and not those of deleted ones."""
    path = tmp_path / "h.db"
    async with started(path) as case:
        await make_source(case, "a", sealed=b"of a source")
        gone = await make_source(case, "b", sealed=b"of one that is gone")
        await case.endpoint(sealed=b"of an endpoint")
        await case.store.delete_source(gone.id)
    assert sorted(sealed_secrets(str(path))) == [b"of a source", b"of an endpoint"]


async def test_a_file_of_before_the_sources_is_read(tmp_path: Path):
    """In a database that lacks the table of sources those of endpoints are told."""
    path = tmp_path / "h.db"
    async with started(path) as case:
        await case.endpoint(sealed=b"of an endpoint")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE sources")
    assert list(sealed_secrets(str(path))) == [b"of an endpoint"]
