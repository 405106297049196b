"""Event → one delivery per endpoint that wants it.

Routing asks memory only. An event with many matches is one packed fan-out row, unfolded later in small commits;
deliveries of lanes are never packed, because their order is fixed in the accept transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hookline.core.body import event_document
from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.flow.registry import Registry
from hookline.ports.store import NewDelivery, NewEvent

FANOUT_FROM = 256
"""An event with more matches than this is committed as one fan-out row."""
COMMIT_ROWS_MAX = 4096
"""Beyond so many delivery rows in one request, further events with several matches are packed too."""

Lease = Callable[[Endpoint, Event, float], float | None]
"""Says for how long a delivery is handed off, or None: it is to be claimed from the store. The number is the
monotonic clock."""


class HandOff:
    """What accepting needs of delivering; `flow.deliver` is the real one."""

    release: Callable[[Sequence[tuple[bytes, int, bytes]]], None]
    """Give back (delivery, fence, endpoint) that may be committed as leased by us, as soon as the store answers."""

    def lease(self, endpoint: Endpoint, event: Event, now_s: float) -> float | None:
        """Reserve room and say for how long the delivery is leased; None: no room, it waits in the store."""
        raise NotImplementedError

    def give_back(self, endpoint_id: bytes, event: Event) -> None:
        """The reservation is not used."""
        raise NotImplementedError

    def start(self, endpoint_id: bytes, event: Event, ordinal: int, lease_s: float, now_ms: int, now_s: float) -> None:
        """The delivery is committed as leased: send it. `now_ms` is the store's clock, `now_s` the monotonic one."""
        raise NotImplementedError

    def waits(self, endpoint_id: bytes, delivery_id: bytes, wait_s: float) -> None:
        """The delivery is committed as pending, due in `wait_s`."""
        raise NotImplementedError

    def unfold(self) -> None:
        """A fan-out row was committed."""
        raise NotImplementedError


def never_hand_off(_endpoint: Endpoint, _event: Event, _now_s: float) -> None:
    """Everything is inserted pending."""


def matches(event: Event, registry: Registry) -> list[Endpoint]:
    """The endpoints that want this event, whatever their state: a paused one gets its deliveries, held."""
    candidates = registry.candidates(event.tenant, event.type)
    if not candidates:
        return []
    wanted: list[Endpoint] = []
    document: Mapping[str, object] | None = None
    for endpoint in candidates:
        if endpoint.filter is not None:
            if document is None:
                asked = any(e.filter is not None and e.filter.needs_data for e in candidates)
                document = event_document(event, data=asked)
            if not endpoint.filter.matches(document):
                continue
        wanted.append(endpoint)
    return wanted


def new_event(
    event: Event,
    wanted: list[Endpoint],
    lease: Lease,
    *,
    wait_s: float = 0.0,
    dedupe_key: bytes | None = None,
    dedupe_s: float = 86_400.0,
    rows_before: int = 0,
    now_s: float = 0.0,
) -> NewEvent:
    """The event with its deliveries, to be committed. `rows_before`: delivery rows of this request so far; `now_s`:
    the monotonic clock, for hand-offs."""
    key = event.ordering_key
    packed = len(wanted) > FANOUT_FROM or (len(wanted) > 1 and rows_before + len(wanted) > COMMIT_ROWS_MAX)
    deliveries: list[NewDelivery] = []
    fanout: list[bytes] = []
    for endpoint in wanted:
        lane = key if key is not None and endpoint.lane is not None else None
        if packed and lane is None:
            fanout.append(endpoint.id)
            continue
        lease_s = None if wait_s > 0 else lease(endpoint, event, now_s)
        deliveries.append(NewDelivery(endpoint.id, len(deliveries) + 1, lane, lease_s))
    return NewEvent(event, deliveries, wait_s, b"".join(fanout), dedupe_key, dedupe_s)
