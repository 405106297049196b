"""Keys that are fetched once and kept: bounded in number, in size, in time, and in how many fetches run at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from hookline.adapters.keys import system_roots
from hookline.core.verifiers.verdict import Fetch, Fetched
from hookline.ports.cache import Cache
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

CLOCKS_S: Final = 5.0
"""So much longer than it may be kept may what another process fetched seem to be good, for a clock that differs."""
_UNTIL_BYTES: Final = 8
_Name = tuple[str, str, str, tuple[tuple[str, str], ...], bytes]


class KeptKeys:
    """Belongs to one event loop. `get` fetches; only how often it is asked is decided here."""

    def __init__(self, get: Get, clock: Clock, shared: Cache | None = None) -> None:
        """`shared`: a cache that raises nothing, where other processes find what this one fetched. Only they who can
        seal for it can put anything there."""
        self._get = get
        self._clock = clock
        self._shared = shared
        self._sharing: set[asyncio.Future[None]] = set()
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
        found, keep_s, new = NOTHING, 0.0, False
        shared = self._shared
        try:
            if shared is not None and fetch.keep_s > 0:
                found, keep_s = await self._found(shared, name, fetch.keep_s)
            if found is NOTHING:
                keep_s = min(fetch.keep_s, KEEP_S_MAX)
                found = await self._get(fetch, self._clock.monotonic_s() + FETCH_S_MAX, group)
                new = found.status == 200
        finally:
            self._by_group[group] -= 1
            if not self._by_group[group]:
                del self._by_group[group]
            if fetch.keep_s > 0:
                self._flights.pop(name, None)
        if fetch.keep_s > 0:
            self._keep(name, found, keep_s if found.status == 200 else FAILURE_S)
            if new and shared is not None:
                self._share(shared, name, found, keep_s)
        return found

    async def _found(self, shared: Cache, name: _Name, keep_s: float) -> tuple[Fetched, float]:
        """What another process fetched, and for how long it may still be kept."""
        found = await shared.get(_key(name))
        if found is None or len(found) < _UNTIL_BYTES:
            return NOTHING, 0.0
        left_s = (int.from_bytes(found[:_UNTIL_BYTES]) - self._clock.wall_ms()) / 1000.0
        if not 0 < left_s <= min(keep_s, KEEP_S_MAX) + CLOCKS_S:
            return NOTHING, 0.0
        return Fetched(200, found[_UNTIL_BYTES:]), left_s

    def _share(self, shared: Cache, name: _Name, found: Fetched, keep_s: float) -> None:
        """Nobody waits for it."""
        until = (self._clock.wall_ms() + int(keep_s * 1000)).to_bytes(_UNTIL_BYTES)
        sharing = asyncio.ensure_future(shared.set(_key(name), until + found.body, keep_s))
        self._sharing.add(sharing)
        sharing.add_done_callback(self._sharing.discard)

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
        flights: list[asyncio.Future[Any]] = [*self._flights.values(), *self._alone, *self._sharing]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _key(name: _Name) -> bytes:
    return b"keys:" + msgspec.json.encode(name)
