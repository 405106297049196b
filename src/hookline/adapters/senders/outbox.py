"""Requests that leave together, at the end of a turn of the loop.

A write to a receiver that sleeps wakes it, which costs more than the write; and what is written while it is awake wakes
nobody. So what one turn of the loop has to say to however many receivers is written in one go, after the turn's other
work.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Leaving(Protocol):
    """Something with bytes to write."""

    def leave(self) -> None:
        """Write them now. Must not raise."""
        ...


class Outbox:
    """Belongs to one event loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Leaving] = []

    def put(self, leaving: Leaving) -> None:
        """Have `leaving` write at the end of this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(leaving)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for leaving in waiting:
            leaving.leave()
