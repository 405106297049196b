"""New events, their deliveries, and what makes a repeat a duplicate: the accept transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from hookline.adapters.stores.books import NEW, NO_ENDPOINT
from hookline.adapters.stores.due import sooner
from hookline.adapters.stores.sqlite import lanes, queries, rows, sources
from hookline.adapters.stores.sqlite.transaction import Transaction
from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.ports.store import AcceptedItem, AcceptRequest, AcceptResult, IdempotencyKey, NewDelivery, NewEvent

_PENDING = int(State.PENDING)
_LEASED = int(State.LEASED)
_HELD = int(State.HELD)
_KIND_PUBLISHER = 0
_KIND_IDEMPOTENCY = 1
_EVENT_ID_BYTES = ids.ROOT_BYTES
_QUARANTINED = 0xFFFFFFFF
"""In place of a number of deliveries: what has this key is in quarantine."""
_FIRST = (1).to_bytes(4, "big")


class _Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an Idempotency-Key remembers. New fields go to the end."""

    body_hash: bytes
    note: bytes
    items: list[tuple[bytes, int, bool]]


_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


def weigh(requests: Sequence[AcceptRequest]) -> tuple[int, int]:
    """How much of a commit these take: (items, bytes)."""
    items = size_bytes = 0
    for request in requests:
        for item in request.items:
            items += 1 + len(item.deliveries)
            size_bytes += len(item.event.data) + len(item.fanout)
    return items, size_bytes


class _Keys:
    """The dedupe table as this transaction sees it: looked up once, in key order, and written in key order."""

    def __init__(self, transaction: Transaction, wanted: Iterable[tuple[bytes, int]]) -> None:
        self._transaction = transaction
        self._new: dict[tuple[bytes, int], tuple[int, bytes]] = {}
        self._known: dict[tuple[bytes, int], bytes] = {}
        for key, kind in sorted(set(wanted)):
            found = transaction.execute(queries.DEDUPE_FIND, (key, kind, transaction.now_ms)).fetchone()
            if found is not None:
                self._known[key, kind] = found[0]

    def find(self, key: bytes, kind: int) -> bytes | None:
        return self._known.get((key, kind))

    def add(self, key: bytes, kind: int, keep_s: float, value: bytes) -> None:
        self._known[key, kind] = value
        self._new[key, kind] = (self._transaction.now_ms + int(keep_s * 1000), value)

    def write(self) -> None:
        self._transaction.execute_many(queries.DEDUPE_ADD, [(*key, *row) for key, row in sorted(self._new.items())])


class NewRows:
    """The rows of new events, gathered, then written in few statements by `write`."""

    def __init__(self, transaction: Transaction, items: Iterable[NewEvent], *, hand_off: bool) -> None:
        self._transaction = transaction
        self._hand_off = hand_off
        self._events: list[Any] = []
        self._open: list[Any] = []
        self._open_any: list[tuple[Any, ...]] = []
        self._endpoints: dict[bytes, bytearray] = {}
        self.keys = _Keys(
            transaction, [(item.dedupe_key, _KIND_PUBLISHER) for item in items if item.dedupe_key is not None]
        )
        self.due_s: dict[bytes, float] = {}
        """Endpoints with something pending among these rows."""

    def add(self, item: NewEvent) -> AcceptedItem:
        """Gather one event; a duplicate gathers nothing."""
        event = item.event
        if item.dedupe_key is not None and item.released is None:
            first = self.keys.find(item.dedupe_key, _KIND_PUBLISHER)
            if first is not None:
                return _duplicate(first)
        if item.released is not None and not sources.take(self._transaction, event.tenant, item.released):
            return AcceptedItem(event.id, 0, gone=True)
        if item.quarantine is not None and not sources.keep(self._transaction, item):
            return AcceptedItem(event.id, 0, full=True)
        if item.dedupe_key is not None:
            number = item.deliveries_count if item.quarantine is None else _QUARANTINED
            self.keys.add(item.dedupe_key, _KIND_PUBLISHER, item.dedupe_s, event.id + number.to_bytes(4, "big"))
        if item.quarantine is not None:
            return AcceptedItem(event.id, 0, quarantined=True)
        events = self._transaction.events
        events[event.tenant] = events.get(event.tenant, 0) + 1
        self._events += rows.event_parameters(event)
        states = self._deliveries(item, event)
        if item.fanout:
            self._fanout(item)
        return AcceptedItem(event.id, len(states) + len(item.fanout) // _EVENT_ID_BYTES, False, states)  # noqa: FBT003

    def _deliveries(self, item: NewEvent, event: Event) -> bytes:
        """Gather an event's deliveries: their states. One in no lane is the common case, and nothing is called for
        it that need not be."""
        transaction = self._transaction
        now_ms = transaction.now_ms
        moves = transaction.moves
        blobs = self._endpoints
        tenant = event.tenant
        size_bytes = len(event.data)
        due_ms = self._due_ms(item)
        states = bytearray()
        for delivery in item.deliveries:
            if delivery.lane is not None:
                states.append(self._in_lane(item, event, delivery))
                continue
            endpoint_id = delivery.endpoint_id
            blob = blobs.get(endpoint_id)
            if blob is None:
                blob = blobs[endpoint_id] = bytearray(endpoint_id)
            key = bytearray(event.id)
            key += _FIRST if delivery.ordinal == 1 else delivery.ordinal.to_bytes(4, "big")
            lease_s = delivery.lease_s
            if lease_s is not None and self._hand_off:
                state = _LEASED
                lease_until_ms = now_ms + int(lease_s * 1000)
                self._open += (key, blob, tenant, _LEASED, due_ms, 1, lease_until_ms, 1, size_bytes)
            else:
                state = _PENDING
                self._open += (key, blob, tenant, _PENDING, due_ms, 0, 0, 0, size_bytes)
                sooner(self.due_s, endpoint_id, item.wait_s)
            states.append(state)
            move = (tenant, endpoint_id, NEW, state)
            moves[move] = moves.get(move, 0) + 1
        return bytes(states)

    def _due_ms(self, item: NewEvent) -> int:
        return self._transaction.now_ms + round(item.wait_s * 1000)

    def _in_lane(self, item: NewEvent, event: Event, delivery: NewDelivery) -> int:
        transaction = self._transaction
        assert delivery.lane is not None
        endpoint_id = delivery.endpoint_id
        identifier = ids.delivery_id(event.id, delivery.ordinal)
        now_ms = transaction.now_ms
        due_ms = self._due_ms(item)
        head, seq = lanes.append(transaction, endpoint_id, delivery.lane, identifier)
        fence = lease_until_ms = 0
        if not head:
            state = _HELD
        elif delivery.lease_s is not None and self._hand_off:
            state, fence, lease_until_ms = _LEASED, 1, now_ms + int(delivery.lease_s * 1000)
        else:
            state = _PENDING
            sooner(self.due_s, endpoint_id, item.wait_s)
        place = (due_ms, fence, lease_until_ms, fence, len(event.data), delivery.lane, seq)
        self._open_any.append((identifier, None, endpoint_id, event.tenant, state, 0, *place))
        transaction.moved(event.tenant, endpoint_id, NEW, state)
        return state

    def _fanout(self, item: NewEvent) -> None:
        transaction = self._transaction
        event = item.event
        due_ms = self._due_ms(item)
        ordinal = len(item.deliveries) + 1
        row = (event.id, event.tenant, ordinal, due_ms, len(event.data), item.fanout)
        number = transaction.execute(queries.FANOUT_ADD, row).lastrowid
        transaction.execute(queries.FANOUT_CURSOR_ADD, (number,))
        transaction.moved(event.tenant, NO_ENDPOINT, NEW, _PENDING, len(item.fanout) // _EVENT_ID_BYTES)

    def write(self) -> None:
        """Write what was gathered."""
        connection = self._transaction.connection
        queries.EVENTS_ADD.run(connection, self._events)
        queries.OPEN_ADD.run(connection, self._open)
        self._transaction.execute_many(queries.OPEN_ADD_ANY, self._open_any)
        self.keys.write()


def _duplicate(first: bytes) -> AcceptedItem:
    number = int.from_bytes(first[_EVENT_ID_BYTES:], "big")
    if number == _QUARANTINED:
        return AcceptedItem(first[:_EVENT_ID_BYTES], 0, duplicate=True, quarantined=True)
    return AcceptedItem(first[:_EVENT_ID_BYTES], number, duplicate=True)


def accept(transaction: Transaction, requests: Sequence[AcceptRequest], registry_version: int) -> list[AcceptResult]:
    """`Deliveries.accept`, in the writer's transaction."""
    transaction.require_registry(registry_version)
    new = NewRows(transaction, [item for request in requests for item in request.items], hand_off=True)
    idempotency = _Keys(
        transaction,
        [(request.idempotency.key, _KIND_IDEMPOTENCY) for request in requests if request.idempotency is not None],
    )
    results = []
    for request in requests:
        key = request.idempotency
        if key is not None:
            known = idempotency.find(key.key, _KIND_IDEMPOTENCY)
            if known is not None:
                results.append(_repeated(key, known))
                continue
        items = [new.add(item) for item in request.items]
        if key is not None:
            answer = (key.body_hash, request.note, [(i.event_id, i.deliveries, i.duplicate) for i in items])
            idempotency.add(key.key, _KIND_IDEMPOTENCY, key.keep_s, _encode(answer))
        results.append(AcceptResult(items, note=request.note))
    new.write()
    idempotency.write()
    return results


def _repeated(key: IdempotencyKey, known: bytes) -> AcceptResult:
    answer = _decode_answer(known)
    if answer.body_hash != key.body_hash:
        return AcceptResult((), reused=True)
    items = [AcceptedItem(event_id, number, duplicate) for event_id, number, duplicate in answer.items]
    return AcceptResult(items, repeated=True, note=answer.note)
