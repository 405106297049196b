"""The spool: received requests that wait on this machine's own disk while the store is away.

Only for sources that ask for it (docs/reliability.md, rule 29). A record is bytes to it; what they mean is
`flow.intake`'s. It belongs to one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Spooled(msgspec.Struct, frozen=True):
    """A record that waits; `token` is the adapter's own."""

    at_ms: int
    """When it was spooled, by the wall clock."""
    payload: bytes
    token: object = None


class SpoolState(msgspec.Struct, frozen=True):
    """What waits."""

    records: int = 0
    size_bytes: int = 0
    """On disk, what was set aside included."""
    oldest_at_ms: int | None = None
    set_aside: int = 0
    """Records that the store would not take: they wait for a person."""


class Spool(Protocol):
    """Keeps records, durably and in order, until they are removed."""

    async def start(self) -> None:
        """Open it and find what waits. Raises `SpoolUnavailable`."""
        ...

    async def append(self, at_ms: int, payloads: Sequence[bytes]) -> int:
        """How many of them, from the first on, are durable now; there is no room for the others. Raises
        `SpoolUnavailable`: none is known to be durable."""
        ...

    async def oldest(self, records_max: int, bytes_max: int) -> Sequence[Spooled]:
        """What has waited longest, in order; at least one, unless nothing waits. Raises `SpoolUnavailable`."""
        ...

    async def remove(self, records: Sequence[Spooled]) -> None:
        """The store has these. One that is removed may come again after a crash. Never raises."""
        ...

    async def set_aside(self, record: Spooled, why: str) -> None:
        """The store would never take this one: out of the way, and kept. Raises `SpoolUnavailable`."""
        ...

    @property
    def state(self) -> SpoolState:
        """What waits."""
        ...

    @property
    def takes(self) -> bool:
        """Whether it is open and has room, as far as is known."""
        ...

    async def close(self) -> None:
        """Let go of it; what waits stays. Closing twice does nothing."""
        ...
