"""The books: packed deltas, at most one row per commit, folded into totals (docs/reliability.md, rule 6).

A delta counts moves of deliveries between states. Two origins are no states: `NEW` (made now) and `UNFOLDED`
(its tenant has counted it as pending since its event was accepted, its endpoint counts it only now).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from hookline.adapters.stores.sqlite import queries, source_queries
from hookline.core.delivery import State
from hookline.ports.store import Counts

NEW = 7
UNFOLDED = 8
NO_ENDPOINT = b""
"""Counted for the tenant only: a fan-out that is not unfolded yet."""

Moves = dict[tuple[str, bytes, int, int], int]
"""(tenant, endpoint, from, to) → how many."""

_FORMAT = 1
_STATES = 7
_PENDING = int(State.PENDING)


class Delta(msgspec.Struct, array_like=True, gc=False):
    """A commit's row. New fields go to the end, so that the release before can read it too."""

    format: int
    events: list[tuple[str, int]]
    moves: list[tuple[str, bytes, int, int, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Delta)


def pack(events: dict[str, int], moves: Moves) -> bytes:
    """A commit's delta as stored."""
    return _encoder.encode((_FORMAT, list(events.items()), [(*move, count) for move, count in moves.items()]))


class Sums:
    """Deltas added up: per tenant `[events, deliveries, states…]`, per endpoint `[deliveries, states…]`."""

    def __init__(self) -> None:
        self.tenants: dict[str, list[int]] = {}
        self.endpoints: dict[bytes, list[int]] = {}
        self.tenant_of: dict[bytes, str] = {}

    def add(self, packed: bytes) -> None:
        """Add one stored delta."""
        delta = _decoder.decode(packed)
        for tenant, count in delta.events:
            self._tenant(tenant)[0] += count
        for tenant, endpoint_id, before, after, count in delta.moves:
            self._move_tenant(self._tenant(tenant), before, after, count)
            if endpoint_id != NO_ENDPOINT:
                self.tenant_of[endpoint_id] = tenant
                row = self.endpoints.setdefault(endpoint_id, [0] * (1 + _STATES))
                row[1 + after] += count
                if before < NEW:
                    row[1 + before] -= count
                else:
                    row[0] += count

    def _tenant(self, tenant: str) -> list[int]:
        return self.tenants.setdefault(tenant, [0] * (2 + _STATES))

    @staticmethod
    def _move_tenant(row: list[int], before: int, after: int, count: int) -> None:
        row[2 + after] += count
        if before == NEW:
            row[1] += count
        else:
            row[2 + (_PENDING if before == UNFOLDED else before)] -= count


def unfolded(connection: sqlite3.Connection) -> Sums:
    """All deltas that are not folded yet, added up."""
    sums = Sums()
    for (packed,) in connection.execute(queries.DELTAS):
        sums.add(packed)
    return sums


def fold(connection: sqlite3.Connection, limit: int) -> int:
    """Fold up to `limit` deltas into the totals, in the caller's transaction; how many."""
    rows = connection.execute(queries.DELTAS_OLDEST, (limit,)).fetchall()
    if not rows:
        return 0
    sums = Sums()
    for _, packed in rows:
        sums.add(packed)
    connection.executemany(queries.FOLD_TENANT, [(tenant, *row) for tenant, row in sums.tenants.items()])
    endpoints = [(endpoint_id, sums.tenant_of[endpoint_id], *row) for endpoint_id, row in sums.endpoints.items()]
    connection.executemany(queries.FOLD_ENDPOINT, endpoints)
    connection.execute(queries.DELTAS_FORGET, (rows[-1][0],))
    return len(rows)


def counts(connection: sqlite3.Connection, tenant: str | None, endpoint_id: bytes | None) -> Counts:
    """The books of one moment: totals and what is not folded yet, read in the caller's transaction."""
    sums = unfolded(connection)
    if endpoint_id is not None:
        return _endpoint_counts(connection, sums, tenant, endpoint_id)
    if tenant is None:
        row = list(connection.execute(queries.TOTALS_OF_ALL).fetchone())
        holding = connection.execute(queries.HOLDING_PENDING).fetchall()
    else:
        row = list(connection.execute(queries.TOTALS_OF_TENANT, (tenant,)).fetchone())
        holding = connection.execute(queries.HOLDING_PENDING_OF_TENANT, (tenant,)).fetchall()
    for name, extra in sums.tenants.items():
        if tenant is None or name == tenant:
            row = [a + b for a, b in zip(row, extra, strict=True)]
    held = sum(pending + _pending(sums.endpoints.get(holder)) for holder, pending in holding)
    books = _counts(row[0], row[1:], held)
    return msgspec.structs.replace(books, quarantined=_quarantined(connection, tenant))


def _quarantined(connection: sqlite3.Connection, tenant: str | None) -> int:
    if tenant is None:
        found = connection.execute(source_queries.QUARANTINE_OF_ALL)
    else:
        found = connection.execute(source_queries.QUARANTINE_OF_TENANT, (tenant,))
    kept: int = found.fetchone()[0]
    return kept


def _pending(row: list[int] | None) -> int:
    return 0 if row is None else row[1 + _PENDING]


def _endpoint_counts(connection: sqlite3.Connection, sums: Sums, tenant: str | None, endpoint_id: bytes) -> Counts:
    found = connection.execute(queries.TOTALS_OF_ENDPOINT, (endpoint_id,)).fetchone()
    owner = found[0] if found is not None else sums.tenant_of.get(endpoint_id)
    if owner is None or (tenant is not None and owner != tenant):
        return Counts()
    row = list(found[1:]) if found is not None else [0] * (1 + _STATES)
    extra = sums.endpoints.get(endpoint_id)
    if extra is not None:
        row = [a + b for a, b in zip(row, extra, strict=True)]
    state = connection.execute(queries.ENDPOINT_STATE_WORD, (endpoint_id,)).fetchone()
    holds = state is not None and state[0] != "active"
    return _counts(0, row, row[1 + _PENDING] if holds else 0)


def _counts(events: int, row: Iterable[int], held_by_endpoint: int) -> Counts:
    deliveries, pending, leased, held, unconfirmed, delivered, failed, discarded = row
    return Counts(
        events=events,
        deliveries=deliveries,
        delivered=delivered,
        failed=failed,
        discarded=discarded,
        pending=pending - held_by_endpoint,
        leased=leased,
        held=held + held_by_endpoint,
        unconfirmed=unconfirmed,
    )


def open_of(connection: sqlite3.Connection, endpoint_id: bytes) -> int:
    """How many deliveries of an endpoint are open."""
    counted = _endpoint_counts(connection, unfolded(connection), None, endpoint_id)
    return counted.pending + counted.leased + counted.held + counted.unconfirmed


def open_above(connection: sqlite3.Connection, above: int) -> dict[bytes, int]:
    """Endpoints with more than `above` open deliveries, and how many."""
    sums = unfolded(connection)
    # Bound: what the deltas add to an endpoint is found among themselves.
    opened = {endpoint_id: sum(row[1:5]) for endpoint_id, row in sums.endpoints.items()}
    found = dict(connection.execute(queries.OPEN_TOTALS).fetchall())
    for endpoint_id, count in opened.items():
        found[endpoint_id] = found.get(endpoint_id, 0) + count
    return {endpoint_id: count for endpoint_id, count in found.items() if count > above}
