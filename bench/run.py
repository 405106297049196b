"""`make bench`: what an event costs, as a ratio to the bare client of the same run. Loopback only, under a minute.

It builds a small sink in C, which answers 200 and counts, and drives the program with wrk, or with a small load
generator in C where wrk is not installed. Three measurements, all with 64 connections and the same body of 1 kB:

    bare client   an asyncio Protocol with httptools and uvloop that POSTs to the sink: the floor in Python
    accept        POST /v1/events without a subscriber: parse, check, commit with fsync, 202
    deliver       the same with one endpoint at the sink: plus route, sign, send, record

CPU µs are user and system time of the measured process by /proc, all threads, divided by what it did. The load
generator, the sink and the kernel's loopback share the machine: the rates say what this machine does with all of
them on it. Trust ratios, not differences under about 20 %.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KEY = "hl_bench_0123456789"
CONNECTIONS = 64
BARE_S = 3.0
ACCEPT_S = 6.0
DELIVER_S = 10.0
DRAIN_S_MAX = 15.0
BODY_BYTES = 1024
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """One line of the table."""

    name: str
    accepted_s: float | None
    delivered_s: float
    cpu_us: float


def build(folder: Path, name: str) -> Path:
    """Compile one of our C programs."""
    compiler = next(
        (found for found in (os.environ.get("CC"), "cc", "gcc", "clang") if found and shutil.which(found)), ""
    )
    if not compiler:
        sys.exit("bench: a C compiler is needed (cc, gcc or clang)")
    binary = folder / name
    subprocess.run([compiler, "-O2", "-o", str(binary), str(HERE / f"{name}.c")], check=True)
    return binary


class Sink:
    """The sink, running. It counts; we ask."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([str(binary), "0"], stdout=subprocess.PIPE, text=True)
        self.port = int(self._line().split()[1])

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def count(self) -> int:
        """How many requests it has answered."""
        self._process.send_signal(signal.SIGUSR1)
        return int(self._line().split()[1])

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Server:
    """`hookline serve` on a database of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
        settings = {
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_DB": f"sqlite:///{folder / 'bench.db'}",
            "HOOKLINE_KEY": KEY,
            "HOOKLINE_ALLOW_NETWORKS": "127.0.0.0/8",
            "HOOKLINE_LOG_LEVEL": "warning",
        }
        self._log = (folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hookline", "serve"], cwd=folder, env=outside | settings, stderr=self._log
        )
        end = time.monotonic() + 30
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                sys.exit("bench: the server did not start:\n" + (folder / "log.txt").read_text())
            time.sleep(0.05)

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            return self.ask("GET", "/readyz") is not None
        return False

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object] | None:
        """One call of the API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def cpu_s(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self) -> float:
        """Memory it holds now."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stats(self) -> dict[str, object]:
        """The books."""
        found = self.ask("GET", "/v1/stats")
        assert found is not None
        return found

    def drained(self, wait_s: float) -> int:
        """Wait until nothing is open, at most so long; how much still is."""
        end = time.monotonic() + wait_s
        while True:
            opened = self.stats()["open"]
            assert isinstance(opened, dict)
            left = sum(opened.values())
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.1)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def load(folder: Path, port: int, body: Path, seconds: float) -> tuple[int, int, float]:
    """Publish as much as possible for so long: answers of 2xx, others, and seconds that it took."""
    began = time.monotonic()
    if shutil.which("wrk"):
        script = folder / "publish.lua"
        script.write_text(
            'wrk.method = "POST"\n'
            f'wrk.headers["authorization"] = "Bearer {KEY}"\n'
            'wrk.headers["content-type"] = "application/json"\n'
            f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
        )
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script)]
        said = subprocess.run(
            [*words, f"http://127.0.0.1:{port}/v1/events"], check=True, capture_output=True, text=True
        )
        answers = int(re.search(r"(\d+) requests in", said.stdout)[1])  # type: ignore[index]
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said.stdout)
        bad = int(refused[1]) if refused else 0
        answers -= bad
    else:
        words = [str(build(folder, "load")), str(port), "/v1/events", str(CONNECTIONS), str(seconds), KEY, str(body)]
        said = subprocess.run(words, check=True, capture_output=True, text=True)
        found = re.fullmatch(r"answers (\d+) errors (\d+)\n", said.stdout)
        assert found is not None
        answers, bad = int(found[1]), int(found[2])
    return answers, bad, time.monotonic() - began


def bare(sink: Sink, body: Path) -> Row:
    """The bare client."""
    words = [sys.executable, str(HERE / "bare_client.py"), str(sink.port), str(BARE_S), str(body), str(CONNECTIONS)]
    figures = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    requests = figures["requests"]
    return Row("bare client", None, requests / figures["seconds"], figures["cpu_s"] / requests * 1e6)


def accept(folder: Path, body: Path) -> Row:
    """Publishing without a subscriber."""
    with closing(Server(folder / "accept")) as server:
        load(folder, server.port, body, 1)
        before_s, before = server.cpu_s(), server.stats()["events"]
        _, bad, took_s = load(folder, server.port, body, ACCEPT_S)
        events = server.stats()["events"] - before  # type: ignore[operator]
        check(bad == 0, f"{bad} publishes were refused")
        return Row("accept", events / took_s, 0.0, (server.cpu_s() - before_s) / events * 1e6)


def deliver(folder: Path, body: Path, sink: Sink) -> tuple[Row, str]:
    """Publishing with one subscriber: the whole way. Delivered is what the sink counted."""
    with closing(Server(folder / "deliver")) as server:
        url = f"http://127.0.0.1:{sink.port}/"
        server.ask("POST", "/v1/endpoints", {"url": url, "concurrency_max": CONNECTIONS})
        load(folder, server.port, body, 1)
        check(server.drained(DRAIN_S_MAX) == 0, "the warm-up did not drain")
        before_s, before, hits = server.cpu_s(), server.stats(), sink.count()
        _, bad, took_s = load(folder, server.port, body, DELIVER_S)
        meanwhile = sink.count() - hits
        left = server.drained(DRAIN_S_MAX)
        after, delivered = server.stats(), sink.count() - hits
        events = after["events"] - before["events"]  # type: ignore[operator]
        closed = after["delivered"] - before["delivered"]  # type: ignore[operator]
        check(bad == 0, f"{bad} publishes were refused")
        check(left == 0, f"{left} deliveries were still open after {DRAIN_S_MAX:g} s")
        check(closed == events == delivered, f"accepted {events}, recorded {closed}, counted at the sink {delivered}")
        row = Row("accept + deliver", events / took_s, meanwhile / took_s, (server.cpu_s() - before_s) / events * 1e6)
        return row, f"{events} events, each at the sink once; memory at the end {server.resident_mib():.0f} MiB"


_wrong: list[str] = []


def check(holds: bool, otherwise: str) -> None:
    """A figure of a run that lost or refused something is no figure: say so, and fail at the end."""
    if not holds:
        _wrong.append(otherwise)


@contextlib.contextmanager
def closing(server: Server) -> Iterator[Server]:
    """End the server, whatever happens."""
    try:
        yield server
    finally:
        server.close()


def main() -> None:
    """Run all, print one table."""
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as name:
        folder = Path(name)
        body = folder / "body.json"
        event = {"type": "bench.event", "data": {"fill": ""}}
        event["data"] = {"fill": "x" * (BODY_BYTES - len(json.dumps(event)))}
        body.write_text(json.dumps(event))
        sink = Sink(build(folder, "sink"))
        try:
            first = bare(sink, body)
            rows = [accept(folder, body)]
            whole, note = deliver(folder, body, sink)
            rows.append(whole)
            second = bare(sink, body)
        finally:
            sink.close()
    # The machine's speed moves: the floor is measured before and after.
    floor_us = (first.cpu_us + second.cpu_us) / 2
    floor = Row("bare client", None, (first.delivered_s + second.delivered_s) / 2, floor_us)
    print(f"{'':18}{'accepted/s':>12}{'delivered/s':>13}{'CPU µs/event':>14}{'ratio':>8}")
    for row in (floor, *rows):
        accepted = "" if row.accepted_s is None else f"{row.accepted_s:,.0f}"
        delivered = f"{row.delivered_s:,.0f}" if row.delivered_s else ""
        print(f"{row.name:18}{accepted:>12}{delivered:>13}{row.cpu_us:>14.1f}{row.cpu_us / floor_us:>8.2f}")
    print(note)
    for line in _wrong:
        print(f"not right: {line}")
    sys.exit(1 if _wrong else 0)


if __name__ == "__main__":
    main()
