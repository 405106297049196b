"""One transaction of the writer, shared by the jobs in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from hookline.adapters.stores.sqlite import counters, queries
from hookline.core.errors import StaleRegistry


class Transaction:
    """What the jobs of one commit share: the connection, the instant, the books, the registry's version.

    A job checks what may refuse it before it writes; then a refusal costs nobody else a rollback.
    """

    __slots__ = (
        "_changes",
        "_registry_version",
        "_seq",
        "_seq_stored",
        "connection",
        "events",
        "execute",
        "moves",
        "now_ms",
        "spoken",
    )

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self.connection = connection
        self.execute: Callable[..., sqlite3.Cursor] = connection.execute
        self.now_ms = now_ms
        self.events: dict[str, int] = {}
        """tenant → events made."""
        self.moves: counters.Moves = {}
        self.spoken: bool | None = None
        """Whether any receiver's confirmation is kept; None: nobody has asked yet."""
        self._changes: list[tuple[object, ...]] = []
        self._registry_version = -1
        self._seq = self._seq_stored = -1

    def moved(self, tenant: str, endpoint_id: bytes, before: int, after: int, count: int = 1) -> None:
        """Count deliveries that changed their state."""
        key = (tenant, endpoint_id, before, after)
        self.moves[key] = self.moves.get(key, 0) + count

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

    @property
    def registry_version(self) -> int:
        """The registry's version as this transaction sees it."""
        if self._registry_version < 0:
            self._registry_version = self.execute(queries.META, ("registry_version",)).fetchone()[0]
        return self._registry_version

    def require_registry(self, version: int) -> None:
        """Raise `StaleRegistry` when the registry is newer than `version`."""
        if self.registry_version > version:
            raise StaleRegistry(f"the registry is at {self.registry_version}, this was routed with {version}")

    def raise_registry(self) -> int:
        """The registry changes: its new version."""
        self._registry_version = self.registry_version + 1
        self.execute(queries.META_SET, (self._registry_version, "registry_version"))
        return self._registry_version

    def next_seq(self) -> int:
        """A place in a lane: above every place given before."""
        if self._seq < 0:
            self._seq = self._seq_stored = self.execute(queries.META, ("seq",)).fetchone()[0]
        self._seq += 1
        return self._seq

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """One statement for several rows; nothing for none."""
        if rows:
            self.connection.executemany(sql, rows)

    def finish(self) -> None:
        """Write what is written once per commit: the books and the last place."""
        if self._seq != self._seq_stored:
            self.execute(queries.META_SET, (self._seq, "seq"))
        self.execute_many(queries.CHANGE_ADD, self._changes)
        if self.moves or self.events:
            self.execute(queries.DELTA_ADD, (counters.pack(self.events, self.moves),))
