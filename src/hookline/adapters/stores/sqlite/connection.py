"""Connections to the file, with every PRAGMA that matters, and what SQLite's errors mean to us."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hookline.adapters.stores.sqlite.migrate import PAGE_BYTES
from hookline.core.errors import DataError, HooklineError, StoreUnavailable

BUSY_MS = 1000
"""How long the writer waits for a lock: only a checkpoint's RESTART or a stranger holds one."""
CACHE_KIB = 64 * 1024
READER_CACHE_KIB = 8 * 1024


def open_writer(path: str, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """The one connection that writes: WAL, synchronous=FULL, no checkpoints of its own.

    Raises `StoreUnavailable` when the file cannot be opened or is not durable.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    try:
        connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Zeros over what is deleted or moved, but only in pages that are written anyway (some builds write more).
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    except sqlite3.Error as error:
        connection.close()
        raise StoreUnavailable(f"{path} is not a database that can be written: {error}") from error
    if mode != "wal" or synchronous != 2:
        connection.close()
        raise StoreUnavailable(f"{path} would not be durable: journal_mode {mode}, synchronous {synchronous}")
    return connection


def open_checkpointer(path: str) -> sqlite3.Connection:
    """A second connection that only moves pages from the WAL to the file, and never waits for a lock."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def hurried(connection: sqlite3.Connection, busy_ms: int) -> Iterator[None]:
    """Within the block the connection waits only so long for a lock."""
    usual_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {usual_ms}")


def open_reader(path: str) -> sqlite3.Connection:
    """A connection that can only read."""
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    return connection


_BAD_DATA = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})


def error_code(error: BaseException) -> int:
    """SQLite's extended result code of an error, 0 where there is none."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code if isinstance(code, int) else 0


def is_io_error(error: BaseException) -> bool:
    """Whether the operating system failed to read, write or sync. No room for the index of the WAL is none of that,
    although SQLite calls it so: the disk is full, nothing is in doubt."""
    return error_code(error) & 0xFF == sqlite3.SQLITE_IOERR and not _is_full(error)


def _is_full(error: BaseException) -> bool:
    return error_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def translate(error: Exception) -> HooklineError | None:
    """What an error means to a caller of the store; None: nothing that the store expects, a bug."""
    if isinstance(error, HooklineError):
        return error
    if isinstance(error, sqlite3.Error):
        code = error_code(error) & 0xFF
        if _is_full(error):
            return StoreUnavailable("the disk is full", code="disk_full")
        if code == sqlite3.SQLITE_INTERRUPT:
            return StoreUnavailable("the read took too long", code="overloaded")
        if code in _BAD_DATA or (code == 0 and not isinstance(error, sqlite3.OperationalError)):
            return DataError(f"this cannot be stored: {error}")
        return StoreUnavailable(f"the database cannot be used now: {error}")
    if isinstance(error, (OverflowError, UnicodeError)):
        return DataError(f"this cannot be stored: {error}")
    return None


@contextmanager
def overwriting(connection: sqlite3.Connection) -> Iterator[None]:
    """What is deleted or made shorter within is zeroed in the file."""
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete = FAST").fetchall()
