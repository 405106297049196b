"""What a database holds sealed, read before a store is started on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import asyncpg

from hookline.adapters.stores.postgres import sessions

_SEALED: Final = (
    "SELECT sealed FROM endpoints WHERE deleted = 0 AND octet_length(sealed) > 0"
    " UNION ALL SELECT sealed FROM sources WHERE NOT deleted AND octet_length(sealed) > 0"
)


async def sealed_secrets(dsn: str) -> AsyncGenerator[bytes, None]:
    """The sealed secrets of every endpoint and source. Nothing where they cannot be read: what is wrong with the
    database is said by who starts the store."""
    try:
        connection = await sessions.reader(dsn)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return
    try:
        async with connection.transaction(readonly=True):
            async for row in connection.cursor(_SEALED):
                yield row["sealed"]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return
    finally:
        connection.terminate()
