"""Follow: what other processes on the same store change is known here within half a second.

Configuration is looked at by its version, which is one cheap statement, and at once when somebody says that it changed;
how many deliver decides what may be handed off; the health of endpoints is what the last who tried them found.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hookline.core.errors import StoreUnavailable
from hookline.flow.deliver import Deliver
from hookline.flow.health import HealthKeeper
from hookline.flow.registry import Registry
from hookline.flow.waiting import wait_for_set
from hookline.flow.wake import Wake
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Store

EVERY_S: Final = 0.4
HEALTHS_EVERY_S: Final = 2.0


class Follow:
    """One process's view of the others. `run` returns when cancelled."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        health: HealthKeeper,
        deliver: Deliver,
        wake: Wake,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._store = store
        self._registry = registry
        self._health = health
        self._deliver = deliver
        self._wake = wake
        self._clock = clock
        self._observer = observer
        self._wanted = asyncio.Event()
        self._healths_s = float("-inf")
        self.workers = 1
        """Living processes that deliver."""
        self.erasures = 0
        """How many erasures of events had begun when we looked last."""
        self._looked_s = float("-inf")
        self.first = False
        """Whether this process is the one of them that does what one is enough for."""

    def soon(self) -> None:
        """Somebody says that the configuration changed: look now."""
        self._wanted.set()

    def knows(self, within_s: float) -> bool:
        """Whether what is known here of configuration and erasures is at most so old."""
        return self._clock.monotonic_s() - self._looked_s <= within_s

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._wanted.clear()
            try:
                await self.once()
            except StoreUnavailable as error:
                self._observer.warn("follow_failed", code=error.code, error=str(error))
            except Exception as error:  # noqa: BLE001 - a loop that ended silently would be the worst of failures
                self._observer.warn("follow_defect", error=repr(error))
                await self._clock.sleep(EVERY_S)
            await wait_for_set(self._wanted, self._clock, EVERY_S)

    async def once(self) -> None:
        """Look once. Raises `StoreUnavailable`."""
        looked_s = self._clock.monotonic_s()
        pulse = await self._store.pulse()
        self.workers, self.first = pulse.workers, pulse.first
        self._deliver.workers = pulse.workers
        if pulse.registry_version > self._registry.version:
            await self._registry.refresh()
        self.erasures, self._looked_s = pulse.erasures, looked_s
        now_s = self._clock.monotonic_s()
        if now_s - self._healths_s >= HEALTHS_EVERY_S:
            self._healths_s = now_s
            await self._adopt()

    async def _adopt(self) -> None:
        for row in await self._store.healths():
            channel = self._deliver.channel(row.endpoint_id)
            if channel is None or row.version <= channel.health_version or channel.health_dirty:
                continue
            self._health.adopt(row, channel)
            if not channel.health.failing:
                self._wake.ready(row.endpoint_id)
