"""Fills a store through its adapter, in big batches: `python -m bench.fill history|keys DATABASE ROWS ENDPOINT`.

    history   events of 1 kB, each with a closed delivery to ENDPOINT (hex) and its attempt, as delivering leaves them
    keys      events without payload or delivery, each with a publisher's id that is random

The program must not run on the database meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from itertools import count

from bench.template import TYPE, bare_body

from hookline.adapters.clock import SystemClock
from hookline.adapters.stores.sqlite.store import SqliteStore
from hookline.core.attempt import Exchange, Timing
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.core.history import AttemptRecord
from hookline.core.ids import IdMaker, delivery_id
from hookline.flow.repeats import dedupe_key
from hookline.ports.store import AcceptRequest, NewDelivery, NewEvent, RecordItem

TENANT = "default"
BATCH = 1000
IN_FLIGHT = 4
SAY_EVERY = 500_000


def _data() -> bytes:
    """The payload of a delivery as the bare client sends it."""
    body = bare_body()
    return body[body.index(b'"data":') + 7 : -1]


def _attempt(now_ms: int) -> bytes:
    head = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"user-agent", b"Hookline/0")]
    head += [(b"webhook-id", b"evt_" + b"0" * 24), (b"webhook-timestamp", b"1767225600"), (b"hookline-attempt", b"1")]
    head += [(b"webhook-signature", b"v1," + b"A" * 44)]
    exchange = Exchange("POST", "http://127.0.0.1/", head, b"{", b"}", 0, [(b"content-length", b"2")], b"ok")
    timing = Timing(first_byte_us=900, total_us=1000)
    return AttemptRecord(
        1, now_ms, "delivered", 200, duration_us=1000, timing=timing, endpoint_version=1, exchange=exchange
    ).pack()


class Filling:
    """One filling."""

    def __init__(self, store: SqliteStore, version: int, endpoint_id: bytes) -> None:
        self._store = store
        self._version = version
        self._endpoint_id = endpoint_id
        self._ids = IdMaker(os.urandom(4))
        self._data = _data()

    async def history(self, rows: int) -> None:
        """Accept, as handed off, and record as delivered."""
        now_ms = self._store.now_ms()
        events = [Event(self._ids.make(now_ms), TENANT, TYPE, self._data) for _ in range(rows)]
        delivery = (NewDelivery(self._endpoint_id, 1, None, 60.0),)
        await self._accept([NewEvent(event, delivery) for event in events])
        packed = _attempt(now_ms)
        items = [
            RecordItem(delivery_id(event.id, 1), 1, self._endpoint_id, TENANT, State.DELIVERED, tries=1, attempt=packed)
            for event in events
        ]
        result = await self._store.record(items)
        assert all(result.applied)

    async def keys(self, rows: int) -> None:
        """Accept, with an id that nobody used before."""
        now_ms = self._store.now_ms()
        items = []
        for _ in range(rows):
            event = Event(self._ids.make(now_ms), TENANT, TYPE, b"{}", source_id=os.urandom(8).hex())
            items.append(NewEvent(event, dedupe_key=dedupe_key(event)))
        await self._accept(items)

    async def _accept(self, items: Sequence[NewEvent]) -> None:
        results = await self._store.accept([AcceptRequest(TENANT, items)], self._version)
        assert not any(item.duplicate for item in results[0].items)


async def fill(what: str, path: str, rows: int, endpoint_id: bytes) -> None:
    """Fill the store; says how far it is."""
    store = SqliteStore(path, SystemClock(), disk_free_min_bytes=2 * 1024**3)
    await store.start()
    try:
        filling = Filling(store, (await store.changes(0)).version, endpoint_id)
        one = filling.history if what == "history" else filling.keys
        began = time.monotonic()
        todo = count(0, BATCH)

        async def work() -> None:
            for done in todo:
                if done >= rows:
                    return
                await one(min(BATCH, rows - done))
                if done and done % SAY_EVERY == 0:
                    took_s = time.monotonic() - began
                    print(f"  {done:,} rows, {done / took_s:,.0f}/s", file=sys.stderr, flush=True)
                    await store.fold()

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        while await store.fold():
            pass
    finally:
        await store.stop()


def main() -> None:
    """The command."""
    what, path, rows, endpoint_id = sys.argv[1:]
    asyncio.run(fill(what, path, int(rows), bytes.fromhex(endpoint_id)))


if __name__ == "__main__":
    main()
