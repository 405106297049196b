"""`python -m tests.simulate COUNT [FIRST]` walks so many seeds on all cores; `SEED=n python -m tests.simulate` walks
one and prints what happened. The exit status is 1 where something did not hold.

Strings are hashed in the same way in every run (PYTHONHASHSEED=0), or the order of a set would be another one.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulate.walk import Violation, Walk

SEEDS_PER_TASK = 10
FAILURES_MAX = 10
TRACE_LINES = 60


def walk(seed: int) -> tuple[Walk, BaseException | None]:
    """One seed; what went wrong."""
    one = Walk(seed)
    try:
        one.run()
    except Exception as error:
        return one, error
    return one, None


def some(seeds: Sequence[int]) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Several seeds: what was counted, and what did not hold."""
    counted: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    gc.disable()
    for seed in seeds:
        one, error = walk(seed)
        counted.update(
            {f"transition {before}>{after}": n for (before, after), n in one.world.truth.transitions.items()}
        )
        counted.update(one.world.counted)
        counted["commits"] += one.world.truth.commits
        counted["lines"] += len(one.world.trace)
        if error is not None:
            failed.append((seed, report(one, error)))
    gc.enable()
    gc.collect()
    return counted, failed


def report(one: Walk, error: BaseException) -> str:
    """What did not hold, and what happened before it."""
    lines = [f"SEED={one.world.seed} make simulate    # {type(error).__name__}: {error}"]
    lines += [f"{at - 1000:12.4f}  {what}"[:300] for at, what in one.world.trace[-TRACE_LINES:]]
    if not isinstance(error, Violation):
        lines += traceback.format_exception(error)
    return "\n".join(lines)


def many(count: int, first: int) -> int:
    """So many seeds from the first on; how many failed."""
    began_s = time.monotonic()
    tasks = [range(at, min(at + SEEDS_PER_TASK, first + count)) for at in range(first, first + count, SEEDS_PER_TASK)]
    counted: Counter[str] = Counter()
    failures = walked = 0
    with ProcessPoolExecutor() as pool:
        for task, (some_counted, failed) in zip(tasks, pool.map(some, tasks), strict=True):
            counted.update(some_counted)
            walked += len(task)
            for _, text in failed:
                failures += 1
                print(text, flush=True)
            if walked % 100 == 0:
                print(f"{walked} seeds, {failures} failed, {time.monotonic() - began_s:.0f} s", flush=True)
            if failures >= FAILURES_MAX:
                pool.shutdown(cancel_futures=True)
                break
    took_s = time.monotonic() - began_s
    transitions = sum(1 for name in counted if name.startswith("transition"))
    print(
        f"{walked} seeds from {first}, {failures} failed, {took_s:.0f} s ({walked / took_s:.1f}/s on {os.cpu_count()}"
        f" cores): {counted['answer 202']} publishes accepted, {counted['answer 503']} refused for now,"
        f" {counted['sends']} attempts, {counted['crashes']} crashes, {counted['commits']} commits,"
        f" {transitions} transitions of the state table",
        flush=True,
    )
    return failures


def main() -> int:
    """By arguments and environment."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulate", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    if seed := os.environ.get("SEED"):
        one, error = walk(int(seed))
        for at, what in one.world.trace:
            print(f"{at - 1000:12.4f}  {what}")
        print(f"SEED={seed}: {'all that must hold holds' if error is None else f'{type(error).__name__}: {error}'}")
        if error is not None and not isinstance(error, Violation):
            traceback.print_exception(error)
        return error is not None
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    return many(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0) > 0


if __name__ == "__main__":
    sys.exit(main())
