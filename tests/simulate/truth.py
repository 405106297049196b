"""What the store really holds, kept by the log of its triggers, and what must hold of every change in it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hookline.core import ids
from hookline.core.delivery import OPEN, TRANSITIONS, State
from hookline.core.endpoint import RateSpec
from hookline.core.quota import burst_of
from tests.simulate.loop import Time

RESCUE_LATE_MS = 15_000
"""A lease of a living process is left to it so much longer."""
_ALLOWED = frozenset((None if before is None else int(before), int(after)) for before, after in TRANSITIONS)
_EVENT = "SELECT type, tenant, source, source_id, attributes, data FROM events WHERE id = ?"


@dataclass(slots=True)
class Row:
    """A delivery."""

    id: bytes
    event_id: bytes
    endpoint_id: bytes
    state: int
    fence: int
    lane: str | None
    seq: int | None
    lost: int = 0
    due_ms: int = 0
    lease_until_ms: int = 0
    handoff: bool = False
    leased_n: int = 0
    """The commit that leased it."""
    changed_n: int = 0
    """The commit that changed its state last."""
    reopened_n: int = 0
    process: int = 0
    """Who leased it."""
    failed: int = 0
    """How often it came to be failed."""
    reason: str | None = None
    purged: bool = False
    attempts: set[int] = field(default_factory=set)
    """The fences of its recorded attempts."""

    @property
    def open(self) -> bool:
        return not self.purged and self.state in OPEN


class Bucket:
    """A token bucket by the definition, beside the store's."""

    def __init__(self, rate: RateSpec) -> None:
        self.interval_ms = rate.per_s * 1000.0 / rate.n
        self.ahead_ms = burst_of(rate) * self.interval_ms
        self.full_ms = 0.0

    def cut(self, now_ms: float) -> None:
        """The store's clock may have gone back over a start: it is empty then, and no more than that."""
        self.full_ms = min(self.full_ms, now_ms + self.ahead_ms)

    def take(self, now_ms: float) -> bool:
        """Whether one more is within the rate."""
        self.full_ms = max(self.full_ms, now_ms) + self.interval_ms
        return self.full_ms - now_ms <= self.ahead_ms + 1.0


class Truth:
    """All that was ever committed. `found` is what does not hold."""

    def __init__(self, world: Time) -> None:
        self.world = world
        self.found: list[str] = []
        self.rows: dict[bytes, Row] = {}
        self.of_event: dict[bytes, list[Row]] = defaultdict(list)
        self.lanes: dict[tuple[bytes, str], list[Row]] = defaultdict(list)
        self.made: dict[bytes, Counter[int]] = defaultdict(Counter)
        """endpoint → state → how many deliveries are in it, purged ones in their last."""
        self.events: set[bytes] = set()
        self.sources: dict[tuple[str, str], bytes] = {}
        self.told: Counter[tuple[str, str]] = Counter()
        """(type, delivery) → operational events about it."""
        self.buckets: dict[bytes, Bucket] = {}
        self.failing: set[bytes] = set()
        self.settled: dict[bytes, int] = {}
        """Deliveries whose success was said and counted, and the commit that was the last one then."""
        self.caps: dict[bytes, int] = {}
        self.retention_ms = 0
        self.rounds = 0
        self.commits = 0
        self.transitions: Counter[tuple[int | None, int]] = Counter()

    def fault(self, what: str) -> None:
        """Something does not hold."""
        self.found.append(what)

    def process_began(self, now_ms: int) -> None:
        """Another process has the store now."""
        self.rounds += 1
        for bucket in self.buckets.values():
            bucket.cut(now_ms)

    # ------------------------------------------------------------------------------------------------- the log

    def committed(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Take over what a commit has done."""
        log = connection.execute("SELECT * FROM watched ORDER BY rowid").fetchall()
        if not log:
            return
        connection.execute("DELETE FROM watched")
        self.commits += 1
        gone: list[bytes] = []
        letters: set[bytes] = set()
        for entry in log:
            what, identifier = entry[0], entry[1]
            if what == "opened":
                self._opened(entry, now_ms)
            elif what == "changed":
                self._changed(entry, now_ms)
            elif what == "closed":
                self._closed(entry, now_ms)
            elif what == "gone":
                gone.append(identifier)
            elif what == "tried":
                self._tried(identifier, entry[5])
            elif what == "told":
                self._told(connection, identifier, letters)
        for identifier in gone:
            row = self.rows[identifier]
            there = (
                row.state in OPEN or connection.execute("SELECT 1 FROM closed WHERE id = ?", (identifier,)).fetchone()
            )
            if not there:
                row.purged = True
                if now_ms - ids.time_ms(identifier) < self.retention_ms:
                    self.fault(f"{_name(identifier)} was purged too early")
        for identifier in letters:
            failed = self.rows[identifier].failed if identifier in self.rows else 0
            for name in ("hookline.dead_letter", "hookline.delivery.failed"):
                if self.told[name, ids.text(ids.DELIVERY, identifier)] > failed:
                    self.fault(f"{_name(identifier)} failed {failed} times and {name} tells of more")
        failing = {row[0] for row in connection.execute("SELECT endpoint_id FROM endpoint_states WHERE probe_at_ms")}
        self.failing = failing

    def _opened(self, entry: tuple, now_ms: int) -> None:
        _, identifier, event_id, endpoint_id, state, fence, lost, due_ms, until_ms, handoff, lane, seq, *_ = entry
        row = self.rows.get(identifier)
        if row is None:
            row = Row(identifier, event_id or identifier[:12], endpoint_id, state, fence, lane, seq)
            self._moved(row, None, state)
            self.rows[identifier] = row
            self.of_event[row.event_id].append(row)
            if lane is not None:
                self.lanes[endpoint_id, lane].append(row)
            if row.event_id not in self.events:
                self.fault(f"{_name(identifier)} has no event")
        else:
            self._moved(row, row.state, state)
            row.reopened_n = self.commits
        self._fields(row, state, fence, lost, due_ms, until_ms, handoff, seq)
        if state == State.LEASED:
            self._leased(row)

    def _changed(self, entry: tuple, now_ms: int) -> None:
        _, identifier, _, _, state, fence, lost, due_ms, until_ms, handoff, _, seq, before_due_ms, _, _ = entry
        row = self.rows[identifier]
        before = row.state
        if fence != row.fence and (state != State.LEASED or fence != row.fence + 1):
            self.fault(f"{_name(identifier)} {State(state).word}: the fence went from {row.fence} to {fence}")
        if before != state:
            self._moved(row, before, state)
        if before == State.LEASED and state == State.PENDING and lost > row.lost:
            mine = row.process == self.rounds
            if mine and now_ms < row.lease_until_ms + RESCUE_LATE_MS:
                self.fault(f"{_name(identifier)} was taken back {row.lease_until_ms + 15_000 - now_ms} ms too early")
        if state == State.LEASED and before != State.LEASED:
            if before_due_ms > now_ms and row.endpoint_id not in self.failing:
                self.fault(f"{_name(identifier)} was claimed {before_due_ms - now_ms} ms before it was due")
            bucket = self.buckets.get(row.endpoint_id)
            if bucket is not None and not bucket.take(now_ms):
                self.fault(f"{_name(identifier)} was claimed above its endpoint's rate")
        self._fields(row, state, fence, lost, due_ms, until_ms, handoff, seq)
        if state == State.LEASED and before != State.LEASED:
            self._leased(row)

    def _closed(self, entry: tuple, now_ms: int) -> None:
        _, identifier, event_id, endpoint_id, state, fence, _, _, _, _, lane, seq, _, reason, _ = entry
        row = self.rows.get(identifier)
        if row is None:  # its endpoint was deleted, or its event erased, while the fan-out unfolded
            row = Row(identifier, event_id or identifier[:12], endpoint_id, state, fence, lane, seq)
            self.rows[identifier] = row
            self.of_event[row.event_id].append(row)
            self._moved(row, None, state)
        else:
            if fence != row.fence:
                self.fault(f"{_name(identifier)} was closed with fence {fence}, its lease has {row.fence}")
            self._moved(row, row.state, state)
        row.state, row.reason, row.changed_n = state, reason, self.commits
        if state == State.FAILED:
            row.failed += 1
            if reason == "expired" and now_ms - ids.time_ms(identifier) < self.retention_ms:
                self.fault(f"{_name(identifier)} expired too early")
        if identifier in self.settled and state != State.DELIVERED:
            self.fault(f"{_name(identifier)} is {State(state).word} although its success was said in time")

    def _tried(self, identifier: bytes, fence: int) -> None:
        row = self.rows[identifier]
        if fence != row.fence:
            self.fault(f"an attempt of {_name(identifier)} was recorded with fence {fence}, its lease has {row.fence}")
        if fence in row.attempts:
            self.fault(f"attempt {fence} of {_name(identifier)} was recorded twice")
        row.attempts.add(fence)

    def _told(self, connection: sqlite3.Connection, identifier: bytes, letters: set[bytes]) -> None:
        if identifier in self.events:
            self.fault(f"event {identifier.hex()} was made twice")
        self.events.add(identifier)
        event_type, tenant, source, source_id, _, data = connection.execute(_EVENT, (identifier,)).fetchone()
        if source_id:
            first = self.sources.setdefault((tenant + source, source_id), identifier)
            if first != identifier:
                self.fault(f"{source_id} of {source!r} was accepted twice")
        if event_type.startswith("hookline."):
            said = json.loads(data)
            about = said.get("delivery_id") or (said.get("delivery") or {}).get("id")
            if about:
                self.told[event_type, about] += 1
                letters.add(bytes.fromhex(about.partition("_")[2]))

    def _moved(self, row: Row, before: int | None, after: int) -> None:
        if (before, after) not in _ALLOWED:
            word = "nothing" if before is None else State(before).word
            self.fault(f"{_name(row.id)} went from {word} to {State(after).word}")
        self.transitions[before, after] += 1
        made = self.made[row.endpoint_id]
        if before is not None:
            made[before] -= 1
        made[after] += 1
        row.changed_n = self.commits

    def _leased(self, row: Row) -> None:
        row.leased_n, row.process = self.commits, self.rounds
        for other in self._before(row):
            self.fault(f"{_name(row.id)} was leased, and {_name(other.id)} is before it in its lane")

    @staticmethod
    def _fields(
        row: Row, state: int, fence: int, lost: int, due_ms: int, until_ms: int, handoff: int, seq: int | None
    ) -> None:
        row.state, row.fence, row.lost, row.due_ms = state, fence, lost, due_ms
        row.lease_until_ms, row.handoff, row.seq = until_ms, bool(handoff), seq

    # ------------------------------------------------------------------------------------------------ questions

    def _before(self, row: Row) -> list[Row]:
        """What is open in its lane and older: nothing may be, when it is leased."""
        if row.lane is None:
            return []
        mates = self.lanes[row.endpoint_id, row.lane]
        return [other for other in mates if other.open and (other.seq or 0) < (row.seq or 0)]

    def overtaken(self, row: Row, *, waits: bool) -> list[Row]:
        """What would be overtaken in its lane if it were sent now: open and older ones, and where failed ones block
        (`waits`) those too; except what came to be so only after it was leased."""
        if row.lane is None:
            return []
        found = []
        for other in self.lanes[row.endpoint_id, row.lane]:
            if other.purged or (other.seq or 0) >= (row.seq or 0):
                continue
            if (other.state in OPEN and other.reopened_n < row.leased_n) or (
                waits and other.state == State.FAILED and other.changed_n < row.leased_n
            ):
                found.append(other)
        return found

    def count(self, endpoint_id: bytes | None) -> Counter[int]:
        """Deliveries by state, of one endpoint or of all."""
        if endpoint_id is not None:
            return self.made[endpoint_id]
        total: Counter[int] = Counter()
        for made in self.made.values():
            total.update(made)
        return total


def _name(identifier: bytes) -> str:
    return ids.text(ids.DELIVERY, identifier)
