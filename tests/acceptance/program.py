"""The real program, started as a person would start it, and driven from outside over HTTP only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

T = TypeVar("T")
KEY = "hl_acceptance_0123456789"
LOOPBACK = "127.0.0.0/8,::1/128"
START_S_MAX = 30.0
WAIT_S = 20.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], T], wait_s: float = WAIT_S, every_s: float = 0.03) -> T:
    """The first true value that `condition` gives; fails with the last one when none comes in time."""
    end = time.monotonic() + wait_s
    while True:
        value = condition()
        if value or time.monotonic() > end:
            assert value, f"did not come within {wait_s} s; last: {value!r}"
            return value
        time.sleep(every_s)


def needs(tool: str) -> str:
    """The path of a tool. Without it the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which(tool)
    if found is None:
        if os.environ.get("CI", "") not in ("", "0", "false"):
            pytest.fail(f"{tool} is missing in CI")
        pytest.skip(f"{tool} is not installed")
    return found


class Program:
    """`hookline serve` in a folder of its own. `restart` and `kill` keep the folder, and so the database."""

    def __init__(
        self, folder: Path, *, prefix: Sequence[str] = (), more: Mapping[str, str] | None = None, **settings: str
    ) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / "log.txt"
        self._prefix = list(prefix)
        self._more = dict(more or {})
        self._settings = {
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_DB": f"sqlite:///{folder / 'hookline.db'}",
            "HOOKLINE_KEY": KEY,
            "HOOKLINE_ALLOW_NETWORKS": LOOPBACK,
            "HOOKLINE_DISK_FREE_MIN_MIB": "16",
            "HOOKLINE_LOG_FORMAT": "json",
        } | {f"HOOKLINE_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx2.Client(
            base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False
        )

    @property
    def pid(self) -> int:
        """The process (that of `prefix`, where there is one)."""
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """The machine's environment without settings of its own, and ours."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
        return outside | self._settings | self._more

    def start(self) -> Program:
        """Start it and wait until it is ready."""
        self.launch()
        end = time.monotonic() + START_S_MAX
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"it ended with {self._process.returncode}:\n{self.log()}"
            with contextlib.suppress(httpx2.TransportError):
                if self.client.get("/readyz").status_code == 200:
                    return self
            assert time.monotonic() < end, f"it is not ready after {START_S_MAX} s:\n{self.log()}"
            time.sleep(0.02)

    def launch(self) -> None:
        """Start it without waiting."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "hookline", "serve"],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        """What it has said so far (the end of it)."""
        return self.log_path.read_text(errors="replace")[-8000:]

    def end(self, wait_s: float = 80.0) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(wait_s)

    def terminate(self, wait_s: float = 80.0) -> int:
        """SIGTERM, as an operator stops it; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.end(wait_s)

    def kill(self) -> None:
        """SIGKILL to it and everything it started."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End whatever is left of it."""
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    # --------------------------------------------------------------------------------------------- what it is asked

    def post(self, path: str, body: object = None, *, status: int | None = None, **headers: str) -> httpx2.Response:
        """POST JSON; the answer, whose status is checked when one is named."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            names.setdefault("content-type", "application/json")
        answer = self.client.post(path, content=content, headers=names)
        assert status is None or answer.status_code == status, (answer.status_code, answer.text)
        return answer

    def raw(self, path: str, body: bytes, content_type: str, **headers: str) -> httpx2.Response:
        """POST these very bytes."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=body, headers={"content-type": content_type} | names)

    def get(self, path: str, *, status: int = 200, **query: str) -> Any:
        """GET JSON."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def endpoint(self, url: str, **spec: object) -> dict[str, Any]:
        """Create an endpoint."""
        made: dict[str, Any] = self.post("/v1/endpoints", {"url": url, **spec}, status=201).json()
        return made

    def publish(self, type_: str, data: object = None, **more: object) -> dict[str, Any]:
        """Publish one event; the 202's body."""
        made: dict[str, Any] = self.post("/v1/events", {"type": type_, "data": data, **more}, status=202).json()
        return made

    def rows(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All rows of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, **query, **cursor)
            found += page["data"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    def deliveries(self, **query: str) -> list[dict[str, Any]]:
        """Deliveries by filter."""
        return self.rows("/v1/deliveries", **query)

    def delivery(self, event_id: str) -> dict[str, Any]:
        """The one delivery of an event."""
        rows = self.deliveries(event=event_id)
        assert len(rows) == 1, rows
        return rows[0]

    def delivered(self, event_id: str, state: str = "delivered", wait_s: float = WAIT_S) -> dict[str, Any]:
        """Wait until the one delivery of an event has this state."""
        return until(lambda: (row := self.delivery(event_id))["state"] == state and row, wait_s)

    def attempts(self, delivery_id: str) -> list[dict[str, Any]]:
        """The attempts of a delivery, oldest first."""
        answer = self.get(f"/v1/deliveries/{delivery_id}/attempts")
        return sorted(answer["data"], key=lambda row: row["number"])

    def stats(self) -> dict[str, Any]:
        """The books."""
        found: dict[str, Any] = self.get("/v1/stats")
        return found

    def quiet(self, wait_s: float = WAIT_S) -> dict[str, Any]:
        """Wait until nothing is due or on its way; the books of that moment."""
        return until(
            lambda: (s := self.stats())["open"]["pending"] + s["open"]["leased"] == 0 and s,
            wait_s,
            0.1,
        )


def balanced(stats: dict[str, Any]) -> bool:
    """The accounting identity: every delivery is delivered, failed, discarded or open."""
    closed = stats["delivered"] + stats["failed"] + stats["discarded"]
    opened: int = sum(stats["open"].values())
    return bool(stats["deliveries"] == closed + opened)


@contextlib.contextmanager
def running(folder: Path, **settings: str) -> Iterator[Program]:
    """A program of its own for one test."""
    program = Program(folder, **settings)
    try:
        yield program.start()
    finally:
        program.close()
