"""New events as the columns that the functions of the schema take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.postgres import rows
from hookline.core import ids
from hookline.ports.store import NewEvent

_encode = msgspec.msgpack.Encoder().encode


class Columns:
    """Events with their deliveries, each value in its column; places are from 1, as the database counts."""

    def __init__(self) -> None:
        self.of: list[int] = []
        """What each event belongs to: a request, or an item of a record."""
        self.events: list[NewEvent] = []
        self._items: list[int] = []
        self._deliveries: list[Any] = []
        self._ids: list[bytes] = []
        self.special: list[int] = []
        """The places of what goes into quarantine, or comes out of it."""

    def add(self, item: NewEvent, of: int) -> None:
        """One more."""
        self.of.append(of)
        self.events.append(item)
        place = len(self.events)
        if item.quarantine is not None or item.released is not None:
            self.special.append(place)
        for delivery in item.deliveries:
            self._items.append(place)
            self._deliveries.append(delivery)
            self._ids.append(ids.delivery_id(item.event.id, delivery.ordinal))

    def __len__(self) -> int:
        return len(self.events)

    def values(self) -> tuple[Sequence[Any], ...]:
        """The arguments, from `i_id` on."""
        events = [item.event for item in self.events]
        return (
            [event.id for event in events],
            [event.tenant for event in events],
            [event.type for event in events],
            [event.source for event in events],
            [event.source_id for event in events],
            [event.subject for event in events],
            [event.content_type for event in events],
            [rows.attributes(event) for event in events],
            [event.data for event in events],
            [round(item.wait_s * 1000) for item in self.events],
            [item.dedupe_key for item in self.events],
            [int(item.dedupe_s * 1000) for item in self.events],
            [item.fanout for item in self.events],
            [item.deliveries_count for item in self.events],
            self._items,
            self._ids,
            [delivery.endpoint_id for delivery in self._deliveries],
            [delivery.lane for delivery in self._deliveries],
            [None if d.lease_s is None else int(d.lease_s * 1000) for d in self._deliveries],
        )

    def quarantine(self) -> tuple[Sequence[Any], ...]:
        """The arguments from `s_item` on."""
        items = [self.events[place - 1] for place in self.special]
        whys = [item.quarantine for item in items]
        return (
            self.special,
            [None if why is None else why.source_id for why in whys],
            [None if why is None else why.problem for why in whys],
            [_encode(msgspec.structs.replace(item.event, data=b"")) for item in items],
            [0 if why is None else why.kept_max for why in whys],
            [item.released for item in items],
        )

    def states(self, states: Sequence[int]) -> list[bytes]:
        """The states of each event's deliveries, as `AcceptedItem` has them."""
        found = [bytearray() for _ in self.events]
        for place, state in zip(self._items, states, strict=True):
            if state >= 0:
                found[place - 1].append(state)
        return [bytes(one) for one in found]
