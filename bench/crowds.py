"""Benches of many: `OPEN=1000000` deliveries that wait, and `FANOUT=10000` endpoints that want one event."""

from __future__ import annotations

import time
from pathlib import Path

from bench.load import Published
from bench.measure import DRAIN_S_MAX, PACED_CONNECTIONS, PLAIN, Bench
from bench.server import Server
from bench.sink import Counts, Sink
from bench.table import Target, print_rows, print_targets
from bench.template import template

WARM_S = 1.5
CLOSED_S = 4.0
STEPS = 10
ITEMS = 100
HELD_CONNECTIONS = 8
"""So many requests of `ITEMS` events wait for a commit at most: far from what is refused as overload."""
LIVE_TYPE = "bench.live.created"
LIVE_RATE = 50.0
GROWTH_MIB_MAX = 64.0
"""What counts as flat: the program may hold so much more with all of them open than with a tenth."""
FANOUT_TYPE = "bench.fanout.created"
WINDOW_S = 6.0
SHARE = 0.5
P99_TIMES_MAX = 1.25
"""What counts as unchanged: quiet windows differ by as much from each other."""


# ------------------------------------------------------------------------------------------------- OPEN


def opened(bench: Bench, rows: int) -> None:
    """Publish to a paused endpoint until so many deliveries are open, then let them go, beside live traffic to another
    endpoint; the program's memory all the while."""
    with bench.server(open_max=str(2 * rows)) as server:
        endpoint = server.endpoint(bench.sink.url)
        server.endpoint(f"{bench.sink.url}wide/1/0", event_types=[LIVE_TYPE])
        bench.run(server, seconds=WARM_S)
        bench.run(server, template("array of", items=ITEMS), seconds=WARM_S, connections=HELD_CONNECTIONS)
        bench.reset()
        server.ask("POST", f"/v1/endpoints/{endpoint}/pause")
        held = _publish_held(bench, server, rows)
        server.ask("POST", f"/v1/endpoints/{endpoint}/resume")
        peak_mib, took_s, live = _drain(bench, server, rows)
        counts = bench.sink.counts()
    bench.faults.check(counts.once.distinct == rows, f"{rows} were open, {counts.once.distinct} came to the sink")
    bench.faults.check(counts.once.duplicates == 0, f"{counts.once.duplicates} came twice")
    bench.faults.check(counts.wide.distinct == live.events, f"of {live.events} live events {counts.wide.distinct} came")
    _prove_answered(bench, live, "live events")
    first, last = held[0][1], held[-1][1]
    print_rows(("open deliveries", "memory MiB"), [(f"{n:,}", f"{mib:.0f}") for n, mib in held])
    print(f"released: {rows / took_s:,.0f} deliveries/s; memory at most {peak_mib:.0f} MiB meanwhile")
    print(f"live events meanwhile: publish p50 / p99 {live.p50_us / 1000:.1f} / {live.p99_us / 1000:.1f} ms, ", end="")
    print(f"end to end {counts.wide.p50_us / 1000:.1f} / {counts.wide.p99_us / 1000:.1f} ms")
    asked = f"≤ {GROWTH_MIB_MAX:g} MiB more"
    grown = last - first
    what = f"memory at {held[-1][0]:,} open deliveries, above that at {held[0][0]:,}"
    print_targets([Target(what, asked, f"{grown:+.0f} MiB", grown <= GROWTH_MIB_MAX)])


def _publish_held(bench: Bench, server: Server, rows: int) -> list[tuple[int, float]]:
    publish = template("array of", items=ITEMS)
    held: list[tuple[int, float]] = []
    began = time.monotonic()
    for step in range(1, STEPS + 1):
        todo = rows * step // STEPS - (held[-1][0] if held else 0)
        published = bench.load.run(server.port, publish, seconds=600, connections=HELD_CONNECTIONS, count=todo // ITEMS)
        _prove_answered(bench, published, "publishes")
        held.append((server.open(), server.resident_mib()))
        print(f"  {held[-1][0]:,} open after {time.monotonic() - began:.0f} s, {held[-1][1]:.0f} MiB", flush=True)
    bench.faults.check(held[-1][0] == rows, f"{rows} were to be open, {held[-1][0]} are")
    return held


def _drain(bench: Bench, server: Server, rows: int) -> tuple[float, float, Published]:
    """The most memory it held until everything was delivered, how long that took, and the live events beside."""
    seconds = max(5.0, rows / 10_000)
    live = template(event_type=LIVE_TYPE)
    began = time.monotonic()
    load = bench.load.start(server.port, live, seconds=seconds, rate=LIVE_RATE, connections=PACED_CONNECTIONS)
    peak_mib, before, since = 0.0, -1, began
    while True:
        peak_mib = max(peak_mib, server.resident_mib())
        counts = bench.sink.counts()
        if counts.once.distinct * STEPS // rows > max(before, 0) * STEPS // rows:
            print(f"  {counts.once.distinct:,} delivered after {time.monotonic() - began:.0f} s", flush=True)
        if counts.once.distinct >= rows:
            took_s = time.monotonic() - began
            break
        if counts.once.distinct != before:
            before, since = counts.once.distinct, time.monotonic()
        if time.monotonic() - since > DRAIN_S_MAX:
            bench.faults.check(holds=False, otherwise="open deliveries are not delivered any more")
            took_s = time.monotonic() - began
            break
        time.sleep(0.5)
    published = load.end()
    bench.faults.check(server.drained(DRAIN_S_MAX) == 0, "deliveries were still open at the end")
    return peak_mib, took_s, published


# ----------------------------------------------------------------------------------------------- FANOUT


def fanout(bench: Bench, endpoints: int) -> None:
    """One event to so many endpoints while others publish at half of what the closed loop reaches: their latencies in
    a window without it and in one with it."""
    crowd = Sink(_binary(bench), bench.cores.rest)
    try:
        with bench.server() as server:
            server.endpoint(bench.sink.url)
            began = time.monotonic()
            for number in range(endpoints):
                url = f"{crowd.url}wide/{endpoints}/{number}"
                server.endpoint(url, event_types=[FANOUT_TYPE], filter=None)
            took_s = time.monotonic() - began
            print(f"{endpoints:,} endpoints made in {took_s:.0f} s, {server.resident_mib():.0f} MiB", flush=True)
            bench.run(server, seconds=WARM_S)
            pace = SHARE * bench.run(server, seconds=CLOSED_S).whole_s
            quiet = [_window(bench, server, pace), _window(bench, server, pace)]
            crowded = _window(bench, server, pace, publish_fanout=True)
            counts = _arrived(crowd, endpoints)
            bench.faults.check(server.drained(DRAIN_S_MAX) == 0, "deliveries were still open at the end")
            quiet.append(_window(bench, server, pace))
    finally:
        crowd.close()
    book = counts.wide
    bench.faults.check(book.distinct == endpoints, f"of {endpoints} endpoints {book.distinct} got the event")
    bench.faults.check(book.duplicates == 0, f"{book.duplicates} endpoints got it twice")
    print(f"one event was at all {book.distinct:,} endpoints after {book.max_us / 1e6:.1f} s")
    rows = [(f"others, quiet window {n}", *_latencies(each)) for n, each in enumerate(quiet, 1)]
    rows.append((f"others, while one event goes to {endpoints:,} endpoints", *_latencies(crowded)))
    print_rows(("", "publishes/s", "publish p50 ms", "publish p99 ms", "publish max ms"), rows)
    before = sorted(each.p99_us for each in quiet)[1]
    times = crowded.p99_us / before
    what = "publish p99 of others during a big fan-out, × without"
    print_targets([Target(what, f"unchanged (≤ {P99_TIMES_MAX:g})", f"{times:.2f}", times <= P99_TIMES_MAX)])


def _prove_answered(bench: Bench, published: Published, what: str) -> None:
    said = f"{published.other} {what} were refused ({published.first_other}), {published.unanswered} not answered"
    bench.faults.check(published.ok == published.requests, said)


def _binary(bench: Bench) -> Path:
    return bench.folder / "sink"


def _latencies(published: Published) -> tuple[str, str, str, str]:
    rate = f"{published.requests / published.seconds:,.0f}"
    return rate, f"{published.p50_us / 1000:.1f}", f"{published.p99_us / 1000:.1f}", f"{published.max_us / 1000:.1f}"


def _window(bench: Bench, server: Server, pace: float, *, publish_fanout: bool = False) -> Published:
    """Others publish for a while; all of theirs must arrive once."""
    before = bench.sink.counts().once
    options = {"seconds": WINDOW_S, "rate": pace, "connections": PACED_CONNECTIONS}
    load = bench.load.start(server.port, PLAIN, **options)
    if publish_fanout:
        time.sleep(WINDOW_S / 6)
        # Numbered by itself: the crowd's sink knows it by number * endpoints + endpoint.
        one = template(event_type=FANOUT_TYPE)
        sent = bench.load.run(server.port, one, seconds=30, count=1, connections=1, first=0)
        bench.faults.check(sent.ok == 1, f"the fan-out was refused ({sent.first_other})")
    published = load.end()
    check = bench.faults.check
    _prove_answered(bench, published, "publishes")
    check(_come(bench, before.distinct + published.events), "events of others did not arrive")
    after = bench.sink.counts().once
    check(after.duplicates == before.duplicates, "events of others came twice")
    return published


def _come(bench: Bench, distinct: int) -> bool:
    end = time.monotonic() + DRAIN_S_MAX
    while bench.sink.counts().once.distinct < distinct:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _arrived(crowd: Sink, endpoints: int) -> Counts:
    end = time.monotonic() + DRAIN_S_MAX
    while (counts := crowd.counts()).wide.distinct < endpoints and time.monotonic() < end:
        time.sleep(0.1)
    return counts
