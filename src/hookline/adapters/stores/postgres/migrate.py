"""Numbered migrations, each applied once, in one transaction, under an advisory lock, with its checksum kept."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from hookline.adapters.stores.scripts import Migration, compared, scripts

LOCK: Final = 4846001
_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number   integer PRIMARY KEY,
    name     text NOT NULL,
    checksum text NOT NULL
)"""


async def status(connection: asyncpg.Connection[Any]) -> list[Migration]:
    """Every migration that this program knows, with whether it is applied.

    Raises `StoreUnavailable` when the database has one that this program does not know, or knows differently.
    """
    have: dict[int, str] = {}
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
        have = {row[0]: row[1] for row in await connection.fetch("SELECT number, checksum FROM schema_migrations")}
    return compared(scripts(__package__), have)


async def up(connection: asyncpg.Connection[Any]) -> list[Migration]:
    """Apply what is missing; what was applied. Whoever comes at the same time waits, and finds nothing to do."""
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await connection.execute(_TABLE)
        pending = {migration.number for migration in await status(connection) if not migration.applied}
        done = []
        for script in scripts(__package__):
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
