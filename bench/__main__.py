"""`make bench`: what an event costs, as ratios to the bare client of the same run. Loopback only, 2 to 3 minutes.

It builds a sink and a load generator in C, starts the program on a database of its own with everything on (signing, a
filter that reads the payload, attempts, metrics scraped once a second), and proves at the sink that every event came
exactly once. What the variables do is in docs/benchmarks.md.

It fails when an event was lost, doubled or refused, never because something was slow.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.base import compare
from bench.crowds import fanout, opened
from bench.formats import formats
from bench.machine import describe, disk, pin, revision
from bench.measure import Bench
from bench.profiling import profile
from bench.reads import reads
from bench.stored import history, keys
from bench.stores import stores
from bench.usual import usual


def number(name: str, otherwise: int = 0) -> int:
    """A variable that is a number."""
    text = os.environ.get(name, "") or str(otherwise)
    if not text.isdecimal():
        sys.exit(f"bench: {name}={text!r} is no number")
    return int(text)


def choose(bench: Bench) -> None:
    """What the variables ask for."""
    rounds = number("ROUNDS")
    if number("READS"):
        reads(bench, number("READS"), os.environ.get("DB", ""), os.environ.get("CACHE", ""))
    elif os.environ.get("DB"):
        stores(bench, os.environ["DB"], os.environ.get("QUEUE", ""), rounds)
    elif os.environ.get("PROFILE"):
        profile(bench, os.environ["PROFILE"])
    elif os.environ.get("BASE"):
        compare(bench, os.environ["BASE"], rounds)
    elif number("ROWS"):
        history(bench, number("ROWS"), rounds)
    elif number("OPEN"):
        opened(bench, number("OPEN"))
    elif number("FANOUT"):
        fanout(bench, number("FANOUT"))
    elif number("FORMATS"):
        formats(bench, rounds)
    elif number("KEYS"):
        keys(bench, number("KEYS"), rounds)
    else:
        usual(bench, rounds or 1)


def main() -> None:
    """Run it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hookline-bench-", dir=os.environ.get("BENCH_DIR") or None) as name:
        bench = Bench(Path(name))
        pin(0, bench.cores.rest)
        print(f"commit {revision() or 'unknown'}; {describe()}; {disk(Path(name))}; {bench.cores}", flush=True)
        try:
            choose(bench)
        finally:
            bench.close()
    print(f"took {time.monotonic() - began:.0f} s; everything accepted was delivered once: ", end="")
    print("no" if bench.faults.found else "yes")
    for line in bench.faults.found:
        print(f"not right: {line}")
    sys.exit(1 if bench.faults.found else 0)


if __name__ == "__main__":
    main()
