"""What was read from a broker and not given out yet: given out in parts that keep the bounds of a `receive`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from hookline.ports.consumer import BYTES_MAX, MESSAGES_MAX, ConsumerLost, Message


class Holding:
    """Messages in order. For a driver that brings them by callbacks, `wait` waits for the next one."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._came = asyncio.Event()
        self._lost: ConsumerLost | None = None

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, messages: Iterable[Message]) -> None:
        """Keep these behind the others."""
        self._messages.extend(messages)
        self._came.set()

    def fail(self, lost: ConsumerLost) -> None:
        """There will be no others: `wait` raises this."""
        self._lost = self._lost or lost
        self._came.set()

    @property
    def lost(self) -> ConsumerLost | None:
        """Why there will be no others, or None."""
        return self._lost

    async def wait(self) -> list[Message]:
        """The next ones, at least one. Raises `ConsumerLost`, also where there are some: who has them may not
        acknowledge them any more."""
        while self._lost is None and not self._messages:
            self._came.clear()
            await self._came.wait()
        if self._lost is not None:
            raise self._lost
        return self.some()

    def some(self) -> list[Message]:
        """As many as one `receive` may bring."""
        some: list[Message] = []
        size_bytes = 0
        while self._messages and len(some) < MESSAGES_MAX and size_bytes < BYTES_MAX:
            some.append(self._messages.popleft())
            size_bytes += len(some[-1].body)
        return some
