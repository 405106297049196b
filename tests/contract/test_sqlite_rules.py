"""What a rule of docs/reliability.md costs the embedded store, in rows and steps, beside what the wrong way costs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from hookline.adapters.stores.sqlite import SqliteStore
from hookline.core.delivery import State
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract.case import Case

MANY = 10_000
WAITING = 20_000
STEP = 500


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A started store."""
    store = SqliteStore(str(tmp_path / "h.db"), ToldClock(), disk_free_min_bytes=0)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def case(store: SqliteStore) -> Case:
    """The store with a flow's moves."""

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    return Case(store, ToldClock(), reopen)


async def on_writer(store: SqliteStore, work: Callable[[sqlite3.Connection], object]) -> object:
    """Do it on the writer's connection, between two commits."""
    assert store._writer is not None
    return await asyncio.to_thread(store._writer.between, work)


async def changed(store: SqliteStore) -> int:
    """Rows that the writer changed so far."""
    found = await on_writer(store, lambda connection: connection.total_changes)
    assert isinstance(found, int)
    return found


async def one(store: SqliteStore, sql: str) -> object:
    """The one value of a query."""
    return await on_writer(store, lambda connection: connection.execute(sql).fetchone()[0])


@pytest.mark.rule(n=5)
async def test_rule_5_ten_thousand_endpoints_cost_the_accept_a_few_rows(case: Case, store: SqliteStore) -> None:
    """An event to 10,000 endpoints writes a handful of rows when it is accepted, and at most 500 deliveries a commit
    afterwards; written as rows it would be 10,000 in the publisher's commit."""
    endpoints = await case.endpoints(20)
    packed = (endpoints * (MANY // len(endpoints)))[:MANY]
    before = await changed(store)
    accepted = await case.accept(case.new(fanout=packed))
    assert accepted[0].deliveries == MANY
    assert await changed(store) - before <= 5
    assert await one(store, "SELECT count(*) FROM open") == 0
    assert (await case.counts()).pending == MANY
    steps, remains = 0, True
    while remains:
        rows = await one(store, "SELECT count(*) FROM open")
        _, remains = await store.unfold(STEP)
        assert await one(store, "SELECT count(*) FROM open") - rows == STEP
        steps += 1
    assert steps == MANY // STEP
    assert (await case.counts()).pending == MANY


@pytest.mark.rule(n=7)
async def test_rule_7_only_a_key_has_a_row(case: Case, store: SqliteStore) -> None:
    """Events without a key leave nothing to look duplicates up in; one with a key leaves one row of 16 bytes."""
    for _ in range(20):
        await case.accept(case.new())
    assert await one(store, "SELECT count(*) FROM dedupe") == 0
    await case.accept(case.new(dedupe_key=b"k" * 16))
    assert await one(store, "SELECT count(*) FROM dedupe") == 1
    assert await one(store, "SELECT length(key) FROM dedupe") == 16


@pytest.mark.rule(n=8)
async def test_rule_8_history_is_never_updated(case: Case, store: SqliteStore, tmp_path: Path) -> None:
    """Whatever is delivered, failed, retried, discarded or purged, no row of the closed history is changed in place: a
    trigger that would refuse it is never met."""
    await on_writer(
        store,
        lambda connection: connection.execute(
            "CREATE TRIGGER never BEFORE UPDATE ON closed BEGIN SELECT RAISE(ABORT, 'closed was updated'); END"
        ),
    )
    endpoint = await case.endpoint()
    delivery, _ = await case.failed(endpoint)
    await store.reopen(None, delivery)
    assert await case.close(await case.claim_one(endpoint), State.FAILED, reason="server_error")
    await store.reopen(None, delivery)
    assert await case.close(await case.claim_one(endpoint))
    other, _ = await case.failed(endpoint)
    await store.discard(None, other)
    assert await case.words(delivery, other) == ["delivered", "discarded"]
    with closing(sqlite3.connect(tmp_path / "h.db")) as stranger, pytest.raises(sqlite3.IntegrityError):
        stranger.execute("UPDATE closed SET tries = 9")


@pytest.mark.rule(n=9)
async def test_rule_9_what_may_not_be_sent_costs_a_claim_nothing(case: Case, store: SqliteStore) -> None:
    """With 20,000 deliveries due for an endpoint that may not be sent to, and as many of one that is asked for, a claim
    takes as many steps of the database as with none: nothing is sorted or passed over."""
    quiet, busy = await case.endpoint(), await case.endpoint()

    async def steps() -> int:
        """Steps (in hundreds) of a claim of ten of the busy one's deliveries."""
        taken = 0

        def count() -> int:
            nonlocal taken
            taken += 1
            return 0

        await on_writer(store, lambda connection: connection.set_progress_handler(count, 100))
        claimed = await case.claim(busy, 10)
        await on_writer(store, lambda connection: connection.set_progress_handler(None, 100))
        assert len(claimed) == 10
        return taken

    for _ in range(20):
        await case.one(busy)
    await steps()  # statements are prepared
    alone = await steps()
    for endpoint in (quiet, busy):
        for _ in range(WAITING // 1000):
            await case.accept(*[case.new(endpoint) for _ in range(1000)])
    await case.pause(quiet)
    assert (await case.counts()).pending == WAITING
    assert (await case.counts()).held == WAITING
    assert await steps() <= 2 * alone + 5


@pytest.mark.rule(n=15)
async def test_rule_15_a_pause_is_no_mass_update(case: Case, store: SqliteStore) -> None:
    """Pausing and resuming an endpoint with 5,000 open deliveries changes a few rows, and all 5,000 are reported so."""
    endpoint = await case.endpoint()
    for _ in range(5):
        await case.accept(*[case.new(endpoint) for _ in range(1000)])
    before = await changed(store)
    await case.pause(endpoint)
    assert (await case.counts()).held == 5000
    await case.resume(endpoint)
    assert (await case.counts()).pending == 5000
    assert await changed(store) - before <= 12


@pytest.mark.rule(n=15)
async def test_rule_15_a_deleted_endpoint_is_closed_in_steps(case: Case, store: SqliteStore) -> None:
    """Deleting an endpoint with 2,500 open deliveries changes a few rows; they are closed 1,000 a commit."""
    endpoint = await case.endpoint()
    for _ in range(5):
        await case.accept(*[case.new(endpoint) for _ in range(500)])
    before = await changed(store)
    await store.delete_endpoint(endpoint)
    assert await changed(store) - before <= 6
    closed = []
    while len(closed) < 3:
        rows = await one(store, "SELECT count(*) FROM open")
        await store.close_deleted(1000)
        closed.append(rows - await one(store, "SELECT count(*) FROM open"))
    assert closed == [1000, 1000, 500]
    assert (await case.counts()).discarded == 2500
