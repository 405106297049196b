"""What happens, in the order of its commits: events, attempts, and changes that no attempt brought about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.ports.store.archive import DeliveryRow

CHANGES_KEPT_S = 86_400.0
"""How long changes are kept for readers that come back."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of a delivery or an endpoint that is not an attempt's: by a person, a confirmation, an end of time."""

    at_ms: int
    tenant: str
    endpoint_id: bytes
    delivery_id: bytes | None
    """None: the endpoint itself changed."""
    before: str
    after: str
    """States, in the API's words."""
    reason: str | None = None
    event_id: bytes | None = None
    type: str | None = None
    """Of the delivery's event; None for an endpoint, and where history has let go of the delivery."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An event was accepted. Its payload is left out (`data` is empty)."""

    event: Event
    data_bytes: int = 0
    """How long its payload is."""


class Attempted(msgspec.Struct, frozen=True, gc=False):
    """An attempt was recorded."""

    fence: int
    record: AttemptRecord
    """Without its exchange."""
    delivery: DeliveryRow
    """As it is now, which may be later than the attempt."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened."""

    position: bytes
    """Reading goes on behind this."""
    what: Accepted | Attempted | Change


class Stream(Protocol):
    """Reading along. On several nodes a lower position may commit later: a reader goes back 10 s and drops what it
    has seen (docs/reliability.md, rule 30); where commits are in order (SQLite) positions are exact."""

    async def stream_end(self) -> bytes:
        """A position with all before it that will not come again, and behind it all that is still to be committed.

        What was committed a moment before may follow it, too, where other transactions were still open.
        """
        ...

    async def stream(self, after: bytes, limit: int = 500, until: bytes | None = None) -> Sequence[Entry]:
        """What was committed behind `after`, in order, of all tenants; empty: nothing yet. With `until` (a position
        that was given out before) nothing that lies behind it: so one reader catches up with another exactly. Raises
        `NotFound` for a position that cannot be resumed: not one of ours, ahead of the end (an older backup was
        restored), or older than what is kept."""
        ...
