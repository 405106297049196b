"""One run: publish, count at the sink, compare the books, and say what it cost."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from bench.load import NUMBERS_PER_RUN, Load, Published
from bench.machine import HERE, Cores, Faults, build, choose_cores, core_busy_s, pin
from bench.server import Server
from bench.sink import Counts, Sink
from bench.template import Template, bare_body, template

CLOSED_CONNECTIONS = 64
"""As many as the bare client has."""
PACED_CONNECTIONS = 256
"""More than are ever busy at a rate that can be held: what is due does not wait for a connection."""
DRAIN_S_MAX = 120.0
PLAIN = template()


@dataclass(frozen=True)
class Figures:
    """What a run measured. Rates are per second, durations in milliseconds; 0 where there was nothing to measure."""

    accepted_s: float = 0.0
    delivered_s: float = 0.0
    """While it was published, counted at the sink."""
    whole_s: float = 0.0
    """Events by the time from the first publish to the last delivery."""
    backlog: float = 0.0
    """Accepted, and not at the sink, at the end of publishing."""
    late_ms: float = 0.0
    """How late the latest publish was sent."""
    cpu_us: float = 0.0
    """Of the measured process, user and system, all threads, per event."""
    system_share: float = 0.0
    """How much of that was the kernel's."""
    busy: float = 0.0
    """The measured process's share of its core, while it was published."""
    others: float = 0.0
    """What anything else had of that core meanwhile: the neighbours' noise."""
    publish_p50_ms: float = 0.0
    publish_p99_ms: float = 0.0
    e2e_p50_ms: float = 0.0
    e2e_p99_ms: float = 0.0
    events_per_commit: float = 0.0
    """How many events shared one flush when they were accepted."""
    load_us: float = 0.0
    sink_us: float = 0.0

    def held(self, of_s: float) -> bool:
        """Whether the rate could be held: what waits at the end is at most `of_s` seconds of deliveries, and no
        publish was sent later than that."""
        return self.backlog <= of_s * self.delivered_s and self.late_ms <= of_s * 1000


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return Figures(**{f.name: statistics.median(getattr(run, f.name) for run in runs) for f in fields(Figures)})


@dataclass
class Bench:
    """What all runs share."""

    folder: Path
    cores: Cores = field(default_factory=choose_cores)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.sink = Sink(build(self.folder, "sink"), self.cores.rest)
        self.load = Load(build(self.folder, "load"), self.folder, self.cores.rest)
        self.body = self.folder / "body"
        self.body.write_bytes(bare_body())
        self._names = itertools.count()

    def close(self) -> None:
        """End the sink."""
        self.sink.close()

    def server(self, **options: object) -> Server:
        """The program on a new store."""
        return Server(self.folder / f"server-{next(self._names)}", self.cores.program, **options)  # type: ignore[arg-type]

    def reset(self) -> None:
        """Sink and load begin anew. Nothing may be under way."""
        self.sink.reset()
        self.load.restart()

    # ---------------------------------------------------------------------------------------------- the floors

    def bare_client(self, seconds: float) -> Figures:
        """The bare client against the same sink."""
        self.reset()
        before = self.sink.counts()
        words = ["bare_client.py", str(self.sink.port), f"{seconds:g}", str(self.body), str(CLOSED_CONNECTIONS)]
        found = self._python(words)
        sink_s = self.sink.counts().cpu_s - before.cpu_s
        self.reset()
        done = found["requests"]
        return Figures(
            delivered_s=done / found["seconds"],
            cpu_us=found["cpu_s"] / done * 1e6,
            busy=found["cpu_s"] / found["seconds"],
            sink_us=sink_s / done * 1e6,
        )

    def bare_insert(self, seconds: float, rows_per_commit: int) -> Figures:
        """The bare durable insert."""
        path = self.folder / f"insert-{next(self._names)}.db"
        found = self._python(["bare_insert.py", str(path), f"{seconds:g}", str(self.body), str(rows_per_commit)])
        for file in self.folder.glob(path.name + "*"):
            file.unlink()
        rows = found["rows"]
        return Figures(
            accepted_s=rows / found["seconds"],
            cpu_us=found["cpu_s"] / rows * 1e6,
            events_per_commit=rows_per_commit,
        )

    def _python(self, words: list[str]) -> dict[str, float]:
        command = [sys.executable, str(HERE / words[0]), *words[1:]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pin(process.pid, self.cores.program)
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"bench: {words[0]} failed")
        found: dict[str, float] = json.loads(said)
        return found

    # ------------------------------------------------------------------------------------------------ the program

    def run(
        self,
        server: Server,
        publish: Template = PLAIN,
        *,
        seconds: float,
        rate: float = 0.0,
        connections: int = 0,
        delivers: bool = True,
    ) -> Figures:
        """Publish for so long, as much as possible or `rate` events a second, and wait until all is delivered.

        Anything refused, lost, doubled or missing in the books is a fault.
        """
        if self.load.full:
            self.reset()
        self.sink.window()
        before, books, cpu_s = self.sink.counts(), server.stats(), server.cpu_parts()
        commits = server.accept_commits()
        core_s = core_busy_s(self.cores.program)
        connections = connections or (PACED_CONNECTIONS if rate else CLOSED_CONNECTIONS)
        options = {"rate": rate / publish.events, "connections": connections, "seconds": seconds}
        published = self.load.run(server.port, publish, **options)
        busy_s = sum(server.cpu_parts()) - sum(cpu_s)
        others_s = core_busy_s(self.cores.program) - core_s - busy_s if self.cores.program is not None else 0.0
        at_end = self.sink.counts()
        left = server.drained(DRAIN_S_MAX)
        used = [now - then for now, then in zip(server.cpu_parts(), cpu_s, strict=True)]
        after, changed = self.sink.counts(), server.stats()
        self._prove(published, publish, before, after, delivers=delivers)
        self.faults.check(left == 0, f"{left} deliveries were still open after {DRAIN_S_MAX:g} s")
        for name in ("events", "delivered") if delivers else ("events",):
            found = changed[name] - books[name]
            self.faults.check(found == published.events, f"published {published.events}, in the books {found} {name}")
        items, shared = (now - then for now, then in zip(server.accept_commits(), commits, strict=True))
        measured = _figures(published, before, at_end, after, used)
        of_core = {"busy": busy_s / published.seconds, "others": max(0.0, others_s) / published.seconds}
        return replace(measured, events_per_commit=items / max(1.0, shared), **of_core)

    def _prove(self, published: Published, publish: Template, before: Counts, after: Counts, *, delivers: bool) -> None:
        check = self.faults.check
        said = f" ({published.first_other})" if published.first_other else ""
        check(published.other == 0, f"{published.other} publishes were refused{said}")
        check(published.unanswered == 0, f"{published.unanswered} publishes were not answered")
        check(published.events == published.ok * publish.events, "the load generator lost count")
        check(published.events <= NUMBERS_PER_RUN, "more events than numbers: the proof needs shorter runs")
        arrived = after.once.distinct - before.once.distinct
        expected = published.events if delivers else 0
        check(arrived == expected, f"{expected} events were to be delivered, {arrived} were counted at the sink")
        for name in ("duplicates", "strange"):
            more = getattr(after.once, name) - getattr(before.once, name)
            check(more == 0, f"{more} events that are {name} came to the sink")
        check(after.unmarked == before.unmarked, "requests without a mark came to the sink")
        check(after.not_signed == before.not_signed, "deliveries without a signature came to the sink")


def _figures(published: Published, before: Counts, at_end: Counts, after: Counts, used: Sequence[float]) -> Figures:
    events = max(1, published.events)
    until_end_s = (at_end.now_ns - published.begun_ns) / 1e9
    at_sink = at_end.once.distinct - before.once.distinct
    whole_ns = max(after.once.last_ns - published.begun_ns, int(published.seconds * 1e9))
    latencies = after.once
    return Figures(
        accepted_s=published.events / published.seconds,
        delivered_s=at_sink / until_end_s,
        whole_s=published.events / (whole_ns / 1e9),
        backlog=published.events - at_sink,
        late_ms=published.late_max_us / 1000,
        cpu_us=sum(used) / events * 1e6,
        system_share=used[1] / max(sum(used), 1e-9),
        publish_p50_ms=published.p50_us / 1000,
        publish_p99_ms=published.p99_us / 1000,
        e2e_p50_ms=latencies.p50_us / 1000,
        e2e_p99_ms=latencies.p99_us / 1000,
        load_us=published.cpu_s / events * 1e6,
        sink_us=(after.cpu_s - before.cpu_s) / max(1, after.requests - before.requests) * 1e6,
    )


def settle(seconds: float = 0.3) -> None:
    """Let what still runs after a run (checkpoints, folding of counters) end."""
    time.sleep(seconds)
