"""What happens, in the order of transactions: a row of the journal per commit says which events and attempts it has.

A position is the stream's epoch, the number of a transaction, and how much of it was read. Only what is below every
transaction that still runs is shown: nothing with a lower number can come later, so positions are exact here too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from hookline.adapters.stores.kept_attempt import shown
from hookline.adapters.stores.postgres import archive, rows
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.errors import NotFound
from hookline.ports.store import Accepted, Attempted, Change, Entry

ENTRIES_MAX: Final = 2500
BYTES_MAX: Final = 4 * 1024 * 1024
COMMITS_MAX: Final = 500
_ALL: Final = 2**32 - 1
_POSITION: Final = struct.Struct(">IQI")
_ATTEMPT_BYTES: Final = ids.ATTEMPT_BYTES
_END: Final = (
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid,"
    " (SELECT value FROM meta WHERE name = 'stream_epoch') AS epoch,"
    " (SELECT value FROM meta WHERE name = 'journal_from') AS kept_from"
)
_COMMITS: Final = (
    "SELECT x.xid::text::bigint AS xid, coalesce(j.at_ms, 0) AS at_ms, coalesce(j.events, ''::bytea) AS events,"
    " coalesce(j.attempts, ''::bytea) AS attempts FROM ("
    "(SELECT xid FROM journal WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8 ORDER BY xid LIMIT $3)"
    " UNION (SELECT DISTINCT xid FROM changes WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8"
    " ORDER BY xid LIMIT $3)"
    " ORDER BY xid LIMIT $3) AS x LEFT JOIN journal j ON j.xid = x.xid ORDER BY x.xid"
)
_CHANGES: Final = (
    "SELECT xid::text::bigint AS xid, at_ms, tenant, endpoint_id, delivery_id, before, after, reason FROM changes"
    " WHERE xid >= $1::text::xid8 AND xid <= $2::text::xid8 ORDER BY xid, n"
)
_HEADS: Final = (
    "SELECT id, tenant, type, source, source_id, subject, content_type, attributes, encoding, ''::bytea AS data,"
    " octet_length(data) AS size FROM every_event WHERE id = ANY ($1)"
)
_ATTEMPTS: Final = (
    "SELECT a.delivery_id, a.fence, a.packed FROM unnest($1::bytea[], $2::integer[]) AS u (id, fence)"
    " JOIN attempts a ON a.delivery_id = u.id AND a.fence = u.fence"
)


async def stream_end(transaction: Transaction) -> bytes:
    """`Stream.stream_end`."""
    found = await transaction.row(_END)
    return _POSITION.pack(found["epoch"], found["xid"], 0)


async def stream(transaction: Transaction, after: bytes, limit: int, until: bytes | None) -> list[Entry]:
    """`Stream.stream`, in one snapshot."""
    end = await transaction.row(_END)
    xid, done = _resume(end, after)
    stop_xid, stop_done = (end["xid"], 0) if until is None else _resume(end, until)
    below = str(min(end["xid"], stop_xid + 1))
    reading = _Reading(transaction, end["epoch"], min(limit, ENTRIES_MAX))
    while not reading.entries:
        commits = await transaction.rows(_COMMITS, str(xid), below, COMMITS_MAX)
        if commits:
            await reading.look(commits, (xid, done), (stop_xid, stop_done))
        if len(commits) < COMMITS_MAX:
            break
        xid, done = commits[-1]["xid"], _ALL  # nothing of these is there any more
    return reading.entries


def _resume(end: Mapping[str, Any], position: bytes) -> tuple[int, int]:
    """The transaction and the place in it. Raises `NotFound` when what follows it is not known."""
    if len(position) != _POSITION.size:
        raise NotFound("this is no position of the stream")
    epoch, xid, done = _POSITION.unpack(position)
    if epoch != end["epoch"] or xid > end["xid"]:
        raise NotFound("this position is of another history: a backup was restored")
    if xid < end["kept_from"]:
        raise NotFound("what follows this position is not kept any more")
    return xid, done


class _Reading:
    """One call's work: which entries there are, then what is in them."""

    def __init__(self, transaction: Transaction, epoch: int, limit: int) -> None:
        self._transaction = transaction
        self._epoch = epoch
        self._limit = limit
        self.entries: list[Entry] = []

    async def look(self, commits: list[Any], after: tuple[int, int], stop: tuple[int, int]) -> None:
        """Read these commits from one position up to another."""
        changes: dict[int, list[Any]] = {}
        first, last = str(commits[0]["xid"]), str(commits[-1]["xid"])
        for change in await self._transaction.rows(_CHANGES, first, last):
            changes.setdefault(change["xid"], []).append(change)
        wanted: list[tuple[int, int, str, Any]] = []
        for commit in commits:
            xid = commit["xid"]
            parts: list[tuple[str, Any]] = [("event", key) for key in _cut(commit["events"], ids.ROOT_BYTES)]
            parts += [("attempt", key) for key in _cut(commit["attempts"], _ATTEMPT_BYTES)]
            parts += [("change", change) for change in changes.get(xid, ())]
            for number, (kind, what) in enumerate(parts, 1):
                if (xid, number) > after and (xid, number) <= stop and len(wanted) < self._limit:
                    wanted.append((xid, number, kind, what))
        await self._fill(wanted)

    async def _fill(self, wanted: list[tuple[int, int, str, Any]]) -> None:
        events = {
            row["id"]: row
            for row in await self._transaction.rows(_HEADS, [what for *_, kind, what in wanted if kind == "event"])
        }
        keys = [what for *_, kind, what in wanted if kind == "attempt"]
        attempts = {
            row["delivery_id"] + row["fence"].to_bytes(4, "big"): row["packed"]
            for row in await self._transaction.rows(
                _ATTEMPTS, [key[:16] for key in keys], [int.from_bytes(key[16:], "big") for key in keys]
            )
        }
        of = [key[:16] for key in keys]
        of += [what["delivery_id"] for *_, kind, what in wanted if kind == "change" and what["delivery_id"]]
        deliveries = await archive.several(self._transaction, of)
        size_bytes = 0
        for xid, number, kind, what in wanted:
            entry: Accepted | Attempted | Change | None = None
            if kind == "event" and what in events:
                entry = Accepted(rows.event(events[what]), events[what]["size"])
            elif kind == "attempt" and what in attempts and what[:16] in deliveries:
                size_bytes += len(attempts[what])
                fence = int.from_bytes(what[16:], "big")
                entry = Attempted(fence, shown(attempts[what]), deliveries[what[:16]])
            elif kind == "change":
                entry = _change(what, deliveries)
            if entry is not None:
                self.entries.append(Entry(_POSITION.pack(self._epoch, xid, number), entry))
            if size_bytes > BYTES_MAX:
                break


def _cut(packed: bytes, width: int) -> list[bytes]:
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def _change(row: Mapping[str, Any], deliveries: Mapping[bytes, Any]) -> Change:
    delivery = None if row["delivery_id"] is None else deliveries.get(row["delivery_id"])
    return Change(
        at_ms=row["at_ms"],
        tenant=row["tenant"],
        endpoint_id=row["endpoint_id"],
        delivery_id=row["delivery_id"],
        before=row["before"],
        after=row["after"],
        reason=row["reason"],
        event_id=None if delivery is None else delivery.event_id,
        type=None if delivery is None else delivery.type,
    )
