"""What was spooled comes into the store: in order, once, as soon as the store is back (docs/reliability.md, rule 29).

It goes the way of every event: routed by the endpoints of now, known by its keys, in shared commits. What the store
would never take is set aside, loudly; what it does not take now stays where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.core.errors import SpoolUnavailable
from hookline.flow.accept import Accept
from hookline.flow.answers import Answer
from hookline.flow.intake import LOOK_EVERY_S, OWN_KEY_S, Intake, SpooledRequest
from hookline.flow.prepare import SINGLE, Pending, Received
from hookline.flow.waiting import ended_within
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.spool import Spool, Spooled
from hookline.ports.store import AcceptedItem, NewEvent

RECORDS_MAX: Final = 500
BYTES_MAX: Final = 4 * 1024 * 1024
AGAIN_S: Final = 1.0
TRIES_MAX: Final = 3
"""So often what fails for a reason of our own is tried before it is set aside."""
_STORED: Final = ""
_LATER: Final = "later"
_Results = Sequence[tuple[bytes, AcceptedItem]]
"""What became of each event, by the id that it was spooled with."""
_decode = msgspec.msgpack.Decoder(SpooledRequest).decode


class SpoolDrain:
    """Empties a spool."""

    def __init__(self, spool: Spool, accept: Accept, intake: Intake, clock: Clock, observer: Observer) -> None:
        self._spool = spool
        self._accept = accept
        self._intake = intake
        self._clock = clock
        self._observer = observer
        self._one = asyncio.Lock()
        self._closed = False
        self._tries: dict[bytes, int] = {}
        """Of what failed, by its first event."""

    async def start(self) -> None:
        """Open the spool. Raises `SpoolUnavailable`."""
        await self._spool.start()
        state = self._spool.state
        if state.records:
            self._observer.fact("spool_found", records=state.records, bytes=state.size_bytes)
        if state.set_aside:
            self._observer.warn("spool_set_aside_waits", records=state.set_aside)

    async def run(self) -> None:
        """For ever: what the store keeps waiting goes to the spool, and what waits there to the store."""
        await asyncio.gather(self._intake.run(), self._run())

    async def _run(self) -> None:
        while True:
            await self.to_the_end()
            if not self._spool.takes and not self._closed:
                await self._probe()
            await self._clock.sleep(AGAIN_S if self._spool.state.records else LOOK_EVERY_S)

    async def to_the_end(self) -> None:
        """Drain until nothing waits, or the store does not take it."""
        while await self.step():
            pass

    async def finish(self, wait_s: float) -> bool:
        """Drain what the store takes within `wait_s`, say what remains, and let go of the spool; whether all was."""
        ended = await ended_within(self._intake.drained(), self._clock, wait_s)
        ended &= await ended_within(self.to_the_end(), self._clock, wait_s)
        self._closed = True
        state = self._spool.state
        if state.records:
            self._observer.warn("spool_left", records=state.records, bytes=state.size_bytes)
        await self._spool.close()
        return ended and not state.records

    async def _probe(self) -> None:
        """Whether a disk that failed works again."""
        try:
            await self._spool.append(self._clock.wall_ms(), ())
        except SpoolUnavailable:
            pass

    async def step(self) -> bool:
        """Bring the oldest to the store; whether it took everything, and more may wait."""
        async with self._one:
            try:
                if self._closed:
                    return False
                if not self._spool.state.records:
                    # Unless something is on its way here, the next request is the one that finds out.
                    self._intake.away = self._intake.away and self._intake.busy
                    return False
                # While the store is away, one is enough to find out.
                records = await self._spool.oldest(1 if self._intake.away else RECORDS_MAX, BYTES_MAX)
                outcomes = await asyncio.gather(*(self._give(record) for record in records))
                return await self._settle(records, outcomes)
            except SpoolUnavailable as error:
                self._observer.warn("spool_failed", why=str(error))
                return False

    async def _settle(self, records: Sequence[Spooled], outcomes: Sequence[str]) -> bool:
        """Remove what is stored, up to the first that is not: the order stays."""
        stored: list[Spooled] = []
        whole = True
        for record, outcome in zip(records, outcomes, strict=True):
            if outcome == _STORED:
                stored.append(record)
                continue
            if outcome == _LATER:
                whole = False
                break
            await self._spool.set_aside(record, outcome)
            self._observer.warn("spool_set_aside", why=outcome, bytes=len(record.payload))
        await self._spool.remove(stored)
        if stored:
            self._intake.away = False
            self._observer.fact("spool_drained", records=len(stored), left=self._spool.state.records)
        return whole and bool(records)

    async def _give(self, record: Spooled) -> str:
        """Stored (empty), later, or why it never will be."""
        try:
            request = _decode(record.payload)
        except (msgspec.MsgspecError, ValueError) as error:
            return f"it cannot be read: {error}"
        future: asyncio.Future[Answer | _Results] = asyncio.get_running_loop().create_future()

        def stored(new: Sequence[NewEvent], results: Sequence[AcceptedItem]) -> None:
            if not future.done():
                future.set_result([(item.event.id, result) for item, result in zip(new, results, strict=True)])

        def done(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        events = list(request.events)
        received = Received(list(request.quarantine), request.dedupe_s, stored, OWN_KEY_S)
        size_bytes = sum(event.size_bytes for event in events)
        self._accept.take(Pending(request.tenant, events, SINGLE, done, None, size_bytes, received=received))
        return self._judge(request, await future)

    def _judge(self, request: SpooledRequest, said: Answer | _Results) -> str:
        first = request.events[0].id
        if not isinstance(said, Answer):
            self._tries.pop(first, None)
            return self._count(request, said)
        if said.status == 503:
            self._intake.away = True
            return _LATER
        tries = self._tries[first] = self._tries.get(first, 0) + 1
        if said.status >= 500 and tries < TRIES_MAX:
            return _LATER
        del self._tries[first]
        return f"the store does not take it: {said.body.decode('utf-8', 'replace')[:1000]}"

    def _count(self, request: SpooledRequest, results: _Results) -> str:
        accepted = duplicates = quarantined = full = 0
        for event_id, item in results:
            if item.full:
                full += 1
            elif item.quarantined:
                quarantined += 1
            elif item.duplicate and item.event_id != event_id:
                duplicates += 1
            else:  # also what was stored before its answer was lost
                accepted += 1
        for outcome, count in (("accepted", accepted), ("duplicate", duplicates), ("quarantined", quarantined)):
            if count:
                self._observer.received(request.source, outcome, count)
        if len(results) < len(request.events):
            return "the store does not take every event of it"
        return "more waits to be looked at than is kept" if full else _STORED
