"""A transaction of several statements: what people and upkeep do. The way of an event is one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from hookline.core.delivery import State
from hookline.core.errors import StaleRegistry

REGISTRY_LOCK: Final = 4846002
EVENT: Final = 9
"""In a move's place of the state before: an event was made."""


class Transaction:
    """What the parts of one commit share: the connection, the instant, the books, the registry's version."""

    def __init__(self, connection: asyncpg.Connection[Any], now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self._moves: dict[tuple[str, bytes, int, int], int] = {}
        self._changes: list[tuple[Any, ...]] = []

    async def row(self, sql: str, *values: Any) -> Any:
        """The one row of a statement, or None."""
        return await self.connection.fetchrow(sql, *values)

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Every row."""
        found: list[Any] = await self.connection.fetch(sql, *values)
        return found

    async def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        return await self.connection.fetchval(sql, *values)

    async def run(self, sql: str, *values: Any) -> int:
        """How many rows a statement changed."""
        done = await self.connection.execute(sql, *values)
        return int(done.rpartition(" ")[2] or 0)

    def moved(self, tenant: str, endpoint_id: bytes, before: int, after: int, count: int = 1) -> None:
        """Count deliveries that changed their state."""
        key = (tenant, endpoint_id, before, after)
        self._moves[key] = self._moves.get(key, 0) + count

    def changed(
        self,
        tenant: str,
        endpoint_id: bytes,
        delivery_id: bytes | None,
        before: str,
        after: str,
        reason: str | None = None,
    ) -> None:
        """Tell those who read along of a change that is no attempt's (`ports.store.Change`); states in words."""
        self._changes.append((self.now_ms, tenant, endpoint_id, delivery_id, before, after, reason))

    async def require_registry(self, version: int) -> None:
        """Raise `StaleRegistry` when the registry is newer than `version`; it stays so until the end."""
        await self.run("SELECT pg_advisory_xact_lock_shared($1)", REGISTRY_LOCK)
        newest = await self.value("SELECT value FROM meta WHERE name = 'registry_version'")
        if newest > version:
            raise StaleRegistry(f"the registry is at {newest}, this was routed with {version}")

    async def raise_registry(self) -> int:
        """The registry changes: its new version. Whoever is accepting by the old one is waited for."""
        await self.run("SELECT pg_advisory_xact_lock($1)", REGISTRY_LOCK)
        version: int = await self.value(
            "UPDATE meta SET value = value + 1 WHERE name = 'registry_version' RETURNING value"
        )
        return version

    async def lock_lanes(self, lanes: Sequence[tuple[bytes, str]]) -> None:
        """Lock the rows of these lanes, before the deliveries in them."""
        if lanes:
            await self.run("SELECT hl_lock_lanes($1, $2)", [lane[0] for lane in lanes], [lane[1] for lane in lanes])

    async def settle(self, tenant: str, endpoint_id: bytes, lane: str, closed: bytes | None = None) -> int | None:
        """Give the lane, whose row is locked, the head it should have; when what was promoted is due, or None."""
        found = await self.row("SELECT * FROM hl_settle($1, $2, $3)", endpoint_id, lane, closed)
        if found["holds"]:
            self.moved(tenant, endpoint_id, State.PENDING, State.HELD, found["holds"])
        if not found["promoted"]:
            return None
        self.moved(tenant, endpoint_id, State.HELD, State.PENDING)
        due: int = found["promoted_due"]
        return due

    async def finish(self) -> None:
        """Write what is written once per commit: the books and the changes."""
        if self._changes:
            await self.connection.executemany(
                "INSERT INTO changes (at_ms, tenant, endpoint_id, delivery_id, before, after, reason)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                self._changes,
            )
        if self._moves:
            keys = list(self._moves)
            await self.run(
                "SELECT hl_count($1, $2, $3, $4, $5)",
                [key[0] for key in keys],
                [key[1] for key in keys],
                [key[2] for key in keys],
                [key[3] for key in keys],
                list(self._moves.values()),
            )
