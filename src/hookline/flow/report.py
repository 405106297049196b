"""Operational events: what happens to deliveries and endpoints, told as events like any other.

They are made only where an endpoint of the tenant subscribes to them (patterns that begin with `hookline.`), or where
an administrator is to be told (`HOOKLINE_ADMIN_URL`), in the commit that they tell of. They cannot loop: a delivery of
an operational event makes none about itself, and a chain ends at `HOPS_MAX`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from hookline.core import ids
from hookline.core.endpoint import Endpoint
from hookline.core.errors import StaleRegistry
from hookline.core.event import HOPS_MAX, Event
from hookline.core.event_type import is_operational, pattern_matches
from hookline.core.ids import IdMaker
from hookline.flow.registry import Registry
from hookline.flow.route import matches, never_hand_off, new_event
from hookline.ports.store import AcceptRequest, Deliveries, NewEvent

DELIVERY_FAILED: Final = "hookline.delivery.failed"
DELIVERY_DELIVERED: Final = "hookline.delivery.delivered"
DELIVERY_ESCALATED: Final = "hookline.delivery.escalated"
ENDPOINT_FAILING: Final = "hookline.endpoint.failing"
ENDPOINT_RECOVERED: Final = "hookline.endpoint.recovered"
ENDPOINT_DISABLED: Final = "hookline.endpoint.disabled"
ENDPOINT_OVERFLOW: Final = "hookline.endpoint.overflow"
ENDPOINT_EXPIRED: Final = "hookline.endpoint.expired"
DEAD_LETTER: Final = "hookline.dead_letter"
_ROUTE_TRIES: Final = 10

OPERATIONAL: Final = {
    DELIVERY_FAILED: "A delivery used up its tries, or was rejected for good: the dead letter.",
    DELIVERY_DELIVERED: "A delivery was taken by its receiver.",
    DELIVERY_ESCALATED: "An attempt failed in a way that the endpoint's retry rules escalate.",
    ENDPOINT_FAILING: "Ten failures in a row: only probes are sent until one succeeds.",
    ENDPOINT_RECOVERED: "A probe succeeded: deliveries flow again.",
    ENDPOINT_DISABLED: "A 410, a rule, or five days without a success: what waits is held.",
    ENDPOINT_OVERFLOW: "More deliveries are open than HOOKLINE_OPEN_MAX allows: the oldest are failed.",
    ENDPOINT_EXPIRED: "Deliveries were open for longer than the tenant's retention: they are failed.",
    DEAD_LETTER: "A delivery failed: its event and history, for the endpoint that dead_letter names, and only for it.",
}
"""Every operational event type, with what it means."""


class Report:
    """Makes operational events, routed by the registry as it is now."""

    def __init__(self, store: Deliveries, registry: Registry, id_maker: IdMaker) -> None:
        self._store = store
        self._registry = registry
        self._ids = id_maker
        self.admin: bytes | None = None
        """The administrator's endpoint (HOOKLINE_ADMIN_URL), which is told of every tenant's."""

    def wanted(self, tenant: str, event_type: str) -> bool:
        """Whether anybody would get such an event. Cheap: asked for every outcome."""
        return bool(self._registry.candidates(tenant, event_type)) or self._told(event_type) is not None

    def _told(self, event_type: str) -> Endpoint | None:
        """The administrator's endpoint, if it wants this type."""
        admin = None if self.admin is None else self._registry.endpoint(self.admin)
        if admin is None or not any(pattern_matches(pattern, event_type) for pattern in admin.patterns):
            return None
        return admin

    def delivery(
        self,
        event_type: str,
        endpoint: Endpoint,
        event: Event,
        delivery_id: bytes,
        *,
        attempts: int,
        reason: str | None,
        status: int | None,
    ) -> tuple[NewEvent, ...]:
        """An event about a delivery; nothing where nobody subscribes, or where it would loop."""
        if is_operational(event.type) or event.hops >= HOPS_MAX:
            return ()
        if not self.wanted(endpoint.tenant, event_type):
            return ()
        data = {
            "tenant": endpoint.tenant,
            "delivery_id": ids.text(ids.DELIVERY, delivery_id),
            "event_id": event.public_id,
            "event_type": event.type,
            "endpoint_id": endpoint.public_id,
            "endpoint_uid": endpoint.uid,
            "attempts": attempts,
            "reason": reason,
            "status": status,
        }
        return self._make(event_type, endpoint, data, event)

    def endpoint(
        self, event_type: str, endpoint: Endpoint, *, cause: Event | None = None, **fields: object
    ) -> tuple[NewEvent, ...]:
        """An event about an endpoint; `cause` is the event whose delivery led to it."""
        if cause is not None and cause.hops >= HOPS_MAX:
            return ()
        if not self.wanted(endpoint.tenant, event_type):
            return ()
        data = {
            "tenant": endpoint.tenant,
            "endpoint_id": endpoint.public_id,
            "endpoint_uid": endpoint.uid,
            "url": endpoint.url,
            **fields,
        }
        return self._make(event_type, endpoint, data, cause)

    async def announce(self, tenant: str, make: Callable[[], tuple[NewEvent, ...]]) -> bool:
        """Commit events by themselves, where no other change carries them; whether there were any."""
        for _ in range(_ROUTE_TRIES):
            version = self._registry.version
            events = make()
            if not events:
                return False
            try:
                await self._store.accept([AcceptRequest(tenant, events)], version)
                return True
            except StaleRegistry:
                await self._registry.refresh()
        return False

    def _make(
        self, event_type: str, endpoint: Endpoint, data: Mapping[str, object], cause: Event | None
    ) -> tuple[NewEvent, ...]:
        encoded = msgspec.json.encode(data)
        made = []
        for tenant, wanted in self._audience(event_type, endpoint.tenant):
            event = Event(
                id=self._ids.make(self._store.now_ms()),
                tenant=tenant,
                type=event_type,
                data=encoded,
                source="/hookline",
                subject=endpoint.public_id,
                correlation_id=None if cause is None else cause.correlation_id or cause.public_id,
                causation_id=None if cause is None else cause.public_id,
                hops=0 if cause is None else cause.hops + 1,
            )
            receivers = matches(event, self._registry) if wanted is None else [wanted]
            if receivers:
                made.append(new_event(event, receivers, never_hand_off))
        return tuple(made)

    def _audience(self, event_type: str, tenant: str) -> Iterator[tuple[str, Endpoint | None]]:
        """For whom an event is made: the tenant's subscribers (None), and the administrator of another tenant's."""
        if self._registry.candidates(tenant, event_type):
            yield tenant, None
        admin = self._told(event_type)
        if admin is not None and admin.tenant != tenant:
            yield admin.tenant, admin
