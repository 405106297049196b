"""Expire: nothing is kept longer than its tenant's retention (docs/reliability.md, rule 15).

Open work is never deleted: what is older than the retention is closed first, as `failed`, reason `expired`, and kept
for a day more. Then history goes, in bounded steps that leave the writer free in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hookline.core.endpoint import Endpoint
from hookline.flow import report
from hookline.flow.registry import Registry
from hookline.flow.report import Report
from hookline.flow.rescue import Rescue
from hookline.flow.seldom import Seldom
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import OpenRef, Store

PURGE_PAUSE_S: Final = 0.05
"""Between two steps of purging: publishing goes first."""


class Announcer:
    """Tells of an endpoint's trouble at most once an hour: as an event where somebody subscribes."""

    def __init__(self, store: Store, registry: Registry, reporter: Report, wake: Wake, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._report = reporter
        self._wake = wake
        self._seldom = Seldom(clock)

    async def say(self, event_type: str, endpoint_id: bytes, **fields: int) -> None:
        """Announce `event_type` of this endpoint, unless that was done within the hour."""
        endpoint = self._registry.endpoint(endpoint_id)
        if endpoint is not None and self._seldom.may_say((event_type, endpoint_id)):
            await self._announce(event_type, endpoint, fields)

    async def _announce(self, event_type: str, endpoint: Endpoint, fields: dict[str, int]) -> None:
        if await self._report.announce(
            endpoint.tenant, lambda: self._report.endpoint(event_type, endpoint, cause=None, **fields)
        ):
            self._wake.notify(await self._store.due())


class Expire:
    """The two steps, for `flow.upkeep`. `retention_s` is for tenants that have none of their own."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        rescue: Rescue,
        announcer: Announcer,
        observer: Observer,
        *,
        retention_s: float,
    ) -> None:
        self._store = store
        self._registry = registry
        self._rescue = rescue
        self._announcer = announcer
        self._observer = observer
        self._retention_s = retention_s
        self._first: bytes | None = None
        self._deliveries = self._events = self._quarantined = 0
        """Removed since that was said last."""

    async def expire(self) -> bool:
        """Fail what has been open for too long; whether there may be more."""
        refs: Sequence[OpenRef] = await self._store.expired(self._registry.keep(self._retention_s))
        if not refs:
            self._first = None
            return False
        await self._rescue.expire(refs)
        by_endpoint: dict[bytes, int] = {}
        for ref in refs:
            by_endpoint[ref.endpoint_id] = by_endpoint.get(ref.endpoint_id, 0) + 1
        for endpoint_id, count in by_endpoint.items():
            self._observer.warn("expired", endpoint=endpoint_id.hex(), failed=count)
            await self._announcer.say(report.ENDPOINT_EXPIRED, endpoint_id, failed=count)
        # What could not be recorded comes again: not at once, so that it does not keep this busy.
        more, self._first = refs[0].delivery_id != self._first, refs[0].delivery_id
        return more

    async def purge(self) -> bool:
        """Remove a step's worth of history that is past its retention; whether there may be more."""
        purged = await self._store.purge(self._registry.keep(self._retention_s))
        self._deliveries += purged.deliveries
        self._events += purged.events
        self._quarantined += purged.quarantined
        if purged.examined:
            return True
        # Said when all was looked at once: there are twenty steps a second.
        if self._deliveries or self._events or self._quarantined:
            self._observer.fact(
                "purged", deliveries=self._deliveries, events=self._events, quarantined=self._quarantined
            )
            self._deliveries = self._events = self._quarantined = 0
        return False
