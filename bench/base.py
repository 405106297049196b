"""`make bench BASE=<revision>`: this source and that of another commit in one run, in turns, as ratios.

The other commit is checked out beside (git worktree) and ended after the run. It runs in this environment, or, if its
locked requirements differ, in one of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from bench.machine import HERE
from bench.measure import Bench, Figures, median, settle
from bench.table import pair, print_rows, rate

ROUNDS = 3
WARM_S = 1.5
CLOSED_S = 4.0
PACED_S = 6.0
ROOT = HERE.parent


@dataclass(frozen=True)
class Side:
    """A source to be measured, and what it runs in."""

    name: str
    python: str
    source: Path


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout.strip()


def _environment(folder: Path, checkout: Path) -> str:
    """The Python that a checkout runs with."""
    lock = "requirements.lock"
    if (checkout / lock).read_bytes() == (ROOT / lock).read_bytes():
        return sys.executable
    print("  its requirements differ: an environment of its own is made", flush=True)
    python = folder / "base-env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "base-env")], check=True)
    words = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
    subprocess.run([*words, str(checkout / lock)], check=True)
    return str(python)


@contextmanager
def _checkout(folder: Path, revision: str) -> Iterator[Side]:
    checkout = folder / "base"
    _git("worktree", "add", "--detach", "--force", str(checkout), revision)
    try:
        name = _git("rev-parse", "--short=10", revision)
        yield Side(f"base {name}", _environment(folder, checkout), checkout / "src")
    finally:
        _git("worktree", "remove", "--force", str(checkout))


def _one(bench: Bench, side: Side, paced_rate: float) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    with bench.server(python=side.python, source=side.source) as server:
        bench.run(server, seconds=WARM_S, delivers=False)
        found["accept, closed loop"] = bench.run(server, seconds=CLOSED_S, delivers=False)
    with bench.server(python=side.python, source=side.source) as server:
        server.endpoint(bench.sink.url)
        bench.run(server, seconds=WARM_S)
        settle()
        closed = found["deliver, closed loop"] = bench.run(server, seconds=CLOSED_S)
        settle()
        found["deliver, same rate"] = bench.run(server, seconds=PACED_S, rate=paced_rate or closed.whole_s / 2)
    return found


def compare(bench: Bench, revision: str, rounds: int) -> None:
    """Measure both in turns, and print both and their ratios."""
    with _checkout(bench.folder, revision) as base:
        here = Side("here", sys.executable, ROOT / "src")
        taken: dict[str, list[dict[str, Figures]]] = {base.name: [], here.name: []}
        paced = 0.0
        for number in range(rounds or ROUNDS):
            for side in (base, here) if number % 2 == 0 else (here, base):
                found = _one(bench, side, paced)
                paced = paced or found["deliver, same rate"].accepted_s
                taken[side.name].append(found)
                closed = found["deliver, closed loop"]
                print(
                    f"  round {number + 1}, {side.name}: {closed.whole_s:,.0f}/s, {closed.cpu_us:.1f} CPU µs",
                    flush=True,
                )
    _say(taken, base.name, here.name)


def _say(taken: dict[str, list[dict[str, Figures]]], base: str, here: str) -> None:
    head = ("", "events/s", "CPU µs/event", "publish p50 / p99 ms", "end to end p50 / p99 ms")
    rows = []
    for name in taken[base][0]:
        sides = {side: median([found[name] for found in taken[side]]) for side in (base, here)}
        for side, f in sides.items():
            latencies = pair(f.publish_p50_ms, f.publish_p99_ms), pair(f.e2e_p50_ms, f.e2e_p99_ms)
            rows.append((f"{name}: {side}", rate(f.whole_s), f"{f.cpu_us:.1f}", *latencies))
        one, other = sides[here], sides[base]
        ratios = {
            f.name: getattr(one, f.name) / getattr(other, f.name) for f in fields(Figures) if getattr(other, f.name)
        }
        e2e = f"{ratios['e2e_p50_ms']:.2f} / {ratios['e2e_p99_ms']:.2f}" if other.e2e_p50_ms else ""
        publish = f"{ratios['publish_p50_ms']:.2f} / {ratios['publish_p99_ms']:.2f}"
        rows.append((f"{name}: ratio", f"{ratios['whole_s']:.2f}", f"{ratios['cpu_us']:.2f}", publish, e2e))
    print_rows(head, rows)
