"""The embedded store's retention: what only it promises about rowids, its file, its writer and its steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookline.adapters.stores.sqlite import SqliteStore, retention
from hookline.core import ids
from hookline.core.delivery import State
from hookline.ports.store import EXPIRED_KEPT_S, EventTypeRow, Keep, KeyRow
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract.case import Case
from hookline.testing.store_contract.erase import MARK, told
from hookline.testing.store_contract.retention import KEEP, KEPT_S, age, circle


@pytest.fixture
def clock() -> ToldClock:
    """The time that the store runs on."""
    return ToldClock()


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


async def number(store: SqliteStore, sql: str) -> int:
    """The one number that a statement gives."""
    return await store._read(lambda connection: int(connection.execute(sql).fetchone()[0] or 0))


NEWEST = ("SELECT max(rowid) FROM events", "SELECT max(rowid) FROM attempts")


@pytest.mark.rule(n=30)
@pytest.mark.rule(n=15)
async def test_no_rowid_comes_back(store: SqliteStore, case: Case) -> None:
    """However much is purged, new events and attempts get rowids above all before: positions in the stream hold."""
    endpoint = await case.endpoint()
    for _ in range(3):
        for _ in range(3):
            await case.one(endpoint)
            assert await case.close(await case.claim_one(endpoint))
        before = [await number(store, sql) for sql in NEWEST]
        case.clock.advance(KEPT_S + 1)
        await circle(case)
        assert await number(store, "SELECT count(*) FROM events") == 1
        assert await number(store, "SELECT count(*) FROM attempts") == 1
        assert [await number(store, sql) for sql in NEWEST] == before
    await age(case)
    await circle(case)
    assert len(await case.listed()) == 1


@pytest.mark.rule(n=15)
async def test_history_that_stays_costs_no_commit(store: SqliteStore, case: Case) -> None:
    """Looking at history of which nothing is to be removed leaves the writer alone."""
    endpoint = await case.endpoint("long")
    for _ in range(5):
        await case.one(endpoint, tenant="long")
    for claimed in await case.claim(endpoint):
        await case.close(claimed)
    await age(case)
    before = store.commits
    keep = Keep(10 * KEPT_S, {"short": 0.0})
    assert (await circle(case, keep, 3)).examined >= 10
    assert store.commits == before


class _Hurried(ToldClock):
    """Every look at the monotonic clock costs 6 ms."""

    def monotonic_s(self) -> float:
        self.advance(0.006)
        return super().monotonic_s()


@pytest.mark.rule(n=15)
async def test_a_step_gives_the_writer_back(tmp_path: Path) -> None:
    """A step that takes long ends early, and the next one goes on exactly there."""
    clock = _Hurried()
    store = SqliteStore(str(tmp_path / "h.db"), clock, disk_free_min_bytes=0)
    await store.start()

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    case = Case(store, clock, reopen)
    endpoint = await case.endpoint()
    for _ in range(300):
        await case.one(endpoint)
    for claimed in await case.claim(endpoint, slots=300):
        await case.close(claimed, attempt=None)
    await age(case)
    removed = []
    while (step := await store.purge(KEEP, 1000)).examined:
        removed.append(step.deliveries)
    assert max(removed) < 300
    assert sum(removed) == 300
    assert len(await case.listed()) == 1
    await store.stop()


async def test_expired_looks_at_so_many_rows(store: SqliteStore, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call examines a bounded number of open rows, and the next one goes on behind them."""
    monkeypatch.setattr(retention, "OPEN_EXAMINED_MAX", 4)
    endpoint, theirs = await case.endpoint(), await case.endpoint("long")
    for _ in range(6):
        await case.one(theirs, tenant="long")
    mine = await case.one(endpoint)
    case.clock.advance(KEPT_S + 1)
    keep = Keep(KEPT_S, {"long": 10 * KEPT_S})
    assert await store.expired(keep) == []
    assert [ref.delivery_id for ref in await store.expired(keep)] == [mine]
    assert await store.expired(keep) == []


async def test_small_things_are_forgotten(store: SqliteStore, case: Case) -> None:
    """Confirmations of what is closed, tombstones of all kinds, replays' rows and lanes do not stay for ever."""
    endpoint = await case.endpoint()
    lease = await case.handed_off(endpoint)
    assert await store.confirm(lease.delivery_id, success=True, message=b"")
    assert await case.close(lease)
    kept = await case.handed_off(endpoint)
    assert await store.confirm(kept.delivery_id, success=True, message=b"")
    await case.failed(endpoint, lane="k")
    event = await store.event(None, lease.event_id)
    assert event is not None
    again = [type(case.new(endpoint).deliveries[0])(endpoint, 1)]
    await store.replay(None, event.id, case.new_id(), again, await case.version())
    for claimed in await case.claim(endpoint):
        assert await case.close(claimed)
    gone = await case.endpoint()
    await case.one(gone)
    await case.change_health(gone, wait_s=1)
    await store.delete_endpoint(gone)
    while await store.close_deleted():
        pass
    await store.fold()
    kept_key, revoked = [KeyRow(case.new_id(), "default", bytes([n]) * 32, "hint", b"{}") for n in (1, 2)]
    for key in (kept_key, revoked):
        await store.put_key(key)
    for name in ("kept", "gone"):
        await store.put_event_type(EventTypeRow("default", name, 0, "off"), create=True)
    await store.delete_event_type("default", "gone")
    case.clock.advance(EXPIRED_KEPT_S)
    await store.delete_key(revoked.id)
    await circle(case)
    assert await number(store, "SELECT count(*) FROM keys") == 2
    await age(case, EXPIRED_KEPT_S + KEPT_S)
    await circle(case)
    tables = ("confirmations", "replays", "lanes", "endpoint_states", "endpoints", "keys", "event_types")
    counts = {table: await number(store, f"SELECT count(*) FROM {table}") for table in tables}
    assert counts == {
        "confirmations": 1,
        "replays": 0,
        "lanes": 0,
        "endpoint_states": 0,
        "endpoints": 2,
        "keys": 1,
        "event_types": 1,
    }
    assert await number(store, "SELECT count(*) FROM endpoint_totals") == 1
    assert await case.words(kept.delivery_id) == ["leased"]


@pytest.mark.parametrize("repeats", [3, 20_000])
async def test_no_byte_is_left_in_the_file(tmp_path: Path, clock: ToldClock, repeats: int) -> None:
    """After erasing, and the checkpoint of a stop, neither payload nor answers nor words are anywhere in the file."""
    store = SqliteStore(str(tmp_path / "h.db"), clock, disk_free_min_bytes=0)
    await store.start()

    async def reopen() -> SqliteStore:
        raise NotImplementedError

    case = Case(store, clock, reopen)
    endpoint = await case.endpoint()
    for _ in range(5):
        await case.one(endpoint)
    delivery = await case.one(endpoint, data=b"[" + MARK * repeats + b"]")
    await case.one(endpoint)
    for claimed in await case.claim(endpoint):
        mine = claimed.delivery_id == delivery
        assert await case.close(claimed, State.FAILED, attempt=told() if mine else b"\xc0")
    await store.reopen(None, delivery)
    lease = await case.claim_one(endpoint)
    assert await store.confirm(delivery, success=True, message=MARK)
    assert await case.close(lease, State.UNCONFIRMED, attempt=told(), wait_s=60)
    assert await store.erase(None, delivery[: ids.ROOT_BYTES]) == 0  # it was confirmed: delivered
    await store.stop()
    assert {path.name for path in tmp_path.iterdir()} <= {"h.db", "h.db-lock", "h.db-wal", "h.db-shm"}
    for path in tmp_path.iterdir():
        assert MARK not in path.read_bytes()
