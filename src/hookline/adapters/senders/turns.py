"""New connections, a few in each turn of the event loop.

To begin one costs far more than to write on one that is kept: a request is built and signed, a socket is opened, then
comes a handshake. Hundreds begun at once (a fan-out, endpoints that never keep a connection) would hold everything
else up, stage by stage, for as long as all of them take together (500 in one turn: the others' p99 was 570 ms). So
they begin a few at a time, those of the groups (tenants) in turn, and what the loop has besides goes in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Final

STARTS_MAX: Final = 1
"""In one turn of the loop."""


class Turns:
    """Starts what is added: at once while there is room in this turn, else in order, one of each group in turn."""

    def __init__(self) -> None:
        self._left = STARTS_MAX
        self._turning = False
        self._groups: deque[str] = deque()
        """Those with somebody in line, the next first."""
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def add(self, group: str, start: Callable[[], None]) -> None:
        """Start it in its turn. `start` must not raise."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        if self._left > 0:  # then nobody waits
            self._left -= 1
            start()
            return
        waiting = self._waiting.get(group)
        if waiting is None:
            waiting = self._waiting[group] = deque()
            self._groups.append(group)
        # In the context of who asked for it, as any callback of a loop.
        waiting.append(partial(copy_context().run, start))

    def _turn(self) -> None:
        if not self._groups:
            self._left = STARTS_MAX
            self._turning = False
            return
        asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(STARTS_MAX):
            if not self._groups:
                return
            group = self._groups.popleft()
            waiting = self._waiting[group]
            start = waiting.popleft()
            if waiting:
                self._groups.append(group)
            else:
                del self._waiting[group]
            start()
