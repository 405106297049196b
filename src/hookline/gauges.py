"""What is true at a moment, gathered for a scrape of `/metrics`."""

from __future__ import annotations

from hookline.adapters.observers.prometheus import CacheGauges, Gauges
from hookline.flow.engine import Engine
from hookline.flow.stream import Live
from hookline.ports.store import Store


async def gauges(
    store: Store, engine: Engine, live: Live, cache: CacheGauges, slots: int, wal_bytes: int | None
) -> Gauges:
    """All of them; `slots` are those of a process that delivers. Raises `StoreUnavailable`."""
    counts = await store.counts(None)
    runnable, oldest_s = await store.runnable_oldest_s()
    opened = {
        "pending": counts.pending,
        "leased": counts.leased,
        "held": counts.held,
        "unconfirmed": counts.unconfirmed,
    }
    return Gauges(
        open=opened,
        runnable=runnable,
        runnable_oldest_s=oldest_s,
        in_flight=engine.deliver.slots.in_flight,
        slots=slots if engine.delivers else 0,
        wal_bytes=wal_bytes,
        quarantined=counts.quarantined,
        hints_dropped=engine.queue.dropped,
        stream_readers=live.readers,
        stream_cut_offs=live.cut_offs,
        cache=cache,
        workers=1 if engine.follow is None else engine.follow.workers,
    )
