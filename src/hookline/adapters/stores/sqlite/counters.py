"""The books: packed deltas, at most one row per commit, folded into totals (docs/reliability.md, rule 6)."""

from __future__ import annotations

import sqlite3

import msgspec

from hookline.adapters.stores.books import PENDING, STATES, Sums, counts_of
from hookline.adapters.stores.sqlite import queries, source_queries
from hookline.ports.store import Counts

Moves = dict[tuple[str, bytes, int, int], int]
"""(tenant, endpoint, from, to) → how many."""

_FORMAT = 1


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


def _add(sums: Sums, packed: bytes) -> None:
    """Add one stored delta."""
    delta = _decoder.decode(packed)
    for tenant, count in delta.events:
        sums.events(tenant, count)
    for move in delta.moves:
        sums.move(*move)


def unfolded(connection: sqlite3.Connection) -> Sums:
    """All deltas that are not folded yet, added up."""
    sums = Sums()
    for (packed,) in connection.execute(queries.DELTAS):
        _add(sums, packed)
    return sums


def fold(connection: sqlite3.Connection, limit: int) -> int:
    """Fold up to `limit` deltas into the totals, in the caller's transaction; how many."""
    rows = connection.execute(queries.DELTAS_OLDEST, (limit,)).fetchall()
    if not rows:
        return 0
    sums = Sums()
    for _, packed in rows:
        _add(sums, packed)
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
    held = sum(pending + sums.pending(holder) for holder, pending in holding)
    books = counts_of(row[0], row[1:], held)
    return msgspec.structs.replace(books, quarantined=_quarantined(connection, tenant))


def _quarantined(connection: sqlite3.Connection, tenant: str | None) -> int:
    if tenant is None:
        found = connection.execute(source_queries.QUARANTINE_OF_ALL)
    else:
        found = connection.execute(source_queries.QUARANTINE_OF_TENANT, (tenant,))
    kept: int = found.fetchone()[0]
    return kept


def _endpoint_counts(connection: sqlite3.Connection, sums: Sums, tenant: str | None, endpoint_id: bytes) -> Counts:
    found = connection.execute(queries.TOTALS_OF_ENDPOINT, (endpoint_id,)).fetchone()
    owner = found[0] if found is not None else sums.tenant_of.get(endpoint_id)
    if owner is None or (tenant is not None and owner != tenant):
        return Counts()
    row = list(found[1:]) if found is not None else [0] * (1 + STATES)
    extra = sums.endpoints.get(endpoint_id)
    if extra is not None:
        row = [a + b for a, b in zip(row, extra, strict=True)]
    state = connection.execute(queries.ENDPOINT_STATE_WORD, (endpoint_id,)).fetchone()
    holds = state is not None and state[0] != "active"
    return counts_of(0, row, row[1 + PENDING] if holds else 0)


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
