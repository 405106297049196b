"""What readers of the live view get, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from hookline.core.event_type import pattern_matches
from hookline.ports.store import Accepted, Attempted, Entry

EVENT: Final = "event"
ATTEMPT: Final = "attempt"
DELIVERY: Final = "delivery"
ENDPOINT: Final = "endpoint"
RESET: Final = "reset"
KINDS: Final = (EVENT, ATTEMPT, DELIVERY, ENDPOINT)
"""What a reader may ask for; `reset` it gets unasked."""
_ENTRY_BYTES: Final = 128

Show = Callable[[Entry], bytes]
"""An entry as readers see it, without its tenant; made once, for all of them."""

_RESET: Final = (
    b'{"detail":"Reading cannot go on from the position given: it is not one of this server\'s, or older than what is'
    b' kept. It goes on from now; what lies between is in the lists."}'
)


class Item:
    """An entry on its way to readers, with what they filter by."""

    __slots__ = (
        "_data",
        "_entry",
        "_show",
        "endpoint_id",
        "event_id",
        "kind",
        "position",
        "source",
        "state",
        "tenant",
        "type",
    )

    def __init__(self, entry: Entry, show: Show) -> None:
        self._entry = entry
        self.position = entry.position
        self._show = show
        self._data = b""
        self.endpoint_id: bytes | None = None
        self.event_id: bytes | None = None
        self.type: str | None = None
        self.source: str | None = None
        self.state: str | None = None
        what = entry.what
        if isinstance(what, Accepted):
            self.kind = EVENT
            self.tenant = what.event.tenant
            self.event_id = what.event.id
            self.type = what.event.type
            self.source = what.event.source
        elif isinstance(what, Attempted):
            row = what.delivery
            self.kind = ATTEMPT
            self.tenant = row.tenant
            self.endpoint_id = row.endpoint_id
            self.event_id = row.event_id
            self.type = row.type
            self.state = row.state
        else:
            self.kind = ENDPOINT if what.delivery_id is None else DELIVERY
            self.tenant = what.tenant
            self.endpoint_id = what.endpoint_id
            self.event_id = what.event_id
            self.type = what.type
            self.state = what.after

    @property
    def data(self) -> bytes:
        """As readers see it: a JSON object without its tenant."""
        if not self._data:
            self._data = self._show(self._entry)
        return self._data

    @property
    def size_bytes(self) -> int:
        """What it counts against a buffer."""
        return len(self.data) + len(self.position) + _ENTRY_BYTES


class Reset:
    """Reading goes on from `position`; what lies between it and where the reader was is not shown."""

    __slots__ = ("position",)

    kind = RESET
    tenant = ""
    data = _RESET
    size_bytes = len(_RESET) + _ENTRY_BYTES

    def __init__(self, position: bytes) -> None:
        self.position = position


class Wanted(msgspec.Struct, frozen=True):
    """What a reader asks for; None: any."""

    tenant: str | None
    kinds: frozenset[str] = frozenset(KINDS)
    pattern: str | None = None
    """Of event types. An entry that is of no event is of no type."""
    endpoint_id: bytes | None = None
    event_id: bytes | None = None
    source: str | None = None
    """Of events: only they have one."""
    state: str | None = None
    """After the change, or of the attempt's delivery now."""

    def wants(self, item: Item) -> bool:
        """Whether the reader gets it."""
        return (
            item.kind in self.kinds
            and (self.tenant is None or item.tenant == self.tenant)
            and (self.endpoint_id is None or item.endpoint_id == self.endpoint_id)
            and (self.event_id is None or item.event_id == self.event_id)
            and (self.source is None or item.source == self.source)
            and (self.state is None or item.state == self.state)
            and (self.pattern is None or (item.type is not None and pattern_matches(self.pattern, item.type)))
        )
