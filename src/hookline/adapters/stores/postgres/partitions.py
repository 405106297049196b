"""The ranges that history is cut into: a table per day and kind, by the id's time (docs/reliability.md, rule 23)."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from hookline.core import ids

TABLES: Final = ("events", "closed", "attempts")
DAY_MS: Final = 86_400_000
AHEAD: Final = 3


def day_of(now_ms: int) -> int:
    """The number of a day since 1970."""
    return now_ms // DAY_MS


def name(table: str, day: int) -> str:
    """Of the table of a day."""
    return f"{table}_d{day}"


async def make(connection: asyncpg.Connection[Any], days: range) -> None:
    """Make the tables of these days where they are missing: made apart and attached, so that nobody waits long."""
    have = {
        row["relname"] for row in await connection.fetch("SELECT relname FROM pg_class WHERE relname LIKE '%\\_d%'")
    }
    for table in TABLES:
        for day in days:
            if name(table, day) not in have:
                await _make(connection, table, day)


async def _make(connection: asyncpg.Connection[Any], table: str, day: int) -> None:
    part = name(table, day)
    low, high = ids.floor(day * DAY_MS).hex(), ids.floor((day + 1) * DAY_MS).hex()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(4846003)")
        if await connection.fetchval("SELECT to_regclass($1)", part) is not None:
            return
        await connection.execute(f"CREATE TABLE {part} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)")
        await connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ('\\x{low}') TO ('\\x{high}')"
        )
