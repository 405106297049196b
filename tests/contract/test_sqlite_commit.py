"""The embedded store's writer: one commit for many callers, and nobody harmed by another's fault."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hookline.adapters.stores.sqlite import SqliteStore, queries, writer
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.adapters.stores.sqlite.writer import Writer
from hookline.core.delivery import State
from hookline.core.errors import Conflict, DataError, NotFound, StaleRegistry, StoreUnavailable
from hookline.ports.store import AcceptRequest, ClaimEntry, NewEvent
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract.case import Case, outcome

NOTE = "INSERT INTO dedupe (key, kind, expires_ms, value) VALUES (?, 9, 0, x'')"
NOTES = "SELECT count(*) FROM dedupe WHERE kind = 9"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A started store that waits 1 ms for a lock."""
    store = SqliteStore(str(tmp_path / "h.db"), ToldClock(), disk_free_min_bytes=0, busy_ms=1)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def case(store: SqliteStore) -> Case:
    """The store with a flow's moves."""

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    return Case(store, ToldClock(), reopen)


@asynccontextmanager
async def busy(writer: Writer) -> AsyncIterator[None]:
    """The writer's thread is in a job until the block ends: what comes meanwhile shares the next commit."""
    entered, leave = threading.Event(), threading.Event()

    def wait(_: Transaction) -> None:
        entered.set()
        leave.wait()

    waiting = asyncio.ensure_future(writer.run(wait))
    await asyncio.to_thread(entered.wait)
    try:
        yield
    finally:
        leave.set()
        await waiting


def the_writer(store: SqliteStore) -> Writer:
    """The writer inside a started store."""
    assert store._writer is not None
    return store._writer


def note(key: int) -> Any:
    """A job that writes one row."""

    def work(transaction: Transaction) -> int:
        transaction.execute(NOTE, (b"%d" % key,))
        return key

    return work


async def notes(store: SqliteStore) -> int:
    """How many of those rows are stored."""
    return await store._read(lambda connection: int(connection.execute(NOTES).fetchone()[0]))


async def queued(*jobs: Any) -> list[asyncio.Future[Any]]:
    """Start the calls, up to where they wait."""
    started = [asyncio.ensure_future(job) for job in jobs]
    await asyncio.sleep(0)
    return started


@pytest.mark.rule(n=1)
async def test_concurrent_accepts_share_a_commit(store: SqliteStore, case: Case) -> None:
    """What arrives during a commit goes into the next one together."""
    endpoint = await case.endpoint()
    version = await case.version()
    requests = [AcceptRequest("default", [case.new(endpoint)]) for _ in range(300)]
    async with busy(the_writer(store)):
        before = store.commits
        waiting = await queued(*(store.accept([request], version) for request in requests))
    assert len([await accepted for accepted in waiting]) == 300
    assert store.commits == before + 2  # the one that was running, and one for all
    assert (await case.counts()).pending == 300


@pytest.mark.rule(n=6)
async def test_one_delta_row_per_commit(store: SqliteStore, case: Case) -> None:
    """A shared commit writes its books once."""
    endpoint = await case.endpoint()
    version = await case.version()
    requests = [AcceptRequest("default", [case.new(endpoint)]) for _ in range(10)]
    async with busy(the_writer(store)):
        waiting = await queued(*(store.accept([request], version) for request in requests))
    for accepted in waiting:
        await accepted
    assert await store.fold() == 1


@pytest.mark.rule(n=4)
@pytest.mark.parametrize(("items", "size_bytes"), [(600, 0), (1, 3 * 1024 * 1024)])
async def test_a_commit_is_bounded(store: SqliteStore, items: int, size_bytes: int) -> None:
    """A commit takes no further job once it holds 1,000 items or 4 MiB."""
    run = the_writer(store).run
    async with busy(the_writer(store)):
        before = store.commits
        waiting = await queued(*(run(note(key), items=items, size_bytes=size_bytes) for key in range(5)))
    for done in waiting:
        await done
    assert store.commits == before + 1 + 3


@pytest.mark.rule(n=3)
async def test_bad_data_harms_its_own_caller_only(store: SqliteStore) -> None:
    """In a shared commit the job with a data error fails alone, and the others are committed."""
    run = the_writer(store).run

    def bad(transaction: Transaction) -> None:
        transaction.execute(NOTE, (b"bad",))
        transaction.execute(NOTE, (b"bad",))

    async with busy(the_writer(store)):
        first, guilty, last = await queued(run(note(1)), run(bad), run(note(2)))
    assert (await first, await last) == (1, 2)
    with pytest.raises(DataError):
        await guilty
    assert await notes(store) == 2


@pytest.mark.rule(n=3)
@pytest.mark.parametrize("refusal", [StaleRegistry("newer"), NotFound("none"), Conflict("there")])
async def test_a_refusal_costs_nobody_a_rollback(store: SqliteStore, refusal: Exception) -> None:
    """A job that refuses before it writes is answered, and the others share the commit all the same."""
    run = the_writer(store).run

    def refuse(_: Transaction) -> None:
        raise refusal

    async with busy(the_writer(store)):
        before = store.commits
        first, refused, last = await queued(run(note(1)), run(refuse), run(note(2)))
    assert (await first, await last) == (1, 2)
    with pytest.raises(type(refusal)):
        await refused
    assert store.commits == before + 2
    assert await notes(store) == 2


async def test_a_refusal_after_a_write_takes_the_write_back(store: SqliteStore) -> None:
    """Nothing of a refused job is stored, even if it wrote before it refused."""
    run = the_writer(store).run

    def late(transaction: Transaction) -> None:
        transaction.execute(NOTE, (b"late",))
        raise NotFound("too late")

    async with busy(the_writer(store)):
        refused, other = await queued(run(late), run(note(1)))
    with pytest.raises(NotFound):
        await refused
    await other
    assert await notes(store) == 1


async def test_what_nobody_expected_reaches_its_caller(store: SqliteStore) -> None:
    """A bug in a job is raised where it was called, and the writer goes on."""

    def bug(_: Transaction) -> None:
        raise KeyError("unexpected")

    with pytest.raises(KeyError, match="unexpected"):
        await the_writer(store).run(bug)
    assert await the_writer(store).run(note(1)) == 1


async def test_a_caller_that_left_is_not_missed(store: SqliteStore) -> None:
    """A cancelled caller's job is done all the same, and the others get their answers."""
    run = the_writer(store).run
    async with busy(the_writer(store)):
        left, other = await queued(run(note(1)), run(note(2)))
        left.cancel()
        await asyncio.sleep(0)
    assert await other == 2
    assert await notes(store) == 2


async def test_stop_writes_what_is_queued(tmp_path: Path) -> None:
    """A stop commits what was called before it, and refuses what is called after it."""
    store = SqliteStore(str(tmp_path / "h.db"), ToldClock(), disk_free_min_bytes=0)
    await store.start()
    run = the_writer(store).run
    async with busy(the_writer(store)):
        (waiting,) = await queued(run(note(1)))
        (stopping,) = await queued(store.stop())
    assert await waiting == 1
    await stopping
    with pytest.raises(StoreUnavailable) as refused:
        await store.fold()
    assert refused.value.code == "draining"
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection:
        assert connection.execute(NOTES).fetchone() == (1,)


@pytest.mark.rule(n=22)
async def test_a_full_disk_is_survived(store: SqliteStore, case: Case) -> None:
    """When the file cannot grow, accept is refused as `disk_full`; when it can again, everything goes on."""
    endpoint = await case.endpoint()
    connection = the_writer(store)._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable) as refused:
        await case.one(endpoint, data=bytes(1024 * 1024))
    assert refused.value.code == "disk_full"
    assert await store.check() is None  # what fits is written
    connection.execute("PRAGMA max_page_count = 1000000")
    await case.one(endpoint, data=bytes(1024 * 1024))
    assert (await case.counts()).deliveries == 1


async def test_a_locked_file_is_survived(store: SqliteStore, case: Case) -> None:
    """While a stranger holds the write lock nothing is accepted, `check` says so, and then it is over by itself."""
    endpoint = await case.endpoint()
    version = await case.version()
    new = case.new(endpoint)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as refused:
            await store.accept([AcceptRequest("default", [new])], version)
        assert refused.value.code == "store_unavailable"
        reason = await store.check()
        assert reason is not None
        assert "locked" in reason
        stranger.execute("ROLLBACK")
    await store.accept([AcceptRequest("default", [new])], version)
    assert await store.check() is None


class _FailsToSync(sqlite3.Connection):
    """A disk that takes everything but the fsync of the next commit."""

    failing = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.failing and sql == queries.COMMIT:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *parameters)


@pytest.mark.rule(n=1)
async def test_a_failed_fsync_ends_the_process(tmp_path: Path) -> None:
    """A commit that the disk did not take is told to `fatal`: what is on the disk is not known any more."""
    told: list[str] = []
    with closing(
        sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False, factory=_FailsToSync)
    ) as connection:
        connection.execute("CREATE TABLE counter_deltas (n INTEGER PRIMARY KEY, packed BLOB)")
        running = Writer(connection, lambda: 0, wrote=lambda _: None, fatal=told.append)
        running.start()
        connection.failing = True
        with pytest.raises(StoreUnavailable):
            await running.run(lambda transaction: transaction.moved("t", b"e", 0, 1))
        connection.failing = False
        await running.stop()
    assert told == ["the commit failed: disk I/O error"]
    assert writer.EXIT_STATUS == 70


@pytest.mark.rule(n=12)
async def test_the_same_outcome_twice_in_a_call_applies_once(store: SqliteStore, case: Case) -> None:
    """Of equal items in one call the first is recorded; stale ones among good ones change nothing."""
    endpoint = await case.endpoint()
    for _ in range(3):
        await case.one(endpoint)
    first, second, third = await case.claim(endpoint)
    stale = outcome(third)
    await store.release([(third.delivery_id, third.fence)])
    await case.claim_one(endpoint)
    items = [outcome(first), stale, outcome(first), outcome(second), outcome(first, State.FAILED)]
    result = await store.record(items)
    assert list(result.applied) == [True, False, False, True, False]
    counts = await case.counts()
    assert (counts.delivered, counts.leased, counts.failed) == (2, 1, 0)


async def test_keys_of_any_number_are_closed(store: SqliteStore, case: Case) -> None:
    """Accepting and recording in every size of batch loses none: statements for 64, 16, 4 and 1 cover it."""
    endpoint = await case.endpoint()
    version = await case.version()
    total = 0
    for size in (1, 3, 5, 20, 63, 64, 65, 150):
        items = [case.new(endpoint, lease_s=30.0) for _ in range(size)]
        await store.accept([AcceptRequest("default", items)], version)
        leases = [(await case.listed(event_id=new.event.id))[0].id for new in items]
        lease = await case.handed_off(endpoint)
        records = [outcome(msgspec.structs.replace(lease, delivery_id=delivery)) for delivery in leases]
        assert all((await store.record([*records, outcome(lease)])).applied)
        total += size + 1
    counts = await case.counts()
    assert (counts.delivered, counts.leased, counts.deliveries) == (total, 0, total)


async def test_empty_texts_are_not_missing_texts(store: SqliteStore, case: Case) -> None:
    """An empty `source_id` or `subject` comes back empty, an absent one absent."""
    events = [case.event(source_id=value, subject=value) for value in ("", None, "x")]
    await store.accept([AcceptRequest("default", [NewEvent(event) for event in events])], 0)
    for event in events:
        assert await store.event(None, event.id) == event


async def test_an_endpoint_named_twice_is_claimed_once(store: SqliteStore, case: Case) -> None:
    """However often a claim names an endpoint or a delivery, each delivery is leased once."""
    endpoint = await case.endpoint()
    deliveries = [await case.one(endpoint) for _ in range(2)]
    entries = [ClaimEntry(endpoint, 10, 30.0, 100)] * 2
    claimed = (await store.claim_ids([*deliveries, *deliveries], entries)).claimed
    assert [(lease.delivery_id, lease.fence) for lease in claimed] == [(delivery, 1) for delivery in deliveries]
    assert (await store.claim(entries)).claimed == []
    assert (await case.counts()).leased == 2
