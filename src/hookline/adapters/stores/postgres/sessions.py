"""How PostgreSQL is reached: by sessions of our own, or through a pooler that gives each transaction another one.

Through a pooler (PgBouncer in transaction mode) nothing may outlive a transaction: no setting, no lock, no LISTEN, and
no prepared statement unless the pooler keeps them itself. What needs more goes by `session`, to HOOKLINE_DB_DIRECT.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import asyncpg
import msgspec

from hookline.core.errors import StoreUnavailable

CONNECT_S: Final = 5.0
STATEMENT_S: Final = 15.0
"""Longer than any statement of ours takes; a socket that is half open is given up then."""
_LIMITS: Final = {
    "statement_timeout": "10000",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "5000",
}
_SETTINGS: Final = _LIMITS | {"tcp_user_timeout": "10000", "jit": "off"}
LIMIT: Final = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _LIMITS.items())
"""For the transaction in effect: what a session of our own has from its beginning."""
NEEDS_DIRECT: Final = (
    "HOOKLINE_DB leads to a pooler (PgBouncer), and this needs a session of its own: set HOOKLINE_DB_DIRECT to the"
    " address of PostgreSQL itself"
)


class Way(msgspec.Struct, frozen=True):
    """What is between this process and the database."""

    pooled: bool
    """A pooler: the next transaction may have another session."""
    keeps_statements: bool
    """Prepared statements can be used again all the same: PgBouncer does that since 1.21, with
    `max_prepared_statements` above 0."""

    def options(self) -> dict[str, Any]:
        """For the driver's connections."""
        if self.pooled:  # it refuses every parameter that it does not know
            more: dict[str, Any] = {} if self.keeps_statements else {"statement_cache_size": 0}
            return more | {"server_settings": {"application_name": "hookline"}}
        return {"server_settings": {"application_name": "hookline"} | _SETTINGS}


async def _connect(dsn: str, **more: Any) -> asyncpg.Connection[Any]:
    """One that works through anything: with no parameter a pooler may not know, and no named statement."""
    settings = {"application_name": "hookline"}
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        dsn, timeout=CONNECT_S, statement_cache_size=0, server_settings=settings, **more
    )
    return connection


async def _is_pooled(connection: asyncpg.Connection[Any]) -> bool:
    """A pooler gives its clients a process's number of its own: the one that answers has another."""
    number: int = await connection.fetchval("SELECT pg_backend_pid()")
    own: int = connection.get_server_pid()
    return number != own


async def _keeps_statements(connection: asyncpg.Connection[Any]) -> bool:
    """A pooler that keeps them gives them names of its own: ours is then not there."""
    name = f"hookline_{secrets.token_hex(8)}"
    async with connection.transaction():
        sql = "SELECT EXISTS (SELECT 1 FROM pg_prepared_statements WHERE name = $1)"
        as_named: bool = await (await connection.prepare(sql, name=name)).fetchval(name)
        if as_named:
            await connection.execute(f"DEALLOCATE {name}")
    return not as_named


async def look(dsn: str) -> tuple[Way, asyncpg.Connection[Any]]:
    """What is between, and the connection that was looked through, which the caller ends."""
    connection = await _connect(dsn)
    try:
        if await _is_pooled(connection):
            return Way(pooled=True, keeps_statements=await _keeps_statements(connection)), connection
        await connection.execute("SELECT set_config('tcp_user_timeout', '10000', false)")
        return Way(pooled=False, keeps_statements=True), connection
    except BaseException:
        connection.terminate()
        raise


async def session(dsn: str) -> asyncpg.Connection[Any]:
    """A connection with a session of its own, whose statements may take their time; the caller ends it. Raises
    `StoreUnavailable` when `dsn` leads to a pooler."""
    way, connection = await look(dsn)
    if way.pooled:
        connection.terminate()
        raise StoreUnavailable(NEEDS_DIRECT)
    return connection


async def reader(dsn: str) -> asyncpg.Connection[Any]:
    """A connection for a few statements, through anything; the caller ends it."""
    return await _connect(dsn, command_timeout=STATEMENT_S)
