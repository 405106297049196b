"""Quarantine: inbound requests that their source's schema does not allow wait for a person, who releases or drops
them. Free of HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from hookline.core.delivery import State
from hookline.core.draft import check_payload
from hookline.core.errors import NotFound, StaleRegistry, StoreUnavailable
from hookline.core.event import Event
from hookline.core.ids import IdMaker
from hookline.flow.catalogue import Catalogue
from hookline.flow.endpoints import Notify
from hookline.flow.registry import Registry
from hookline.flow.repeats import dedupe_key
from hookline.flow.route import matches, never_hand_off, new_event
from hookline.ports.observer import Observer
from hookline.ports.store import AcceptedItem, AcceptRequest, NewEvent, Page, QuarantinedRow, SourceRow, Store

_ROUTE_TRIES: Final = 10
_PENDING: Final = State.PENDING


class Released(msgspec.Struct, frozen=True):
    """The event that came of it."""

    event: Event
    deliveries: int


class Quarantine:
    """The service behind `/v1/sources/{source}/quarantine`.

    `notify` is told which endpoints have something pending, `unfold` that a fan-out waits. Methods raise `NotFound`
    (also for another tenant's) and `StoreUnavailable`.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        catalogue: Catalogue,
        id_maker: IdMaker,
        notify: Notify,
        unfold: Callable[[], None],
        observer: Observer,
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._ids = id_maker
        self._notify = notify
        self._unfold = unfold
        self._observer = observer

    async def page(self, tenant: str, reference: str, limit: int, before: bytes | None) -> Page[QuarantinedRow]:
        """What a source has there, newest first, without payloads."""
        source = await self._catalogue.source(tenant, reference)
        return await self._store.quarantined(source.id, limit, before)

    async def get(self, tenant: str, reference: str, quarantined_id: bytes) -> QuarantinedRow:
        """One, with its payload."""
        return await self._get(await self._catalogue.source(tenant, reference), quarantined_id)

    async def release(self, tenant: str, reference: str, quarantined_id: bytes) -> Released:
        """A person lets it pass: it becomes an event, routed as things are now, and is in quarantine no more.

        Raises `Refusal` for a payload that no event can have (JSON that is none): such a one can only be dropped.
        """
        source = await self._catalogue.source(tenant, reference)
        row = await self._get(source, quarantined_id)
        check_payload(row.event.data, row.event.content_type)
        await self._registry.refresh()
        event = msgspec.structs.replace(row.event, id=self._ids.make(self._store.now_ms()))
        item, accepted = await self._accept(event, source, quarantined_id)
        if accepted.gone:
            raise NotFound("no such request in quarantine")
        self._observer.accepted(1, accepted.deliveries, 0)
        states = zip(item.deliveries, accepted.states, strict=True)
        self._notify({delivery.endpoint_id: 0.0 for delivery, state in states if state == _PENDING})
        if item.fanout:
            self._unfold()
        return Released(event, accepted.deliveries)

    async def drop(self, tenant: str, reference: str, quarantined_id: bytes) -> None:
        """A person decided against it: it goes for ever."""
        source = await self._catalogue.source(tenant, reference)
        await self._store.drop_quarantined(source.id, quarantined_id)

    async def _get(self, source: SourceRow, quarantined_id: bytes) -> QuarantinedRow:
        row = await self._store.quarantined_of(source.id, quarantined_id)
        if row is None:
            raise NotFound("no such request in quarantine")
        return row

    async def _accept(self, event: Event, source: SourceRow, quarantined_id: bytes) -> tuple[NewEvent, AcceptedItem]:
        compiled = self._registry.source(source.id)
        key = dedupe_key(event) if event.source_id is not None and compiled is not None else None
        for _ in range(_ROUTE_TRIES):
            version = self._registry.version
            item = new_event(
                event,
                matches(event, self._registry),
                never_hand_off,
                dedupe_key=key,
                dedupe_s=0.0 if compiled is None else compiled.dedupe_s,
            )
            item = msgspec.structs.replace(item, released=quarantined_id)
            try:
                results = await self._store.accept([AcceptRequest(event.tenant, [item])], version)
            except StaleRegistry:
                await self._registry.refresh()
            else:
                return item, results[0].items[0]
        raise StoreUnavailable("The configuration changes too fast.")
