"""Keys that are fetched once and kept: bounded in number, in size, in time, and in how many fetches run at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from hookline.adapters.keys import system_roots
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.ports.clock import Clock

Get = Callable[[Fetch, float, str], Awaitable[Fetched]]
"""(what, deadline by the monotonic clock in s, group) → what came of it; status 0: nothing. Guarded."""

FETCH_S_MAX: Final = 5.0
"""A fetch takes no longer, whoever waits for it."""
KEEP_S_MAX: Final = 86_400.0
FAILURE_S: Final = 5.0
"""What did not come is not asked for again for so long."""
ENTRIES_MAX: Final = 1024
BYTES_MAX: Final = 16 * 1024 * 1024
FLIGHTS_MAX: Final = 64
GROUP_FLIGHTS_MAX: Final = 16
NOTHING: Final = Fetched(0, b"")

_Name = tuple[str, str, str, tuple[tuple[str, str], ...], bytes]


class KeptKeys:
    """Belongs to one event loop. `get` fetches; only how often it is asked is decided here."""

    def __init__(self, get: Get, clock: Clock) -> None:
        self._get = get
        self._clock = clock
        self._kept: dict[_Name, tuple[float, Fetched]] = {}
        """Until when, and what; the one kept longest ago first."""
        self._bytes = 0
        self._flights: dict[_Name, asyncio.Task[Fetched]] = {}
        self._alone: set[asyncio.Task[Fetched]] = set()
        self._by_group: Counter[str] = Counter()
        self._closed = False

    async def fetch(self, fetch: Fetch, *, within_s: float, group: str) -> Fetched:
        """See `ports.keys`."""
        if fetch.url == system_roots.URL:
            # Read once, which takes a tenth of a second.
            return await asyncio.to_thread(system_roots.answer)
        name: _Name = (fetch.name, fetch.method, fetch.url, fetch.headers, fetch.body)
        shared = fetch.keep_s > 0
        if shared:
            known = self._kept.get(name)
            if known is not None:
                if self._clock.monotonic_s() < known[0]:
                    return known[1]
                self._forget(name)
        flight = self._flights.get(name) if shared else None
        if flight is None:
            flight = self._start(name, fetch, group)
            if flight is None:
                return NOTHING
        # The flight is everybody's: who has no time left goes, and it goes on.
        slept = asyncio.ensure_future(self._clock.sleep(within_s))
        try:
            await asyncio.wait((flight, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
        return flight.result() if flight.done() and not flight.cancelled() else NOTHING

    def _start(self, name: _Name, fetch: Fetch, group: str) -> asyncio.Task[Fetched] | None:
        if self._closed or self._by_group.total() >= FLIGHTS_MAX or self._by_group[group] >= GROUP_FLIGHTS_MAX:
            return None
        self._by_group[group] += 1
        flight = asyncio.get_running_loop().create_task(self._fly(name, fetch, group))
        if fetch.keep_s > 0:
            self._flights[name] = flight
        else:
            self._alone.add(flight)
            flight.add_done_callback(self._alone.discard)
        return flight

    async def _fly(self, name: _Name, fetch: Fetch, group: str) -> Fetched:
        found = NOTHING
        try:
            found = await self._get(fetch, self._clock.monotonic_s() + FETCH_S_MAX, group)
        finally:
            self._by_group[group] -= 1
            if not self._by_group[group]:
                del self._by_group[group]
            if fetch.keep_s > 0:
                self._flights.pop(name, None)
        if fetch.keep_s > 0:
            self._keep(name, found, min(fetch.keep_s, KEEP_S_MAX) if found.status == 200 else FAILURE_S)
        return found

    def _keep(self, name: _Name, found: Fetched, keep_s: float) -> None:
        self._forget(name)
        self._kept[name] = (self._clock.monotonic_s() + keep_s, found)
        self._bytes += len(found.body)
        while len(self._kept) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: _Name) -> None:
        known = self._kept.pop(name, None)
        if known is not None:
            self._bytes -= len(known[1].body)

    async def close(self) -> None:
        """See `ports.keys`."""
        self._closed = True
        flights = [*self._flights.values(), *self._alone]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
