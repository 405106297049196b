"""The fixtures that the contract suites share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.contract.postgres_place import DELIVERIES, make_template, new_database
from tests.servers.postgres import Postgres, serving

from hookline.testing.clock import ToldClock


@pytest.fixture
def clock() -> ToldClock:
    """The clock that the store, the sender and the test share."""
    return ToldClock()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL for all of these tests; what is written need not outlive the machine. A transaction of its own
    housekeeping would delay what the stream shows: that is tested on purpose, not by chance."""
    autovacuum = "on" if DELIVERIES > 100_000 else "off"
    yield from serving(fsync="off", full_page_writes="off", autovacuum=autovacuum)


@pytest.fixture(scope="session")
def template(server: Postgres) -> str:
    """A database with the schema, that the others are copies of."""
    return asyncio.run(make_template(server))


@pytest.fixture
async def dsn(server: Postgres, template: str) -> AsyncIterator[str]:
    """A new database, gone when the test ends."""
    async with new_database(server) as made:
        yield made
