"""Replays of many: jobs, and their steps, each with its progress in one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hookline.adapters.stores.due import Due
from hookline.adapters.stores.postgres import kept_events, rows
from hookline.adapters.stores.postgres.again import deliver_again, open_again
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core.delivery import State
from hookline.core.errors import NotFound
from hookline.ports.store import Again, Page, ReplayRow, ReplayStep

RUNNING_MAX: Final = 1000
_RUNNING: Final = "running"
_REPLAY_RANK: Final = 1
_REOPENED: Final = frozenset({int(State.FAILED), int(State.DISCARDED)})
_ABOVE_ALL: Final = b"\xff" * 16
_JOB: Final = "id, tenant, spec, state, after, until, examined, replayed, skipped, detail, created_at_ms, updated_at_ms"


def _row(row: Mapping[str, Any]) -> ReplayRow:
    return ReplayRow(**dict(row))


async def put_replay(transaction: Transaction, row: ReplayRow) -> ReplayRow:
    """`Replays.put_replay`."""
    made = msgspec.structs.replace(row, created_at_ms=transaction.now_ms, updated_at_ms=transaction.now_ms)
    values = ", ".join(f"${n}" for n in range(1, 13))
    await transaction.run(f"INSERT INTO replay_jobs ({_JOB}) VALUES ({values})", *msgspec.structs.astuple(made))
    return made


async def end_replay(
    transaction: Transaction, tenant: str | None, replay_id: bytes, state: str, detail: str
) -> ReplayRow:
    """`Replays.end_replay`."""
    row = await replay_of(transaction, tenant, replay_id, lock=" FOR UPDATE")
    if row is None:
        raise NotFound("no such replay")
    if row.state != _RUNNING:
        return row
    await transaction.run(
        "UPDATE replay_jobs SET state = $1, detail = $2, updated_at_ms = $3 WHERE id = $4",
        state,
        detail,
        transaction.now_ms,
        replay_id,
    )
    return msgspec.structs.replace(row, state=state, detail=detail, updated_at_ms=transaction.now_ms)


async def step_replay(
    transaction: Transaction,
    replay_id: bytes,
    before: bytes | None,
    after: bytes,
    examined: int,
    again: Sequence[Again],
    registry_version: int,
) -> ReplayStep:
    """`Replays.step_replay`."""
    job = await replay_of(transaction, None, replay_id, lock=" FOR UPDATE")
    if job is None or job.state != _RUNNING or job.after != before:
        return ReplayStep(applied=False)
    await transaction.require_registry(registry_version)
    found = await transaction.rows(
        "SELECT id, tenant, octet_length(data) AS size FROM every_event WHERE encoding = 0 AND id = ANY ($1)",
        list({one.event_id for one in again}),
    )
    sizes = {row["id"]: row["size"] for row in found if row["tenant"] == job.tenant}
    await kept_events.keep(transaction, list(sizes))
    await _lock(transaction, again)
    due_s: Due = {}
    made = []
    for one in again:
        size_bytes = sizes.get(one.event_id)
        if size_bytes is None:
            made.append(False)
        elif one.reopen:
            made.append(await _reopened(transaction, job.tenant, one, due_s))
        else:
            to = (one.endpoint_id, one.delivery_id, one.lane)
            await deliver_again(transaction, job.tenant, one.event_id, size_bytes, *to, due_s)
            made.append(True)
    count = sum(made)
    # One event may go to several endpoints: more is made than examined then.
    skipped = max(examined, len(made)) - count
    await transaction.run(
        "UPDATE replay_jobs SET after = $1, examined = examined + $2, replayed = replayed + $3,"
        " skipped = skipped + $4, updated_at_ms = $5 WHERE id = $6",
        after,
        examined,
        count,
        skipped,
        transaction.now_ms,
        replay_id,
    )
    return ReplayStep(applied=True, made=made, due_s=due_s)


async def _lock(transaction: Transaction, again: Sequence[Again]) -> None:
    """The lanes of all that is about to be opened, in one order."""
    lanes = {(one.endpoint_id, one.lane) for one in again if one.lane is not None}
    sql = "SELECT endpoint_id, lane FROM closed WHERE lane IS NOT NULL AND id = ANY ($1)"
    reopened = await transaction.rows(sql, [one.delivery_id for one in again if one.reopen])
    lanes.update((row["endpoint_id"], row["lane"]) for row in reopened)
    await transaction.lock_lanes(sorted(lanes))


async def _reopened(transaction: Transaction, tenant: str, one: Again, due_s: Due) -> bool:
    sql = f"SELECT {rows.CLOSED_COLUMNS} FROM closed WHERE id = $1 FOR UPDATE"
    closed = await transaction.row(sql, one.delivery_id)
    if closed is None or closed["state"] not in _REOPENED:
        return False
    if (closed["tenant"], rows.event_id(closed)) != (tenant, one.event_id):
        return False
    deleted = await transaction.value("SELECT deleted FROM endpoints WHERE id = $1", closed["endpoint_id"])
    if deleted is None or deleted:
        return False
    await open_again(transaction, closed, _REPLAY_RANK, due_s)
    return True


async def replay_of(transaction: Transaction, tenant: str | None, replay_id: bytes, lock: str = "") -> ReplayRow | None:
    """`Replays.replay_of`."""
    found = await transaction.row(f"SELECT {_JOB} FROM replay_jobs WHERE id = $1{lock}", replay_id)
    if found is None or (tenant is not None and found["tenant"] != tenant):
        return None
    return _row(found)


async def replays(transaction: Transaction, tenant: str | None, limit: int, before: bytes | None) -> Page[ReplayRow]:
    """`Replays.replays`."""
    below = _ABOVE_ALL if before is None else before
    sql = (
        f"SELECT {_JOB} FROM replay_jobs WHERE id < $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY id DESC LIMIT $3"
    )
    found = [_row(row) for row in await transaction.rows(sql, below, tenant, limit + 1)]
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


async def running_replays(transaction: Transaction) -> list[ReplayRow]:
    """`Replays.running_replays`."""
    sql = f"SELECT {_JOB} FROM replay_jobs WHERE state = 'running' ORDER BY id LIMIT {RUNNING_MAX}"
    return [_row(row) for row in await transaction.rows(sql)]
