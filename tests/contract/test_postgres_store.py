"""The PostgreSQL store keeps what every store promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("asyncpg")

from tests.contract.postgres_place import Place

from hookline.adapters.stores.postgres import PostgresStore
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract import *  # noqa: F403  the suites are the tests of this module

del TestClock  # noqa: F821  the clock is the server's


@pytest.fixture
def clock() -> ToldClock:
    """The time that the store runs on."""
    return ToldClock()


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
