"""Replays of many: jobs, and their steps, each with its progress in one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from hookline.adapters.stores.due import Due
from hookline.adapters.stores.sqlite import queries, work_queries
from hookline.adapters.stores.sqlite.again import deliver_again, open_again
from hookline.adapters.stores.sqlite.rows import ClosedRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core.delivery import State
from hookline.core.errors import NotFound
from hookline.ports.store import Again, Page, ReplayRow, ReplayStep

RUNNING_MAX = 1000
_RUNNING = "running"
_REPLAY_RANK = 1
_REOPENED = frozenset({int(State.FAILED), int(State.DISCARDED)})
_ABOVE_ALL = b"\xff" * 16


def put_replay(transaction: Transaction, row: ReplayRow) -> ReplayRow:
    """`Replays.put_replay`, in the writer's transaction."""
    made = msgspec.structs.replace(row, created_at_ms=transaction.now_ms, updated_at_ms=transaction.now_ms)
    transaction.execute(work_queries.JOB_ADD, msgspec.structs.astuple(made))
    return made


def end_replay(transaction: Transaction, tenant: str | None, replay_id: bytes, state: str, detail: str) -> ReplayRow:
    """`Replays.end_replay`, in the writer's transaction."""
    row = replay_of(transaction.connection, tenant, replay_id)
    if row is None:
        raise NotFound("no such replay")
    if row.state != _RUNNING:
        return row
    transaction.execute(work_queries.JOB_END, (state, detail, transaction.now_ms, replay_id))
    return msgspec.structs.replace(row, state=state, detail=detail, updated_at_ms=transaction.now_ms)


def step_replay(
    transaction: Transaction,
    replay_id: bytes,
    before: bytes | None,
    after: bytes,
    examined: int,
    again: Sequence[Again],
    registry_version: int,
) -> ReplayStep:
    """`Replays.step_replay`, in the writer's transaction."""
    job = replay_of(transaction.connection, None, replay_id)
    if job is None or job.state != _RUNNING or job.after != before:
        return ReplayStep(applied=False)
    transaction.require_registry(registry_version)
    found = work_queries.EVENTS_TO_REPLAY.rows(transaction.connection, list({one.event_id for one in again}))
    sizes = {event_id: size_bytes for event_id, tenant, size_bytes in found if tenant == job.tenant}
    due_s: Due = {}
    made = []
    for one in again:
        size_bytes = sizes.get(one.event_id)
        if size_bytes is None:
            made.append(False)
        elif one.reopen:
            made.append(_reopened(transaction, job.tenant, one, due_s))
        else:
            to = (one.endpoint_id, one.delivery_id, one.lane)
            deliver_again(transaction, job.tenant, one.event_id, size_bytes, *to, due_s)
            made.append(True)
    count = sum(made)
    # One event may go to several endpoints: more is made than examined then.
    skipped = max(examined, len(made)) - count
    transaction.execute(work_queries.JOB_STEP, (after, examined, count, skipped, transaction.now_ms, replay_id))
    return ReplayStep(applied=True, made=made, due_s=due_s)


def _reopened(transaction: Transaction, tenant: str, one: Again, due_s: Due) -> bool:
    found = transaction.execute(queries.CLOSED_FIND, (one.delivery_id,)).fetchone()
    if found is None:
        return False
    closed = ClosedRow(*found)
    if closed.state not in _REOPENED or (closed.tenant, closed.event_id) != (tenant, one.event_id):
        return False
    deleted = transaction.execute(queries.ENDPOINT_DELETED, (closed.endpoint_id,)).fetchone()
    if deleted is None or deleted[0]:
        return False
    open_again(transaction, closed, _REPLAY_RANK, due_s)
    return True


def replay_of(connection: sqlite3.Connection, tenant: str | None, replay_id: bytes) -> ReplayRow | None:
    """`Replays.replay_of`, from a reader or in the writer's transaction."""
    found = connection.execute(work_queries.JOB_FIND, (replay_id,)).fetchone()
    if found is None or (tenant is not None and found[1] != tenant):
        return None
    return ReplayRow(*found)


def replays(connection: sqlite3.Connection, tenant: str | None, limit: int, before: bytes | None) -> Page[ReplayRow]:
    """`Replays.replays`, from a reader."""
    below = _ABOVE_ALL if before is None else before
    if tenant is None:
        found = connection.execute(work_queries.JOBS, (below, limit + 1))
    else:
        found = connection.execute(work_queries.JOBS_OF_TENANT, (below, tenant, limit + 1))
    rows = [ReplayRow(*row) for row in found]
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def running_replays(connection: sqlite3.Connection) -> list[ReplayRow]:
    """`Replays.running_replays`, from a reader."""
    return [ReplayRow(*row) for row in connection.execute(work_queries.JOBS_RUNNING, (RUNNING_MAX,))]
