"""The ranges that history is cut into: a table per day and kind, by the id's time (docs/reliability.md, rule 23).

A table is made apart and attached, detached without making anybody wait, and dropped when nobody can see it. Each of
these waits for a second at most: who reads for long delays the end of what is old, not what is new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from hookline.core import ids

TABLES: Final = ("closed", "attempts", "events")
"""In the order in which they are detached: what is closed can be opened again, with attempts and an event."""
DAY_MS: Final = 86_400_000
AHEAD: Final = 3
DROP_LOCK: Final = 4846007
LOCK_WAIT: Final = "1s"
_PARTS: Final = (
    "SELECT c.relname, c.reltuples, i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending"
    " FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
    " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
    " AND c.relname ~ '^(closed|attempts|events)_d[0-9]+$'"
)
_FINALIZE: Final = "ALTER TABLE {} DETACH PARTITION {} FINALIZE"
REFERRED: Final = (
    "SELECT EXISTS (SELECT 1 FROM open WHERE id >= $1 AND id < $2)"
    " OR EXISTS (SELECT 1 FROM fanouts WHERE event_id >= $1 AND event_id < $2)"
)


class Part(msgspec.Struct, frozen=True):
    """One table of a day."""

    table: str
    day: int
    rows: int
    """As the server last counted, about; 0 where it never did."""
    attached: bool
    pending: bool
    """Its detaching was begun, and somebody was still reading."""

    @property
    def name(self) -> str:
        """Of the table."""
        return name(self.table, self.day)


def day_of(now_ms: int) -> int:
    """The number of a day since 1970."""
    return now_ms // DAY_MS


def name(table: str, day: int) -> str:
    """Of the table of a day."""
    return f"{table}_d{day}"


def bounds(day: int) -> tuple[bytes, bytes]:
    """Ids of a day: from the first on, below the second."""
    return ids.floor(day * DAY_MS), ids.floor((day + 1) * DAY_MS)


async def present(connection: asyncpg.Connection[Any]) -> list[Part]:
    """Every table of a day that there is."""
    found = []
    for row in await connection.fetch(_PARTS):
        table, day = re.fullmatch(r"([a-z]+)_d([0-9]+)", row["relname"]).groups()  # type: ignore[union-attr]
        count = max(0, int(row["reltuples"]))
        found.append(Part(table, int(day), count, row["attached"], row["pending"]))
    return found


async def make(connection: asyncpg.Connection[Any], days: Sequence[int]) -> None:
    """Make the tables of these days where they are missing."""
    have = {(part.table, part.day) for part in await present(connection) if part.attached and not part.pending}
    for table in TABLES:
        for day in days:
            if (table, day) not in have:
                await _make(connection, table, day)


async def _make(connection: asyncpg.Connection[Any], table: str, day: int) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
        await connection.execute("SELECT pg_advisory_xact_lock(4846003)")
        have = {(part.table, part.day): part for part in await present(connection)}
        part = have.get((table, day))
        if part is not None and part.attached and not part.pending:
            return
        if part is not None and part.pending:  # it was about to be dropped
            await connection.execute(_FINALIZE.format(part.table, part.name))
        if part is None:
            await connection.execute(
                f"CREATE TABLE {name(table, day)} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)"
            )
        await _attach(connection, table, day)


async def _attach(connection: asyncpg.Connection[Any], table: str, day: int) -> None:
    low, high = bounds(day)
    await connection.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {name(table, day)}"
        f" FOR VALUES FROM ('\\x{low.hex()}') TO ('\\x{high.hex()}')"
    )


async def drop(session: asyncpg.Connection[Any], days: Sequence[int]) -> list[Part]:
    """Drop the tables of these days, on a session of its own, oldest first; those that were dropped. Ends early when
    somebody reads or locks them, or another process is about it: it goes on there when it is called again."""
    dropped: list[Part] = []
    await session.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
    if not await session.fetchval("SELECT pg_try_advisory_lock($1)", DROP_LOCK):
        return dropped
    try:
        for part in await present(session):  # one at a time may be pending
            if part.pending:
                await session.execute(_FINALIZE.format(part.table, part.name))
                if part.day not in days:  # something needs it again
                    await make(session, [part.day])
        for day in days:
            dropped += await _drop(session, day)
    except asyncpg.LockNotAvailableError:
        pass
    finally:
        await session.execute("SELECT pg_advisory_unlock($1)", DROP_LOCK)
    return dropped


async def _drop(session: asyncpg.Connection[Any], day: int) -> list[Part]:
    parts = {part.table: part for part in await present(session) if part.day == day}
    for table in TABLES:
        part = parts.get(table)
        if part is not None and part.attached:
            await session.execute(f"ALTER TABLE {table} DETACH PARTITION {part.name} CONCURRENTLY")
        # From here on nothing of this day can be opened again; what was just before that has the day back.
        if table == "closed" and part is not None and await session.fetchval(REFERRED, *bounds(day)):
            await make(session, [day])
            return []
    for part in parts.values():
        async with session.transaction():
            await session.execute("SELECT pg_advisory_xact_lock(4846003)")
            if any(one.name == part.name and one.attached for one in await present(session)):
                continue  # somebody stores there again
            await session.execute(f"DROP TABLE IF EXISTS {part.name}")
    return list(parts.values())
