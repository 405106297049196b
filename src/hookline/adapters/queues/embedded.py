"""The queue of one process: hints stay in memory, the store is the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hookline.ports.queue import IDS_PER_MESSAGE_MAX, MESSAGES_BUFFERED_MAX, Message


class EmbeddedQueue:
    """`ports.queue.Queue` in memory, bounded at 1,000 messages; the newest are dropped beyond.

    A process that claims from its own store by due time loses nothing by a dropped hint but that time.
    """

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue(MESSAGES_BUFFERED_MAX)
        self._dropped = 0
        self._closed = False

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """Hint that these are due now; dropped and counted when 1,000 messages wait or after `close`."""
        for start in range(0, len(delivery_ids), IDS_PER_MESSAGE_MAX):
            if self._closed or self._messages.full():
                self._dropped += 1
            else:
                self._messages.put_nowait(Message(tuple(delivery_ids[start : start + IDS_PER_MESSAGE_MAX])))

    async def receive(self) -> Message:
        """The next message; waits for one."""
        return await self._messages.get()

    async def acknowledge(self, message: Message) -> None:
        """Nothing to do: a message received is gone from memory."""

    @property
    def hears(self) -> bool:
        """There is nobody else to hear."""
        return True

    @property
    def dropped(self) -> int:
        """How many messages were dropped since the start."""
        return self._dropped

    async def close(self) -> None:
        """Drop what waits, and all that comes."""
        self._closed = True
        while not self._messages.empty():
            self._messages.get_nowait()
