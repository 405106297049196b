"""The way of an event through the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hookline.ports.store.accept import AcceptRequest, AcceptResult
from hookline.ports.store.claim import ClaimEntry, ClaimResult
from hookline.ports.store.record import HealthChange, RecordItem, RecordResult


class Deliveries(Protocol):
    """The way of an event. All batches; each call is one durable commit."""

    def now_ms(self) -> int:
        """The store's clock as this process sees it, ms since 1970; never goes back on SQLite. Does not wait."""
        ...

    async def accept(self, requests: Sequence[AcceptRequest], registry_version: int) -> Sequence[AcceptResult]:
        """Commit events, their deliveries, dedupe and idempotency rows, fan-out rows and counters.

        Raises `StaleRegistry` when the registry is newer than `registry_version`, `DataError` when an item cannot
        be stored, `StoreUnavailable` when nothing can. Within one call later requests see earlier ones: the
        second of two equal keys is the duplicate.
        """
        ...

    async def claim(self, entries: Sequence[ClaimEntry], bytes_max: int = 16 * 1024 * 1024) -> ClaimResult:
        """Lease what is due of the given endpoints, within slots, caps, rates, waits and probes; fence + 1.

        In the order given, live ones before replays, oldest due first. Stops when `bytes_max` of payload is
        passed (at least one delivery is claimed if any can be).
        """
        ...

    async def claim_ids(
        self, delivery_ids: Sequence[bytes], entries: Sequence[ClaimEntry], bytes_max: int = 16 * 1024 * 1024
    ) -> ClaimResult:
        """The same for the deliveries a queue's message names: only those that are pending and due, of the
        endpoints given, within the same bounds. Unknown ids are passed over."""
        ...

    async def record(
        self, items: Sequence[RecordItem], healths: Sequence[HealthChange] = (), registry_version: int = 0
    ) -> RecordResult:
        """Commit outcomes with all that hangs on them. `registry_version` is checked as in `accept`, but only
        when there are events. Deliveries of those events are never leased here."""
        ...

    async def release(self, leases: Sequence[tuple[bytes, int]]) -> Sequence[bool]:
        """Give (delivery, fence) back unstarted: pending again, due as before, no try used. Per lease: applied?"""
        ...

    async def due(self) -> dict[bytes, float]:
        """Every endpoint that has something pending, and in how many seconds its earliest is due (0: now)."""
        ...

    async def endpoints_of(self, delivery_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """delivery → endpoint, of those that are open and pending."""
        ...
