"""Looking at what happened and doing it again: events, deliveries, attempts; retry, discard, replay. Free of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.attempt import Body, BodyEncoding
from hookline.core.endpoint import Endpoint
from hookline.core.errors import NotFound, StaleRegistry, StoreUnavailable
from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.core.ids import IdMaker
from hookline.flow.catalogue import Catalogue
from hookline.flow.endpoints import Notify
from hookline.flow.reading import read_optional
from hookline.flow.reads import Reads
from hookline.flow.registry import Registry
from hookline.ports.observer import Observer
from hookline.ports.store import Counts, DeliveryRow, NewDelivery, Page, Query, Store

REPLAY_ROWS_MAX: Final = 1000
"""Deliveries of one commit."""
_ROUTE_TRIES: Final = 10


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an event is sent again: one endpoint (id or uid), whatever it subscribes to, or all that match now."""

    endpoint_id: str | None = None


class Replayed(msgspec.Struct, frozen=True):
    """What a replay made."""

    deliveries: int
    ids: list[str]


class AttemptView(msgspec.Struct, frozen=True):
    """An attempt with the request's body as it was sent (None: there was none, or its event is gone)."""

    id: bytes
    record: AttemptRecord
    request_body: bytes | None


_REPLAY = msgspec.json.Decoder(Replay)


class Deliveries:
    """The service behind `/v1/events` (looking), `/v1/deliveries` and `/v1/stats`.

    `matches` names the endpoints that want an event now (`flow.route.matches` with the registry). Methods raise
    `Refusal`, `NotFound`, `Conflict`, `StoreUnavailable`.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        catalogue: Catalogue,
        matches: Callable[[Event], Sequence[Endpoint]],
        ids_maker: IdMaker,
        notify: Notify,
        observer: Observer,
        reads: Reads | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._matches = matches
        self._ids = ids_maker
        self._notify = notify
        self._observer = observer
        self._reads = reads or Reads(None)

    async def events(self, query: Query) -> Page[Event]:
        """A page of events, newest first."""
        return await self._store.events(query)

    async def event(self, tenant: str, event_id: bytes) -> Event:
        """One event."""
        event = await self._store.event(tenant, event_id)
        if event is None:
            raise NotFound("no such event")
        return event

    async def erase(self, tenant: str, event_id: bytes) -> Event:
        """Erase an event's payload for ever; its open deliveries are discarded, its books stay. Erasing twice is no
        error. Raises `Conflict` while a delivery of it is in flight."""
        await self._reads.forget_event(tenant, event_id)
        try:
            discarded = await self._store.erase(tenant, event_id)
        finally:
            # Also when it failed: by then the payload may be gone, and what was read meanwhile must not stay.
            await self._reads.forget_event(tenant, event_id)
        if discarded:
            self._observer.closed("discarded", discarded)
        return await self.event(tenant, event_id)

    async def page(self, query: Query, endpoint: str | None) -> Page[DeliveryRow]:
        """A page of deliveries, newest first; `endpoint` is an id or uid."""
        if endpoint is not None:
            assert query.tenant is not None
            await self._catalogue.refresh()
            endpoint_id = self._catalogue.endpoint_id(query.tenant, endpoint)
            if endpoint_id is None:
                return Page([], None)
            query = msgspec.structs.replace(query, endpoint_id=endpoint_id)
        return await self._store.deliveries(query)

    async def get(self, tenant: str, delivery_id: bytes) -> DeliveryRow:
        """One delivery."""
        row = await self._store.delivery(tenant, delivery_id)
        if row is None:
            raise NotFound("no such delivery")
        return row

    async def attempts(self, tenant: str, delivery_id: bytes) -> Sequence[AttemptView]:
        """All attempts of a delivery, oldest first, each with the request exactly as it was sent."""
        row = await self.get(tenant, delivery_id)
        stored = await self._store.attempts(delivery_id)
        event = await self._store.event(tenant, row.event_id) if stored else None
        views = []
        for attempt in stored:
            record = AttemptRecord.unpack(attempt.packed)
            identifier = ids.attempt_id(attempt.delivery_id, attempt.fence)
            views.append(AttemptView(identifier, record, request_body(record, event)))
        return views

    async def retry(self, tenant: str, delivery_id: bytes) -> DeliveryRow:
        """Open a failed or discarded delivery again, or make a pending one due now."""
        reference = await self._store.reopen(tenant, delivery_id)
        self._notify({reference.endpoint_id: 0.0})
        return await self.get(tenant, delivery_id)

    async def discard(self, tenant: str, delivery_id: bytes) -> DeliveryRow:
        """Never send it (again); its lane goes on."""
        row = await self.get(tenant, delivery_id)
        await self._store.discard(tenant, delivery_id)
        self._observer.closed("discarded", 1)
        self._notify({row.endpoint_id: 0.0})
        return await self.get(tenant, delivery_id)

    async def replay(self, tenant: str, event_id: bytes, body: bytes) -> Replayed:
        """Make new deliveries of an event, with the same `webhook-id`, ranking behind live ones."""
        wish = read_optional(_REPLAY, body, code="invalid_parameter", noun="replay")
        event = await self.event(tenant, event_id)
        if wish.endpoint_id is not None:
            row = await self._catalogue.endpoint(tenant, wish.endpoint_id)
            await self._registry.refresh()
            only = self._registry.endpoint(row.id)
            wanted: Sequence[Endpoint] = [] if only is None else [only]
        else:
            wanted = self._matches(event)
        made: list[str] = []
        for at in range(0, len(wanted), REPLAY_ROWS_MAX):
            made.extend(await self._replay(event, wanted[at : at + REPLAY_ROWS_MAX]))
        return Replayed(len(made), made)

    async def _replay(self, event: Event, wanted: Sequence[Endpoint]) -> list[str]:
        root = self._ids.make(self._store.now_ms())
        for _ in range(_ROUTE_TRIES):
            version = self._registry.version
            # Deleted meanwhile: nothing is made for it.
            current = [e for e in (self._registry.endpoint(w.id) for w in wanted) if e is not None]
            rows = [
                NewDelivery(endpoint.id, ordinal, event.ordering_key if endpoint.lane is not None else None)
                for ordinal, endpoint in enumerate(current, 1)
            ]
            if not rows:
                return []
            try:
                due_s = await self._store.replay(event.tenant, event.id, root, rows, version)
            except StaleRegistry:
                await self._registry.refresh()
            else:
                self._notify(due_s)
                return [ids.text(ids.DELIVERY, ids.delivery_id(root, row.ordinal)) for row in rows]
        raise StoreUnavailable("The configuration changes too fast.")

    async def counts(self, tenant: str | None) -> Counts:
        """The books of a tenant (None: of all)."""
        return await self._store.counts(tenant)


def request_body(record: AttemptRecord, event: Event | None) -> bytes | None:
    """The body as it was sent; None: there was none, or its event is gone."""
    exchange = record.exchange
    if exchange is None:
        return None
    body = Body(exchange.body_prefix, exchange.body_suffix, BodyEncoding(exchange.body_encoding), "")
    if body.encoding == BodyEncoding.NONE:
        return body.render(b"")
    return None if event is None else body.render(event.data)
