"""`make fuzz`: every target for some time, guided by coverage (atheris); and generated requests to the whole program.

    FUZZ_TARGET=front     one target, or `requests`; default: all
    FUZZ_SECONDS=60       for each target
    FUZZ_REQUESTS=100000  how many requests are generated
    FUZZ_SEED=1           of the generated requests; default: another one each time, printed
    FUZZ_INPUT=file       check this one input again, with a traceback; needs FUZZ_TARGET

What is found is kept in `.fuzz/`: inputs that reached new code, and those that failed. A failure ends the run with
its file and the command that shows it again.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS

KEPT = Path(".fuzz")
REQUESTS = "requests"
INPUT_BYTES_MAX = 4096
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVERED = re.compile(r"cov: (\d+)")


def main() -> int:
    """Run what the environment asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("--guided", metavar="TARGET", help="be the process that fuzzes one target")
    parser.add_argument("rest", nargs="*")
    asked, rest = parser.parse_known_args()
    if asked.guided:
        return guided(asked.guided, [*asked.rest, *rest])
    wanted, file = os.environ.get("FUZZ_TARGET", ""), os.environ.get("FUZZ_INPUT", "")
    known = [*TARGETS, REQUESTS]
    if (wanted and wanted not in known) or (file and not wanted):
        print(f"FUZZ_TARGET is one of {', '.join(known)}", file=sys.stderr)
        return 2
    if file:
        return again(wanted, Path(file))
    if wanted != REQUESTS and importlib.util.find_spec("atheris") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"atheris has no wheel for Python {version} on {sys.platform}: nothing was fuzzed", file=sys.stderr)
        return 3
    print(f"{'target':<14} {'inputs':>11} {'per s':>8} {'corpus':>7} {'edges':>6}  result", flush=True)
    results = [generated() if name == REQUESTS else fuzzed(name) for name in ([wanted] if wanted else known)]
    return 0 if all(results) else 1


def again(name: str, file: Path) -> int:
    """Check one input; what it raises is shown."""
    data = file.read_bytes()
    if name == REQUESTS:
        importlib.import_module("tests.fuzz.requests").check(data)
    else:
        TARGETS[name].check()(data)
    print(f"{file}: {len(data)} bytes, nothing wrong")
    return 0


# ----------------------------------------------------------------------------------------------- guided by coverage


def fuzzed(name: str) -> bool:
    """Fuzz one target in a process of its own; print a row; whether nothing was found."""
    from tests.fuzz.seeds import seeds, words

    corpus, failures = KEPT / "corpus" / name, KEPT / "failures"
    for folder in (corpus, failures):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number:04d}").write_bytes(seed)
    dictionary = KEPT / f"{name}.dictionary"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words(name)), encoding="ascii")
    before = set(failures.iterdir())
    command = [
        sys.executable, "-m", "tests.fuzz.run", "--guided", name, str(corpus), f"-dict={dictionary}",
        f"-max_total_time={os.environ.get('FUZZ_SECONDS', '60')}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=30",
        "-rss_limit_mb=3072", "-print_final_stats=1", f"-artifact_prefix={failures}/{name}-",
    ]  # fmt: skip
    log = KEPT / f"{name}.log"
    begun = time.perf_counter()
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    took_s = time.perf_counter() - begun
    text = log.read_text(encoding="utf-8", errors="replace")
    numbers = {found[1]: int(found[2]) for found in _STATISTIC.finditer(text)}
    inputs = numbers.get("number_of_executed_units", 0)
    edges = ([0] + [int(found) for found in _COVERED.findall(text)])[-1]
    row = f"{name:<14} {inputs:>11,} {inputs / took_s:>8,.0f} {len(list(corpus.iterdir())):>7,} {edges:>6,}"
    found = sorted(set(failures.iterdir()) - before)
    print(f"{row}  {'nothing found' if code == 0 else 'FAILED'}", flush=True)
    if code != 0:
        print(_why(text))
        _tell(name, found[-1] if found else None, log)
    return code == 0


def guided(name: str, arguments: list[str]) -> int:
    """Be libFuzzer: does not return."""
    import atheris
    from tests.fuzz.seeds import words

    target, tokens = TARGETS[name], words(name)
    loaded = [module for module in sys.modules if module == "hookline" or module.startswith("hookline.")]
    for module in loaded:  # the seeds have imported some of it; what is measured is imported again
        del sys.modules[module]
    with atheris.instrument_imports(include=["hookline"]):
        check = target.check()

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        dice = Random(seed)
        if dice.random() < 0.3:
            return bytes(atheris.Mutate(data, size_max))
        return target.mutate(dice, data, tokens)[:size_max]

    atheris.Setup([sys.argv[0], *arguments], check, custom_mutator=change)
    atheris.Fuzz()
    return 0


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word.encode())


def _why(log: str) -> str:
    """The Python traceback of a log, or its end."""
    at = log.find("=== Uncaught Python exception: ===")
    return (log[at:] if at >= 0 else log)[:4000]


def _tell(name: str, file: Path | None, log: Path) -> None:
    if file is None:
        print(f"no input was kept; everything it said is in {log}")
        return
    print(f"the input is {file}; show it again: make fuzz FUZZ_TARGET={name} FUZZ_INPUT={file}")


# ---------------------------------------------------------------------------------------------- generated requests


def generated() -> bool:
    """Ask the whole program generated requests; print a row; whether nothing was found."""
    requests = importlib.import_module("tests.fuzz.requests")
    seed = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(1 << 31))
    wanted = int(os.environ.get("FUZZ_REQUESTS") or 100_000)
    try:
        made, statuses, took_s = requests.run(wanted, seed)
    except requests.Failed as failure:
        file = KEPT / "failures" / f"{REQUESTS}-{seed}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(failure.data)
        print(f"{REQUESTS:<14} FAILED with FUZZ_SEED={seed}: {failure}")
        _tell(REQUESTS, file, file)
        return False
    print(f"{REQUESTS:<14} {made:>11,} {made / took_s:>8,.0f} {'':>7} {'':>6}  nothing found (FUZZ_SEED={seed})")
    print("answers: " + ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items())))
    return True


if __name__ == "__main__":
    sys.exit(main())
