"""Answers to reads that are kept: of events, of event types, of delivered deliveries. Never of state that changes.

An event changes once, when its payload is erased; an event type with the registry's version, which is part of its key;
a delivered delivery never. (A failed or discarded one can be opened again, so it is always asked for.) An erasure puts
a mark where the answer was, on which nobody who read before can put his answer any more; and it raises a number in the
store that every process follows, so that without the mark (a cache that was away, or one of each process) an older
answer counts no longer than `FRESH_S`. A process that does not know how the store stands asks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from hookline.flow.follow import Follow
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.registry import Registry
from hookline.ports.clock import Clock

TTL_S: Final = 30.0
"""So long an answer outlives what retention took away."""
FRESH_S: Final = 0.9
"""What the store said of itself counts for so long."""
ERASED_S: Final = 10.0
"""A mark stands longer than any read takes."""
ERASED_MAX: Final = 10_000
_MARK: Final = b""
_NUMBER_BYTES: Final = 8

Make = Callable[[], Awaitable[tuple[bytes, bool]]]
"""Asks the store: the answer, and whether it may be kept."""


class Standing:
    """How the store stands, as far as this process knows: asked before each answer."""

    def __init__(self, version: Callable[[], int], erasures: Callable[[], int], fresh: Callable[[], bool]) -> None:
        """`fresh`: whether the numbers of the registry and of erasures are at most `FRESH_S` old."""
        self.version = version
        self.erasures = erasures
        self.fresh = fresh


def standing(registry: Registry, follow: Follow | None) -> Standing:
    """How the store stands by what `follow` saw; None: nobody else has it."""
    if follow is None:
        return Standing(lambda: registry.version, int, lambda: True)
    return Standing(lambda: registry.version, lambda: follow.erasures, lambda: follow.knows(FRESH_S))


class Reads:
    """The kept answers. Without a cache every one is made anew."""

    def __init__(
        self, cache: GuardedCache | None, clock: Clock | None = None, standing: Standing | None = None
    ) -> None:
        """`clock` is needed with a cache only."""
        self._cache = cache
        self._now_s = float if clock is None else clock.monotonic_s
        self._standing = standing or Standing(int, int, lambda: True)
        self._erased: dict[bytes, float] = {}
        """Until when, by the monotonic clock, nothing is taken from the cache there; the oldest first."""
        self.queries_saved = 0
        """Questions to the database that a kept answer spared it, since the start."""

    async def event(self, tenant: str, event_id: bytes, make: Make) -> bytes:
        """An answer about an event that has not been erased."""
        return await self._of_event(_key(b"event", tenant, event_id), make)

    async def payload(self, tenant: str, event_id: bytes, make: Make) -> bytes:
        """An event's payload, as `make` writes it."""
        return await self._of_event(_key(b"payload", tenant, event_id), make)

    async def event_type(self, tenant: str, name: str, make: Make) -> bytes:
        """An answer about an event type with all its versions."""
        if self._cache is None or not self._standing.fresh():
            return (await make())[0]
        version = self._standing.version()
        return await self._kept(self._cache, _key(b"event_type", tenant, b"%d:%b" % (version, name.encode())), 0, make)

    async def delivery(self, tenant: str, delivery_id: bytes, make: Make) -> bytes:
        """An answer about a delivery, to be kept where it is delivered."""
        if self._cache is None:
            return (await make())[0]
        return await self._kept(self._cache, _key(b"delivery", tenant, delivery_id), 0, make)

    async def forget_event(self, tenant: str, event_id: bytes) -> None:
        """The event is being erased, or was: from here on no answer from before is given by this process, nor by any
        other that asks the same cache."""
        if self._cache is None:
            return
        until_s = self._now_s() + ERASED_S
        for use in (b"event", b"payload"):
            key = _key(use, tenant, event_id)
            self._erased.pop(key, None)
            self._erased[key] = until_s
            await self._cache.set(key, _MARK, ERASED_S)
        while len(self._erased) > ERASED_MAX:
            del self._erased[next(iter(self._erased))]

    async def _of_event(self, key: bytes, make: Make) -> bytes:
        if self._cache is None or not self._standing.fresh() or self._is_erased(key):
            return (await make())[0]
        return await self._kept(self._cache, key, self._standing.erasures(), make)

    async def _kept(self, cache: GuardedCache, key: bytes, number: int, make: Make) -> bytes:
        """What is kept under this number; otherwise it is made, and kept unless there is a mark."""
        found = await cache.get(key)
        head = number.to_bytes(_NUMBER_BYTES)
        if found and found.startswith(head):
            self.queries_saved += 1
            return found[_NUMBER_BYTES:]
        if found is not None:
            cache.counts.no_use(key)
        answer, keep = await make()
        if keep and found != _MARK and not self._is_erased(key):
            if found is None:
                await cache.add(key, head + answer, TTL_S)
            else:
                await cache.set(key, head + answer, TTL_S)
        return answer

    def _is_erased(self, key: bytes) -> bool:
        until_s = self._erased.get(key)
        if until_s is None:
            return False
        if self._now_s() < until_s:
            return True
        del self._erased[key]
        return False


def _key(use: bytes, tenant: str, rest: bytes) -> bytes:
    return b"%b:%b\0%b" % (use, tenant.encode(), rest)
