"""The cache as the flow asks it: never in the way.

A cache server that is away or slow costs one question `TIMEOUT_S` each `BYPASS_S`, and nobody else anything: until it
answers again the cache is empty. What lies on a server is sealed with HOOKLINE_SECRET_KEY and bound to its key, and
keys are digests under it: who can read the server learns nothing, who can write it cannot make us believe anything, and
installations that share a server do not meet.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from hookline.core.secret import NONCE_BYTES, Keyring
from hookline.ports.cache import Cache, CacheUnavailable, Charge
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer

TIMEOUT_S: Final = 0.1
BYPASS_S: Final = 1.0
CLOCKS_S: Final = 5.0
"""The clocks of processes may differ by so much."""
_UNTIL_BYTES: Final = 8
ASKING_MAX: Final = 64
"""Questions to a server at once; what is more is asked of the store."""
_PURPOSE: Final = b"hookline cache 1"
_PREFIX: Final = b"hookline:"
_DIGEST_BYTES: Final = 24
T = TypeVar("T")


class CacheCounts(msgspec.Struct):
    """What was asked of the cache since the start."""

    hits: Counter[str]
    """By use: what stands before the first colon of a key."""
    misses: Counter[str]
    errors: int = 0
    """Questions that it did not answer."""
    bypassed: int = 0
    """Questions that it was spared, having failed just before."""

    def no_use(self, key: bytes) -> None:
        """What was found there was no answer any more: no hit."""
        use = use_of(key)
        self.hits[use] -= 1
        self.misses[use] += 1


class GuardedCache:
    """A `ports.cache.Cache` that raises nothing and takes any bytes for a key: `use:…`. Where the cache does not
    answer, `get` finds nothing, `add` is False and `charge` returns nothing at all."""

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        observer: Observer,
        keyring: Keyring | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        bypass_s: float = BYPASS_S,
    ) -> None:
        """With a `keyring` the cache is a server: it is waited for no longer than `timeout_s`, and what it holds is
        sealed."""
        self._cache = cache
        self._clock = clock
        self._observer = observer
        self._keyring = keyring
        self._digest_key = b"" if keyring is None else keyring.derived(_PURPOSE)
        self._timeout_s = timeout_s
        self._bypass_s = bypass_s
        self._bypassed_until_s = float("-inf")
        self._failing = self._probing = False
        self._asking = 0
        self.counts = CacheCounts(Counter(), Counter())

    @property
    def evictions(self) -> int:
        """See `Cache`."""
        return self._cache.evictions

    async def get(self, key: bytes) -> bytes | None:
        """See `Cache`."""
        name = self._name(key)
        found = await self._asked(lambda: self._cache.get(name), None, waives=True)
        value = None if found is None else self._open(name, found)
        (self.counts.misses if value is None else self.counts.hits)[use_of(key)] += 1
        return value

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See `Cache`."""
        name = self._name(key)
        sealed = self._seal(name, value, ttl_s)
        await self._asked(lambda: self._cache.set(name, sealed, ttl_s), None)

    async def add(self, key: bytes, value: bytes, ttl_s: float) -> bool:
        """See `Cache`."""
        name = self._name(key)
        sealed = self._seal(name, value, ttl_s)
        return await self._asked(lambda: self._cache.add(name, sealed, ttl_s), otherwise=False, waives=True)

    async def delete(self, key: bytes) -> None:
        """See `Cache`."""
        name = self._name(key)
        await self._asked(lambda: self._cache.delete(name), None)

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        """See `Cache`; empty: it did not answer."""
        named = [msgspec.structs.replace(one, key=self._name(one.key)) for one in charges]
        none: Sequence[float] = ()
        return await self._asked(lambda: self._cache.charge(named), none)

    async def close(self) -> None:
        """See `Cache`."""
        await self._cache.close()

    # ------------------------------------------------------------------------------------------- never in the way

    async def _asked(self, ask: Callable[[], Awaitable[T]], otherwise: T, *, waives: bool = False) -> T:
        """`waives`: where many ask at once the question is not asked; they would be so slow that the server looked as
        if it failed."""
        if self._keyring is None:
            return await self._answered(ask(), otherwise)
        if (self._failing and (self._probing or self._clock.monotonic_s() < self._bypassed_until_s)) or (
            waives and self._asking >= ASKING_MAX
        ):
            self.counts.bypassed += 1
            return otherwise
        self._probing = self._failing
        self._asking += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._answered(ask(), otherwise)
        except TimeoutError:
            self._failed(f"no answer within {self._timeout_s:g} s")
            return otherwise
        finally:
            self._asking -= 1

    async def _answered(self, asked: Awaitable[T], otherwise: T) -> T:
        try:
            answer = await asked
        except CacheUnavailable as error:
            self._failed(str(error))
            return otherwise
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, nobody is to fail for a cache
            self._failed(repr(error)[:200])
            return otherwise
        except asyncio.CancelledError:
            self._probing = False
            raise
        if self._failing:
            self._failing = self._probing = False
            self._observer.fact("cache_answers")
        return answer

    def _failed(self, error: str) -> None:
        self.counts.errors += 1
        self._failing, self._probing = True, False
        self._bypassed_until_s = self._clock.monotonic_s() + self._bypass_s
        self._observer.warn("cache_unavailable", error=error, bypassed_s=self._bypass_s)

    # --------------------------------------------------------------------------------- what lies on a server

    def _name(self, key: bytes) -> bytes:
        if self._keyring is None:
            return key
        digest = hmac.digest(self._digest_key, key, "sha256")[:_DIGEST_BYTES]
        return _PREFIX + base64.urlsafe_b64encode(digest)

    def _seal(self, name: bytes, value: bytes, ttl_s: float) -> bytes:
        if self._keyring is None:
            return value
        until = (self._clock.wall_ms() + math.ceil(ttl_s * 1000)).to_bytes(_UNTIL_BYTES)
        return self._keyring.seal(name + until + value, self._clock.random_bytes(NONCE_BYTES))

    def _open(self, name: bytes, found: bytes) -> bytes | None:
        """None: it was not sealed by us, or for another key, or for a time that is over."""
        if self._keyring is None:
            return found
        try:
            opened = self._keyring.open(found)
        except ValueError:
            return None
        size = len(name) + _UNTIL_BYTES
        if len(opened) < size or not opened.startswith(name):
            return None
        until_ms = int.from_bytes(opened[len(name) : size])
        return opened[size:] if self._clock.wall_ms() < until_ms + CLOCKS_S * 1000 else None


def use_of(key: bytes) -> str:
    """What a key is used for."""
    return key.partition(b":")[0].decode("ascii")
