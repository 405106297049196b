"""Metrics for Prometheus. The hot path adds to plain numbers; metric families are made when somebody scrapes.

Every series is bounded: codes, kinds, states and outcomes by our own tables, endpoints and sources by 200 each, then
`other`.
"""

# ruff: noqa: ARG002 (the port's arguments are what they are; not every one is a label)
from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hookline.core.endpoint import Endpoint

ENDPOINTS_MAX: Final = 200
SOURCES_MAX: Final = 200
LABELS_MAX: Final = 200
OTHER: Final = "other"
REFRESH_S_MAX: Final = 2.0
LOCAL: Final = {
    "spool_records": "Requests that wait in the spool for the store.",
    "spool_bytes": "Of the spool's files, what was set aside included.",
    "spool_oldest_seconds": "How long the oldest of these requests has waited.",
    "spool_set_aside": "Requests that were spooled and that the store did not take: they wait for a person.",
}
"""Gauges that need no store, and so are true while it is away."""
DURATION_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
ITEMS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class CacheGauges(msgspec.Struct, frozen=True):
    """What was asked of the cache since the start."""

    hits: Mapping[str, int] = {}
    """By use."""
    misses: Mapping[str, int] = {}
    evictions: int = 0
    errors: int = 0
    bypassed: int = 0
    queries_saved: int = 0


class Gauges(msgspec.Struct, frozen=True):
    """What is true at a moment, as the rest of the program tells it for a scrape."""

    open: Mapping[str, int] = {}
    """Open deliveries by state."""
    runnable: int = 0
    """Endpoints with something that could start now."""
    runnable_oldest_s: float = 0.0
    in_flight: int = 0
    slots: int = 0
    """Attempts that may run at once; 0: this process makes none."""
    wal_bytes: int | None = 0
    """None: the database's log is another's business."""
    workers: int = 1
    """Processes that deliver."""
    hints_dropped: int = 0
    """Since the start."""
    quarantined: int = 0
    """Inbound requests that wait for a person."""
    stream_readers: int = 0
    stream_cut_offs: int = 0
    """Since the start."""
    cache: CacheGauges = CacheGauges()
    more: Mapping[str, float] = {}
    """Further gauges: name without `hookline_` → value."""


class _Histogram:
    """Counts by bucket, in plain numbers. Bounds are inclusive, as `le` is."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        below = 0
        result: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            result.append((bound, below))
        return result


class PrometheusObserver(Collector):
    """An `Observer` that counts, and the page that Prometheus reads. To be used from one event loop.

    `local` gives the gauges of `LOCAL` at each scrape. `refresh` is awaited before each scrape; while it fails or takes
    over 2 s the last gauges are shown again and `hookline_scrape_errors_total` rises.
    """

    def __init__(
        self,
        *,
        version: str = "",
        refresh: Callable[[], Awaitable[Gauges]] | None = None,
    ) -> None:
        self.refresh = refresh
        self.local: Callable[[], Mapping[str, float]] = dict
        self._version = version
        self._events = self._deliveries = self._duplicates = self._scrape_errors = 0
        self._refused: dict[str, int] = {}
        self._closed: dict[str, int] = {"delivered": 0, "failed": 0, "discarded": 0}
        self._changes: dict[str, int] = {}
        self._warnings: dict[str, int] = {}
        self._attempts: dict[str, _Histogram] = {}
        self._reasons: dict[str, int] = {}
        self._commit_items: dict[str, _Histogram] = {}
        self._commit_wait: dict[str, _Histogram] = {}
        self._by_endpoint: dict[bytes | None, dict[str, int]] = {}
        self._received: dict[str, dict[str, int]] = {}
        self._rejected: dict[str, dict[str, int]] = {}
        self._gauges = Gauges()
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    # ------------------------------------------------------------------------------------------- the hot path

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None:
        """See `Observer`."""
        self._events += events
        self._deliveries += deliveries
        self._duplicates += duplicates

    def refused(self, code: str) -> None:
        """See `Observer`."""
        _add(self._refused, code)

    def committed(self, kind: str, items: int, wait_s: float) -> None:
        """See `Observer`."""
        try:
            size, wait = self._commit_items[kind], self._commit_wait[kind]
        except KeyError:
            size = self._commit_items[kind] = _Histogram(ITEMS)
            wait = self._commit_wait[kind] = _Histogram(DURATION_S)
        size.add(items)
        wait.add(wait_s)

    def attempted(self, endpoint: Endpoint, kind: str, reason: str | None, status: int | None, total_s: float) -> None:
        """See `Observer`."""
        try:
            self._attempts[kind].add(total_s)
        except KeyError:
            self._attempts[kind] = _Histogram(DURATION_S)
            self._attempts[kind].add(total_s)
        counts = self._by_endpoint.get(endpoint.id)
        if counts is None:
            key = endpoint.id if len(self._by_endpoint) < ENDPOINTS_MAX else None
            counts = self._by_endpoint.setdefault(key, {})
        counts[kind] = counts.get(kind, 0) + 1
        if reason is not None:
            _add(self._reasons, reason)

    def closed(self, state: str, count: int) -> None:
        """See `Observer`."""
        self._closed[state] = self._closed.get(state, 0) + count

    def received(self, source: str, outcome: str, count: int) -> None:
        """See `Observer`."""
        counts = self._of_source(self._received, source)
        counts[outcome] = counts.get(outcome, 0) + count

    def rejected(self, source: str, reason: str, **fields: object) -> None:
        """See `Observer`."""
        counts = self._of_source(self._rejected, source)
        counts[reason] = counts.get(reason, 0) + 1

    def _of_source(self, by_source: dict[str, dict[str, int]], source: str) -> dict[str, int]:
        counts = by_source.get(source)
        if counts is None:
            name = source if len(by_source) < SOURCES_MAX else OTHER
            counts = by_source.setdefault(name, {})
        return counts

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        """See `Observer`."""
        _add(self._changes, what)

    def fact(self, name: str, **fields: object) -> None:
        """Facts are for the log."""

    def warn(self, name: str, **fields: object) -> None:
        """See `Observer`."""
        _add(self._warnings, name)

    # -------------------------------------------------------------------------------------------- the scrape

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, in the format that an `Accept` header asks for."""
        if self.refresh is not None:
            try:
                async with asyncio.timeout(REFRESH_S_MAX):
                    self._gauges = await self.refresh()
            except Exception:  # noqa: BLE001 (whatever a store raises, the counters are still worth a page)
                self._scrape_errors += 1
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        """The metric families of this moment."""
        yield InfoMetricFamily("hookline", "The program.", {"version": self._version})
        yield from self._collect_counters()
        yield from self._collect_histograms()
        yield from self._collect_gauges()
        yield from _cache(self._gauges.cache)

    def _collect_counters(self) -> Iterator[Metric]:
        yield CounterMetricFamily("hookline_accepted_events", "Events answered with 202.", self._events)
        yield CounterMetricFamily("hookline_accepted_deliveries", "Deliveries of these events.", self._deliveries)
        yield CounterMetricFamily("hookline_duplicate_events", "Repeats of known events.", self._duplicates)
        yield _counter("hookline_refused", "Publishes refused, by problem code.", "code", self._refused)
        yield _counter("hookline_closed_deliveries", "Deliveries closed, by state.", "state", self._closed)
        yield _counter("hookline_failed_attempts", "Attempts that failed, by reason.", "reason", self._reasons)
        yield _counter("hookline_endpoint_changes", "Changes of endpoints' health and state.", "what", self._changes)
        yield _counter("hookline_warnings", "Warnings, by name; the log has the details.", "name", self._warnings)
        yield CounterMetricFamily(
            "hookline_queue_hints_dropped", "Hints the queue had no room for.", self._gauges.hints_dropped
        )
        yield CounterMetricFamily(
            "hookline_stream_cut_offs",
            "Readers of the live stream that were too slow and had to come back.",
            self._gauges.stream_cut_offs,
        )
        yield _by_source(
            "hookline_received_events",
            f"What came of requests to sources ({SOURCES_MAX} at most, then {OTHER}): events accepted, duplicate, "
            "quarantined, spooled; handshakes.",
            "outcome",
            self._received,
        )
        yield _by_source(
            "hookline_rejected_requests", "Requests to sources that were refused, by reason.", "reason", self._rejected
        )
        yield CounterMetricFamily("hookline_scrape_errors", "Scrapes with old gauges.", self._scrape_errors)
        by_endpoint = CounterMetricFamily(
            "hookline_endpoint_attempts",
            f"Attempts by endpoint ({ENDPOINTS_MAX} at most, then {OTHER}) and outcome.",
            labels=("endpoint", "outcome"),
        )
        for endpoint_id, counts in self._by_endpoint.items():
            name = OTHER if endpoint_id is None else "ep_" + endpoint_id.hex()
            for kind, count in counts.items():
                by_endpoint.add_metric((name, kind), count)
        yield by_endpoint

    def _collect_histograms(self) -> Iterator[Metric]:
        yield _histogram(
            "hookline_attempt_duration_seconds", "How long attempts took, by outcome.", "outcome", self._attempts
        )
        yield _histogram("hookline_commit_items", "Items in one shared commit, by kind.", "kind", self._commit_items)
        yield _histogram(
            "hookline_commit_wait_seconds", "How long a commit's oldest item waited.", "kind", self._commit_wait
        )

    def _collect_gauges(self) -> Iterator[Metric]:
        gauges = self._gauges
        open_deliveries = GaugeMetricFamily(
            "hookline_open_deliveries", "Deliveries that are open, by state.", labels=("state",)
        )
        for state, count in gauges.open.items():
            open_deliveries.add_metric((state,), count)
        yield open_deliveries
        for name, text, value in (
            ("runnable", "Endpoints with a delivery that could start now.", gauges.runnable),
            ("runnable_oldest_seconds", "How long the oldest of these has been due.", gauges.runnable_oldest_s),
            ("in_flight", "Attempts running now.", gauges.in_flight),
            ("slots", "Attempts that this process may run at once; 0 where it does not deliver.", gauges.slots),
            ("quarantined", "Inbound requests that wait for a person.", gauges.quarantined),
            ("workers", "Living processes that deliver, this one included where it does.", gauges.workers),
            ("stream_readers", "Readers of the live stream.", gauges.stream_readers),
            *((name, name.replace("_", " ").capitalize() + ".", value) for name, value in gauges.more.items()),
        ):
            yield GaugeMetricFamily(f"hookline_{name}", text, value)
        local = self.local()
        for name, text in LOCAL.items():
            yield GaugeMetricFamily(f"hookline_{name}", text, local.get(name, 0))
        if gauges.wal_bytes is not None:
            yield GaugeMetricFamily(
                "hookline_wal_bytes", "Size of the SQLite file's write-ahead log.", gauges.wal_bytes
            )


def _cache(cache: CacheGauges) -> Iterator[Metric]:
    yield _counter("hookline_cache_hits", "Questions that the cache answered, by use.", "use", cache.hits)
    yield _counter("hookline_cache_misses", "Questions that it had no answer to, by use.", "use", cache.misses)
    for name, text, value in (
        ("evictions", "What made room in this process's memory; a cache server counts its own.", cache.evictions),
        ("errors", "Questions that a cache server failed to answer.", cache.errors),
        ("bypassed", "Questions that it was spared, having failed just before.", cache.bypassed),
        ("queries_saved", "Database queries that answers from the cache made needless.", cache.queries_saved),
    ):
        yield CounterMetricFamily(f"hookline_cache_{name}", text, value)


def _add(counts: dict[str, int], name: str) -> None:
    if name not in counts and len(counts) >= LABELS_MAX:
        name = OTHER
    counts[name] = counts.get(name, 0) + 1


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _by_source(name: str, text: str, label: str, by_source: Mapping[str, Mapping[str, int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("source", label))
    for source, counts in by_source.items():
        for value, count in counts.items():
            family.add_metric((source, value), count)
    return family


def _histogram(name: str, text: str, label: str, histograms: Mapping[str, _Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,))
    for value, histogram in histograms.items():
        family.add_metric((value,), histogram.buckets(), histogram.total)
    return family
