"""`make bench PROFILE=1`: where the program's time goes under load: by function and by module with py-spy, and in C and
the kernel with perf, where that is installed.

The rate is 85 % of what the closed loop reaches (or `RATE`), so that events take the way they take in a healthy
program.
`PROFILE=accept` profiles accepting alone, `PROFILE=received` webhooks that come in.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.measure import PACED_CONNECTIONS, PLAIN, Bench
from bench.server import Server
from bench.table import print_rows
from bench.template import RECEIVED, source_spec, template

ESTIMATE_S = 4.0
SAMPLED_S = 12.0
SAMPLES_PER_S = 400
LINES = 40
FRAME = re.compile(r"(?P<name>.*) \((?P<file>[^:()]*)(?::\d+)?\)$")


@dataclass(frozen=True)
class Stack:
    """One stack that was seen, outermost frame first, and how often."""

    frames: list[str]
    count: int


def stacks(text: str) -> Iterator[Stack]:
    """What py-spy wrote: `frame;frame;frame count` in each line."""
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        if frames:
            yield Stack(frames.split(";"), int(count))


def _module(frame: str) -> str:
    found = FRAME.match(frame)
    return found["file"] if found else frame


def _function(frame: str) -> str:
    found = FRAME.match(frame)
    return f"{found['name']} ({found['file']})" if found else frame


def _part(frame: str) -> str:
    """The package of a module of ours, or the library."""
    parts = _module(frame).split("/")
    if "hookline" in parts:
        return "/".join(parts[parts.index("hookline") :][:3])
    return parts[-2] if len(parts) > 1 else parts[0]


def _say(title: str, counted: Counter[str], total: int, cpu_us: float, lines: int) -> None:
    rows = [
        (name, f"{count / total:.1%}", f"{count / total * cpu_us:.1f}") for name, count in counted.most_common(lines)
    ]
    print_rows((title, "share", "µs/event"), rows)


def _sampled(found: list[Stack], cpu_us: float) -> None:
    total = sum(stack.count for stack in found)
    if not total:
        raise SystemExit("bench: py-spy saw nothing")

    def alone(of: Callable[[str], str]) -> Counter[str]:
        counted: Counter[str] = Counter()
        for stack in found:
            counted[of(stack.frames[-1])] += stack.count
        return counted

    inclusive: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for stack in found:
        threads[stack.frames[0].partition(": ")[2]] += stack.count
        for function in {_function(frame) for frame in stack.frames[1:]}:
            inclusive[function] += stack.count
    print(f"{total} samples of running threads; C code counts for the Python function that called it,")
    print("so Runner.run alone is the event loop itself: sockets, callbacks")
    _say("thread", threads, total, cpu_us, 8)
    _say("package, alone", alone(_part), total, cpu_us, 25)
    _say("module, alone", alone(_module), total, cpu_us, 30)
    _say("function, alone", alone(_function), total, cpu_us, LINES)
    _say("line, alone", alone(str), total, cpu_us, LINES)
    _say("function with what it calls", inclusive, total, cpu_us, LINES)


def _spy(server: Server, to: Path) -> subprocess.Popen[bytes]:
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise SystemExit("bench: py-spy is not installed; `make bench PROFILE=1` does that")
    words = [str(spy), "record", "--pid", str(server.pid), "--duration", f"{SAMPLED_S:g}", "--nonblocking"]
    words += ["--rate", str(SAMPLES_PER_S), "--format", "raw", "--threads", "--output", str(to)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _perf(server: Server, to: Path) -> subprocess.Popen[bytes] | None:
    perf = shutil.which("perf")
    if perf is None:
        return None
    words = [perf, "record", "-q", "-F", "499", "-p", str(server.pid), "-o", str(to), "--", "sleep", f"{SAMPLED_S:g}"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _say_perf(data: Path, cpu_us: float) -> None:
    for title, key, lines in (("shared object", "dso", 12), ("symbol", "symbol,dso", 35)):
        words = ["perf", "report", "-i", str(data), "--stdio", "--no-children", "--percent-limit", "0.4", "--sort", key]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        rows = []
        for line in said.splitlines():
            share, _, what = line.strip().partition("%")
            if what and not line.startswith("#"):
                value = float(share) / 100
                rows.append((" ".join(what.split())[:90], f"{value:.1%}", f"{value * cpu_us:.1f}"))
        if rows:
            print_rows((f"{title} (perf)", "share", "µs/event"), rows[:lines])


def profile(bench: Bench, what: str) -> None:
    """Sample the program under load, and say where its time goes."""
    delivers = what != "accept"
    with bench.server() as server:
        if delivers:
            server.endpoint(bench.sink.url)
        publish = PLAIN
        if what == RECEIVED:
            server.ask("POST", "/v1/sources", source_spec())
            publish = template(RECEIVED)
        rate = float(os.environ.get("RATE") or 0)
        if not rate:
            rate = 0.85 * bench.run(server, publish, seconds=ESTIMATE_S, delivers=delivers).whole_s
        options = {"rate": rate, "connections": PACED_CONNECTIONS, "seconds": SAMPLED_S + 2}
        cpu_s, before = server.cpu_parts(), server.stats()["events"]
        load = bench.load.start(server.port, publish, **options)
        time.sleep(1)
        raw, data = bench.folder / "py-spy.raw", bench.folder / "perf.data"
        spy, perf = _spy(server, raw), _perf(server, data)
        _, said = spy.communicate()
        if perf is not None:
            perf.wait()
        published = load.end()
        server.drained(60)
        used = [now - then for now, then in zip(server.cpu_parts(), cpu_s, strict=True)]
        events = server.stats()["events"] - before
        bench.faults.check(published.other + published.unanswered == 0, "publishes were refused")
        bench.faults.check(events == published.events, f"published {published.events}, in the books {events}")
    if not raw.exists():
        raise SystemExit(f"bench: py-spy could not look into the program: {said.decode(errors='replace')[-500:]}")
    cpu_us = sum(used) / max(1, events) * 1e6
    print(f"{rate:,.0f} events/s, {cpu_us:.1f} CPU µs per event (while it was looked at), ", end="")
    print(f"{used[1] / sum(used):.0%} of it in the kernel")
    _sampled(list(stacks(raw.read_text())), cpu_us)
    _say_perf(data, cpu_us)
