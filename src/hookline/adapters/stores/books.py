"""The books as every store adds them up: moves of deliveries between states, and the counts that come of them.

Two origins are no states: `NEW` (made now) and `UNFOLDED` (its tenant has counted it as pending since its event was
accepted, its endpoint counts it only now).
"""

from __future__ import annotations

from collections.abc import Iterable

from hookline.core.delivery import State
from hookline.ports.store import Counts

NEW = 7
UNFOLDED = 8
NO_ENDPOINT = b""
"""Counted for the tenant only: a fan-out that is not unfolded yet."""
STATES = 7
PENDING = int(State.PENDING)


class Sums:
    """Moves added up: per tenant `[events, deliveries, states…]`, per endpoint `[deliveries, states…]`."""

    def __init__(self) -> None:
        self.tenants: dict[str, list[int]] = {}
        self.endpoints: dict[bytes, list[int]] = {}
        self.tenant_of: dict[bytes, str] = {}

    def events(self, tenant: str, count: int) -> None:
        """So many events were made."""
        self._tenant(tenant)[0] += count

    def move(self, tenant: str, endpoint_id: bytes, before: int, after: int, count: int) -> None:
        """So many deliveries changed their state."""
        row = self._tenant(tenant)
        row[2 + after] += count
        if before == NEW:
            row[1] += count
        else:
            row[2 + (PENDING if before == UNFOLDED else before)] -= count
        if endpoint_id == NO_ENDPOINT:
            return
        self.tenant_of[endpoint_id] = tenant
        row = self.endpoints.setdefault(endpoint_id, [0] * (1 + STATES))
        row[1 + after] += count
        if before < NEW:
            row[1 + before] -= count
        else:
            row[0] += count

    def pending(self, endpoint_id: bytes) -> int:
        """Of an endpoint."""
        row = self.endpoints.get(endpoint_id)
        return 0 if row is None else row[1 + PENDING]

    def _tenant(self, tenant: str) -> list[int]:
        return self.tenants.setdefault(tenant, [0] * (2 + STATES))


def counts_of(events: int, row: Iterable[int], held_by_endpoint: int) -> Counts:
    """The counts of `[deliveries, states…]`, of which so many pending are held by their endpoints' states."""
    deliveries, pending, leased, held, unconfirmed, delivered, failed, discarded = row
    return Counts(
        events=events,
        deliveries=deliveries,
        delivered=delivered,
        failed=failed,
        discarded=discarded,
        pending=pending - held_by_endpoint,
        leased=leased,
        held=held + held_by_endpoint,
        unconfirmed=unconfirmed,
    )
