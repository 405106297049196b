"""How old is too old, by tenant: what retention of every store goes by."""

from __future__ import annotations

from hookline.core import ids
from hookline.ports.store import Keep


class Ages:
    """Up to which id each tenant's things are too old now."""

    def __init__(self, keep: Keep, now_ms: int) -> None:
        self._keep = keep
        self.now_ms = now_ms
        self._bounds: dict[str, bytes] = {}
        self.highest = ids.floor(now_ms - int(keep.shortest_s * 1000))
        """Nobody's are, from this on."""

    def bound(self, tenant: str) -> bytes:
        """This tenant's things with ids below are too old."""
        found = self._bounds.get(tenant)
        if found is None:
            found = self._bounds[tenant] = ids.floor(self.now_ms - int(self._keep.of(tenant) * 1000))
        return found
