"""When Python looks for cycles among all it keeps: when nobody publishes, not when an allocation happens to ask for it.

Events and deliveries are freed by counting references. A search through everything that lives, ten thousand endpoints
with their filters for example, stops the process for a tenth of a second, and everybody who publishes with it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

AFTER_OBJECTS: Final = 20_000
SOME_AFTER: Final = 20
"""What is young is looked through after so many new objects, what survived that after so many times."""
_NEVER: Final = 2**30
LOOK_EVERY_S: Final = 5.0
EVERY_S: Final = 60.0
LATEST_S: Final = 900.0
"""Where somebody always publishes it is done after so long, all the same."""


def tune() -> None:
    """What lives now lives as long as the process: no search need look at it. The rest is `Garbage`'s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(AFTER_OBJECTS, SOME_AFTER, _NEVER)


class Garbage:
    """Searches everything once a minute while `busy` says no, and after a quarter of an hour whatever it says."""

    def __init__(self, busy: Callable[[], bool], monotonic_s: Callable[[], float]) -> None:
        self._busy = busy
        self._monotonic_s = monotonic_s
        self._last_s = monotonic_s()

    def look(self) -> bool:
        """Search if it is time; whether it did."""
        since_s = self._monotonic_s() - self._last_s
        if since_s < EVERY_S or (since_s < LATEST_S and self._busy()):
            return False
        gc.collect()
        self._last_s = self._monotonic_s()
        return True

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()
