"""The store's clock: never goes back, not even over a restart (docs/reliability.md, rule 17)."""

from __future__ import annotations

import threading
from typing import Final

from hookline.ports.clock import Clock

JUMP_MS_MIN: Final = 1000
"""What the wall is ahead by less is no jump: clocks are trimmed all the time."""
JUMPS_KEPT_S: Final = 120.0
"""Longer than any lease lasts, with all that is added to it."""


class StoreClock:
    """Starts at max(wall, `floor_ms`), runs on the monotonic clock, and is set again only forward to the wall.

    Called from the event loop and from the writer's thread.
    """

    def __init__(self, clock: Clock, floor_ms: int = 0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._anchor_ms = max(clock.wall_ms(), floor_ms)
        self._anchor_s = clock.monotonic_s()
        self._last_ms = self._anchor_ms
        self._jumps: list[tuple[float, int]] = []

    def now_ms(self) -> int:
        """Milliseconds since 1970, never less than it said before."""
        with self._lock:
            monotonic_s = self._clock.monotonic_s()
            now_ms = self._anchor_ms + int((monotonic_s - self._anchor_s) * 1000)
            wall_ms = self._clock.wall_ms()
            if wall_ms > now_ms:
                if wall_ms - now_ms >= JUMP_MS_MIN:
                    self._jumps = [*self._recent(monotonic_s), (monotonic_s, wall_ms - now_ms)]
                self._anchor_ms = now_ms = wall_ms
                self._anchor_s = monotonic_s
            self._last_ms = max(self._last_ms, now_ms)
            return self._last_ms

    def jumped_ms(self) -> int:
        """By how much the wall has set it forward within the last two minutes of real time.

        An instant of before then is by so much further away than it seems: what was to last until it has not lasted so
        long yet.
        """
        self.now_ms()  # sees the jump if there is one
        with self._lock:
            self._jumps = self._recent(self._clock.monotonic_s())
            return sum(jump_ms for _, jump_ms in self._jumps)

    def _recent(self, monotonic_s: float) -> list[tuple[float, int]]:
        return [jump for jump in self._jumps if monotonic_s - jump[0] < JUMPS_KEPT_S]

    def at_least(self, floor_ms: int) -> None:
        """Go forward to `floor_ms`, if it is ahead: what the file knows of earlier processes' time."""
        now_ms = self.now_ms()
        with self._lock:
            if floor_ms > now_ms:
                self._anchor_ms = self._last_ms = floor_ms
                self._anchor_s = self._clock.monotonic_s()
