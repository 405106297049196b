"""Intake: the way of received requests into the store; for sources with `spool`, past a store that is away.

    direct    into the commit that publishing shares, as everything
    spooled   onto this machine's own disk, where the store refuses or does not answer in time; `flow.spool_drain`
              brings it to the store later (docs/reliability.md, rule 29)

A request is answered once, and its events keep the ids that they were made with. Where nobody knows whether the store
has them already, they are spooled: each has a key by which its second coming is known.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core.errors import Refusal, SpoolUnavailable
from hookline.core.event import Event
from hookline.core.source import Source
from hookline.flow.accept import Accept
from hookline.flow.answers import Answer, Done, refused
from hookline.flow.commits import SharedCommits
from hookline.flow.prepare import Pending
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.spool import Spool, SpoolState
from hookline.ports.store import AcceptedItem, NewEvent, NewQuarantine

SPOOL_AFTER_S: Final = 2.0
"""A store that has not answered by then is taken for one that is away."""
LOOK_EVERY_S: Final = 0.25
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
OWN_KEY_S: Final = 7 * 86_400.0
"""So long an event without an id of its provider's is known: it may come out of the spool again after a crash."""


class SpooledRequest(msgspec.Struct, frozen=True):
    """A record of the spool. New fields have defaults: a newer version reads what an older one spooled."""

    tenant: str
    source: str
    """As metrics call it."""
    events: list[Event]
    quarantine: list[NewQuarantine | None]
    dedupe_s: float


class _Way(msgspec.Struct, eq=False):
    """A request of a source with a spool."""

    pending: Pending
    label: str
    stored: Callable[[Sequence[NewEvent], Sequence[AcceptedItem]], None]
    spooled: Callable[[Sequence[AcceptedItem]], None]
    done: Done
    until_s: float
    """It goes to the spool when it is not in the store by then."""
    number: int
    over: bool = False
    """It is answered, or goes to the spool: what the store says of it is not heard any more."""


_encode = msgspec.msgpack.Encoder().encode


class Intake:
    """Takes judged requests. Without `spool` every source is served directly."""

    def __init__(self, accept: Accept, spool: Spool | None, clock: Clock, observer: Observer) -> None:
        self._accept = accept
        self.spool = spool
        self._clock = clock
        self._observer = observer
        self._appends: SharedCommits[tuple[_Way, bytes]] = SharedCommits(self._append, clock)
        self._ways: dict[int, _Way] = {}
        """Those that the store has now, the first first."""
        self._numbers = itertools.count()
        self.away = False
        """The store refused: until it takes something of the spool, nothing is tried directly."""

    def spools(self, source: Source) -> bool:
        """Whether its requests may be spooled here."""
        return source.spool and self.spool is not None

    @property
    def takes(self) -> bool:
        """Whether requests of sources with a spool are taken even while the store is away."""
        return self.spool is not None and self.spool.takes

    @property
    def busy(self) -> bool:
        """Whether anything is on its way to the spool."""
        return self._appends.busy

    def gauges(self) -> dict[str, float]:
        """What is spooled, for metrics."""
        state = SpoolState() if self.spool is None else self.spool.state
        oldest_s = 0.0 if state.oldest_at_ms is None else (self._clock.wall_ms() - state.oldest_at_ms) / 1000
        return {
            "spool_records": state.records,
            "spool_bytes": state.size_bytes,
            "spool_oldest_seconds": max(0.0, oldest_s),
            "spool_set_aside": state.set_aside,
        }

    def check_room(self, source: Source, size_bytes: int) -> None:
        """Raise `Refusal` (`draining`, `overloaded`) unless a request of this size would be taken now."""
        if not self.spools(source):
            self._accept.check_room(size_bytes)
        elif self._accept.draining:
            raise Refusal("draining", "The server is shutting down; try again.", retry_after_s=1)
        elif self._appends.waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            raise Refusal("overloaded", "Too much waits for the spool; try again.", retry_after_s=1)

    def take(
        self, source: Source, label: str, pending: Pending, spooled: Callable[[Sequence[AcceptedItem]], None]
    ) -> None:
        """Take the events of a request, for which `check_room` was asked: exactly one of `pending.done`,
        `pending.received.stored` and `spooled` is called once, on the loop."""
        received = pending.received
        assert received is not None
        if not self.spools(source):
            self._accept.take(pending)
            return
        received.own_keys_s = OWN_KEY_S
        now_s = self._clock.monotonic_s()
        until_s = now_s + min(SPOOL_AFTER_S, source.preset.answer_within_s / 2)
        way = _Way(pending, label, received.stored, spooled, pending.done, until_s, next(self._numbers))
        if self.away or not self._room(pending.size_bytes):
            self._put(way)
            return
        self._ways[way.number] = way
        received.stored = functools.partial(self._stored, way)
        pending.done = functools.partial(self._not_stored, way)
        self._accept.take(pending)

    def _room(self, size_bytes: int) -> bool:
        try:
            self._accept.check_room(size_bytes)
        except Refusal as refusal:
            return refusal.code == "draining"  # it came before the end, and the store may well be there
        return True

    # --------------------------------------------------------------------------------------------- directly

    def _stored(self, way: _Way, new: Sequence[NewEvent], results: Sequence[AcceptedItem]) -> None:
        self._ways.pop(way.number, None)
        if not way.over:
            way.over = True
            way.stored(new, results)

    def _not_stored(self, way: _Way, answer: Answer) -> None:
        self._ways.pop(way.number, None)
        if way.over:
            return
        if answer.status == 503:
            self._gone()
            self._put(way)
            return
        way.over = True
        way.done(answer)

    async def run(self) -> None:
        """For ever: spool what the store has had for too long."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            self._look()

    def _look(self) -> None:
        now_s = self._clock.monotonic_s()
        late = [way for way in self._ways.values() if way.until_s <= now_s]
        if late:
            self._gone()
        for way in late:
            del self._ways[way.number]
            self._put(way)

    def _gone(self) -> None:
        if not self.away:
            self.away = True
            self._observer.warn("spooling", why="the store refuses, or does not answer")

    # --------------------------------------------------------------------------------------------- to the spool

    def _put(self, way: _Way) -> None:
        way.over = True
        pending = way.pending
        received = pending.received
        assert received is not None
        payload = _encode(
            SpooledRequest(pending.tenant, way.label, pending.events, received.quarantine, received.dedupe_s)
        )
        self._appends.put(pending.tenant, (way, payload), 1, len(payload), self._clock.monotonic_s())

    async def _append(self, batch: list[tuple[_Way, bytes]]) -> None:
        assert self.spool is not None
        taken, why = 0, "full"
        try:
            taken = await self.spool.append(self._clock.wall_ms(), [payload for _, payload in batch])
        except SpoolUnavailable as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, everybody is answered
            why = repr(error)
        if taken < len(batch):
            self._observer.warn("spool_refused", requests=len(batch) - taken, why=why)
        for number, (way, _) in enumerate(batch):
            try:
                if number < taken:
                    way.spooled(_announced(way.pending))
                else:
                    detail = "The store is away, and the spool takes nothing more; try again."
                    way.done(refused(Refusal("overloaded", detail, retry_after_s=5)))
            except Exception as error:  # noqa: BLE001 - one provider's connection is not the others' business
                self._observer.warn("answer_failed", error=repr(error))

    async def drained(self) -> None:
        """Return when everything that went to the spool is answered."""
        await self._appends.drained()


def _announced(pending: Pending) -> list[AcceptedItem]:
    """What becomes of it, as far as is known before the store is asked."""
    assert pending.received is not None
    pairs = zip(pending.events, pending.received.quarantine, strict=True)
    return [AcceptedItem(event.id, 0, quarantined=problem is not None) for event, problem in pairs]
