"""The store: the truth about events, deliveries and configuration. Four Protocols, one adapter implements all.

    Deliveries   the way of an event: accept, claim, record, release            (hot: batches, one commit each)
    Registry     endpoints and event types, with a version that cannot be stale
    Archive      what happened: lists and counts, read-only, bounded
    Upkeep       what runs beside: take back, unfold, sweep, fold, purge, retry, discard, replay

What every adapter promises (and `hookline.testing.store_contract` checks):

* Each method that writes is one transaction, durable (fsynced) before it returns, all or nothing.
* **Durations go in, instants stay in.** Waits and lease lengths are seconds; the store adds its own clock.
* **Every change of an open delivery is fenced**: it happens only `WHERE id = ? AND fence = ?`. Claim raises the fence.
* Nothing but `DataError`, `StaleRegistry`, `StoreUnavailable`, `NotFound` and `Conflict` is raised; after any of
  them nothing of the call was committed.
* Texts given to it were checked at the door; what receivers say is bytes.
"""

from __future__ import annotations

from typing import Protocol

from hookline.ports.store.accept import AcceptedItem, AcceptRequest, AcceptResult, IdempotencyKey, NewDelivery, NewEvent
from hookline.ports.store.archive import Archive, AttemptRow, Counts, DeliveryRow, Page, Query
from hookline.ports.store.claim import Claimed, ClaimEntry, ClaimResult
from hookline.ports.store.deliveries import Deliveries
from hookline.ports.store.record import HealthChange, HealthRow, OpenRef, RecordItem, RecordResult
from hookline.ports.store.registry import EndpointRow, EventTypeRow, Registry, RegistryChanges
from hookline.ports.store.upkeep import Upkeep

__all__ = [
    "AcceptRequest",
    "AcceptResult",
    "AcceptedItem",
    "Archive",
    "AttemptRow",
    "ClaimEntry",
    "ClaimResult",
    "Claimed",
    "Counts",
    "Deliveries",
    "DeliveryRow",
    "EndpointRow",
    "EventTypeRow",
    "HealthChange",
    "HealthRow",
    "IdempotencyKey",
    "NewDelivery",
    "NewEvent",
    "OpenRef",
    "Page",
    "Query",
    "RecordItem",
    "RecordResult",
    "Registry",
    "RegistryChanges",
    "Store",
    "Upkeep",
]


class Store(Deliveries, Registry, Archive, Upkeep, Protocol):
    """The whole store, with its beginning and end."""

    async def start(self) -> None:
        """Open, check durability and schema, become an instance. Raises `StoreUnavailable` with the reason."""
        ...

    async def stop(self) -> None:
        """Write what is queued, give up the instance, close."""
        ...

    async def check(self) -> str | None:
        """Why the store cannot be written now, or None: for `/readyz`."""
        ...
