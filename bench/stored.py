"""Benches on a store that is not empty: `ROWS=5000000` of history, and `KEYS=1` with 2 million publishers' ids."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.machine import HERE, pin
from bench.measure import Bench, Figures, median, settle
from bench.server import Server
from bench.table import Target, pair, print_rows, print_targets, rate
from bench.template import template

ROUNDS = 3
WARM_S = 1.5
CLOSED_S = 5.0
PACED_S = 6.0
KEYS_PREFILLED = 2_000_000
KEYS_CPU_MAX = 1.5
SHARE_MIN = 0.9
PACED_SHARE = 0.6
"""Of what the closed loop reaches: far from its limit, so that both ways of publishing are held at the same rate."""


def fill(bench: Bench, server: Server, what: str, rows: int, endpoint: str) -> None:
    """Fill the server's store while it is stopped, and start it again."""
    server.close()
    began = time.monotonic()
    endpoint_id = endpoint.removeprefix("ep_")
    words = [sys.executable, "-m", "bench.fill", what, str(server.folder / "bench.db"), str(rows), endpoint_id]
    process = subprocess.Popen(words, cwd=HERE.parent)
    if bench.cores.program is not None:
        pin(process.pid, bench.cores.program)
    if process.wait():
        raise SystemExit("bench: filling the store failed")
    took_s = time.monotonic() - began
    size = sum(file.stat().st_size for file in server.folder.glob("bench.db*")) / 2**30
    print(f"{rows:,} rows ({what}) in {took_s:.0f} s, {size:.1f} GiB", flush=True)
    began = time.monotonic()
    server.start()
    print(f"the program started on them in {time.monotonic() - began:.1f} s", flush=True)


def history(bench: Bench, rows: int, rounds: int) -> None:
    """Throughput on a store with a long history beside an empty one, in turns."""
    with bench.server() as full, bench.server() as empty:
        fill(bench, full, "history", rows, full.endpoint(bench.sink.url))
        empty.endpoint(bench.sink.url)
        stored = full.stats()
        bench.faults.check(stored["delivered"] >= rows, f"filled with {rows}, in the books {stored['delivered']}")
        taken: dict[str, list[Figures]] = {"empty store": [], f"{rows:,} stored events": []}
        names = list(taken)
        sides = list(zip(names, (empty, full), strict=True))
        for _ in range(rounds or ROUNDS):
            for name, server in sides:
                bench.run(server, seconds=WARM_S)
                settle()
                taken[name].append(bench.run(server, seconds=CLOSED_S))
            sides.reverse()
        memory = {name: server.resident_mib() for name, server in sides}
    found = {name: median(runs) for name, runs in taken.items()}
    _say(found, memory)
    share = found[names[1]].whole_s / found[names[0]].whole_s
    print_targets(
        [Target(f"throughput at {names[1]}, of that on an empty store", "≥ 90 %", f"{share:.1%}", share >= SHARE_MIN)]
    )


def _say(found: dict[str, Figures], memory: dict[str, float]) -> None:
    head = ("", "events/s", "CPU µs/event", "publish p50 / p99 ms", "end to end p50 / p99 ms", "memory MiB")
    rows = []
    for name, f in found.items():
        latencies = pair(f.publish_p50_ms, f.publish_p99_ms), pair(f.e2e_p50_ms, f.e2e_p99_ms)
        rows.append((name, rate(f.whole_s), f"{f.cpu_us:.1f}", *latencies, f"{memory[name]:.0f}"))
    print_rows(head, rows)


def keys(bench: Bench, rows: int, rounds: int) -> None:
    """What a publisher's id on every event costs, with 2 million known ones, in turns: at the same rate, where a commit
    that takes longer is shared by more, and as much as possible."""
    publishes = {"without an id": template("json"), "with an id": template("json + id")}
    paced: dict[str, list[Figures]] = {name: [] for name in publishes}
    closed: dict[str, list[Figures]] = {name: [] for name in publishes}
    with bench.server() as server:
        endpoint = server.endpoint(bench.sink.url)
        fill(bench, server, "keys", rows if rows > 1 else KEYS_PREFILLED, endpoint)
        bench.run(server, seconds=WARM_S)
        pace = PACED_SHARE * bench.run(server, seconds=CLOSED_S).whole_s
        for _ in range(rounds or ROUNDS):
            for name, publish in publishes.items():
                settle()
                paced[name].append(bench.run(server, publish, seconds=PACED_S, rate=pace))
                settle()
                closed[name].append(bench.run(server, publish, seconds=CLOSED_S))
        memory_mib = server.resident_mib()
    found = {f"{name}, closed loop": median(runs) for name, runs in closed.items()}
    found |= {f"{name}, same rate": median(runs) for name, runs in paced.items()}
    _say(found, dict.fromkeys(found, memory_mib))
    targets = []
    for way in ("closed loop", "same rate"):
        ratio = found[f"with an id, {way}"].cpu_us / found[f"without an id, {way}"].cpu_us
        asked = f"≤ {KEYS_CPU_MAX:g} ×"
        targets.append(Target(f"CPU with an id on every event, {way}", asked, f"{ratio:.2f} ×", ratio <= KEYS_CPU_MAX))
    print_targets(targets)
