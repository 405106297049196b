"""The fixtures that the contract suites share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

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
    """A PostgreSQL for all of these tests; what is written need not outlive the machine."""
    yield from serving(fsync="off", full_page_writes="off")


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
async def dsn(server: Postgres, template: str) -> str:
    """A new database."""
    import asyncpg

    name = f"test_{next(_NUMBERS)}"
    connection = await asyncpg.connect(f"postgresql://hookline@127.0.0.1:{server.port}/postgres")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    return f"postgresql://hookline@127.0.0.1:{server.port}/{name}"
