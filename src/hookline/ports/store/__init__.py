"""The store: the truth about events, deliveries and configuration. Some Protocols, one adapter implements all.

    Deliveries      the way of an event: accept, claim, record, release         (hot: batches, one commit each)
    Confirmations   what receivers say after their answer
    Registry        endpoints and event types, with a version that cannot be stale
    Access          tenants and API keys, of the same version
    Sources         where events come in, quarantine, rejections
    Archive         what happened: lists and counts, read-only, bounded
    Stream          what happens, in the order of its commits
    Upkeep          what runs beside: take back, unfold, sweep, fold, purge, retry, discard, replay
    Replays         replays of many
    Retention       expire, purge, erase

`Backup` is apart: only a store that lives in a file has it.

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
from hookline.ports.store.access import Access
from hookline.ports.store.archive import Archive, AttemptRow, Counts, DeliveryRow, Page, Query
from hookline.ports.store.backup import Backup, BackupResult
from hookline.ports.store.claim import Claimed, ClaimEntry, ClaimResult
from hookline.ports.store.confirmations import Confirmations, Unconfirmed
from hookline.ports.store.deliveries import Deliveries
from hookline.ports.store.record import HealthChange, HealthRow, OpenRef, RecordItem, RecordResult
from hookline.ports.store.registry import EndpointRow, EventTypeRow, KeyRow, Registry, RegistryChanges, TenantRow
from hookline.ports.store.replays import Again, ReplayRow, Replays, ReplayStep
from hookline.ports.store.retention import EXPIRED_KEPT_S, Keep, Purged, Retention
from hookline.ports.store.sources import (
    QUARANTINED_MAX,
    REJECTIONS_KEPT,
    NewQuarantine,
    QuarantinedRow,
    RejectionRow,
    SourceRow,
    Sources,
)
from hookline.ports.store.stream import CHANGES_KEPT_S, Accepted, Attempted, Change, Entry, Stream
from hookline.ports.store.upkeep import Pulse, Upkeep

__all__ = [
    "CHANGES_KEPT_S",
    "EXPIRED_KEPT_S",
    "QUARANTINED_MAX",
    "REJECTIONS_KEPT",
    "AcceptRequest",
    "AcceptResult",
    "Accepted",
    "AcceptedItem",
    "Access",
    "Again",
    "Archive",
    "AttemptRow",
    "Attempted",
    "Backup",
    "BackupResult",
    "Change",
    "ClaimEntry",
    "ClaimResult",
    "Claimed",
    "Confirmations",
    "Counts",
    "Deliveries",
    "DeliveryRow",
    "EndpointRow",
    "Entry",
    "EventTypeRow",
    "HealthChange",
    "HealthRow",
    "IdempotencyKey",
    "Keep",
    "KeyRow",
    "NewDelivery",
    "NewEvent",
    "NewQuarantine",
    "OpenRef",
    "Page",
    "Pulse",
    "Purged",
    "QuarantinedRow",
    "Query",
    "RecordItem",
    "RecordResult",
    "Registry",
    "RegistryChanges",
    "RejectionRow",
    "ReplayRow",
    "ReplayStep",
    "Replays",
    "Retention",
    "SourceRow",
    "Sources",
    "Store",
    "Stream",
    "TenantRow",
    "Unconfirmed",
    "Upkeep",
]


class Store(
    Deliveries, Confirmations, Registry, Access, Sources, Archive, Stream, Upkeep, Replays, Retention, Protocol
):
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
