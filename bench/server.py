"""The program as a process of its own, on a database of its own, with everything on."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from bench.machine import cpu_s, pin, resident_mib
from bench.template import FILTER, KEY, PATTERN

START_S_MAX = 600.0
"""A store of millions of rows may have to be looked through first."""
SCRAPE_EVERY_S = 1.0


class Server:
    """`hookline serve`. Its metrics are scraped once a second, as a monitoring system would."""

    def __init__(
        self, folder: Path, core: int | None, *, python: str = sys.executable, source: Path | None = None, **more: str
    ) -> None:
        """`source`: the `src` of another commit. `more`: settings by name, without their prefix."""
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.core = core
        self.python = python
        self.source = source
        self.more = more
        self.start()

    def start(self) -> None:
        """Start it, again if need be on the same store."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_DB": f"sqlite:///{self.folder / 'bench.db'}",
            "HOOKLINE_KEY": KEY,
            "HOOKLINE_ALLOW_NETWORKS": "127.0.0.0/8",
            "HOOKLINE_LOG_LEVEL": "warning",
        } | {f"HOOKLINE_{name.upper()}": value for name, value in self.more.items()}
        if self.source is not None:
            settings["PYTHONPATH"] = str(self.source)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
        self._log = (self.folder / "log.txt").open("ab")
        self._process = subprocess.Popen(
            [self.python, "-m", "hookline", "serve"], cwd=self.folder, env=outside | settings, stderr=self._log
        )
        pin(self._process.pid, self.core)
        end = time.monotonic() + START_S_MAX
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                log = (self.folder / "log.txt").read_text()
                self.close()
                raise SystemExit(f"bench: the program did not start:\n{log}")
            time.sleep(0.05)
        self._ended = threading.Event()
        self._scraping = threading.Thread(target=self._scrape, daemon=True)
        self._scraping.start()

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._said("GET", "/readyz")[0] == 200
        return False

    def _said(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        # A connection for each call: one that is kept may have been closed for idling, minutes later.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "connection": "close"}
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One call of the API; an answer that is none of 2xx ends the bench."""
        status, text = self._said(method, path, body)
        if status // 100 != 2:
            raise SystemExit(f"bench: {method} {path} was answered {status}: {text[:500]!r}")
        return json.loads(text) if text else None

    def endpoint(self, url: str, **members: object) -> str:
        """An endpoint with everything on: a type pattern, a filter that reads the payload, a signature; its id."""
        spec: dict[str, object] = {"url": url, "event_types": [PATTERN], "filter": FILTER, "concurrency_max": 64}
        made = self.ask("POST", "/v1/endpoints", spec | members)
        assert isinstance(made["id"], str)
        return made["id"]

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def cpu_parts(self) -> tuple[float, float]:
        """User and system seconds so far."""
        return cpu_s(self.pid)

    def resident_mib(self) -> float:
        """Memory it holds now."""
        return resident_mib(self.pid)

    def stats(self) -> dict[str, Any]:
        """The books."""
        found = self.ask("GET", "/v1/stats")
        assert isinstance(found, dict)
        return found

    def open(self) -> int:
        """How many deliveries are open."""
        return sum(self.stats()["open"].values())

    def drained(self, wait_s: float) -> int:
        """Wait until nothing is open, at most so long; how much still is."""
        end = time.monotonic() + wait_s
        while True:
            left = self.open()
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.1)

    def metrics(self) -> dict[str, float]:
        """The samples of `/metrics` by name with labels."""
        status, page = self._said("GET", "/metrics")
        text = page.decode() if status == 200 else ""
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def accept_commits(self) -> tuple[float, float]:
        """Events accepted so far, and the commits that they shared."""
        found = self.metrics()

        def total(part: str) -> float:
            return sum(v for k, v in found.items() if k.startswith(f"hookline_commit_items_{part}") and "accept" in k)

        return total("sum"), total("count")

    def _scrape(self) -> None:
        while not self._ended.wait(SCRAPE_EVERY_S):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.metrics()

    def close(self) -> None:
        """End it."""
        if hasattr(self, "_ended"):
            self._ended.set()
            self._scraping.join()
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
