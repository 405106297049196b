"""When to look into the store: which endpoints have something due, fairly ordered by tenant.

Every commit that leaves something pending says so here, so the store is asked only when there is something to
get. A poll behind it (see `flow.worker`) makes a missed word cost time, never a delivery.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from hookline.ports.clock import Clock
from hookline.ports.queue import Queue

SOON_S: Final = 15.0
"""What is due later is found by the polls of those who deliver."""
_STALE_MAX: Final = 1000


class Wake:
    """Endpoints that sleep until a time, and those that are ready, in rounds: one endpoint per tenant and turn."""

    def __init__(self, clock: Clock, tenant_of: Callable[[bytes], str | None]) -> None:
        self._clock = clock
        self._tenant_of = tenant_of
        self._due: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._ready: OrderedDict[str, OrderedDict[bytes, None]] = OrderedDict()
        self._ready_count = 0
        self.changed = asyncio.Event()

    def notify(self, due_s: dict[bytes, float]) -> None:
        """These endpoints have something pending, the earliest due in so many seconds."""
        for endpoint_id, wait_s in due_s.items():
            self.at(endpoint_id, wait_s)

    def at(self, endpoint_id: bytes, wait_s: float) -> None:
        """Look at this endpoint in `wait_s` seconds, or earlier if that was said before."""
        if wait_s <= 0:
            self.ready(endpoint_id)
            return
        due = self._clock.monotonic_s() + wait_s
        known = self._due.get(endpoint_id)
        if known is None or due < known:
            self._due[endpoint_id] = due
            heapq.heappush(self._heap, (due, endpoint_id))
            if len(self._heap) > 2 * len(self._due) + _STALE_MAX:
                # Times that an earlier one overtook: they would stay until they come, which may be days.
                self._heap = [(when, sleeper) for sleeper, when in self._due.items()]
                heapq.heapify(self._heap)
            self.changed.set()

    def ready(self, endpoint_id: bytes) -> None:
        """Look at this endpoint now."""
        tenant = self._tenant_of(endpoint_id)
        if tenant is None:
            return
        endpoints = self._ready.get(tenant)
        if endpoints is None:
            endpoints = self._ready[tenant] = OrderedDict()
        if endpoint_id not in endpoints:
            endpoints[endpoint_id] = None
            self._ready_count += 1
            self.changed.set()

    def promote(self) -> None:
        """Move what has fallen due to the ready ones."""
        now = self._clock.monotonic_s()
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, endpoint_id = heapq.heappop(heap)
            if self._due.get(endpoint_id) == due:
                del self._due[endpoint_id]
                self.ready(endpoint_id)

    def take(self, count_max: int) -> list[bytes]:
        """Up to so many ready endpoints, tenants in turn; who comes first moves on with each call."""
        taken: list[bytes] = []
        while self._ready and len(taken) < count_max:
            tenant, endpoints = next(iter(self._ready.items()))
            endpoint_id, _ = endpoints.popitem(last=False)
            taken.append(endpoint_id)
            if endpoints:
                self._ready.move_to_end(tenant)
            else:
                del self._ready[tenant]
        self._ready_count -= len(taken)
        return taken

    @property
    def ready_count(self) -> int:
        """How many endpoints are ready."""
        return self._ready_count

    def next_s(self) -> float | None:
        """Seconds until the next endpoint falls due; None: none sleeps."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        return max(0.0, self._heap[0][0] - self._clock.monotonic_s())


class Elsewhere(Wake):
    """Of a process that delivers nothing: those who do are told what one turn of the loop brings, in one message."""

    def __init__(self, clock: Clock, tenant_of: Callable[[bytes], str | None], queue: Queue) -> None:
        super().__init__(clock, tenant_of)
        self._queue = queue
        self._told: dict[bytes, None] = {}

    def at(self, endpoint_id: bytes, wait_s: float) -> None:
        """The others are to look at this endpoint: they see when it is due."""
        if wait_s < SOON_S:
            self.ready(endpoint_id)

    def ready(self, endpoint_id: bytes) -> None:
        """The others are to look at this endpoint now."""
        if not self._told:
            asyncio.get_running_loop().call_soon(self._tell)
        self._told[endpoint_id] = None

    def _tell(self) -> None:
        told, self._told = list(self._told), {}
        self._queue.publish(told)
