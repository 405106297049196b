"""What is true of a running process at a moment, for its metrics."""

from __future__ import annotations

from hookline.adapters.observers.prometheus import CacheGauges, Gauges
from hookline.flow.engine import Engine
from hookline.flow.guarded_cache import GuardedCache
from hookline.flow.reads import Reads
from hookline.flow.stream import Live


async def gauges(
    engine: Engine, live: Live, reads: Reads, cache: GuardedCache, slots: int, wal_bytes: int | None
) -> Gauges:
    """The gauges that need the store. `slots`: attempts that may run at once; `wal_bytes` None: not ours to know.
    Raises `StoreUnavailable`."""
    counts = await engine.store.counts(None)
    runnable, oldest_s = await engine.store.runnable_oldest_s()
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
        slots=slots,
        wal_bytes=wal_bytes,
        quarantined=counts.quarantined,
        hints_dropped=engine.queue.dropped,
        stream_readers=live.readers,
        stream_cut_offs=live.cut_offs,
        cache=_of_cache(cache, reads.queries_saved),
        workers=1 if engine.follow is None else engine.follow.workers,
    )


def _of_cache(cache: GuardedCache, queries_saved: int) -> CacheGauges:
    counts = cache.counts
    return CacheGauges(
        hits=counts.hits,
        misses=counts.misses,
        evictions=cache.evictions,
        errors=counts.errors,
        bypassed=counts.bypassed,
        queries_saved=queries_saved,
    )
