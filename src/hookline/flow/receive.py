"""Receive: a request to a source is verified, read, made durable; only then it is answered.

    Admission.admit   by its head alone (`flow.admission`): nothing of the body is read yet
    receive           whole: verdict → items → events in the commit that publishing shares → the answer

The sender of a request that is refused learns a code and no more; its owner finds why in the source's rejections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from hookline.core import ids
from hookline.core.endpoint import Endpoint
from hookline.core.errors import Refusal
from hookline.core.expression import ExpressionError
from hookline.core.ids import IdMaker
from hookline.core.reading import TooManyItems, events_of
from hookline.core.source import Source
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.verdict import Fetch, Fetched, Handshake, Refused, Verdict, Verified
from hookline.flow.admission import Admission, Call, label, too_large
from hookline.flow.answers import Answer, Done
from hookline.flow.awaited import Awaited, Given
from hookline.flow.intake import Intake
from hookline.flow.prepare import SINGLE, Pending, Received
from hookline.flow.received_answer import SANDBOX, Told, handshake, stored, unproven
from hookline.flow.received_events import Judged, ReceivedEvents, request_id
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock
from hookline.ports.keys import Keys
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptedItem, Deliveries, NewEvent

FETCHES_MAX: Final = 4
"""A verifier asks for no more."""
FETCHES_S_MAX: Final = 8.0
FETCHES_MARGIN_S: Final = 1.0
"""Fetching ends so long before the provider gives up."""
CONFIRM: Final = "confirm"
CONFIRM_AGAIN_S: Final = (10.0, 60.0, 300.0, 1800.0)
"""A confirmation that did not work is tried again after so long: longer than SNS itself asks again."""
CONFIRMING_MAX: Final = 256
WAITING_MAX: Final = 2048
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""So many requests, of so many bytes, wait at once for what is fetched or for an endpoint's answer."""


class _Arrival(msgspec.Struct, frozen=True, gc=False):
    """An admitted request on its way."""

    source: Source
    call: Call
    request: Inbound
    done: Done
    since_s: float
    """Monotonic: when it was there, whole."""


class Receive:
    """The receiver behind `/in/…`. `receive` never raises and never waits; what takes longer is a task."""

    def __init__(
        self,
        store: Deliveries,
        registry: Registry,
        intake: Intake,
        admission: Admission,
        events: ReceivedEvents,
        awaited: Awaited,
        keys: Keys | None,
        id_maker: IdMaker,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._store = store
        self._registry = registry
        self._intake = intake
        self.admission = admission
        self._events = events
        self._awaited = awaited
        self._keys = keys
        self._ids = id_maker
        self._clock = clock
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting_bytes = 0
        self._confirming: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether anything that takes longer is not answered yet."""
        return bool(self._tasks)

    async def drained(self) -> None:
        """Return when everything that took longer is answered. What would be confirmed later is not any more."""
        for task in self._confirming:
            task.cancel()
        await asyncio.gather(*self._confirming, return_exceptions=True)
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def receive(self, source: Source, call: Call, body: bytes, done: Done) -> None:
        """Take a whole request that was admitted; `done` is called once, on the loop, when its events are durable, or
        it is refused, or its question is answered."""
        try:
            self._receive(source, call, body, done)
        except Refusal as refused:
            done(self.admission.refuse(source, call, refused, len(body)))
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave a provider without an answer
            done(self._defect(source, call, error, len(body)))

    def _receive(self, source: Source, call: Call, body: bytes, done: Done) -> None:
        if len(body) > source.body_bytes_max:
            raise too_large(source)
        self._intake.check_room(source, len(body))
        headers = call.headers
        believed = source.preset.proxy_headers
        if believed and not call.proxied:
            headers = tuple(field for field in headers if field[0] not in believed)
        request = Inbound(call.method, call.url, headers, body)
        verdict = judge(source.preset, request, source.config, self._clock.wall_ms() / 1000)
        self._judged(_Arrival(source, call, request, done, self._clock.monotonic_s()), verdict)

    def _defect(self, source: Source, call: Call, error: Exception, size_bytes: int) -> Answer:
        self._observer.warn("receive_defect", source=source.public_id, error=repr(error))
        refusal = Refusal("internal", "This is a defect of the server; nothing is known to be stored.")
        return self.admission.refuse(source, call, refusal, size_bytes)

    def _judged(self, arrival: _Arrival, verdict: Verdict) -> None:
        """Raises `Refusal`."""
        source = arrival.source
        if isinstance(verdict, Verified) and verdict.confirm_url is None:
            self._store_events(arrival)
        elif isinstance(verdict, Refused):
            answer = unproven(source, verdict)
            size_bytes = len(arrival.request.body)
            self.admission.reject(source, arrival.call, verdict.reason, verdict.detail, answer.status, size_bytes)
            arrival.done(answer)
        elif isinstance(verdict, Handshake):
            self._observer.received(label(source), "handshake", 1)
            arrival.done(handshake(verdict))
        elif self._full:
            raise Refusal("overloaded", "Too many requests wait for what proves their senders.", retry_after_s=5)
        else:
            self._spawn(arrival, self._fetch_all(arrival, verdict))

    # ------------------------------------------------------------------------------------- what takes longer

    @property
    def _full(self) -> bool:
        return len(self._tasks) >= WAITING_MAX or self._waiting_bytes > WAITING_BYTES_MAX

    def _spawn(self, arrival: _Arrival, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._watched(arrival, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, arrival: _Arrival, work: Coroutine[Any, Any, None]) -> None:
        source, call, size_bytes = arrival.source, arrival.call, len(arrival.request.body)
        self._waiting_bytes += size_bytes
        try:
            await work
        except Refusal as refused:
            arrival.done(self.admission.refuse(source, call, refused, size_bytes))
        except Exception as error:  # noqa: BLE001 - as in `receive`
            arrival.done(self._defect(source, call, error, size_bytes))
        finally:
            self._waiting_bytes -= size_bytes

    async def _fetch_all(self, arrival: _Arrival, verdict: Verdict) -> None:
        """Fetch what the verdict asks for, until there is one that asks for nothing."""
        source = arrival.source
        within_s = min(FETCHES_S_MAX, max(FETCHES_MARGIN_S, source.preset.answer_within_s - FETCHES_MARGIN_S))
        deadline_s = arrival.since_s + within_s
        fetched: dict[str, Fetched] = {}
        while isinstance(verdict, Fetch):
            if verdict.name in fetched or len(fetched) == FETCHES_MAX:
                verdict = Refused("key_unavailable", f"the verifier asks for {verdict.name} again")
                break
            fetched[verdict.name] = await self._fetch(source, verdict, deadline_s)
            verdict = judge(source.preset, arrival.request, source.config, self._clock.wall_ms() / 1000, fetched)
        if isinstance(verdict, Verified) and verdict.confirm_url is not None:
            if not await self._confirmed(source, verdict.confirm_url, deadline_s - self._clock.monotonic_s()):
                self._confirm_later(arrival, verdict.confirm_url)
            verdict = Verified(facts=verdict.facts)
        self._judged(arrival, verdict)

    async def _confirmed(self, source: Source, url: str, within_s: float) -> bool:
        """Say yes to who asked whether he may send; whether he heard it."""
        if within_s <= 0 or self._keys is None:
            return False
        found = await self._keys.fetch(Fetch(CONFIRM, url, keep_s=0.0), within_s=within_s, group=source.tenant)
        if found.status == 200:
            self._observer.fact("received_confirmed", source=source.public_id)
        return found.status == 200

    def _confirm_later(self, arrival: _Arrival, url: str) -> None:
        """The request is proven and taken; only its sender has not heard our yes."""
        source, size_bytes = arrival.source, len(arrival.request.body)
        detail = "What the provider asked to be confirmed could not be; it is tried again for half an hour."
        self.admission.reject(source, arrival.call, "unconfirmed", detail, 200, size_bytes)
        if len(self._confirming) >= CONFIRMING_MAX:
            return

        async def confirm() -> None:
            for wait_s in CONFIRM_AGAIN_S:
                await self._clock.sleep(wait_s)
                if await self._confirmed(source, url, FETCHES_S_MAX):
                    return
            self._observer.warn("received_unconfirmed", source=source.public_id)

        task = asyncio.get_running_loop().create_task(confirm())
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    async def _fetch(self, source: Source, fetch: Fetch, deadline_s: float) -> Fetched:
        left_s = deadline_s - self._clock.monotonic_s()
        if left_s <= 0 or self._keys is None:
            return Fetched(0, b"")
        return await self._keys.fetch(fetch, within_s=left_s, group=source.tenant)

    # --------------------------------------------------------------------------------------------- verified

    def _store_events(self, arrival: _Arrival) -> None:
        """Raises `Refusal`."""
        source, request = arrival.source, arrival.request
        try:
            items = events_of(request, source.reading)
        except TooManyItems as error:
            raise Refusal("batch_too_large", f"The request has {error}.") from None
        except ExpressionError as error:
            raise Refusal("unavailable", f"How this source reads requests cannot be used: {error}.") from None
        now_ms = self._store.now_ms()
        identity = request_id(self._ids, now_ms)
        if not items:
            self._observer.received(label(source), "accepted", 0)
            arrival.done(stored(source, request, Told((), (), identity, split=True)))
            return
        judged = self._events.make(source, request, items, identity, now_ms)

        def told(new: Sequence[NewEvent], results: Sequence[AcceptedItem]) -> None:
            self._told(arrival, judged, identity, new, results)

        pending = Pending(
            tenant=source.tenant,
            events=judged.events,
            note=SINGLE,
            done=lambda answer: self._not_stored(arrival, answer),
            idempotency=None,
            size_bytes=sum(event.size_bytes for event in judged.events),
            received=Received(judged.quarantine, source.dedupe_s, told),
        )

        def spooled(results: Sequence[AcceptedItem]) -> None:
            self._observer.received(label(source), "spooled", len(results))
            types = [event.type for event in judged.events]
            arrival.done(stored(source, request, Told(results, types, identity, judged.split, spooled=True)))

        self._intake.take(source, label(source), pending, spooled)

    def _not_stored(self, arrival: _Arrival, answer: Answer) -> None:
        """The store did not take it."""
        members: Mapping[str, object] = msgspec.json.decode(answer.body)
        code, detail = str(members.get("code", "internal")), str(members.get("detail", ""))
        size_bytes = len(arrival.request.body)
        self.admission.reject(arrival.source, arrival.call, code, detail, answer.status, size_bytes)
        arrival.done(msgspec.structs.replace(answer, headers=(*answer.headers, SANDBOX)))

    def _told(
        self,
        arrival: _Arrival,
        judged: Judged,
        identity: str,
        new: Sequence[NewEvent],
        results: Sequence[AcceptedItem],
    ) -> None:
        """It is durable."""
        source = arrival.source
        duplicates = quarantined = full = 0
        for item in results:
            if item.duplicate:
                duplicates += 1
            elif item.quarantined:
                quarantined += 1
            elif item.full:
                full += 1
        accepted = len(results) - duplicates - quarantined - full
        if accepted:
            self._observer.received(label(source), "accepted", accepted)
        if duplicates:
            self._observer.received(label(source), "duplicate", duplicates)
        if quarantined:
            self._observer.received(label(source), "quarantined", quarantined)
        if full:
            # What has an id is a duplicate when it comes again: nothing is lost, nothing is stored twice.
            detail = "More waits to be looked at than is kept; try again later."
            refusal = Refusal("overloaded", detail, retry_after_s=60)
            arrival.done(self.admission.refuse(source, arrival.call, refusal, len(arrival.request.body)))
            return
        told = Told(results, [item.event.type for item in new], identity, judged.split)
        if source.after == "delivered" and accepted and self._wait(arrival, told, new):
            return
        arrival.done(stored(source, arrival.request, told))

    def _wait(self, arrival: _Arrival, told: Told, new: Sequence[NewEvent]) -> bool:
        """Begin to wait for the endpoint's answer to the first event that is new and goes there; False: none does.

        Deliveries start after this returns, so no answer is missed.
        """
        source = arrival.source
        endpoint = self._registry.endpoint_of(source.tenant, source.endpoint or "")
        if endpoint is None or self._full:
            return False
        pairs = zip(new, told.items, strict=True)
        event_id = next((r.event_id for item, r in pairs if not r.duplicate and _goes_to(item, endpoint)), None)
        waiter = None if event_id is None else self._awaited.begin(event_id, endpoint.id)
        if event_id is None or waiter is None:
            return False
        within_s = max(0.0, arrival.since_s + source.wait_s - self._clock.monotonic_s())
        waiting = self._awaited.answer(event_id, endpoint.id, waiter, within_s)

        async def wait() -> None:
            given = await waiting
            arrival.done(stored(source, arrival.request, told) if given is None else _passed_on(given))

        self._spawn(arrival, wait())
        return True


def _goes_to(item: NewEvent, endpoint: Endpoint) -> bool:
    size = ids.ROOT_BYTES
    packed = (item.fanout[at : at + size] for at in range(0, len(item.fanout), size))
    return any(delivery.endpoint_id == endpoint.id for delivery in item.deliveries) or endpoint.id in packed


def _passed_on(given: Given) -> Answer:
    content_type = given.content_type if given.content_type.isprintable() and given.content_type else "text/plain"
    return Answer(given.status, given.body, (SANDBOX,), content_type.encode("latin-1", "replace"))
