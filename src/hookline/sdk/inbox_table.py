"""The table of an inbox: events as rows, their states, and every change of them as one statement that checks its fence.

    ready       due at a time          running     claimed by a worker, until a time
    done        every handler of it ended well     ignored     no handler wants it
    dead        tried often enough: the dead letter             discarded   a person decided

A claim raises the row's fence, and whatever a worker writes afterwards is written only while the fence is still its
own: a worker that was away for longer than its lease changes nothing any more.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from hookline.sdk.event import Event
from hookline.sdk.reading import said, value_of
from hookline.sdk.sql import Dialect, Transaction, table_name

READY: Final = "ready"
RUNNING: Final = "running"
DONE: Final = "done"
IGNORED: Final = "ignored"
DEAD: Final = "dead"
DISCARDED: Final = "discarded"
STATES: Final = (READY, RUNNING, DONE, IGNORED, DEAD, DISCARDED)
ERROR_CHARS_MAX: Final = 2000
PURGE_ROWS_MAX: Final = 1000
_NOT_KEPT: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
"""Headers that are credentials: they did their work before."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event that a worker has until its lease ends."""

    key: str
    fence: int
    tries: int
    """This one among them."""
    event: Event = field(compare=False)
    finished: frozenset[str]
    """Names of handlers that ended well at an earlier try."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An event of the inbox as it is shown to a person."""

    key: str
    """What `retry` and `discard` take."""
    event: Event
    state: str
    tries: int
    error: str | None
    """Of the last try."""
    received_at_s: float
    due_at_s: float


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is to be said to the sender of an event."""

    key: str
    event: Event = field(compare=False)
    word: str
    message: str
    tries: int


class Table:
    """The statements. Each method works in a transaction of the caller's; times are seconds since 1970."""

    def __init__(self, name: str) -> None:
        self._name = table_name(name)
        self._insert = (
            f"INSERT INTO {self._name} (key, event_id, type, details, body, state, tries, fence, due_at, received_at,"  # noqa: S608
            " finished, confirm_url, confirm_tries) VALUES (?, ?, ?, ?, ?, 'ready', 0, 0, ?, ?, '[]', ?, 0)"
            " ON CONFLICT (key) DO NOTHING"
        )
        self._mine = " WHERE key = ? AND fence = ? AND state = 'running'"

    def schema(self, dialect: Dialect) -> tuple[str, ...]:
        """The statements that make it."""
        blob = "BLOB" if dialect == "sqlite" else "BYTEA"
        index = self._name.replace(".", "_")
        return (
            f"""CREATE TABLE IF NOT EXISTS {self._name} (
              key TEXT PRIMARY KEY, event_id TEXT NOT NULL, type TEXT NOT NULL, details TEXT NOT NULL,
              body {blob} NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL, fence BIGINT NOT NULL,
              due_at DOUBLE PRECISION NOT NULL, received_at DOUBLE PRECISION NOT NULL, finished TEXT NOT NULL,
              finished_at DOUBLE PRECISION, error TEXT, confirm_url TEXT, confirm_word TEXT, confirm_message TEXT,
              confirm_due_at DOUBLE PRECISION, confirm_tries INTEGER NOT NULL)""",
            f"CREATE INDEX IF NOT EXISTS {index}_due ON {self._name} (due_at) WHERE state IN ('ready', 'running')",
            f"CREATE INDEX IF NOT EXISTS {index}_state ON {self._name} (state, received_at)",
            f"CREATE INDEX IF NOT EXISTS {index}_over ON {self._name} (finished_at) WHERE finished_at IS NOT NULL",
            f"""CREATE INDEX IF NOT EXISTS {index}_confirm ON {self._name} (confirm_due_at)
              WHERE confirm_due_at IS NOT NULL""",
        )

    # ---------------------------------------------------------------------------------------------- what comes in

    def put(self, transaction: Transaction, key: str, event: Event, now_s: float) -> bool:
        """Keep an event; False for one that is known. The sender's repeat of a dead one opens it again, and a repeat of
        one that is over has it confirmed again."""
        is_new = transaction.execute(
            self._insert,
            key,
            _storable(event.id),
            _storable(event.type),
            _details(event),
            event.body,
            now_s,
            now_s,
            event.confirm_url,
        )
        if is_new:
            return True
        if event.confirm_url is not None:
            transaction.execute(
                f"UPDATE {self._name} SET confirm_url = ?, confirm_tries = 0,"  # noqa: S608
                " confirm_due_at = CASE WHEN confirm_word IS NULL THEN NULL ELSE ? END WHERE key = ?",
                event.confirm_url,
                now_s,
                key,
            )
        self._open(transaction, key, (DEAD,), now_s)
        return False

    # ---------------------------------------------------------------------------------------------- workers

    def claim(
        self, transaction: Transaction, limit: int, tries_max: int, now_s: float, until_s: float
    ) -> Sequence[Claimed]:
        """What is due, until `until_s`; also what a worker left that is gone. What was tried `tries_max` times without
        an end is buried: whoever handles it may be what it kills."""
        skip = " FOR UPDATE SKIP LOCKED" if transaction.dialect == "postgresql" else ""
        found = transaction.rows(
            f"SELECT key, fence, tries, finished, {_EVENT_COLUMNS} FROM {self._name}"  # noqa: S608
            f" WHERE state IN ('ready', 'running') AND due_at <= ? ORDER BY due_at LIMIT ?{skip}",
            now_s,
            limit,
        )
        claimed = []
        for key, fence, tries, finished, *columns in found:
            if tries >= tries_max:
                died = "the process ended while it was handled"
                self._bury(transaction, " WHERE key = ?", (key,), died, "the handler did not end", now_s)
                continue
            transaction.execute(
                f"UPDATE {self._name} SET state = 'running', fence = fence + 1, tries = tries + 1, due_at = ?"  # noqa: S608
                " WHERE key = ?",
                until_s,
                key,
            )
            claimed.append(Claimed(key, fence + 1, tries + 1, _event(columns), frozenset(json.loads(finished))))
        return claimed

    def extend(self, transaction: Transaction, claim: Claimed, until_s: float) -> bool:
        """Keep a claim for longer; False: it is lost, or a transaction that runs has its row."""
        if transaction.dialect != "postgresql":
            return self._set(transaction, claim, "due_at = ?", until_s)
        which = f"SELECT key FROM {self._name}{self._mine} FOR UPDATE SKIP LOCKED"  # noqa: S608
        statement = f"UPDATE {self._name} SET due_at = ? WHERE key IN ({which})"  # noqa: S608
        return transaction.execute(statement, until_s, claim.key, claim.fence) == 1

    def mark(self, transaction: Transaction, claim: Claimed, finished: frozenset[str]) -> bool:
        """These handlers ended well; others are still to come. False: the claim is lost."""
        return self._set(transaction, claim, "finished = ?", json.dumps(sorted(finished)))

    def complete(self, transaction: Transaction, claim: Claimed, state: str, now_s: float) -> bool:
        """It is over, and confirmed if it asks for that. False: the claim is lost."""
        return self._set(
            transaction,
            claim,
            "state = ?, finished_at = ?, error = NULL, confirm_word = 'success', confirm_message = NULL,"
            " confirm_tries = 0, confirm_due_at = CASE WHEN confirm_url IS NULL THEN NULL ELSE ? END",
            state,
            now_s,
            now_s,
        )

    def retry_at(self, transaction: Transaction, claim: Claimed, due_at_s: float, error: str) -> bool:
        """It failed and is tried again at that time. False: the claim is lost."""
        return self._set(transaction, claim, "state = 'ready', due_at = ?, error = ?", due_at_s, _cut(error))

    def bury(self, transaction: Transaction, claim: Claimed, error: str, message: str, now_s: float) -> bool:
        """It failed for good; the sender is told `message`, if he waits. False: the claim is lost."""
        return self._bury(transaction, self._mine, (claim.key, claim.fence), error, message, now_s)

    def give_back(self, transaction: Transaction, claim: Claimed, now_s: float) -> bool:
        """It was not begun: as if it had not been claimed."""
        return self._set(transaction, claim, "state = 'ready', tries = tries - 1, due_at = ?", now_s)

    def _set(self, transaction: Transaction, claim: Claimed, what: str, *values: object) -> bool:
        statement = f"UPDATE {self._name} SET {what}{self._mine}"  # noqa: S608
        return transaction.execute(statement, *values, claim.key, claim.fence) == 1

    def _bury(
        self, transaction: Transaction, where: str, which: Sequence[object], error: str, message: str, now_s: float
    ) -> bool:
        statement = (
            f"UPDATE {self._name} SET state = 'dead', due_at = ?, error = ?, confirm_word = 'error',"  # noqa: S608
            " confirm_message = ?, confirm_tries = 0,"
            f" confirm_due_at = CASE WHEN confirm_url IS NULL THEN NULL ELSE ? END{where}"
        )
        return transaction.execute(statement, now_s, _cut(error), _cut(message), now_s, *which) == 1

    # ---------------------------------------------------------------------------------------------- confirmations

    def to_confirm(self, transaction: Transaction, limit: int, now_s: float, until_s: float) -> Sequence[Confirmation]:
        """What is to be said now. Others are kept off it until `until_s`; to say a thing twice does no harm."""
        skip = " FOR UPDATE SKIP LOCKED" if transaction.dialect == "postgresql" else ""
        found = transaction.rows(
            f"SELECT key, confirm_word, confirm_message, confirm_tries, {_EVENT_COLUMNS} FROM {self._name}"  # noqa: S608
            f" WHERE confirm_due_at <= ? ORDER BY confirm_due_at LIMIT ?{skip}",
            now_s,
            limit,
        )
        due = []
        for key, word, message, tries, *columns in found:
            transaction.execute(
                f"UPDATE {self._name} SET confirm_due_at = ?, confirm_tries = confirm_tries + 1 WHERE key = ?",  # noqa: S608
                until_s,
                key,
            )
            due.append(Confirmation(key, _event(columns), word, message or "", tries + 1))
        return due

    def confirmed(self, transaction: Transaction, said_: Confirmation, again_at_s: float | None) -> None:
        """It was said, or is said again at that time. A word that came meanwhile for another delivery stays due."""
        transaction.execute(
            f"UPDATE {self._name} SET confirm_due_at = ? WHERE key = ? AND confirm_url = ? AND confirm_word = ?",  # noqa: S608
            again_at_s,
            said_.key,
            said_.event.confirm_url,
            said_.word,
        )

    # ---------------------------------------------------------------------------------------------- people

    def letters(self, transaction: Transaction, state: str, limit: int, offset: int) -> Sequence[Letter]:
        """Events in a state, the oldest first."""
        found = transaction.rows(
            f"SELECT key, state, tries, error, received_at, due_at, {_EVENT_COLUMNS} FROM {self._name}"  # noqa: S608
            " WHERE state = ? ORDER BY received_at, key LIMIT ? OFFSET ?",
            state,
            limit,
            offset,
        )
        return [
            Letter(key, _event(columns), state_, tries, error, received_at_s, due_at_s)
            for key, state_, tries, error, received_at_s, due_at_s, *columns in found
        ]

    def open_again(self, transaction: Transaction, key: str, now_s: float) -> bool:
        """Try one that is dead, ignored or discarded again, from the beginning, and one that waits, now."""
        if transaction.execute(
            f"UPDATE {self._name} SET due_at = ? WHERE key = ? AND state = 'ready'",  # noqa: S608
            now_s,
            key,
        ):
            return True
        return self._open(transaction, key, (DEAD, IGNORED, DISCARDED), now_s)

    def discard(self, transaction: Transaction, key: str, now_s: float) -> bool:
        """Never handle it (again). Not one that is being handled, or was."""
        statement = (
            f"UPDATE {self._name} SET state = 'discarded', finished_at = ?, confirm_word = 'error',"  # noqa: S608
            " confirm_message = 'discarded', confirm_tries = 0,"
            " confirm_due_at = CASE WHEN confirm_url IS NULL THEN NULL ELSE ? END"
            " WHERE key = ? AND state IN ('ready', 'dead', 'ignored')"
        )
        return transaction.execute(statement, now_s, now_s, key) == 1

    def counts(self, transaction: Transaction) -> dict[str, int]:
        """How many there are in each state."""
        found = dict(transaction.rows(f"SELECT state, COUNT(*) FROM {self._name} GROUP BY state"))  # noqa: S608
        return {state: int(found.get(state, 0)) for state in STATES}

    def purge(self, transaction: Transaction, before_s: float) -> int:
        """Forget up to 1,000 that were over before that time; what is dead waits for a person."""
        statement = (
            f"DELETE FROM {self._name} WHERE key IN (SELECT key FROM {self._name} WHERE finished_at < ?"  # noqa: S608
            f" AND confirm_due_at IS NULL ORDER BY finished_at LIMIT {PURGE_ROWS_MAX})"
        )
        return transaction.execute(statement, before_s)

    def _open(self, transaction: Transaction, key: str, states: Sequence[str], now_s: float) -> bool:
        marks = ", ".join("?" for _ in states)
        statement = (
            f"UPDATE {self._name} SET state = 'ready', tries = 0, due_at = ?, finished_at = NULL,"  # noqa: S608
            f" confirm_word = NULL, confirm_due_at = NULL WHERE key = ? AND state IN ({marks})"
        )
        return transaction.execute(statement, now_s, key, *states) == 1


def key_of(event: Event) -> str | None:
    """What tells an event from every other one; None where its sender gives it no id."""
    if not event.id:
        return None
    key = f"{event.verifier}:{event.id}"
    raw = key.encode("utf-8", "surrogatepass")
    return key if len(raw) <= 1024 and key.isprintable() else "sha256:" + hashlib.sha256(raw).hexdigest()


_EVENT_COLUMNS: Final = "details, body, confirm_url"


def _details(event: Event) -> str:
    """All of an event but its body and `confirm_url`, as JSON; of the payload only how it is read from the body."""
    return json.dumps(
        {
            "id": event.id,
            "type": event.type,
            "timestamp": event.timestamp.isoformat(),
            "headers": {name: value for name, value in event.headers.items() if name not in _NOT_KEPT},
            "content_type": event.content_type,
            "malformed": event.malformed,
            "subject": event.subject,
            "source": event.source,
            "verifier": event.verifier,
            "attempt": event.attempt,
            "confirm_origins": list(event.confirm_origins),
            **_payload(event),
        }
    )


def _payload(event: Event) -> dict[str, Any]:
    for how in ("value", "said"):
        if _read(how, event.body, event.headers, event.content_type) == event.data:
            return {"read": how}
    if isinstance(event.data, bytes):
        return {"base64": base64.b64encode(event.data).decode("ascii")}
    return {"data": event.data}


def _read(how: str, body: bytes, headers: Any, content_type: str) -> Any:
    return (value_of(body, content_type, loose=True) if how == "value" else said(body, headers)).data


def _event(columns: Sequence[Any]) -> Event:
    details, body, confirm_url = json.loads(columns[0]), bytes(columns[1]), columns[2]
    if "read" in details:
        data = _read(details["read"], body, details["headers"], details["content_type"])
    else:
        data = base64.b64decode(details["base64"]) if "base64" in details else details["data"]
    return Event(
        id=details["id"],
        type=details["type"],
        timestamp=datetime.fromisoformat(details["timestamp"]),
        data=data,
        body=body,
        headers=details["headers"],
        content_type=details["content_type"],
        malformed=details["malformed"],
        subject=details["subject"],
        source=details["source"],
        verifier=details["verifier"],
        attempt=details["attempt"],
        confirm_url=confirm_url,
        confirm_origins=tuple(details["confirm_origins"]),
    )


def _storable(text: str) -> str:
    """A text that every database takes."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    return _storable(text)[:ERROR_CHARS_MAX]
