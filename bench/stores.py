"""`make bench DB=postgresql [QUEUE=…]`: SQLite and PostgreSQL in one run, in turns, as ratios.

PostgreSQL (and the broker, where one is named) is that of the tests, started by this run on the core of sink and load:
what it uses is not in the program's figures. It flushes what it commits. Each turn has a database of its own.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Bench, Figures, median, settle
from bench.server import Server
from bench.table import Target, pair, print_rows, print_targets, rate

ROUNDS = 3
WARM_S = 1.5
CLOSED_S = 4.0
PACED_S = 6.0
PACED_SHARE = 0.5
"""Of what the slowest reaches."""
SECRET = base64.b64encode(bytes(range(32))).decode()
QUEUES = {"redis": "valkey", "nats": "nats", "rabbitmq": "rabbitmq", "kafka": "kafka"}
"""`QUEUE` → the module of `tests.servers` that starts it."""

SQLITE = "SQLite, one process"
POSTGRES = "PostgreSQL, one process"
SPLIT = "PostgreSQL, API + worker"
TWO = "PostgreSQL, API + 2 workers"


@dataclass(frozen=True)
class Measured:
    """One turn of one kind."""

    figures: Figures
    worker_us: float
    """Processor time of the workers alone, per event; 0 where there are none."""


class Split(Server):
    """An API process, which is who is asked, and workers."""

    def __init__(self, folder: Path, core: int | None, workers: int, **more: str) -> None:
        self.workers: list[Server] = []
        python = sys.executable
        super().__init__(folder, core, python=python, source=None, role="api", **more)
        for n in range(workers):
            place = folder / f"worker-{n}"
            self.workers.append(Server(place, core, python=python, source=None, role="worker", **more))

    def cpu_parts(self) -> tuple[float, float]:
        """Of all of them."""
        parts = [super().cpu_parts(), *(worker.cpu_parts() for worker in self.workers)]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)

    def worker_cpu_s(self) -> float:
        """Of the workers."""
        return sum(sum(worker.cpu_parts()) for worker in self.workers)

    def close(self) -> None:
        """End all."""
        for worker in self.workers:
            worker.close()
        super().close()


class Stores:
    """What the kinds run on."""

    def __init__(self, bench: Bench, postgres: Any, queue: str) -> None:
        self._bench = bench
        self._postgres = postgres
        self._queue = queue
        self._names = itertools.count()

    def server(self, kind: str) -> Server:
        """A kind, started on a database of its own."""
        if kind == SQLITE:
            return self._bench.server()
        number = next(self._names)
        more = {"db": self._postgres.create(f"bench_{number}"), "secret_key": SECRET, "migrate": "auto", "drain_s": "0"}
        if kind == POSTGRES:
            return self._bench.server(**more)
        if self._queue:
            more["queue"] = self._queue
        workers = 2 if kind == TWO else 1
        return Split(self._bench.folder / f"split-{number}", self._bench.cores.program, workers, **more)

    def turn(self, kind: str, *, seconds: float, pace: float = 0.0) -> Measured:
        """Measure a kind once: as much as possible, or at a rate."""
        with self.server(kind) as server:
            server.endpoint(self._bench.sink.url)
            self._bench.run(server, seconds=WARM_S, rate=pace)
            settle()
            workers_s = server.worker_cpu_s() if isinstance(server, Split) else 0.0
            events = server.stats()["events"]
            figures = self._bench.run(server, seconds=seconds, rate=pace)
            workers_s = server.worker_cpu_s() - workers_s if isinstance(server, Split) else 0.0
            return Measured(figures, workers_s / max(1, server.stats()["events"] - events) * 1e6)


def _module(name: str) -> Any:
    """The tests' own way to start a server; imported by name, because only this bench needs what the tests need."""
    return importlib.import_module(f"tests.servers.{name}")


@contextlib.contextmanager
def _postgres() -> Iterator[Any]:
    """In a folder that another user may enter: PostgreSQL does not run as root."""
    module = _module("postgres")
    binaries = module.programs()
    folder = Path(tempfile.mkdtemp(prefix="hookline-bench-postgres-", dir=os.environ.get("BENCH_DIR") or None))
    try:
        server = module.Postgres(folder, binaries)
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _broker(name: str) -> Iterator[str]:
    """Its address; empty where none is asked for."""
    if not name:
        yield ""
        return
    serving = _module(QUEUES[name]).serving
    with contextlib.contextmanager(serving)() as server:
        yield server.url() if callable(server.url) else server.url


def stores(bench: Bench, database: str, queue: str, rounds: int) -> None:
    """Measure all kinds in turns, and print figures and ratios."""
    if database != "postgresql" or (queue and queue not in QUEUES):
        sys.exit(f"bench: DB is postgresql, and QUEUE empty or one of {' '.join(QUEUES)}")
    kinds = [SQLITE, POSTGRES, SPLIT, TWO]
    closed: dict[str, list[Measured]] = {kind: [] for kind in kinds}
    paced: dict[str, list[Measured]] = {kind: [] for kind in kinds}
    with _postgres() as postgres, _broker(queue) as address:
        measuring = Stores(bench, postgres, address)
        pace = 0.0
        for number in range(rounds or ROUNDS):
            order = kinds if number % 2 == 0 else kinds[::-1]
            for kind in order:
                closed[kind].append(measuring.turn(kind, seconds=CLOSED_S))
                _say(number, kind, closed[kind][-1])
            pace = pace or PACED_SHARE * min(closed[kind][0].figures.whole_s for kind in kinds)
            for kind in order:
                paced[kind].append(measuring.turn(kind, seconds=PACED_S, pace=pace))
                _say(number, kind, paced[kind][-1])
    _print(closed, paced, queue)


def _say(number: int, kind: str, found: Measured) -> None:
    figures = found.figures
    print(
        f"  round {number + 1}, {kind}: {figures.whole_s:,.0f}/s, {figures.cpu_us:.1f} CPU µs; of its core "
        f"{figures.busy:.0%} (others {figures.others:.0%})",
        flush=True,
    )


def _print(closed: dict[str, list[Measured]], paced: dict[str, list[Measured]], queue: str) -> None:
    rows = []
    figures: dict[tuple[str, str], Figures] = {}
    workers: dict[str, float] = {}
    for way, found in (("closed loop", closed), ("same rate", paced)):
        for kind, turns in found.items():
            f = figures[way, kind] = median([turn.figures for turn in turns])
            each = sorted(turn.worker_us for turn in turns)[len(turns) // 2]
            workers[kind] = each  # of the same rate, which comes last
            base = figures[way, SQLITE]
            latencies = pair(f.publish_p50_ms, f.publish_p99_ms), pair(f.e2e_p50_ms, f.e2e_p99_ms)
            ratios = f"{f.whole_s / base.whole_s:.2f}", f"{f.cpu_us / base.cpu_us:.2f}"
            worker = f"{each:.1f}" if each else ""
            rows.append(
                (f"{kind}, {way}", rate(f.whole_s), ratios[0], f"{f.cpu_us:.1f}", ratios[1], worker, *latencies)
            )
    head = ("", "events/s", "× SQLite", "CPU µs/event", "× SQLite", "of workers", "publish p50 / p99 ms")
    print_rows((*head, "end to end p50 / p99 ms"), rows)
    print_targets(_targets(figures, workers, queue))


def _targets(figures: dict[tuple[str, str], Figures], workers: dict[str, float], queue: str) -> list[Target]:
    def ratio(way: str, kind: str, other: str, name: str) -> float:
        return float(getattr(figures[way, kind], name) / getattr(figures[way, other], name))

    speed = ratio("closed loop", POSTGRES, SQLITE, "whole_s")
    found = [Target("PostgreSQL in one process, delivered/s of SQLite's", "≥ 50 %", f"{speed:.1%}", speed >= 0.5)]
    split_max = 2.6 if queue == "rabbitmq" else 2.2
    over = f"API + worker over {queue or 'NOTIFY'}"
    for way in ("closed loop", "same rate"):
        one, split = ratio(way, POSTGRES, SQLITE, "cpu_us"), ratio(way, SPLIT, SQLITE, "cpu_us")
        found.append(Target(f"PostgreSQL in one process, CPU × SQLite, {way}", "≤ 1.3", f"{one:.2f}", one <= 1.3))
        held = split <= split_max
        found.append(Target(f"{over}, CPU of both × SQLite, {way}", f"≤ {split_max}", f"{split:.2f}", held))
    two = workers[TWO] / max(workers[SPLIT], 1e-9)
    found.append(Target("two workers, their CPU × one worker's, same rate", "≤ 1.15", f"{two:.2f}", two <= 1.15))
    more = ratio("closed loop", TWO, SPLIT, "whole_s")
    found.append(
        Target("two workers, delivered/s × one's (all share one core here)", "none", f"{more:.2f}", holds=True)
    )
    return found
