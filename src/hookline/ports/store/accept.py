"""What goes into an accept, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hookline.core.event import Event
from hookline.ports.store.sources import NewQuarantine


class NewDelivery(msgspec.Struct, frozen=True, gc=False):
    """A delivery to be made together with its event. Its id is `ids.delivery_id(root, ordinal)`."""

    endpoint_id: bytes
    ordinal: int
    """From 1 within the event (or within the replay)."""
    lane: str | None = None
    """The ordering key, where the endpoint asks for order: the lane is (endpoint, key)."""
    lease_s: float | None = None
    """A number: hand-off, insert it leased for so long with fence 1, unless its lane has anything open or a block
    (then it is held). None: insert it pending (or held)."""


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event and where it goes."""

    event: Event
    deliveries: Sequence[NewDelivery] = ()
    wait_s: float = 0.0
    """Deliveries are due after so long (`deliver_at`)."""
    fanout: bytes = b""
    """Packed endpoint ids (12 bytes each) of a big fan-out, unfolded later; `deliveries` then holds only those
    of lanes. Endpoint number i of it (from 0) gets the ordinal `len(deliveries) + 1 + i`."""
    dedupe_key: bytes | None = None
    """16 bytes, from tenant, source and the publisher's id. A key that is known makes this a duplicate."""
    dedupe_s: float = 86_400.0
    quarantine: NewQuarantine | None = None
    """It is not accepted: kept for a person. `event.id` is then its id in quarantine, `deliveries` are none."""
    released: bytes | None = None
    """The id in quarantine that this event was kept under: it goes in the same transaction. A `dedupe_key` that is
    known is no obstacle then; from now on it stands for this event."""

    @property
    def deliveries_count(self) -> int:
        """How many deliveries the event has in the end."""
        return len(self.deliveries) + len(self.fanout) // 12


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """An `Idempotency-Key`, its request's hash, and how long it is known."""

    key: bytes
    """16 bytes, from tenant and key."""
    body_hash: bytes
    """16 bytes over what must be equal for a repeat to be the same request."""
    keep_s: float = 86_400.0


class AcceptRequest(msgspec.Struct, frozen=True, gc=False):
    """One client's request: never divided, its items commit together."""

    tenant: str
    items: Sequence[NewEvent]
    idempotency: IdempotencyKey | None = None
    note: bytes = b""
    """Opaque: kept with the Idempotency-Key and given back to its repeats."""


class AcceptedItem(msgspec.Struct, frozen=True, gc=False):
    """What became of one `NewEvent`. `event_id` is the first's for a duplicate, and `deliveries` its number."""

    event_id: bytes
    deliveries: int
    duplicate: bool = False
    states: bytes = b""
    """One byte per `NewEvent.deliveries`, in order: the `State` it was inserted with. Empty for a duplicate."""
    quarantined: bool = False
    """It is in quarantine, or (a duplicate) its first was put there; `event_id` is its id there."""
    full: bool = False
    """It was to go into quarantine, which has no room: nothing was made of it."""
    gone: bool = False
    """It was to be released, and is not in quarantine any more: nothing was made of it."""


class AcceptResult(msgspec.Struct, frozen=True, gc=False):
    """What became of one `AcceptRequest`."""

    items: Sequence[AcceptedItem]
    repeated: bool = False
    """The Idempotency-Key was known with the same body: `items` and `note` are those of the first, nothing new
    was made. (`states` of the items are empty then.)"""
    reused: bool = False
    """The Idempotency-Key was known with another body: nothing was made, `items` is empty."""
    note: bytes = b""
