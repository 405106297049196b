"""Tell: what the change of a delivery makes known, in the commit of that change.

Operational events go to those who subscribe to them (`flow.report`), a dead letter to the endpoint that is named for
it (`flow.dead_letter`). A letter has the delivery's history, which is read first; nobody else waits for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core.delivery import State
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.flow import report
from hookline.flow.dead_letter import ATTEMPTS_MAX, DeadLetters
from hookline.flow.health import EventMaker
from hookline.flow.report import Report
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Archive, NewEvent

READS_MAX: Final = 4
"""Histories that are read at the same time."""
READ_TRIES: Final = 3
READ_AGAIN_S: Final = 0.2
_DELIVERED: Final = State.DELIVERED
_FAILED: Final = State.FAILED


class News(msgspec.Struct, frozen=True, gc=False):
    """A change of a delivery, as far as anybody is told of it."""

    endpoint: Endpoint
    event: Event
    delivery_id: bytes
    after: State
    attempts: int
    """Made so far."""
    reason: str | None
    status: int | None = None
    escalate: bool = False
    quiet: bool = False
    """No operational event: these are announced once per endpoint and hour."""
    last: bytes | None = None
    """The packed attempt that brought it about, which is stored with it."""
    message: bytes = b""
    """What the receiver said."""


class Tell:
    """Decides who is told, and makes the events."""

    def __init__(
        self, store: Archive, reporter: Report, letters: DeadLetters, clock: Clock, observer: Observer
    ) -> None:
        self._store = store
        self._report = reporter
        self._letters = letters
        self._clock = clock
        self._observer = observer
        self._asked: deque[tuple[News, Callable[[EventMaker], None]]] = deque()
        self._since: dict[bytes, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def wanted(
        self, endpoint: Endpoint, event: Event, after: State, *, escalate: bool = False, quiet: bool = False
    ) -> bool:
        """Whether anybody is to be told. Asked for every outcome."""
        wanted = self._report.wanted
        if after is _FAILED:
            if self._letters.wanted(endpoint, event) or (not quiet and wanted(endpoint.tenant, report.DELIVERY_FAILED)):
                return True
        elif after is _DELIVERED and wanted(endpoint.tenant, report.DELIVERY_DELIVERED):
            return True
        return escalate and wanted(endpoint.tenant, report.DELIVERY_ESCALATED)

    def prepare(self, news: News, then: Callable[[EventMaker], None]) -> None:
        """Call `then` with what makes the events: at once, or when the history that they need was read. Once."""
        first = news.last is not None and news.attempts <= 1
        if news.after is not _FAILED or first or not self._letters.wanted(news.endpoint, news.event):
            then(self._maker(news, _last(news)))
            return
        self._asked.append((news, then))
        self._since[news.delivery_id] = self._clock.monotonic_s()
        if len(self._tasks) < READS_MAX:
            task = asyncio.get_running_loop().create_task(self._read_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _maker(self, news: News, history: Sequence[AttemptRecord]) -> EventMaker:
        def make() -> tuple[NewEvent, ...]:
            try:
                return self._make(news, history)
            except Exception as error:  # noqa: BLE001 - a defect in what is told must not cost the outcome itself
                self._observer.warn("events_defect", endpoint=news.endpoint.public_id, error=repr(error))
                return ()

        return make

    def _make(self, news: News, history: Sequence[AttemptRecord]) -> tuple[NewEvent, ...]:
        names: list[str] = []
        if news.after is _FAILED and not news.quiet:
            names.append(report.DELIVERY_FAILED)
        elif news.after is _DELIVERED:
            names.append(report.DELIVERY_DELIVERED)
        if news.escalate:
            names.append(report.DELIVERY_ESCALATED)
        made: list[NewEvent] = []
        for name in names:
            made += self._report.delivery(
                name,
                news.endpoint,
                news.event,
                news.delivery_id,
                attempts=news.attempts,
                reason=news.reason,
                status=news.status,
            )
        if news.after is _FAILED:
            made += self._letters.make(
                news.endpoint,
                news.event,
                news.delivery_id,
                reason=news.reason,
                history=history,
                message=news.message,
            )
        return tuple(made)

    # -------------------------------------------------------------------------------------------------- history

    @property
    def waiting(self) -> int:
        """Changes that wait for their history."""
        return len(self._since)

    def oldest_age_s(self) -> float:
        """How long the oldest of them has waited; 0 when there is none."""
        if not self._since:
            return 0.0
        return self._clock.monotonic_s() - next(iter(self._since.values()))

    async def drained(self) -> None:
        """Return when none waits any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> int:
        """Give up what waits, at the very end; how many changes that were."""
        left = len(self._since)
        self._asked.clear()
        self._since.clear()
        for task in self._tasks:
            task.cancel()
        return left

    async def _read_all(self) -> None:
        while self._asked:
            news, then = self._asked.popleft()
            history = [*await self._read(news.delivery_id), *_last(news)]
            self._since.pop(news.delivery_id, None)
            then(self._maker(news, history))

    async def _read(self, delivery_id: bytes) -> list[AttemptRecord]:
        """The stored attempts, oldest first. If they cannot be read for long, the letter goes without them."""
        for tries_left in reversed(range(READ_TRIES)):
            try:
                rows = (await self._store.attempts(delivery_id))[-ATTEMPTS_MAX:]
                # Without what was sent and answered, which may be big and is in no letter.
                return [msgspec.structs.replace(AttemptRecord.unpack(row.packed), exchange=None) for row in rows]
            except Exception as error:  # noqa: BLE001 - what cannot be read must not keep the outcome from its commit
                if not tries_left:
                    self._observer.warn("history_unread", delivery=delivery_id.hex(), error=repr(error))
                    break
            await self._clock.sleep(READ_AGAIN_S)
        return []


def _last(news: News) -> list[AttemptRecord]:
    return [] if news.last is None else [AttemptRecord.unpack(news.last)]
