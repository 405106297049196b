"""History on PostgreSQL is a table per day: made ahead, dropped when nothing needs it, and nobody waits for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

asyncpg = pytest.importorskip("asyncpg")

from hookline.adapters.stores.postgres import PostgresStore, partitions
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import NotFound
from hookline.ports.store import EXPIRED_KEPT_S, Keep, NewDelivery, Purged, Store
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract.case import Case, outcome

pytestmark = [pytest.mark.rule(n=23), pytest.mark.xdist_group("postgres_partitions")]
DAY_S = 86_400.0
KEPT_D = 4
KEEP = Keep(KEPT_D * DAY_S)
READ_S = 3.0


@pytest.fixture
async def store(dsn: str, clock: ToldClock) -> AsyncIterator[PostgresStore]:
    """On a new database, at the first moment of a day."""
    store = PostgresStore(dsn, clock, told=True, unsafe=True, connections_max=4)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def case(store: PostgresStore, clock: ToldClock) -> Case:
    """The moves of a flow."""

    async def none() -> Store:
        raise NotImplementedError

    return Case(store, clock, none)


def postgres(case: Case) -> PostgresStore:
    """The store under test."""
    assert isinstance(case.store, PostgresStore)
    return case.store


async def days(case: Case, *, table: str = "events") -> list[int]:
    """The days there are, counted from today."""
    store = postgres(case)
    today = partitions.day_of(store.now_ms())
    parts = await store._run(partitions.present)
    assert all(part.attached for part in parts)
    return sorted(part.day - today for part in parts if part.table == table)


async def circle(case: Case, keep: Keep = KEEP) -> Purged:
    """Purge until the circle is closed; what was removed row by row."""
    deliveries = events = 0
    while (step := await case.store.purge(keep)).examined:
        deliveries, events = deliveries + step.deliveries, events + step.events
    return Purged(0, deliveries, events)


async def pass_days(case: Case, count: float) -> None:
    """Time passes, and something happens each day."""
    endpoint = await case.endpoint()
    for _ in range(int(count)):
        case.clock.advance(DAY_S)
        await case.one(endpoint)
        assert await case.close(await case.claim_one(endpoint))
    case.clock.advance((count - int(count)) * DAY_S)


async def until_days(case: Case, wanted: int) -> None:
    """Let the process look after its ranges until the last one is this far ahead."""
    async with asyncio.timeout(10):
        while max(await days(case)) != wanted:
            case.clock.advance(0.5)
            await asyncio.sleep(0.01)


async def test_made_ahead(case: Case) -> None:
    """There is a table for each kind and day from yesterday to three days ahead, and more as time goes on."""
    for table in partitions.TABLES:
        assert await days(case, table=table) == [-1, 0, 1, 2, 3]
    case.clock.advance(DAY_S)
    await until_days(case, 3)
    assert await days(case) == [-2, -1, 0, 1, 2, 3]


async def test_dropped_when_old(case: Case) -> None:
    """A day goes as a whole when all of it is past the retention, and not before: no row of it is deleted by itself."""
    endpoint = await case.endpoint()
    first = await case.one(endpoint)
    assert await case.close(await case.claim_one(endpoint))
    await pass_days(case, KEPT_D + 0.9)
    assert await circle(case) == Purged()
    assert await case.words(first) == ["delivered"]
    assert min(await days(case)) == -KEPT_D
    case.clock.advance(0.2 * DAY_S)
    assert await circle(case) == Purged()
    for table in partitions.TABLES:
        assert min(await days(case, table=table)) == -KEPT_D
    assert await case.store.delivery(None, first) is None
    assert await case.store.event(None, first[: ids.ROOT_BYTES]) is None
    assert list(await case.store.attempts(first)) == []
    counts = await case.counts("default")
    assert (counts.events, counts.delivered) == (KEPT_D + 1, KEPT_D + 1)  # totals are of a lifetime
    assert len(await case.listed()) == KEPT_D


async def test_shorter_retentions_go_row_by_row(case: Case) -> None:
    """What a tenant keeps for less is removed at its time, out of days that stay for the others."""
    mine, short = await case.endpoint(), await case.endpoint("short")
    kept = await case.one(mine)
    gone = await case.one(short, tenant="short")
    for claimed in (await case.claim_one(mine), await case.claim_one(short)):
        assert await case.close(claimed)
    keep = Keep(KEPT_D * DAY_S, {"short": 100.0})
    case.clock.advance(101)
    assert await circle(case, keep) == Purged(0, 1, 1)
    assert await case.store.delivery(None, gone) is None
    assert await case.words(kept) == ["delivered"]


async def test_kept_while_something_open_refers_to_it(case: Case) -> None:
    """A day stays while a delivery of it is open, or a fan-out of its event is not unfolded, and goes after that."""
    endpoint, other = await case.endpoints(2)
    await case.one(endpoint)
    new = case.new(fanout=[other])
    await case.accept(new)
    lease = await case.claim_one(endpoint)
    await pass_days(case, KEPT_D + 1.1)
    await circle(case)
    assert min(await days(case)) == -KEPT_D - 1
    await case.store.unfold()
    await circle(case)
    assert min(await days(case)) == -KEPT_D - 1
    assert await case.close(lease)
    assert await case.close(await case.claim_one(other))
    await circle(case)
    assert min(await days(case)) == -KEPT_D


async def test_what_expired_keeps_its_day_for_a_day(case: Case) -> None:
    """A delivery that expired can be seen for a day after that."""
    endpoint = await case.endpoint()
    delivery = await case.one(endpoint)
    await pass_days(case, KEPT_D + 1.1)
    (ref,) = await case.store.expired(KEEP)
    await case.record(outcome(ref, State.FAILED, reason="expired", attempt=None, tries=0))
    await circle(case)
    assert (await case.row(delivery)).reason == "expired"
    case.clock.advance(EXPIRED_KEPT_S)
    await circle(case)
    assert await case.store.delivery(None, delivery) is None
    assert min(await days(case)) >= -KEPT_D - 1


async def test_a_lane_goes_on_when_the_day_of_its_block_goes(case: Case) -> None:
    """A failed delivery that blocks its lane is removed before its day is dropped: the next one is promoted."""
    endpoint = await case.endpoint()
    await case.one(endpoint, lane="k")
    assert await case.close(await case.claim_one(endpoint), State.FAILED)
    await pass_days(case, KEPT_D + 1.1)
    following = await case.one(endpoint, lane="k")
    assert await case.words(following) == ["held"]
    assert await circle(case) == Purged(0, 1, 0)
    assert await case.words(following) == ["pending"]
    assert min(await days(case)) == -KEPT_D


async def replayed(case: Case, endpoint: bytes, event_id: bytes) -> bytes:
    """Replay an event; the new delivery."""
    root = case.new_id()
    await case.store.replay(None, event_id, root, [NewDelivery(endpoint, 1)], await case.version())
    return ids.delivery_id(root, 1)


@pytest.mark.parametrize("after_d", [1.0, KEPT_D + 0.5, KEPT_D + 0.9])
async def test_a_replay_outlives_the_day_of_its_event(case: Case, after_d: float) -> None:
    """An event that was replayed, early or in the last day of its retention, is there for the replay when its day is
    gone: sent, listed, told of, erased; and goes when the replay does."""
    endpoint = await case.endpoint()
    first = case.new(endpoint)
    alone = case.new(endpoint)
    await case.accept(first)
    await case.accept(alone)
    for claimed in await case.claim(endpoint):
        assert await case.close(claimed)
    event_id = first.event.id
    await pass_days(case, after_d)
    await circle(case)
    again = await replayed(case, endpoint, event_id)
    await pass_days(case, KEPT_D + 1.1 - after_d)
    await circle(case)
    assert min(await days(case)) >= -KEPT_D
    assert await case.store.event(None, alone.event.id) is None
    assert await case.store.event(None, event_id) == first.event
    assert event_id in [event.id for event in await case.listed_events()]
    (claimed,) = [one for one in await case.claim(endpoint) if one.delivery_id == again]
    assert claimed.event == first.event
    assert await case.close(claimed, State.FAILED)
    assert (await case.row(again)).type == first.event.type
    await case.store.reopen(None, again)
    await case.store.discard(None, again)
    other = await replayed(case, endpoint, event_id)
    await case.store.erase(None, event_id)
    assert await case.words(other) == ["discarded"]
    found = await case.store.event(None, event_id)
    assert found is not None
    assert found.erased
    await pass_days(case, KEPT_D + 2.1)
    await circle(case)
    assert await case.store.event(None, event_id) is None
    assert await case.store.delivery(None, again) is None
    with pytest.raises(NotFound):
        await replayed(case, endpoint, event_id)


async def test_a_delivery_of_a_dropped_day_can_be_stored(case: Case) -> None:
    """Should something of a day come back all the same, its day is made again."""
    endpoint = await case.endpoint()
    delivery = await case.one(endpoint)
    lease = await case.claim_one(endpoint)
    session = await asyncpg.connect(postgres(case).dsn)
    (part,) = [p for p in await partitions.present(session) if (p.table, p.day) == ("closed", _today(case))]
    await session.execute(f"ALTER TABLE closed DETACH PARTITION {part.name} CONCURRENTLY")
    await session.close()
    assert await case.close(lease)
    assert await case.words(delivery) == ["delivered"]


def _today(case: Case) -> int:
    return partitions.day_of(postgres(case).now_ms())


async def _read(dsn: str, for_s: float, reading: asyncio.Event) -> None:
    """A reader of all history, who takes his time."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        for table in partitions.TABLES:
            await connection.fetchval(f"SELECT count(*) FROM {table}")
        reading.set()
        await asyncio.sleep(for_s)
    await connection.close()


_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%hl_%'"
)
"""Statements on the way of an event that wait for a lock."""


async def test_nobody_waits_for_it(case: Case, dsn: str) -> None:
    """Beside a reader of 3 s a day is dropped, and the next ones made: publishing waits for no lock
    meanwhile, and the day is gone once he has ended."""
    endpoint = await case.endpoint()
    await case.one(endpoint)
    assert await case.close(await case.claim_one(endpoint))
    await pass_days(case, KEPT_D + 1.1)
    await case.version()
    reading, ended = asyncio.Event(), asyncio.Event()
    reader = asyncio.create_task(_read(dsn, READ_S, reading))
    await reading.wait()
    published = looks = waits = 0

    async def publish() -> None:
        nonlocal published
        while not ended.is_set():
            await case.one(endpoint)
            assert await case.close(await case.claim_one(endpoint))
            published += 1

    async def look() -> None:
        nonlocal looks, waits
        connection = await asyncpg.connect(dsn)
        while not ended.is_set():
            waits += await connection.fetchval(_WAITING)
            looks += 1
            await asyncio.sleep(0.02)
        await connection.close()

    publishing, looking = asyncio.create_task(publish()), asyncio.create_task(look())
    drops = 0
    while not reader.done():
        await circle(case)
        drops += 1
        today = _today(case)
        await postgres(case)._make(range(today, today + 6))
    parts: list[Any] = await postgres(case)._run(partitions.present)
    began_s = time.monotonic()
    while min(part.day for part in parts) < _today(case) - KEPT_D:
        assert time.monotonic() - began_s < 10
        await circle(case)
        parts = await postgres(case)._run(partitions.present)
    ended.set()
    await asyncio.gather(publishing, looking, reader)
    assert drops >= 2  # each try gave up after a second
    assert (waits, looks > 30, published > 20) == (0, True, True)
    assert not [part for part in parts if part.pending or not part.attached]
    assert max(part.day for part in parts) == _today(case) + 5
