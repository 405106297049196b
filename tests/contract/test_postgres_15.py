"""The store on the oldest PostgreSQL it is for, Debian's 15: a selection of what every store promises, or the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("asyncpg")

from tests.contract.postgres_place import SELECTED, WHOLE, Place, make_template, new_database
from tests.servers.postgres import Postgres, serving

from hookline.adapters.stores.postgres import PostgresStore
from hookline.testing import store_contract as suites
from hookline.testing.clock import ToldClock

pytestmark = pytest.mark.xdist_group("postgres_15")
globals().update({name: getattr(suites, name) for name in (suites.__all__ if WHOLE else SELECTED)})
globals().pop("TestClock", None)  # the clock is the server's


@pytest.fixture(scope="module")
def oldest() -> Iterator[Postgres]:
    """The server, with the schema in a template."""
    for server in serving(oldest=True, fsync="off", full_page_writes="off", autovacuum="off"):
        asyncio.run(make_template(server))
        yield server


@pytest.fixture
async def place(oldest: Postgres, clock: ToldClock) -> AsyncIterator[Place]:
    """Where the store of a test lives."""
    async with new_database(oldest) as dsn, AsyncExitStack() as stack:
        yield Place(dsn, clock, stack)


@pytest.fixture
async def store(place: Place) -> PostgresStore:
    """A new store, started."""
    return await place.open()


@pytest.fixture
def reopen(place: Place) -> suites.Reopen:
    """Kills the process in effect and starts the next one."""
    return place.reopen


async def test_it_is_15(store: PostgresStore) -> None:
    """The server that answers is of the version that is meant."""
    assert str(await store._run(lambda connection: connection.fetchval("SHOW server_version"))).startswith("15.")
