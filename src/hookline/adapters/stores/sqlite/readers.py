"""Readers: at most four read-only connections in threads, one short transaction each (docs/reliability.md, rule 20)."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from hookline.adapters.stores.sqlite.connection import open_reader, translate
from hookline.core.errors import StoreUnavailable
from hookline.ports.clock import Clock

T = TypeVar("T")

READERS_MAX = 4
READ_S_MAX = 0.25
INSTRUCTIONS_BETWEEN_LOOKS = 20_000
"""Of SQLite's machine between two looks at the clock: about a millisecond."""


class Gate:
    """Lets reads in, unless a checkpoint wants a moment without any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reading = 0
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A read runs; waits while the gate is closed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def emptied(self, wait_s: float) -> Iterator[bool]:
        """New reads wait, the running ones have `wait_s` to end; whether all did."""
        with self._changed:
            self._closed = True
            empty = self._changed.wait_for(lambda: self._reading == 0, wait_s)
        try:
            yield empty
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


class Readers:
    """Runs functions of a read-only connection, each in one snapshot, interrupted when it takes too long.

    Connections are opened when several read at once, and kept. One that cannot be opened (no file descriptor is left)
    is done without while there are others: who reads then waits for one of them.
    """

    def __init__(self, path: str, clock: Clock, gate: Gate) -> None:
        self._path = path
        self._clock = clock
        self._gate = gate
        self._free: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="hookline-sqlite-reader")
        self._stopped = False

    async def run(self, work: Callable[[sqlite3.Connection], T], read_s_max: float = READ_S_MAX) -> T:
        """The result of `work`. Raises `StoreUnavailable` when it took over `read_s_max` or the file cannot be read."""
        if self._stopped:
            raise StoreUnavailable("the store is stopped", code="draining")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work, read_s_max)

    async def stop(self) -> None:
        """Wait for the running reads and close."""
        self._stopped = True
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._connections:
            connection.close()

    def _read(self, work: Callable[[sqlite3.Connection], T], read_s_max: float) -> T:
        with self._gate.reading(), self._borrowed() as connection:
            until_s = self._clock.monotonic_s() + read_s_max
            connection.set_progress_handler(lambda: self._clock.monotonic_s() > until_s, INSTRUCTIONS_BETWEEN_LOOKS)
            try:
                connection.execute("BEGIN")
                return work(connection)
            except (sqlite3.Error, OverflowError, UnicodeError) as error:
                meaning = translate(error)
                assert meaning is not None
                raise meaning from error
            finally:
                connection.set_progress_handler(None, 0)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        try:
            yield connection
        finally:
            self._free.put(connection)

    def _connection(self) -> sqlite3.Connection:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        try:
            found = _opened(self._path)
        except sqlite3.Error as error:
            if not self._connections:
                raise StoreUnavailable(f"{self._path} cannot be read: {error}") from error
            return self._free.get()  # whoever has one gives it back when his read ends, which is bounded
        self._connections.append(found)
        return found


def _opened(path: str) -> sqlite3.Connection:
    """A reader that has all its files open: the WAL and its index are opened by the first read only."""
    connection = open_reader(path)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
