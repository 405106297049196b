"""How history ends: day by day for what is kept for longest, row by row for what is kept for less.

A day is dropped when all of it is past the longest retention and nothing needs it: no open delivery has its id, no
fan-out unfolds an event of it, nothing in it expired within the day, and what lanes and replays hang on has been
removed or put apart row by row before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hookline.adapters.stores.ages import Ages
from hookline.adapters.stores.postgres import kept_events, partitions
from hookline.adapters.stores.postgres.partitions import DAY_MS, Part
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.ports.store import EXPIRED_KEPT_S, Keep

BY_DAY_S: Final = 2 * 86_400.0
"""What is kept for so long may stay until its day is over; what is kept for less is removed row by row at once."""
_EXPIRED_KEPT_MS: Final = int(EXPIRED_KEPT_S * 1000)
_NEEDED: Final = (
    "SELECT EXISTS (SELECT 1 FROM closed WHERE id >= $1 AND id < $2 AND reason = 'expired' AND finished_ms > $3)"
    " OR EXISTS (SELECT 1 FROM closed WHERE id >= $1 AND id < $2"
    " AND (event_id IS NOT NULL OR (state = 5 AND lane IS NOT NULL)))"
    " OR EXISTS (SELECT 1 FROM replays r JOIN events v ON v.id = r.event_id WHERE r.event_id >= $1 AND r.event_id < $2)"
)


class Horizon(Ages):
    """Up to which id each tenant's things are too old now, and what of them goes with its day. `drops` False: days
    cannot be dropped, everything goes row by row."""

    def __init__(self, keep: Keep, now_ms: int, *, drops: bool) -> None:
        super().__init__(keep, now_ms)
        self._longest_s = max([keep.default_s, *keep.by_tenant.values()])
        self.past_day = partitions.day_of(max(0, now_ms - int(self._longest_s * 1000))) if drops else 0
        """Days before this one are past the longest retention."""
        self.past = ids.floor(self.past_day * DAY_MS)
        self._by_day = drops and self._longest_s >= BY_DAY_S
        shorter = [kept_s for kept_s in (keep.default_s, *keep.by_tenant.values()) if kept_s < self._longest_s]
        self.row_highest = self.highest
        """From this id on nothing of history is removed row by row."""
        if self._by_day:
            self.row_highest = ids.floor(now_ms - int(min(shorter) * 1000)) if shorter else b""

    def row_bound(self, tenant: str) -> bytes:
        """This tenant's history with ids below goes row by row."""
        if self._by_day and self._keep.of(tenant) >= self._longest_s:
            return b""
        return self.bound(tenant)

    @property
    def last_day_ms(self) -> int:
        """Events made before this instant are in the last day of the longest retention."""
        return self.now_ms - int(self._longest_s * 1000) + DAY_MS


def ending(parts: Sequence[Part], horizon: Horizon) -> list[int]:
    """The days that are past, with what was left of them, oldest first."""
    return sorted({part.day for part in parts if part.pending or part.day < horizon.past_day})


async def not_needed(transaction: Transaction, horizon: Horizon, days: Sequence[int]) -> list[int]:
    """Those of these days that may go. From here on a replay keeps its event apart."""
    await kept_events.go_before(transaction, horizon.last_day_ms)
    free = []
    for day in days:
        low, high = partitions.bounds(day)
        referred = await transaction.value(partitions.REFERRED, low, high)
        if not referred and not await transaction.value(_NEEDED, low, high, horizon.now_ms - _EXPIRED_KEPT_MS):
            free.append(day)
    return free
