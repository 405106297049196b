"""Numbered migrations, each applied once, in one transaction, under an advisory lock, with its checksum kept."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final

import asyncpg
import msgspec

from hookline.core.errors import StoreUnavailable

LOCK: Final = 4846001
_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number   integer PRIMARY KEY,
    name     text NOT NULL,
    checksum text NOT NULL
)"""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, and whether this database has it."""

    number: int
    name: str
    applied: bool


class _Script(msgspec.Struct, frozen=True):
    number: int
    name: str
    checksum: str
    sql: str


def _scripts() -> list[_Script]:
    folder = resources.files(__package__) / "migrations"
    found = []
    for entry in folder.iterdir():
        if not entry.name.endswith(".sql"):
            continue
        raw = entry.read_bytes()
        number, _, name = entry.name.removesuffix(".sql").partition("_")
        found.append(_Script(int(number), name, hashlib.sha256(raw).hexdigest(), raw.decode()))
    return sorted(found, key=lambda script: script.number)


async def status(connection: asyncpg.Connection[Any]) -> list[Migration]:
    """Every migration that this program knows, with whether it is applied.

    Raises `StoreUnavailable` when the database has one that this program does not know, or knows differently.
    """
    have: dict[int, str] = {}
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
        have = {row[0]: row[1] for row in await connection.fetch("SELECT number, checksum FROM schema_migrations")}
    known = _scripts()
    for script in known:
        if have.get(script.number, script.checksum) != script.checksum:
            raise StoreUnavailable(f"migration {script.number} of this database is not the one this program has")
    newest = max(have, default=0)
    if newest > known[-1].number:
        raise StoreUnavailable(f"this database has migration {newest}: it was written by a newer Hookline")
    return [Migration(script.number, script.name, script.number in have) for script in known]


async def up(connection: asyncpg.Connection[Any]) -> list[Migration]:
    """Apply what is missing; what was applied. Whoever comes at the same time waits, and finds nothing to do."""
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await connection.execute(_TABLE)
        pending = {migration.number for migration in await status(connection) if not migration.applied}
        done = []
        for script in _scripts():
            if script.number in pending:
                async with connection.transaction():
                    await connection.execute(script.sql)
                    await connection.execute(
                        "INSERT INTO schema_migrations VALUES ($1, $2, $3)", script.number, script.name, script.checksum
                    )
                done.append(Migration(script.number, script.name, applied=True))
        return done
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
