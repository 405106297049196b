"""Consume: sources of brokers are read while they are enabled, and acknowledged when what they brought is durable.

    run      one reader per source that consumes, begun, ended and begun anew as the configuration says
    reader   open → receive → events, by the accept that publishing shares → acknowledge → receive …

A reader heals by itself: whatever is lost is closed and opened again, after a while. It refuses nothing: while the
store is away or full, or the quarantine is, it holds what it has, at most one `receive`, and reads nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from hookline.core.errors import STATUS_BY_CODE, Refusal
from hookline.core.ids import IdMaker
from hookline.core.source import Source
from hookline.flow.accept import Accept
from hookline.flow.admission import label
from hookline.flow.answers import Answer
from hookline.flow.consumed_events import ConsumedEvents
from hookline.flow.prepare import SINGLE, Pending, Received
from hookline.flow.received_events import Judged, ReceivedEvents
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.consumer import Broker, Consumer, ConsumerLost, Message
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptedItem, Deliveries, NewEvent

T = TypeVar("T")

AGAIN_FIRST_S: Final = 0.5
AGAIN_MAX_S: Final = 10.0
"""A broker that is away is tried again after so long, doubled each time, with some chance in it."""
ROOM_S: Final = 0.05
"""While there is no room for more, it is looked again so often."""
CONSUMED_S_MAX: Final = 5.0
"""How long a drain waits for what was received; what is not stored by then comes again."""
HELD_S: Final = 1.0
"""What could not be stored is tried again after so long."""
_WAITS: Final = frozenset(code for code, status in STATUS_BY_CODE.items() if status == 503)

STORED: Final = ""
"""In place of the code of a refusal."""
FULL: Final = "quarantine_full"


class Consume:
    """Runs the readers of one process. `brokers` are by kind; None: others read."""

    def __init__(
        self,
        store: Deliveries,
        registry: Registry,
        accept: Accept,
        events: ReceivedEvents,
        id_maker: IdMaker,
        brokers: Mapping[str, Broker] | None,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._registry = registry
        self._brokers = brokers
        self._observer = observer
        self._parts = (store, accept, ConsumedEvents(events, id_maker), clock, observer)
        self._readers: dict[bytes, Reader] = {}
        self._changed = asyncio.Event()
        self._stopping = False

    def soon(self) -> None:
        """The configuration changed: look at it."""
        self._changed.set()

    @property
    def can(self) -> bool:
        """Whether this process reads from brokers at all."""
        return self._brokers is not None

    async def run(self) -> None:
        """Keep the readers as the configuration says, until cancelled."""
        assert self._brokers is not None
        self._registry.refreshed = self.soon
        while True:
            self._changed.clear()
            self._reconcile(self._brokers)
            await self._changed.wait()

    def _reconcile(self, brokers: Mapping[str, Broker]) -> None:
        wanted = {} if self._stopping else {source.id: source for source in self._registry.consuming()}
        for source_id, reader in self._readers.items():
            source = wanted.pop(source_id, None)
            if source is None or source.version != reader.source.version:
                reader.stop()  # where it is only changed, it begins anew as soon as this one has ended
        for source in wanted.values():
            reader = self._readers[source.id] = Reader(source, brokers[source.kind], *self._parts)
            reader.start(self._ended)

    def _ended(self, reader: Reader) -> None:
        del self._readers[reader.source.id]
        self.soon()

    def stop(self) -> None:
        """Read nothing more; what was read is stored and acknowledged."""
        self._stopping = True
        for reader in self._readers.values():
            reader.stop()

    async def drained(self) -> None:
        """Return when every reader has ended, after `stop`."""
        await asyncio.gather(*[reader.ended() for reader in list(self._readers.values())])

    def abandon(self) -> None:
        """End what has not ended: it comes again."""
        for reader in self._readers.values():
            reader.abandon()


class Reader:
    """Reads one source, as it is in one version of the configuration."""

    def __init__(
        self,
        source: Source,
        broker: Broker,
        store: Deliveries,
        accept: Accept,
        events: ConsumedEvents,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.source = source
        self._broker = broker
        self._store = store
        self._accept = accept
        self._events = events
        self._clock = clock
        self._observer = observer
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._again_s = AGAIN_FIRST_S

    def start(self, ended: Callable[[Reader], None]) -> None:
        """Begin; `ended` is called once when it has ended."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(lambda _: ended(self))

    def stop(self) -> None:
        """Receive nothing more, and end as soon as what was received is acknowledged."""
        self._stopped.set()

    async def ended(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def abandon(self) -> None:
        """End it now."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                await self._connected()
            except ConsumerLost as error:
                self._observer.warn("source_lost", source=label(self.source), kind=self.source.kind, error=str(error))
            except Exception as error:  # noqa: BLE001 - a defect must not end the reading of a source for ever
                self._observer.warn("consume_defect", source=self.source.public_id, error=repr(error))
            await self._sleep(self._again_s * (0.5 + self._clock.dice() / 2))
            self._again_s = min(2 * self._again_s, AGAIN_MAX_S)

    async def _connected(self) -> None:
        """Read until it is to stop. Raises `ConsumerLost`."""
        consumer = await self._unless_stopped(self._broker.open(self.source))
        if consumer is None:
            return
        try:
            self._observer.fact("source_connected", source=label(self.source), kind=self.source.kind)
            while await self._room():
                messages = await self._unless_stopped(consumer.receive())
                if messages is None:
                    return
                self._again_s = AGAIN_FIRST_S
                await self._keep(consumer, messages)
        finally:
            await consumer.close()

    async def _keep(self, consumer: Consumer, messages: Sequence[Message]) -> None:
        """Make them durable and acknowledge them, however long that takes. Raises `ConsumerLost`; returns early where
        it is to stop and the store takes nothing: what is not acknowledged comes again."""
        left = list(messages)
        while left:
            became = await asyncio.gather(*[self._store_one(message) for message in left])
            kept = [message for message, code in zip(left, became, strict=True) if code == STORED]
            if kept:
                await consumer.acknowledge(kept)
            codes = [code for code in became if code != STORED]
            if not codes:
                return
            left = [message for message, code in zip(left, became, strict=True) if code != STORED]
            self._observer.warn("source_held", source=label(self.source), messages=len(left), code=codes[0])
            await self._sleep(HELD_S)
            if self._stopped.is_set():
                return

    async def _store_one(self, message: Message) -> str:
        """Make one durable; `STORED`, or the code of why it is not, and is to be tried again."""
        judged = self._events.make(self.source, message, self._store.now_ms())
        code = await self._commit(judged)
        if code in (STORED, FULL) or code in _WAITS:
            return code
        # It cannot be stored as it is: its bytes are, for a person, without anything that was read from it.
        problem = Refusal(code, "The message cannot be stored as an event.")
        plain = msgspec.structs.replace(message, properties={}, content_type=None, topic="", key="", id="")
        return await self._commit(self._events.whole(self.source, plain, problem, self._store.now_ms()))

    async def _commit(self, judged: Judged) -> str:
        if not judged.events:
            return STORED
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not future.done():
                future.set_result(str(msgspec.json.decode(answer.body).get("code", "internal")))

        def told(_new: Sequence[NewEvent], results: Sequence[AcceptedItem]) -> None:
            if not future.done():
                future.set_result(self._count(results))

        size_bytes = sum(event.size_bytes for event in judged.events)
        received = Received(judged.quarantine, self.source.dedupe_s, told)
        self._accept.take(Pending(self.source.tenant, judged.events, SINGLE, done, None, size_bytes, None, received))
        return await future

    def _count(self, results: Sequence[AcceptedItem]) -> str:
        """Tell the observer; whether anything found no room in quarantine."""
        outcomes = {"duplicate": 0, "quarantined": 0, "accepted": 0}
        full = False
        for item in results:
            if item.full:
                full = True
                continue
            outcomes["duplicate" if item.duplicate else "quarantined" if item.quarantined else "accepted"] += 1
        for outcome, count in outcomes.items():
            if count:
                self._observer.received(label(self.source), outcome, count)
        return FULL if full else STORED

    # -------------------------------------------------------------------------------------------------- waiting

    async def _room(self) -> bool:
        """Wait until there is room for more; False: it is to stop."""
        while not self._stopped.is_set():
            try:
                self._accept.check_room(0)
            except Refusal:
                await self._sleep(ROOM_S)
            else:
                return True
        return False

    async def _sleep(self, wait_s: float) -> None:
        await self._unless_stopped(self._clock.sleep(wait_s))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work gives; None, and it is cancelled, as soon as this is to stop."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            stopped.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
