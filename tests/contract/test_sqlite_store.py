"""The embedded store keeps what every store promises."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hookline.adapters.stores.sqlite import SqliteStore
from hookline.testing.clock import ToldClock
from hookline.testing.store_contract import *  # noqa: F403  the suites are the tests of this module


@pytest.fixture
def clock() -> ToldClock:
    """The time that the store runs on."""
    return ToldClock()


class Place:
    """A folder with the data of one store, and the processes that had it open."""

    def __init__(self, folder: Path, clock: ToldClock, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._clock = clock
        self._stack = stack
        self._number = 0

    @property
    def path(self) -> Path:
        return self._folder / f"{self._number}.db"

    async def open(self) -> SqliteStore:
        store = SqliteStore(str(self.path), self._clock, disk_free_min_bytes=0)
        await store.start()
        self._stack.push_async_callback(store.stop)
        return store

    async def reopen(self) -> SqliteStore:
        """What SIGKILL leaves is the file and its WAL: the next process gets a copy of them. (By another program:
        closing them here would drop the locks of the store that is still open.)"""
        wal, main = f"{self.path}-wal", str(self.path)
        self._number += 1
        for source, target in ((wal, f"{self.path}-wal"), (main, str(self.path))):
            if Path(source).exists():
                subprocess.run(["cp", source, target], check=True)
        return await self.open()


@pytest.fixture
async def place(tmp_path: Path, clock: ToldClock) -> AsyncIterator[Place]:
    """Where the store of a test lives."""
    async with AsyncExitStack() as stack:
        yield Place(tmp_path, clock, stack)


@pytest.fixture
async def store(place: Place) -> SqliteStore:
    """A new store, started."""
    return await place.open()


@pytest.fixture
def reopen(place: Place) -> Reopen:  # noqa: F405
    """Kills the process in effect and starts the next one."""
    return place.reopen
