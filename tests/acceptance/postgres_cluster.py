"""Several programs on one PostgreSQL, and who publishes to them from outside."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2
from tests.acceptance.program import KEY, Program

from hookline.databases import migrate
from hookline.settings import load_settings

SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Cluster:
    """Programs on one database."""

    def __init__(self, dsn: str, folder: Path, stack: ExitStack) -> None:
        self.dsn = dsn
        self._folder = folder
        self._stack = stack
        self._count = 0

    def program(self, role: str = "all", **settings: str) -> Program:
        """One more, not started."""
        self._count += 1
        more = {"db": self.dsn, "secret_key": SECRET, "role": role, "drain_s": "0"} | settings
        program = Program(self._folder / f"{self._count}_{role}", **more)
        self._stack.callback(program.close)
        return program

    def start(self, role: str = "all", **settings: str) -> Program:
        """One more, ready."""
        return self.program(role, **settings).start()


def migrated(dsn: str, folder: Path, stack: ExitStack) -> Cluster:
    """One on a new database, that has its schema from here on."""
    migrate(load_settings({"HOOKLINE_DB": dsn}, directory=folder))
    return Cluster(dsn, folder, stack)


def command(program: Program, *words: str) -> subprocess.CompletedProcess[str]:
    """A command line with the program's settings."""
    return subprocess.run(
        [sys.executable, "-m", "hookline", *words],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


class Publishing:
    """Publishes from outside, several at a time, and writes down what was answered."""

    def __init__(self, program: Program, threads: int = 4) -> None:
        self.accepted: list[str] = []
        self.refused: list[Any] = []
        self.other: list[Any] = []
        self._program = program
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=self._program.url, headers=headers, timeout=40, trust_env=False) as client:
            while not self._stop.is_set():
                answer = client.post("/v1/events", json={"type": "load", "data": 1})
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])
                elif answer.status_code == 503:
                    self.refused.append(answer.headers.get("retry-after"))
                    time.sleep(0.05)
                else:
                    self.other.append((answer.status_code, answer.text))
                time.sleep(0.005)


def chatter(program: Program) -> list[Any]:
    """What it warned of more than once a second: (kind and second, how often)."""
    lines = [json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{")]
    seconds = Counter((line["fact"], line["at"][:19]) for line in lines if line["level"] == "warning")
    # One per second and kind; two where a second of the limit begins and ends within one of the clock's.
    return [found for found in seconds.items() if found[1] > 2]
