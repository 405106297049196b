"""The fixtures that the contract suites share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.servers.postgres import Postgres, serving

from hookline.testing.clock import ToldClock

_NUMBERS = itertools.count()


@pytest.fixture
def clock() -> ToldClock:
    """The clock that the store, the sender and the test share."""
    return ToldClock()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL for all of these tests; what is written need not outlive the machine. A transaction of its own
    housekeeping would delay what the stream shows: that is tested on purpose, not by chance."""
    yield from serving(fsync="off", full_page_writes="off", autovacuum="off")


@pytest.fixture(scope="session")
def template(server: Postgres) -> str:
    """A database with the schema, that the others are copies of."""
    import asyncpg

    from hookline.adapters.stores.postgres import migrate

    async def make() -> None:
        connection = await asyncpg.connect(server.create("template_hookline"))
        await migrate.up(connection)
        await connection.close()

    asyncio.run(make())
    return "template_hookline"


@pytest.fixture
async def dsn(server: Postgres, template: str) -> AsyncIterator[str]:
    """A new database, gone when the test ends: hundreds of them would be gigabytes."""
    import asyncpg

    name = f"test_{next(_NUMBERS)}"
    admin = f"postgresql://hookline@127.0.0.1:{server.port}/postgres"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(admin)
        await connection.execute(statement)
        await connection.close()

    await run(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"postgresql://hookline@127.0.0.1:{server.port}/{name}"
    await run(f"DROP DATABASE {name} WITH (FORCE)")
