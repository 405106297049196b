"""The queue: hints between processes that something is due. It carries ids only and may lose them all.

A message is a list of at most 256 delivery ids. Who receives it claims them in the store and acknowledges once
that has committed; ids that the claim did not return are dropped. Where no delivery is at hand (a person resumed,
retried, replayed) an id may be an endpoint's, which has something due: it has another length. The store is the truth:
flushing a queue costs time, never events. `hookline.testing.queue_contract` is what every queue promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

IDS_PER_MESSAGE_MAX = 256
MESSAGES_BUFFERED_MAX = 1000


class Message(msgspec.Struct, frozen=True):
    """Some delivery ids; `token` is the adapter's own, for `acknowledge`."""

    delivery_ids: Sequence[bytes]
    token: object = None


class Queue(Protocol):
    """Publishes and receives hints."""

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """Hint that these are due now. Never waits and never raises: splits into messages, buffers at most 1,000
        of them, drops and counts the rest."""
        ...

    async def receive(self) -> Message:
        """The next message; waits for one. Heals by itself; cancelling it loses nothing but a hint."""
        ...

    async def acknowledge(self, message: Message) -> None:
        """It was claimed (or found to be nothing): need not come again."""
        ...

    @property
    def hears(self) -> bool:
        """Whether what other processes publish comes in now. While it does not, the store is asked more often."""
        ...

    @property
    def dropped(self) -> int:
        """How many messages were dropped since the start."""
        ...

    async def close(self) -> None:
        """Stop; `receive` calls that wait are cancelled by their callers."""
        ...
