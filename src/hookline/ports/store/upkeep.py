"""What runs beside the way of an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.ports.store.accept import NewDelivery
from hookline.ports.store.record import OpenRef


class Pulse(msgspec.Struct, frozen=True):
    """What a process must know of the others, asked for several times a second."""

    registry_version: int
    workers: int = 1
    """Living processes that deliver, this one included where it does."""
    first: bool = True
    """Whether this is the one of them that does what one is enough for."""
    erasures: int = 0
    """How many erasures of events have begun: whoever keeps a copy of an event drops it when this rises."""


class Upkeep(Protocol):
    """What runs beside. Every step is bounded and restartable."""

    async def pulse(self) -> Pulse:
        """How things stand between the processes now: one cheap statement."""
        ...

    async def lost(self, limit: int = 1000) -> Sequence[OpenRef]:
        """Leases that nobody holds any more: of dead instances (on SQLite: of any earlier process), or expired
        for over 15 s. The flow records what becomes of them."""
        ...

    async def oldest(self, endpoint_id: bytes, limit: int) -> Sequence[OpenRef]:
        """The oldest open deliveries of an endpoint that are not leased (for overflow), about: what is pending and
        what is unconfirmed before what its lanes hold, and of each lane the oldest first; none whose success was
        said."""
        ...

    async def open_by_endpoint(self, above: int) -> dict[bytes, int]:
        """Endpoints with more than `above` open deliveries, and how many they have."""
        ...

    async def unfold(self, limit: int = 500) -> tuple[dict[bytes, float], bool]:
        """Unfold up to `limit` deliveries of the oldest fan-out row in one commit. Returns endpoints that have
        something pending through it with the seconds until it is due, and whether rows remain."""
        ...

    async def close_deleted(self, limit: int = 1000) -> int:
        """Close up to `limit` open, unleased deliveries of deleted endpoints as discarded, reason
        `endpoint_deleted`; not those whose success was said (see `Confirmations.confirm`). How many were closed."""
        ...

    async def sweep_lanes(self) -> int:
        """Promote lanes that have neither a head nor a block, and count them (must stay 0)."""
        ...

    async def fold(self) -> int:
        """Fold counter deltas into totals in one transaction; how many rows were folded."""
        ...

    async def purge_dedupe(self, limit: int = 1000) -> int:
        """Forget expired dedupe and idempotency keys, up to `limit` examined; how many were forgotten."""
        ...

    async def reopen(self, tenant: str | None, delivery_id: bytes) -> OpenRef:
        """Retry: a failed or discarded delivery is open again, due now, tries from 0, fence going on; it keeps
        its place in its lane. A pending one becomes due now. Raises `NotFound`; `Conflict` code `wrong_state`
        (leased, held, unconfirmed or delivered; its endpoint is deleted)."""
        ...

    async def discard(self, tenant: str | None, delivery_id: bytes) -> None:
        """A person decided: an open (not leased) or failed delivery is discarded; its lane goes on. Raises
        `NotFound`; `Conflict` code `wrong_state` (leased, delivered or discarded; its receiver has confirmed it)."""
        ...

    async def replay(
        self, tenant: str | None, event_id: bytes, root: bytes, deliveries: Sequence[NewDelivery], registry_version: int
    ) -> dict[bytes, float]:
        """New deliveries of an old event, ranking behind live ones, with ids from `root`; due endpoints as in
        `RecordResult.due_s`. Raises `NotFound`, `StaleRegistry`."""
        ...
