"""The books: one row of moves per commit, folded into totals (docs/reliability.md, rule 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from hookline.adapters.stores.books import PENDING, Sums, counts_of
from hookline.adapters.stores.postgres.transaction import EVENT, Transaction
from hookline.ports.store import Counts

FOLD_LOCK: Final = 4846004
_STATES: Final = ("pending", "leased", "held", "unconfirmed", "delivered", "failed", "discarded")
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in ("events", "deliveries", *_STATES))
_MOVES: Final = (
    "SELECT u.t, u.e, u.b, u.a, sum(u.c)::bigint AS c FROM {} d, unnest(d.tenants, d.endpoints, d.befores, d.afters,"
    " d.counts) AS u (t, e, b, a, c) GROUP BY u.t, u.e, u.b, u.a"
)
_ADD: Final = ", ".join(f"{name} = {{table}}.{name} + excluded.{name}" for name in ("deliveries", *_STATES))
_FOLD_TENANT: Final = (
    f"INSERT INTO tenant_totals (tenant, events, deliveries, {', '.join(_STATES)})"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant) DO UPDATE SET"
    f" events = tenant_totals.events + excluded.events, {_ADD.format(table='tenant_totals')}"
)
_FOLD_ENDPOINT: Final = (
    f"INSERT INTO endpoint_totals (endpoint_id, tenant, deliveries, {', '.join(_STATES)})"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (endpoint_id) DO UPDATE SET"
    f" {_ADD.format(table='endpoint_totals')}"
)
_HOLDING: Final = (
    "SELECT e.id, coalesce(t.pending, 0) AS pending FROM endpoints e"
    " LEFT JOIN endpoint_totals t ON t.endpoint_id = e.id WHERE e.state <> 'active' AND e.deleted < 2"
)


def _summed(moves: Iterable[Any]) -> Sums:
    """Rows of `_MOVES` added up."""
    sums = Sums()
    for tenant, endpoint_id, before, after, count in moves:
        if before == EVENT:
            sums.events(tenant, count)
        else:
            sums.move(tenant, endpoint_id, before, after, count)
    return sums


async def _unfolded(transaction: Transaction) -> Sums:
    return _summed(await transaction.rows(_MOVES.format("deltas")))


async def fold(transaction: Transaction, limit: int) -> int:
    """Fold up to `limit` rows into the totals; how many. One process folds at a time, the others do nothing."""
    if not await transaction.value("SELECT pg_try_advisory_xact_lock($1)", FOLD_LOCK):
        return 0
    count = await transaction.value("SELECT count(*) FROM (SELECT 1 FROM deltas LIMIT $1) AS d", limit)
    if not count:
        return 0
    gone = "(DELETE FROM deltas WHERE n IN (SELECT n FROM deltas ORDER BY n LIMIT $1) RETURNING *)"
    moves = await transaction.rows(f"WITH gone AS {gone} {_MOVES.format('gone')}", limit)
    sums = _summed(moves)
    await transaction.connection.executemany(_FOLD_TENANT, [(name, *row) for name, row in sorted(sums.tenants.items())])
    endpoints = [(key, sums.tenant_of[key], *row) for key, row in sorted(sums.endpoints.items())]
    await transaction.connection.executemany(_FOLD_ENDPOINT, endpoints)
    return int(count)


async def counts(transaction: Transaction, tenant: str | None, endpoint_id: bytes | None) -> Counts:
    """The books of one moment: totals and what is not folded yet, in the snapshot of a transaction."""
    sums = await _unfolded(transaction)
    if endpoint_id is not None:
        return await _endpoint_counts(transaction, sums, tenant, endpoint_id)
    where, values = ("", ()) if tenant is None else (" WHERE tenant = $1", (tenant,))
    row = list(await transaction.row(f"SELECT {_SUMS} FROM tenant_totals{where}", *values))
    holding = _HOLDING if tenant is None else f"{_HOLDING} AND e.tenant = $1"
    for name, extra in sums.tenants.items():
        if tenant is None or name == tenant:
            row = [a + b for a, b in zip(row, extra, strict=True)]
    held = 0
    for holder, pending in await transaction.rows(holding, *values):
        held += pending + sums.pending(holder)
    kept = await transaction.value(f"SELECT coalesce(sum(kept), 0)::bigint FROM quarantine_totals{where}", *values)
    return msgspec.structs.replace(counts_of(row[0], row[1:], held), quarantined=kept)


async def _endpoint_counts(transaction: Transaction, sums: Sums, tenant: str | None, endpoint_id: bytes) -> Counts:
    sql = f"SELECT tenant, deliveries, {', '.join(_STATES)} FROM endpoint_totals WHERE endpoint_id = $1"
    found = await transaction.row(sql, endpoint_id)
    owner = found[0] if found is not None else sums.tenant_of.get(endpoint_id)
    if owner is None or (tenant is not None and owner != tenant):
        return Counts()
    row = list(found)[1:] if found is not None else [0] * 8
    extra = sums.endpoints.get(endpoint_id)
    if extra is not None:
        row = [a + b for a, b in zip(row, extra, strict=True)]
    state = await transaction.value("SELECT state FROM endpoints WHERE id = $1", endpoint_id)
    return counts_of(0, row, row[1 + PENDING] if state is not None and state != "active" else 0)


async def open_of(transaction: Transaction, endpoint_id: bytes) -> int:
    """How many deliveries of an endpoint are open, what this transaction closes counted as closed."""
    counted = await _endpoint_counts(transaction, await _unfolded(transaction), None, endpoint_id)
    return counted.pending + counted.leased + counted.held + counted.unconfirmed


async def open_above(transaction: Transaction, above: int) -> dict[bytes, int]:
    """Endpoints with more than `above` open deliveries, and how many."""
    sums = await _unfolded(transaction)
    sql = "SELECT endpoint_id, pending + leased + held + unconfirmed FROM endpoint_totals"
    found = {row[0]: row[1] for row in await transaction.rows(sql)}
    for endpoint_id, row in sums.endpoints.items():
        found[endpoint_id] = found.get(endpoint_id, 0) + sum(row[1:5])
    return {endpoint_id: count for endpoint_id, count in found.items() if count > above}
