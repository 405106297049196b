"""Programs on one PostgreSQL."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.program import Program
from tests.servers.postgres import Postgres

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


@contextmanager
def clustering(server: Postgres, name: str, folder: Path) -> Iterator[Cluster]:
    """On a database of its own, with its schema."""
    with ExitStack() as stack:
        name = "".join(char if char.isalnum() else "_" for char in name.lower())
        cluster = Cluster(server.create(name[:50]), folder, stack)
        migrate(load_settings({"HOOKLINE_DB": cluster.dsn}, directory=folder))
        yield cluster


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


def chatter(program: Program) -> list[Any]:
    """What it warned of more than once a second: (kind and second, how often)."""
    lines = [json.loads(line) for line in program.log_path.read_text().splitlines() if line.startswith("{")]
    seconds = Counter((line["fact"], line["at"][:19]) for line in lines if line["level"] == "warning")
    # One per second and kind; two where a second of the limit begins and ends within one of the clock's.
    return [found for found in seconds.items() if found[1] > 2]
