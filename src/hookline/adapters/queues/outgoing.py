"""What waits to be sent to a broker: at most 1,000 messages. Beyond that the newest are dropped and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hookline.adapters.queues.packing import packed_messages
from hookline.ports.queue import MESSAGES_BUFFERED_MAX


class Outgoing:
    """A buffer that never waits. A message that waits already need not be sent twice, and is not."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, None] = {}
        self._taken = 0
        self._closed = False
        self._wanted = asyncio.Event()
        self.dropped = 0
        """How many messages were dropped since the start."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def left(self) -> int:
        """How many wait or are on their way."""
        return len(self._waiting) + self._taken

    def add(self, delivery_ids: Sequence[bytes]) -> None:
        """Let these be sent, in messages of at most 256."""
        for message in packed_messages(delivery_ids):
            if message in self._waiting:
                continue
            if self._closed or self.left >= MESSAGES_BUFFERED_MAX:
                self.dropped += 1
            else:
                self._waiting[message] = None
        if self._waiting:
            self._wanted.set()

    async def some(self) -> None:
        """Return when something waits, or somebody wants that this looks up."""
        if not self._waiting:
            self._wanted.clear()
            await self._wanted.wait()

    def wake(self) -> None:
        """Let who waits in `some` go on."""
        self._wanted.set()

    def take(self) -> list[bytes]:
        """All that waits; it counts until it is `sent` or given `back`."""
        taken = list(self._waiting)
        self._waiting = {}
        self._taken += len(taken)
        return taken

    def sent(self, messages: Sequence[bytes]) -> None:
        """What was taken is with the broker."""
        self._taken -= len(messages)

    def back(self, messages: Sequence[bytes]) -> None:
        """What was taken could not be sent: it goes before what came meanwhile."""
        self._taken -= len(messages)
        if not self._closed:
            self._waiting = dict.fromkeys(messages) | self._waiting

    def close(self) -> None:
        """Drop what waits, and all that comes."""
        self._closed = True
        self._waiting = {}
