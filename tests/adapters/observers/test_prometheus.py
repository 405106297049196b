"""What the metrics page says after some facts, and what it costs to be told of one."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hookline.adapters.observers.prometheus import (
    DURATION_S,
    ENDPOINTS_MAX,
    LABELS_MAX,
    CacheGauges,
    Gauges,
    PrometheusObserver,
    _Histogram,
)
from hookline.adapters.observers.tee import Tee
from hookline.core.endpoint import Endpoint
from hookline.ports.observer import Observer

MakeEndpoint = Callable[[int], Endpoint]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples(observer: PrometheusObserver) -> Samples:
    """The page, parsed by the official parser."""
    page, _ = await observer.page()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


async def test_facts_become_series(endpoint: Endpoint) -> None:
    """Each fact raises its series by what it said."""
    observer = PrometheusObserver(version="1.2.3")
    port: Observer = observer
    port.accepted(3, 7, 1)
    port.accepted(1, 0, 0)
    port.refused("invalid_event")
    port.closed("delivered", 5)
    port.closed("failed", 1)
    port.committed("accept", 4, 0.004)
    port.attempted(endpoint, "delivered", None, 200, 0.0025)
    port.attempted(endpoint, "retry", "timeout", None, 99.0)
    port.endpoint_changed(endpoint, "failing", "")
    port.fact("started")
    port.warn("disk_full", free=1)
    found = await samples(observer)
    assert found["hookline_info", (("version", "1.2.3"),)] == 1
    assert found["hookline_accepted_events_total", ()] == 4
    assert found["hookline_accepted_deliveries_total", ()] == 7
    assert found["hookline_duplicate_events_total", ()] == 1
    assert found["hookline_refused_total", (("code", "invalid_event"),)] == 1
    assert found["hookline_closed_deliveries_total", (("state", "delivered"),)] == 5
    assert found["hookline_closed_deliveries_total", (("state", "failed"),)] == 1
    assert found["hookline_closed_deliveries_total", (("state", "discarded"),)] == 0
    assert found["hookline_commit_items_bucket", (("kind", "accept"), ("le", "4.0"))] == 1
    assert found["hookline_commit_items_bucket", (("kind", "accept"), ("le", "2.0"))] == 0
    assert found["hookline_commit_wait_seconds_sum", (("kind", "accept"),)] == 0.004
    assert found["hookline_attempt_duration_seconds_bucket", (("le", "0.0025"), ("outcome", "delivered"))] == 1
    assert found["hookline_attempt_duration_seconds_bucket", (("le", "60.0"), ("outcome", "retry"))] == 0
    assert found["hookline_attempt_duration_seconds_count", (("outcome", "retry"),)] == 1
    assert found["hookline_failed_attempts_total", (("reason", "timeout"),)] == 1
    assert found["hookline_endpoint_attempts_total", (("endpoint", endpoint.public_id), ("outcome", "retry"))] == 1
    assert found["hookline_endpoint_changes_total", (("what", "failing"),)] == 1
    assert found["hookline_warnings_total", (("name", "disk_full"),)] == 1
    assert ("process_resident_memory_bytes", ()) in found


@pytest.mark.rule(n=19)
async def test_gauges_are_asked_for_at_each_scrape() -> None:
    """What is true at a moment comes from the callable, fresh for each scrape."""
    depth = 0

    async def refresh() -> Gauges:
        nonlocal depth
        depth += 1
        return Gauges(
            open={"pending": depth, "held": 2}, runnable=1, runnable_oldest_s=0.5, in_flight=3, more={"x": 1.5}
        )

    observer = PrometheusObserver(refresh=refresh)
    await samples(observer)
    found = await samples(observer)
    assert found["hookline_open_deliveries", (("state", "pending"),)] == 2
    assert found["hookline_open_deliveries", (("state", "held"),)] == 2
    assert found["hookline_runnable", ()] == 1
    assert found["hookline_runnable_oldest_seconds", ()] == 0.5
    assert found["hookline_in_flight", ()] == 3
    assert found["hookline_x", ()] == 1.5
    assert found["hookline_wal_bytes", ()] == 0
    assert found["hookline_queue_hints_dropped_total", ()] == 0


async def test_what_was_asked_of_the_cache_is_counted() -> None:
    """Hits and misses by use, and what else became of the questions."""

    async def refresh() -> Gauges:
        return Gauges(
            cache=CacheGauges({"event": 7}, {"event": 2, "keys": 1}, 3, errors=4, bypassed=5, queries_saved=6)
        )

    found = await samples(PrometheusObserver(refresh=refresh))
    assert found["hookline_cache_hits_total", (("use", "event"),)] == 7
    assert found["hookline_cache_misses_total", (("use", "keys"),)] == 1
    names = ("evictions", "errors", "bypassed", "queries_saved")
    assert [found[f"hookline_cache_{name}_total", ()] for name in names] == [3, 4, 5, 6]


async def test_a_store_that_fails_costs_no_scrape() -> None:
    """While gauges cannot be had, the last ones are shown, and that is counted."""
    working = True

    async def refresh() -> Gauges:
        if not working:
            raise OSError
        return Gauges(in_flight=3)

    observer = PrometheusObserver(refresh=refresh)
    await samples(observer)
    working = False
    found = await samples(observer)
    assert found["hookline_in_flight", ()] == 3
    assert found["hookline_scrape_errors_total", ()] == 1


async def test_a_store_that_hangs_costs_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh that does not end is given up."""
    monkeypatch.setattr("hookline.adapters.observers.prometheus.REFRESH_S_MAX", 0.01)
    observer = PrometheusObserver(refresh=asyncio.Event().wait)  # type: ignore[arg-type]
    assert (await samples(observer))["hookline_scrape_errors_total", ()] == 1


async def test_series_are_bounded(make_endpoint: MakeEndpoint) -> None:
    """Ten thousand endpoints, codes and names make some hundred series, and no count is lost in them."""
    observer = PrometheusObserver()
    for number in range(10_000):
        observer.attempted(make_endpoint(number), "delivered", None, 200, 0.1)
        observer.refused(f"code{number}")
        observer.warn(f"name{number}")
    found = await samples(observer)
    by_endpoint = {labels: value for (name, labels), value in found.items() if "endpoint_attempts" in name}
    assert len(by_endpoint) == ENDPOINTS_MAX + 1
    assert sum(by_endpoint.values()) == 10_000
    refused = {labels: value for (name, labels), value in found.items() if name == "hookline_refused_total"}
    assert len(refused) == LABELS_MAX + 1
    assert sum(refused.values()) == 10_000


async def test_the_page_names_its_format() -> None:
    """The content type follows the Accept header: text, or OpenMetrics when asked for."""
    observer = PrometheusObserver()
    page, content_type = await observer.page()
    assert content_type.startswith("text/plain")
    page, content_type = await observer.page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")
    assert re.search(rb"^hookline_accepted_events_total 0", page, re.MULTILINE)


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_loses_nothing(values: list[float]) -> None:
    """Buckets are cumulative, inclusive, and the last holds all."""
    histogram = _Histogram(DURATION_S)
    for value in values:
        histogram.add(value)
    for text, count in histogram.buckets():
        assert count == sum(value <= float(text) for value in values)
    assert histogram.total == pytest.approx(sum(values))


def test_a_fact_costs_little(endpoint: Endpoint) -> None:
    """Being told of an attempt costs some microseconds at the very most, also on a busy machine."""
    observer = PrometheusObserver()
    best_s = min(_timed(observer, endpoint) for _ in range(5))
    assert best_s / 10_000 < 10e-6


def _timed(observer: PrometheusObserver, endpoint: Endpoint) -> float:
    begin_s = time.perf_counter()
    for _ in range(10_000):
        observer.attempted(endpoint, "delivered", None, 200, 0.003)
    return time.perf_counter() - begin_s


async def test_a_tee_tells_all(endpoint: Endpoint) -> None:
    """Every fact reaches every observer behind a tee."""
    behind = [PrometheusObserver(), PrometheusObserver()]
    tee: Observer = Tee(*behind)
    tee.accepted(1, 2, 3)
    tee.refused("conflict")
    tee.committed("record", 1, 0.1)
    tee.attempted(endpoint, "gone", "gone", 410, 0.1)
    tee.closed("failed", 1)
    tee.endpoint_changed(endpoint, "disabled", "")
    tee.fact("x")
    tee.warn("y")
    told = PrometheusObserver()
    for name, arguments in (
        ("accepted", (1, 2, 3)),
        ("refused", ("conflict",)),
        ("committed", ("record", 1, 0.1)),
        ("attempted", (endpoint, "gone", "gone", 410, 0.1)),
        ("closed", ("failed", 1)),
        ("endpoint_changed", (endpoint, "disabled", "")),
        ("warn", ("y",)),
    ):
        getattr(told, name)(*arguments)
    expected = {k: v for k, v in (await samples(told)).items() if k[0].startswith("hookline")}
    for observer in behind:
        assert {k: v for k, v in (await samples(observer)).items() if k[0].startswith("hookline")} == expected
