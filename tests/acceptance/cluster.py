"""Programs on one PostgreSQL."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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
        cluster = Cluster(server.create(name.lower()[:50]), folder, stack)
        migrate(load_settings({"HOOKLINE_DB": cluster.dsn}, directory=folder))
        yield cluster
