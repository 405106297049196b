"""What is said at most once an hour, however often it happens."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from hookline.ports.clock import Clock

SAID_S: Final = 3600.0


class Seldom:
    """Remembers what was said within the hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[Hashable, float] = {}

    def may_say(self, what: Hashable) -> bool:
        """Whether this was not said within the hour; then it is now."""
        now_s = self._clock.monotonic_s()
        if now_s - self._said.get(what, -SAID_S) < SAID_S:
            return False
        self._said = {said: at_s for said, at_s in self._said.items() if now_s - at_s < SAID_S}
        self._said[what] = now_s
        return True
