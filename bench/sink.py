"""The sink, running, and what it counted."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from bench.machine import pin


class Book(msgspec.Struct, frozen=True):
    """Events by their numbers, and how long they took from the instant at which each was to be published."""

    distinct: int
    duplicates: int
    strange: int
    """With a number that no load generator gives."""
    first_ns: int
    last_ns: int
    timed: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float


class Counts(msgspec.Struct, frozen=True):
    """What the sink has counted since its last reset."""

    now_ns: int
    """CLOCK_MONOTONIC."""
    requests: int
    unmarked: int
    not_signed: int
    connections: int
    once: Book
    """Events that one endpoint gets."""
    wide: Book
    """Deliveries of events that many endpoints get."""
    cpu_s: float


class Sink:
    """The sink, running on a port of its own."""

    def __init__(self, binary: Path, core: int | None) -> None:
        self._process = subprocess.Popen([str(binary)], stdout=subprocess.PIPE, text=True)
        pin(self._process.pid, core)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[1])
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.url = f"http://127.0.0.1:{self.port}/"

    def counts(self) -> Counts:
        """Everything counted so far."""
        return self._control("figures")

    def window(self) -> None:
        """The latencies begin anew; what has come stays known."""
        self._control("window")

    def reset(self) -> None:
        """Everything begins anew."""
        self._control("reset")

    def _control(self, what: str) -> Counts:
        self._connection.request("POST", f"/control/{what}")
        found: Any = json.loads(self._connection.getresponse().read())
        return msgspec.convert(found, Counts)

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
