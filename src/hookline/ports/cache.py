"""The cache: what is known already need not be asked again, and what several processes count they count together.

Never truth. Everything in it may be gone at any moment (flushed, evicted, the server away), and nothing may be wrong
for that: whoever asks it can do without. `hookline.testing.cache_contract` is what every cache promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from hookline.core.endpoint import RateSpec

KEY_BYTES_MAX: Final = 200
"""Printable ASCII without a space."""
VALUE_BYTES_MAX: Final = 256 * 1024
"""What is larger is not kept: `set` forgets the key, `add` does nothing."""
TTL_S_MAX: Final = 86_400.0
CHARGES_MAX: Final = 64
"""In one call."""


class CacheUnavailable(Exception):
    """It does not answer, or not what was asked. The message is for a log and holds no value and no credential."""


class Charge(msgspec.Struct, frozen=True, gc=False):
    """Tokens that were used of a bucket."""

    key: bytes
    rate: RateSpec
    count: int


class Cache(Protocol):
    """Keeps values by key, each for a time. A method that cannot do its work raises `CacheUnavailable`."""

    async def get(self, key: bytes) -> bytes | None:
        """What is kept there, unless its time is over."""
        ...

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep it for `ttl_s` seconds (above 0, at most a day), whatever was there. It is never kept over a second
        longer, and may be forgotten earlier."""
        ...

    async def add(self, key: bytes, value: bytes, ttl_s: float) -> bool:
        """Keep it unless something is kept there, atomically over all processes; whether it was."""
        ...

    async def delete(self, key: bytes) -> None:
        """Keep nothing there."""
        ...

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        """Count tokens that were used, atomically over all processes, whether or not the buckets had them; at most
        `CHARGES_MAX`, each of another key. Returns for each how far the bucket is ahead of its time now, in ms: the
        theoretical arrival time of `core.quota.charge` less now, which also says how far below empty it can be."""
        ...

    @property
    def evictions(self) -> int:
        """How many values had to make room for others since the start, as far as that is known here."""
        ...

    async def close(self) -> None:
        """End its connections; closing twice is once. Afterwards everything raises `CacheUnavailable`."""
        ...
