"""Databases with the schema, each for one test, and the stores that have one open."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from tests.servers.postgres import Postgres

from hookline.testing.clock import ToldClock

if TYPE_CHECKING:
    from hookline.adapters.stores.postgres import PostgresStore

TEMPLATE = "template_hookline"
WHOLE = os.environ.get("STORE_SUITE", "") == "whole"
"""Run the whole suite where a selection runs otherwise: `STORE_SUITE=whole`."""
DELIVERIES = int(os.environ.get("DELIVERIES", "4000"))
"""That 20 claimers share."""
SELECTED = (
    "TestAccept",
    "TestClaim",
    "TestConcurrentLanes",
    "TestErase",
    "TestOneBadItem",
    "TestPurge",
    "TestRecordMakesEvents",
    "TestStream",
)
"""Of the suites: something of each kind of statement."""
_NUMBERS = itertools.count()


def _admin(server: Postgres) -> str:
    return f"postgresql://hookline@127.0.0.1:{server.port}/postgres"


async def make_template(server: Postgres) -> str:
    """A database with the schema, that the others are copies of."""
    import asyncpg

    from hookline.adapters.stores.postgres import migrate

    connection = await asyncpg.connect(server.create(TEMPLATE))
    await migrate.up(connection)
    await connection.close()
    return TEMPLATE


@asynccontextmanager
async def new_database(server: Postgres) -> AsyncIterator[str]:
    """A new one, gone when the test ends: hundreds of them would be gigabytes."""
    import asyncpg

    name = f"test_{next(_NUMBERS)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(_admin(server))
        await connection.execute(statement)
        await connection.close()

    await run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield f"postgresql://hookline@127.0.0.1:{server.port}/{name}"
    await run(f"DROP DATABASE {name} WITH (FORCE)")


class Place:
    """One database, and the processes that had it open."""

    def __init__(self, dsn: str, clock: ToldClock, stack: AsyncExitStack, direct: str = "") -> None:
        self._dsn = dsn
        self._direct = direct
        self._clock = clock
        self._stack = stack
        self._open: list[PostgresStore] = []

    async def open(self) -> PostgresStore:
        """One more process."""
        from hookline.adapters.stores.postgres import PostgresStore

        settings = {"name": "test", "direct": self._direct}
        store = PostgresStore(self._dsn, self._clock, told=True, unsafe=True, connections_max=4, **settings)
        await store.start()
        self._stack.push_async_callback(store.stop)
        self._open.append(store)
        return store

    async def reopen(self) -> PostgresStore:
        """What SIGKILL leaves is the database; the next process has the dead one's name."""
        for store in self._open:
            if store._pool is not None:
                store._pool.terminate()
        return await self.open()
