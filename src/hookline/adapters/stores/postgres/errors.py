"""What PostgreSQL and the way to it can say, in the words of the store's port."""

from __future__ import annotations

import asyncio

import asyncpg

from hookline.core.errors import CommitUnknown, DataError, HooklineError, StaleRegistry, StoreUnavailable

STALE = "HL001"
TAKEN_FOR_DEAD = "HL002"
NO_PARTITION = "23514"
AGAIN = frozenset({"40P01", "40001"})
"""Deadlock, serialization: the statement did nothing, and may simply be repeated."""
_LOST = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says when the connection is lost between two of its own steps
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
    asyncio.TimeoutError,
    EOFError,
)
_DATA = ("22", "23", "54000")


class TakenForDead(StoreUnavailable):
    """The others took this process for dead: it must become another one before it leases anything."""


def translate(error: BaseException, *, begun: bool = True) -> HooklineError | None:
    """What the port's caller is told; None: it is none of the database's business. `begun`: something was sent."""
    if isinstance(error, HooklineError):
        return error
    if isinstance(error, _LOST):
        kind = CommitUnknown if begun else StoreUnavailable
        return kind(f"PostgreSQL cannot be reached: {str(error)[:300] or type(error).__name__}", retry_after_s=2)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state == STALE:
            return StaleRegistry(str(error))
        if state == TAKEN_FOR_DEAD:
            return TakenForDead("PostgreSQL: this process was taken for dead")
        if state.startswith(_DATA):
            return DataError(str(error)[:500])
        return StoreUnavailable(f"PostgreSQL: {str(error)[:300]}", retry_after_s=2)
    if isinstance(error, ValueError | OverflowError):  # what asyncpg cannot encode
        return DataError(str(error)[:500])
    return None
