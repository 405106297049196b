"""The load generator, and what it measured."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import msgspec
from bench.machine import pin
from bench.template import Template

NUMBERS_MAX = 64 * 1024 * 1024
"""As many as the sink tells apart."""
NUMBERS_PER_RUN = 2 * 1024 * 1024
"""Room for the numbers of one run of the generator, so that no two runs between resets share any."""


class Published(msgspec.Struct, frozen=True):
    """What became of a run of the load generator."""

    requests: int
    events: int
    ok: int
    other: int
    """Answered, but not 2xx."""
    unanswered: int
    begun_ns: int
    seconds: float
    """From the first request to the last answer."""
    late_max_us: int
    """How late the latest request was sent, because no connection was free."""
    timed: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    cpu_s: float
    first_other: str = ""


class Load:
    """Publishes. One connection set for each run; event numbers never repeat between `restart`s."""

    def __init__(self, binary: Path, folder: Path, core: int | None) -> None:
        self._binary = binary
        self._folder = folder
        self._core = core
        self._files = itertools.count()
        self._next = 0

    def restart(self) -> None:
        """Number from the beginning: the sink was reset."""
        self._next = 0

    @property
    def full(self) -> bool:
        """Whether the sink must be reset before the next run."""
        return self._next + NUMBERS_PER_RUN > NUMBERS_MAX

    def start(self, port: int, template: Template, **options: float) -> Running:
        """Begin to publish; `options` are those of load.c (`first` is chosen)."""
        file = self._folder / f"request-{next(self._files)}"
        file.write_bytes(template.request)
        options = {"first": self._next} | options
        words = [f"port={port}", f"request={file}"]
        words += [f"{name}={value:.9g}" for name, value in options.items()]
        self._next += NUMBERS_PER_RUN
        return Running(subprocess.Popen([str(self._binary), *words], stdout=subprocess.PIPE, text=True), self._core)

    def run(self, port: int, template: Template, **options: float) -> Published:
        """Publish, and wait for the end."""
        return self.start(port, template, **options).end()


class Running:
    """A load generator at work."""

    def __init__(self, process: subprocess.Popen[str], core: int | None) -> None:
        self._process = process
        pin(process.pid, core)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self) -> Published:
        """Wait for its end: what it measured."""
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit(f"bench: the load generator failed with {self._process.returncode}")
        return msgspec.convert(json.loads(said), Published)
