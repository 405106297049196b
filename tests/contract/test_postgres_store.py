"""The PostgreSQL store keeps what every store promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("asyncpg")

from hookline.adapters.stores.postgres import PostgresStore
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract import *  # noqa: F403  the suites are the tests of this module

del TestClock  # noqa: F821  the clock is the server's


@pytest.fixture
def clock() -> ToldClock:
    """The time that the store runs on."""
    return ToldClock()


class Place:
    """One database, and the processes that had it open."""

    def __init__(self, dsn: str, clock: ToldClock, stack: AsyncExitStack) -> None:
        self._dsn = dsn
        self._clock = clock
        self._stack = stack
        self._open: list[PostgresStore] = []

    async def open(self) -> PostgresStore:
        store = PostgresStore(self._dsn, self._clock, name="test", told=True, unsafe=True, connections_max=4)
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


@pytest.fixture
async def place(dsn: str, clock: ToldClock) -> AsyncIterator[Place]:
    """Where the store of a test lives."""
    async with AsyncExitStack() as stack:
        yield Place(dsn, clock, stack)


@pytest.fixture
async def store(place: Place) -> PostgresStore:
    """A new store, started."""
    return await place.open()


@pytest.fixture
def reopen(place: Place) -> Reopen:  # noqa: F405
    """Kills the process in effect and starts the next one."""
    return place.reopen
