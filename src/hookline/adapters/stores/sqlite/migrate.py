"""Numbered migrations: `migrations/0001_name.sql`, each applied once, in one transaction, with its checksum kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hookline.adapters.stores.scripts import Migration, Script, compared, scripts
from hookline.core.errors import StoreUnavailable

BYTES_MAX_AT_START = 1024**3
"""A file above this is not migrated by starting (docs/reliability.md, rule 26)."""
PAGE_BYTES = 8192

_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number   INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    checksum TEXT NOT NULL
)"""
_HAS_TABLE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'"
_APPLIED = "SELECT number, checksum FROM schema_migrations"


def _scripts() -> list[Script]:
    return scripts(__package__)


def _applied(connection: sqlite3.Connection) -> dict[int, str]:
    """number → checksum, of what the file has."""
    if not connection.execute(_HAS_TABLE).fetchone()[0]:
        return {}
    return dict(connection.execute(_APPLIED).fetchall())


def status(connection: sqlite3.Connection) -> list[Migration]:
    """Every migration that this program knows, with whether it is applied.

    Raises `StoreUnavailable` when the file has one that this program does not know, or knows differently.
    """
    return compared(_scripts(), _applied(connection))


def status_of_file(path: str) -> list[Migration]:
    """The same for a file that need not exist; it is only read. Raises `StoreUnavailable`."""
    if not Path(path).exists():
        return compared(_scripts(), {})
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return status(connection)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error


def up(connection: sqlite3.Connection) -> list[Migration]:
    """Apply what is missing, each in its own transaction; returns what was applied. The connection is in
    autocommit mode."""
    pending = {migration.number for migration in status(connection) if not migration.applied}
    if not pending:
        return []
    connection.execute(_TABLE)
    done = []
    for script in _scripts():
        if script.number not in pending:
            continue
        row = f"INSERT INTO schema_migrations VALUES ({script.number}, '{script.name}', '{script.checksum}');"  # noqa: S608  # our own file's name and digest
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script.sql}\n{row}\nCOMMIT;")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        done.append(Migration(script.number, script.name, applied=True))
    return done


def up_at_start(connection: sqlite3.Connection, path: str) -> None:
    """Migrate a new or small file. Raises `StoreUnavailable` when migrations are missing in a file over 1 GiB."""
    if all(migration.applied for migration in status(connection)):
        return
    if Path(path).stat().st_size > BYTES_MAX_AT_START:
        raise StoreUnavailable(f"{path} needs migrations and is over 1 GiB: run `hookline migrate up` first")
    up(connection)
