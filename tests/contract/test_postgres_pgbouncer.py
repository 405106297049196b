"""The store through PgBouncer in transaction mode: a selection of what every store promises, or the whole, and what
needs a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

asyncpg = pytest.importorskip("asyncpg")

from tests.contract.postgres_place import SELECTED, WHOLE, Place
from tests.servers.pgbouncer import STATEMENTS_SINCE, PgBouncer, before
from tests.servers.postgres import Postgres

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.postgres import PostgresQueue
from hookline.adapters.stores.postgres import PostgresStore, migrate, partitions, sessions
from hookline.core.errors import StoreUnavailable
from hookline.ports.store import Keep, Store
from hookline.testing import store_contract as suites
from hookline.testing.clock import ToldClock
from hookline.testing.queue_contract import delivery_ids
from hookline.testing.store_contract.case import Case

pytestmark = [pytest.mark.rule(n=24), pytest.mark.xdist_group("postgres_pgbouncer")]
globals().update({name: getattr(suites, name) for name in (suites.__all__ if WHOLE else SELECTED)})
globals().pop("TestClock", None)  # the clock is the server's


@pytest.fixture(scope="module")
def bouncer(server: Postgres) -> Iterator[PgBouncer]:
    """In front of the server that the other tests use: two of its sessions for each database, so that the next
    transaction has another one."""
    yield from before(server, default_pool_size="2")


@pytest.fixture
def pooled(bouncer: PgBouncer, dsn: str) -> str:
    """A new database, through it."""
    return bouncer.of(dsn.rpartition("/")[2])


@pytest.fixture
async def place(pooled: str, dsn: str, clock: ToldClock) -> AsyncIterator[Place]:
    """Where the store of a test lives."""
    async with AsyncExitStack() as stack:
        yield Place(pooled, clock, stack, dsn)


@pytest.fixture
async def store(place: Place) -> PostgresStore:
    """A new store, started."""
    return await place.open()


@pytest.fixture
def reopen(place: Place) -> suites.Reopen:
    """Kills the process in effect and starts the next one."""
    return place.reopen


async def test_what_is_between_is_found_out(pooled: str, dsn: str, bouncer: PgBouncer) -> None:
    """A session of one's own and a pooler are told apart, and whether it keeps prepared statements."""
    way, connection = await sessions.look(dsn)
    await connection.close()
    assert not way.pooled
    way, connection = await sessions.look(pooled)
    await connection.close()
    assert way == sessions.Way(pooled=True, keeps_statements=bouncer.version >= STATEMENTS_SINCE)


async def test_no_setting_stays_behind(store: PostgresStore, dsn: str, pooled: str) -> None:
    """What a transaction limits itself by is gone from the session that the next one, of anybody, has."""
    await store.counts(None)
    await store.fold()
    connection = await sessions.reader(pooled)
    for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        assert await connection.fetchval(f"SHOW {name}") == "0"
    held = await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert held == 0
    await connection.close()


async def test_an_accept_waits_for_a_lock_for_a_second(store: PostgresStore, dsn: str, clock: ToldClock) -> None:
    """The functions of the schema bring their limit for locks with them."""
    case = _case(store, clock)
    endpoint = await case.endpoint()
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(4846002)")  # the registry is being changed
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await case.store.accept([], 0)
    await other.close()
    await case.one(endpoint)


def _case(store: PostgresStore, clock: ToldClock) -> Case:
    async def none() -> Store:
        raise NotImplementedError

    return Case(store, clock, none)


async def test_migrations_need_a_session(pooled: str, dsn: str, clock: ToldClock) -> None:
    """Without HOOKLINE_DB_DIRECT nothing is migrated through a pooler, and the reason is said; with one that leads to a
    pooler again it is the same; a schema that is up to date needs none."""
    with pytest.raises(StoreUnavailable, match="HOOKLINE_DB_DIRECT"):
        await PostgresStore(pooled, clock, told=True, unsafe=True).start()
    with pytest.raises(StoreUnavailable, match="HOOKLINE_DB_DIRECT"):
        await PostgresStore(pooled, clock, direct=pooled, told=True, unsafe=True).start()
    with pytest.raises(StoreUnavailable, match="HOOKLINE_DB_DIRECT"):
        await sessions.session(pooled)
    connection = await sessions.reader(pooled)
    assert all(migration.applied for migration in await migrate.status(connection))
    await connection.close()
    store = PostgresStore(pooled, clock, told=True, unsafe=True, migrations=False)
    await store.start()
    await store.stop()


@pytest.mark.rule(n=23)
async def test_days_are_dropped_by_the_direct_address_only(pooled: str, dsn: str, clock: ToldClock) -> None:
    """Without a session old rows go row by row, and their day stays, empty; with one the day goes."""
    keep = Keep(10 * 86_400.0)
    for direct, left in (("", 1), (dsn, 0)):
        store = PostgresStore(pooled, clock, direct=direct, told=True, unsafe=True, migrations=False)
        await store.start()
        case = _case(store, clock)
        if not direct:
            old = await case.one(await case.endpoint())
            await store.discard(None, old)
            clock.advance(11.1 * 86_400)
        while (await store.purge(keep)).examined:
            pass
        assert await store.delivery(None, old) is None
        days = {part.day for part in await store._run(partitions.present)}
        assert len(days & {partitions.day_of(store.now_ms()) - 11}) == left
        await store.stop()


async def test_the_queue_does_not_listen_through_it(pooled: str) -> None:
    """A queue that reaches only a pooler says so once, hears nothing, and takes what is published without a word."""
    said: list[str] = []
    queue = PostgresQueue(pooled, SystemClock(), warn=lambda name, _detail: said.append(name))
    queue.publish(delivery_ids(1))
    async with asyncio.timeout(10):
        while not said:
            await asyncio.sleep(0.01)
    queue.publish(delivery_ids(2))
    assert (said, queue.hears, queue.dropped) == (["queue_polls"], False, 0)
    await queue.close()
