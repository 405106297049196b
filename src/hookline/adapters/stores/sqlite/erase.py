"""Erasing an event's payload for ever: from its row, from what was sent and answered, and from the free pages.

SQLite leaves what is deleted where it was, until the room is needed. With `secure_delete` it overwrites it with zeros;
that costs a write per freed page, so it is on for these statements only. (Everywhere else it is FAST: pages that are
written anyway keep no copies of rows that moved from them, when a table grows.) What is left for a while: the
write-ahead log has the old pages until its next frames overwrite them, at most `checkpoint.RESTART_BYTES` later; and
where purging has merged two pages, the free one has its old rows until it is used again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hookline.adapters.stores.kept_attempt import without_exchange
from hookline.adapters.stores.kept_event import ERASED
from hookline.adapters.stores.sqlite import confirm, queries, work_queries
from hookline.adapters.stores.sqlite.connection import overwriting
from hookline.adapters.stores.sqlite.record import close, leave_lane
from hookline.adapters.stores.sqlite.rows import OpenRow
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.errors import Conflict, NotFound

ATTEMPTS_PER_STEP = 100
_LEASED = int(State.LEASED)
_DISCARDED = int(State.DISCARDED)
_WIDTH = ids.ROOT_BYTES


def erase(transaction: Transaction, tenant: str | None, event_id: bytes) -> int:
    """The first half of `Retention.erase`, in the writer's transaction: from here on nothing of the event is sent or
    told; how many deliveries were discarded, those counted that a fan-out has not unfolded yet. What its receiver has
    confirmed is delivered."""
    found = transaction.execute(queries.EVENT_EXISTS, (event_id,)).fetchone()
    if found is None or (tenant is not None and found[0] != tenant):
        raise NotFound("no such event")
    own = (event_id, ids.last_delivery_id(event_id))
    rows = [OpenRow(*row) for row in transaction.execute(work_queries.OPEN_OF_EVENT, own).fetchall()]
    replays = [OpenRow(*row) for row in transaction.execute(work_queries.OPEN_OF_REPLAYS, (event_id,)).fetchall()]
    if any(row.state == _LEASED for row in (*rows, *replays)):
        raise Conflict("a delivery of it is in flight", code="wrong_state")
    confirmed = {row[0] for row in transaction.execute(work_queries.SUCCESSES_OF_EVENT, own)}
    confirmed.update(row.id for row in replays if confirm.is_success(transaction, row.id))
    with overwriting(transaction.connection):
        transaction.execute(work_queries.EVENT_ERASE, (ERASED, event_id))
        transaction.execute(work_queries.CONFIRMATIONS_OF_EVENT, own)
        for row in replays:
            transaction.execute(work_queries.CONFIRMATION_FORGET, (row.id,))
    for row in (*rows, *replays):
        if row.id in confirmed:
            _end(transaction, row, State.DELIVERED, None)
    rows = [row for row in rows if row.id not in confirmed]
    replays = [row for row in replays if row.id not in confirmed]
    transaction.execute(work_queries.CLOSE_OF_EVENT, (_DISCARDED, transaction.now_ms, *own))
    transaction.execute(work_queries.OPEN_DELETE_OF_EVENT, own)
    for row in rows:
        if row.lane is None:
            transaction.moved(row.tenant, row.endpoint_id, row.state, _DISCARDED)
            _tell(transaction, row, State.DISCARDED, row.reason)
    for row in (*rows, *replays):
        if row.lane is not None or row.replay_of is not None:
            _end(transaction, row, State.DISCARDED, row.reason)
    transaction.execute(queries.META_COUNT, ("erasures",))
    folded = 0
    for size_bytes, done in transaction.execute(work_queries.FANOUTS_OF_EVENT, (event_id,)):
        folded += size_bytes // _WIDTH - done
    return len(rows) + len(replays) + folded


def _end(transaction: Transaction, row: OpenRow, after: State, reason: str | None) -> None:
    if row.lane is not None:  # closing one may have promoted another
        row = OpenRow(*transaction.execute(queries.OPEN_FIND, (row.id,)).fetchone())
    close(transaction, row, int(after), reason)
    leave_lane(transaction, row, {})
    _tell(transaction, row, after, reason)


def _tell(transaction: Transaction, row: OpenRow, after: State, reason: str | None) -> None:
    transaction.changed(row.tenant, row.endpoint_id, row.id, State(row.state).word, after.word, reason)


Range = tuple[bytes, int, bytes]
"""Attempts behind (delivery, fence), up to the last of a delivery."""


def ranges(connection: sqlite3.Connection, event_id: bytes) -> list[Range]:
    """Where an event's attempts are: those of its own deliveries, and those of each replay."""
    replays = connection.execute(work_queries.REPLAYS_OF, (event_id,)).fetchall()
    return [
        (event_id, -1, ids.last_delivery_id(event_id)),
        *((delivery_id, -1, delivery_id) for (delivery_id,) in replays),
    ]


def look(connection: sqlite3.Connection, left: Sequence[Range]) -> tuple[list[tuple[bytes, int]], list[Range]]:
    """The next attempts as (packed without what was sent and answered, rowid), from a reader, and what is left."""
    found: list[tuple[bytes, int]] = []
    left = list(left)
    while left and len(found) < ATTEMPTS_PER_STEP:
        asked = ATTEMPTS_PER_STEP - len(found)
        rows = connection.execute(work_queries.ATTEMPTS_OF, (*left[0], asked)).fetchall()
        found += [(without_exchange(packed, delivery_id, fence), rowid) for rowid, delivery_id, fence, packed in rows]
        if len(rows) == asked:
            left[0] = (rows[-1][1], rows[-1][2], left[0][2])
        else:
            del left[0]
    return found, left


def write(transaction: Transaction, rows: Sequence[tuple[bytes, int]]) -> None:
    """The second half of `Retention.erase`, some attempts per commit, in the writer's transaction."""
    with overwriting(transaction.connection):
        transaction.execute_many(work_queries.ATTEMPT_REPLACE, rows)
