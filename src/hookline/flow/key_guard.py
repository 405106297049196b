"""What is asked of an issued key beyond that it is known: its end and its rates; and when it was last used.

Rates are held in memory, by this process, or shared with others through the cache. Uses are noted in memory and written
together, so `last_used_at` is true to within `FLUSH_S`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.api_key import Key
from hookline.core.buckets import MakeBuckets, network_of, own, too_many
from hookline.core.endpoint import RateSpec
from hookline.core.errors import StoreUnavailable
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.store import Store

FLUSH_S: Final = 10.0


class KeyGuard:
    """Asked at every request of an issued key."""

    def __init__(
        self, store: Store, clock: Clock, observer: Observer | None = None, buckets: MakeBuckets = own
    ) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._of_keys = buckets("keys")
        self._of_addresses = buckets("addresses of keys")
        self.noted: dict[bytes, int] = {}
        """When each key was first used since the last flush, ms since 1970; one and the same object."""

    def note(self, key_id: bytes) -> None:
        """The key is used now. Need not be called for those in `noted`."""
        self.noted[key_id] = self._store.now_ms()

    def has_ended(self, key: Key) -> bool:
        """Whether the key is past its end."""
        return key.expires_at_ms is not None and self._store.now_ms() >= key.expires_at_ms

    def count(self, key: Key, client: str) -> None:
        """Count a request of this key from this client address (empty: unknown). Raises `Refusal` `rate_limited`;
        then it is not counted."""
        rate, address_rate = key.rate, key.address_rate
        now_ms = self._clock.monotonic_s() * 1000.0
        if rate is not None:
            wait_s = self._of_keys.take(key.id, now_ms, rate)
            if wait_s:
                raise too_many(_detail("with this key", rate), wait_s)
        if address_rate is not None:
            wait_s = self._of_addresses.take((key.id, network_of(client)), now_ms, address_rate)
            if wait_s:
                if rate is not None:
                    self._of_keys.give_back(key.id, rate)
                raise too_many(_detail("with this key from your address", address_rate), wait_s)

    async def last_uses(self) -> Mapping[bytes, int]:
        """When each key was last used, ms since 1970; keys never used are missing. Raises `StoreUnavailable`."""
        return {**await self._store.key_uses(), **self.noted}

    async def flush(self) -> bool:
        """Write down what was noted; a step of `flow.upkeep`. Raises `StoreUnavailable`: then it is still noted."""
        if not self.noted:
            return False
        uses = dict(self.noted)
        self.noted.clear()
        try:
            await self._store.note_key_uses(uses)
        except BaseException:
            for key_id, used_ms in uses.items():
                self.noted.setdefault(key_id, used_ms)
            raise
        return False

    async def close(self) -> None:
        """Write down what is noted, if the store takes it: the process ends."""
        try:
            await self.flush()
        except StoreUnavailable as error:
            if self._observer is not None:
                self._observer.warn("key_uses_left", keys=len(self.noted), error=str(error))


def _detail(whose: str, rate: RateSpec) -> str:
    return f"More than {rate.n} requests in {rate.per_s:g} s {whose}."
