"""Nothing grows for ever: what is expired, purged, erased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from hookline.ports.store.record import OpenRef


class Keep(msgspec.Struct, frozen=True):
    """How long things are kept."""

    default_s: float
    by_tenant: Mapping[str, float] = {}

    def of(self, tenant: str) -> float:
        """How long this tenant's things are kept."""
        return self.by_tenant.get(tenant, self.default_s)

    @property
    def shortest_s(self) -> float:
        """The shortest of all."""
        return min([self.default_s, *self.by_tenant.values()])


EXPIRED_KEPT_S = 86_400.0
"""A delivery that was closed because it expired is kept for so long after that."""


class Purged(msgspec.Struct, frozen=True):
    """What a step of `purge` examined and removed."""

    examined: int = 0
    """0: the circle is closed; the next step begins again at the oldest."""
    deliveries: int = 0
    events: int = 0
    quarantined: int = 0


class Retention(Protocol):
    """Bounded steps; each goes on where the last one ended, in a circle. Ages are those of ids."""

    async def expired(self, keep: Keep, limit: int = 500) -> Sequence[OpenRef]:
        """Open, unleased deliveries older than their tenant's retention, up to `limit`; none whose success was said.
        The flow records them as `failed`, reason `expired`."""
        ...

    async def purge(self, keep: Keep, limit: int = 1000) -> Purged:
        """Remove, in one commit that examines up to `limit` rows: closed deliveries older than their tenant's
        retention with their attempts (those closed as `expired` only `EXPIRED_KEPT_S` after that), and events as old
        of which no delivery and no fan-out row is left; and what has waited in quarantine for as long. A lane blocked
        by a removed one goes on. Lifetime totals stay. Also forgotten: changes (see `Stream`), ended replays of the
        same age, states of endpoints long gone."""
        ...

    async def erase(self, tenant: str | None, event_id: bytes) -> int:
        """Erase an event's payload for ever (also from the free pages of the file): `data` is empty, `erased` is
        set, stored request bodies can no longer be rebuilt, stored answers are removed. Its open deliveries are
        discarded, how many is returned; those whose success was said are delivered. Its row, its deliveries, attempts
        and the books stay. Erasing twice is no error. Raises `NotFound`; `Conflict` code `wrong_state` while one of
        them is leased."""
        ...
