"""Accept: schema, duplicate check, routes, one durable commit; only then 202.

Concurrent publishes share commits. What can be sent at once is handed to this process's sender in the same commit
(inserted leased), so that it need not be read back; everything else waits in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from hookline.core.buckets import MakeBuckets, own
from hookline.core.delivery import State
from hookline.core.errors import CommitUnknown, DataError, Refusal, StaleRegistry, StoreUnavailable
from hookline.core.ids import IdMaker, delivery_id
from hookline.flow.answers import Answer, Done, Note, accepted, pack_note, refused, unpack_note
from hookline.flow.asked import Asked, Question
from hookline.flow.commits import SharedCommits
from hookline.flow.prepare import Allowed, Pending, Prepare
from hookline.flow.publish_rates import PublishRates
from hookline.flow.registry import Registry
from hookline.flow.repeats import dedupe_key, idempotency_key, own_key
from hookline.flow.route import HandOff, Lease, matches, new_event
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptRequest, AcceptResult, Deliveries, NewEvent

WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
WAITING_S_MAX: Final = 1.0
CLOCK_S: Final = 0.0005
ACTIVE_S: Final = 0.1
_ROUTE_TRIES: Final = 10
_LEASED: Final = State.LEASED
_PENDING: Final = State.PENDING


class Accept:
    """The publisher behind `POST /v1/events`.

    `strict` refuses types that are not in the catalogue; `dedupe_s` is how long ids and Idempotency-Keys are
    known. `publish` never raises and never waits.
    """

    def __init__(
        self,
        store: Deliveries,
        registry: Registry,
        hand_off: HandOff,
        clock: Clock,
        observer: Observer,
        ids: IdMaker,
        *,
        strict: bool = False,
        dedupe_s: float = 86_400.0,
        commits_in_flight: int = 1,
        gather_s: float = 0.0,
        before_commit: Callable[[], None] | None = None,
        buckets: MakeBuckets = own,
    ) -> None:
        self._store = store
        self._registry = registry
        self._hand_off = hand_off
        self._clock = clock
        self._observer = observer
        self._prepare = Prepare(registry, ids, observer, strict=strict, dedupe_s=dedupe_s).request
        self._rates = PublishRates(registry.events_rates, clock, buckets)
        self._rated = registry.events_rates
        self._dedupe_s = dedupe_s
        self._lease: Lease = hand_off.lease
        self._commits: SharedCommits[Pending] = SharedCommits(
            self._commit, clock, in_flight_max=commits_in_flight, gather_s=gather_s, before=before_commit
        )
        self._asked = Asked(store, registry, clock, observer)
        self._draining = False
        self._looked_s = float("-inf")
        self._now_ms = 0
        """The store's clock at `_looked_s`: it is read once per `CLOCK_S`, not for each of a thousand publishes."""

    @property
    def busy(self) -> bool:
        """Whether anything waits for its commit or is in one."""
        return self._commits.busy or self._asked.busy

    @property
    def draining(self) -> bool:
        """Whether whatever comes now is refused."""
        return self._draining

    def active(self) -> bool:
        """Whether somebody publishes: something came within the last tenth of a second."""
        return self._clock.monotonic_s() - self._looked_s < ACTIVE_S

    def refuse_new(self) -> None:
        """Draining is over: whatever comes now is answered 503."""
        self._draining = True

    async def drained(self) -> None:
        """Return when everything taken is answered."""
        await self._commits.drained()
        await self._asked.drained()

    def publish(
        self,
        tenant: str,
        headers: Mapping[str, str],
        content_type: str,
        body: bytes,
        done: Done,
        allowed: Allowed | None = None,
    ) -> None:
        """Take one request; `done` is called once, on the loop, when its events are durable or it is refused.

        `headers` has lower-case names: idempotency-key, traceparent, tracestate, ce-*. `allowed` says which event
        types may be published with this key; None: all.
        """
        try:
            now_s = self._clock.monotonic_s()
            if now_s - self._looked_s >= CLOCK_S:
                self._looked_s, self._now_ms = now_s, self._store.now_ms()
            pending = self._prepare(tenant, headers, content_type, body, done, allowed, self._now_ms)
            self._bound(pending.size_bytes, now_s)
            if tenant in self._rated:
                self._rates.take(tenant, len(pending.events) + len(pending.note.problems))
        except Refusal as refusal:
            if refusal.status == 422 and "idempotency-key" in headers and not self._draining:
                self._ask(tenant, headers, content_type, body, done, refusal)
                return
            self._observer.refused(refusal.code)
            done(refused(refusal))
            return
        except Exception as error:  # noqa: BLE001 - a defect of ours must not leave the publisher without an answer
            self._observer.warn("accept_defect", error=repr(error))
            done(refused(_internal()))
            return
        self._commits.put(tenant, pending, len(pending.events), pending.size_bytes, now_s)

    def check_room(self, size_bytes: int) -> None:
        """Raise `Refusal` (`draining`, `overloaded`) unless a request of this size would be taken now."""
        self._bound(size_bytes, self._clock.monotonic_s())

    def take(self, pending: Pending) -> None:
        """Take the events of a request from a source, which are judged already; its `stored` or `done` is called once,
        on the loop. `check_room` was asked before."""
        now_s = self._clock.monotonic_s()
        self._commits.put(pending.tenant, pending, len(pending.events), pending.size_bytes, now_s)

    def _ask(
        self, tenant: str, headers: Mapping[str, str], content_type: str, body: bytes, done: Done, refusal: Refusal
    ) -> None:
        """Refuse a request with an Idempotency-Key, unless it was accepted before."""
        try:
            key = idempotency_key(tenant, headers, content_type, body, 0.0)
        except Refusal as bad_key:
            self._observer.refused(bad_key.code)
            done(refused(bad_key))
            return
        assert key is not None
        self._asked.put(Question(tenant, key, refusal, done))

    def _bound(self, size_bytes: int, now_s: float) -> None:
        commits = self._commits
        if self._draining:
            raise Refusal("draining", "The server is shutting down; try again.", retry_after_s=1)
        if commits.waiting and (
            commits.waiting_bytes + size_bytes > WAITING_BYTES_MAX or commits.oldest_age_s(now_s) > WAITING_S_MAX
        ):
            raise Refusal("overloaded", "Too much waits for the store; try again.", retry_after_s=1)

    # ------------------------------------------------------------------------------------------------- commit

    async def _commit(self, batch: list[Pending]) -> None:
        self._observer.committed("accept", sum(len(p.events) for p in batch), self._commits.oldest_wait_s)
        await self._commit_some(batch)

    async def _commit_some(self, batch: list[Pending]) -> None:
        try:
            results = await self._accept_routed(batch)
        except StoreUnavailable as error:
            self._observer.warn("accept_failed", code=error.code, error=str(error))
            refusal = Refusal(error.code, str(error), retry_after_s=error.retry_after_s)
            for pending in batch:
                self._answer(pending, refused(refusal))
        except DataError as error:
            await self._divide(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, everybody is answered, and only the guilty 500
            if len(batch) > 1:
                half = len(batch) // 2
                await self._commit_some(batch[:half])
                await self._commit_some(batch[half:])
                return
            self._observer.warn("accept_defect", error=repr(error))
            self._answer(batch[0], refused(_internal()))
        else:
            self._all_committed(batch, results)

    def _all_committed(self, batch: list[Pending], results: Sequence[AcceptResult]) -> None:
        # First everybody is answered, then the sending begins: one after the other, publishers who wait for their
        # answers are woken once, not once for each.
        for pending, result in zip(batch, results, strict=True):
            try:
                self._tell(pending, result)
            except Exception as error:  # noqa: BLE001 - the others of the commit are durable and to be answered
                self._observer.warn("accept_defect", error=repr(error))
        now_ms, now_s = self._store.now_ms(), self._clock.monotonic_s()
        events = deliveries = duplicates = 0
        for pending, result in zip(batch, results, strict=True):
            request = pending.request
            assert request is not None
            if result.reused or result.repeated:
                duplicates += len(result.items)
                for item in request.items:
                    self._unused(item)
                continue
            late_s = (now_ms - pending.routed_ms) / 1000
            for item, outcome in zip(request.items, result.items, strict=True):
                if outcome.duplicate or item.quarantine is not None:
                    duplicates += outcome.duplicate
                    self._unused(item)
                    continue
                events += 1
                deliveries += outcome.deliveries
                try:
                    self._hand_over(item, outcome.states, late_s, now_ms, now_s)
                except Exception as error:  # noqa: BLE001 - it is durable, and its lease ends; the others go on
                    self._observer.warn("accept_defect", error=repr(error))
        self._observer.accepted(events, deliveries, duplicates)

    def _tell(self, pending: Pending, result: AcceptResult) -> None:
        if result.reused:
            refusal = Refusal("idempotency_key_reused", "This Idempotency-Key was used with another request.")
            self._observer.refused(refusal.code)
            self._answer(pending, refused(refusal))
            return
        if pending.received is not None:
            assert pending.request is not None
            pending.received.stored(pending.request.items, result.items)
            return
        note = unpack_note(result.note) if result.repeated else pending.note
        self._answer(pending, accepted(result.items, note))

    async def _divide(self, batch: list[Pending], error: DataError) -> None:
        """A batch with an item that cannot be stored is halved until the guilty request stands alone."""
        if len(batch) > 1:
            half = len(batch) // 2
            await self._commit_some(batch[:half])
            await self._commit_some(batch[half:])
            return
        pending = batch[0]
        refusal = Refusal("invalid_event", f"The event cannot be stored: {error}.")
        if error.item is None or len(pending.events) == 1:
            self._observer.refused(refusal.code)
            self._answer(pending, refused(refusal))
            return
        # A client's batch stays together: the guilty item is left out and the rest commits once.
        places = _places(pending)
        problems = sorted([*pending.note.problems, (places[error.item], msgspec.json.encode(refusal.problem()))])
        del pending.events[error.item]
        if pending.received is not None:
            del pending.received.quarantine[error.item]
        pending.note = Note(pending.note.batch, problems)
        await self._commit_some([pending])

    async def _accept_routed(self, batch: list[Pending]) -> Sequence[AcceptResult]:
        for _ in range(_ROUTE_TRIES):
            version = self._registry.version
            now_ms, now_s = self._store.now_ms(), self._clock.monotonic_s()
            committed = False
            requests: list[AcceptRequest] = []
            try:
                for pending in batch:
                    request = pending.request = self._route(pending, now_ms, now_s)
                    requests.append(request)
                results = await self._store.accept(requests, version)
                committed = True
                return results
            except StaleRegistry:
                await self._registry.refresh()
            except CommitUnknown:
                # It may be there, leased by us, who know nothing of it: given back as soon as the store answers.
                self._hand_off.release(
                    [
                        (delivery_id(item.event.id, delivery.ordinal), 1, delivery.endpoint_id)
                        for request in requests
                        for item in request.items
                        for delivery in item.deliveries
                        if delivery.lease_s is not None
                    ]
                )
                raise
            finally:
                if not committed:
                    self._give_back(batch)
        raise StoreUnavailable("The configuration changes too fast.")

    def _route(self, pending: Pending, now_ms: int, now_s: float) -> AcceptRequest:
        received = pending.received
        dedupe_s = self._dedupe_s if received is None else received.dedupe_s
        keyed = received is None or dedupe_s > 0
        items: list[NewEvent] = []
        rows = 0
        pending.routed_ms = now_ms
        for place, event in enumerate(pending.events):
            key = dedupe_key(event) if keyed and event.source_id is not None else None
            keep_s = dedupe_s
            if received is not None:
                if key is None and received.own_keys_s > 0:
                    key, keep_s = own_key(event), received.own_keys_s
                if (quarantine := received.quarantine[place]) is not None:
                    items.append(NewEvent(event, dedupe_key=key, dedupe_s=keep_s, quarantine=quarantine))
                    continue
            wait_s = max(0.0, (event.deliver_at_ms - now_ms) / 1000) if event.deliver_at_ms is not None else 0.0
            try:
                item = new_event(
                    event,
                    matches(event, self._registry),
                    self._lease,
                    wait_s=wait_s,
                    dedupe_key=key,
                    dedupe_s=keep_s,
                    rows_before=rows,
                    now_s=now_s,
                )
            except Exception:
                for made in items:
                    self._unused(made)
                raise
            rows += len(item.deliveries)
            items.append(item)
        note = pack_note(pending.note) if pending.idempotency is not None else b""
        return AcceptRequest(pending.tenant, items, pending.idempotency, note)

    def _give_back(self, batch: list[Pending]) -> None:
        for pending in batch:
            if pending.request is None:
                continue
            for item in pending.request.items:
                self._unused(item)
            pending.request = None

    def _unused(self, item: NewEvent) -> None:
        for delivery in item.deliveries:
            if delivery.lease_s is not None:
                self._hand_off.give_back(delivery.endpoint_id, item.event)

    def _hand_over(self, item: NewEvent, states: bytes, late_s: float, now_ms: int, now_s: float) -> None:
        event = item.event
        for delivery, state in zip(item.deliveries, states, strict=True):
            if state == _LEASED:
                assert delivery.lease_s is not None
                lease_s = delivery.lease_s - late_s
                self._hand_off.start(delivery.endpoint_id, event, delivery.ordinal, lease_s, now_ms, now_s)
                continue
            if delivery.lease_s is not None:
                self._hand_off.give_back(delivery.endpoint_id, event)
            if state == _PENDING:
                identifier = delivery_id(event.id, delivery.ordinal)
                self._hand_off.waits(delivery.endpoint_id, identifier, item.wait_s)
        if item.fanout:
            self._hand_off.unfold()

    def _answer(self, pending: Pending, answer: Answer) -> None:
        try:
            pending.done(answer)
        except Exception as error:  # noqa: BLE001 - one publisher's connection is not the others' business
            self._observer.warn("answer_failed", error=repr(error))


def _internal() -> Refusal:
    return Refusal("internal", "This is a defect of the server; nothing is known to be stored.")


def _places(pending: Pending) -> list[int]:
    """The place in the client's batch of each item that is still in."""
    out = {place for place, _ in pending.note.problems}
    return [place for place in range(len(pending.events) + len(out)) if place not in out]
