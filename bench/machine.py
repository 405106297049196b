"""The machine: which core does what, how much processor and memory a process has used, the C programs."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cores:
    """Who runs where; both None: there is one core, and nothing is pinned."""

    program: int | None
    """The measured process alone: the program, the bare client, the bare insert."""
    rest: int | None
    """The sink, the load generator and the bench itself."""

    def __str__(self) -> str:
        if self.program is None:
            return "one core, nothing is pinned: the program shares it with sink and load"
        return f"the program on core {self.program}, sink and load on core {self.rest}"


def choose_cores() -> Cores:
    """The first and the last core that we may use; `CORES=0,1` says otherwise."""
    allowed = sorted(os.sched_getaffinity(0))
    asked = os.environ.get("CORES")
    if asked:
        program, rest = (int(part) for part in asked.split(","))
        return Cores(program, rest)
    return Cores(allowed[0], allowed[-1]) if len(allowed) > 1 else Cores(None, None)


def pin(pid: int, core: int | None) -> None:
    """Let a process (0: this one), and what it will start, run on one core only."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


def describe() -> str:
    """The machine in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES / 2**30
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, {python}"


def core_busy_s(core: int | None) -> float:
    """Seconds that a core (None: all of them) has worked so far, whoever for."""
    name = "cpu" if core is None else f"cpu{core}"
    for line in Path("/proc/stat").read_text().splitlines():
        label, *ticks = line.split()
        if label == name:
            idle_and_waiting = int(ticks[3]) + int(ticks[4])
            return (sum(int(tick) for tick in ticks[:8]) - idle_and_waiting) / TICKS
    return 0.0


def disk(folder: Path) -> str:
    """What kind of disk a folder is on, and how long flushing 4 kB to it takes."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False).stdout
    path, took_ms = folder / "flush", []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began) * 1000)
    path.unlink()
    memory = " (no disk at all: choose a folder with BENCH_DIR)" if kind.strip() in ("tmpfs", "ramfs") else ""
    return f"{kind.strip() or 'unknown'} disk{memory}, {statistics.median(took_ms):.2f} ms to flush 4 kB"


def revision() -> str:
    """The commit that is measured, `+` if files differ from it; empty outside a checkout."""
    git = ["git", "-C", str(HERE)]
    said = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    if said.returncode:
        return ""
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "../src"], capture_output=True, text=True, check=False
    ).stdout
    return said.stdout.strip() + ("+" if changed.strip() else "")


def build(folder: Path, name: str) -> Path:
    """Compile one of our C programs."""
    compiler = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), "")
    if not compiler:
        sys.exit("bench: a C compiler is needed (cc, gcc or clang)")
    binary = folder / name
    subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / f"{name}.c")], check=True)
    return binary


def cpu_s(pid: int) -> tuple[float, float]:
    """User and system seconds of a process so far, over all its threads, also ended ones."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def resident_mib(pid: int) -> float:
    """Memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


@dataclass
class Faults:
    """What makes a run no proof: anything lost, doubled or refused. A speed that was not reached is none."""

    found: list[str] = field(default_factory=list)

    def check(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong unless it holds, and say it at once."""
        if not holds:
            self.found.append(otherwise)
            print(f"  NOT RIGHT: {otherwise}", flush=True)
