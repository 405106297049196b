"""A memcached of our own, from Debian's package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, missing, temporary_folder


def program() -> Path:
    """Where it is. Without it or the client the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which("memcached")
    if found is None or importlib.util.find_spec("emcache") is None:
        missing("memcached is not here: it is Debian's package memcached, and `make dev` installs emcache")
    return Path(found)


class Memcached(ServerProcess):
    """One server, started; it keeps nothing over a restart."""

    def __init__(self, folder: Path, binary: Path, *, memory_mib: int = 64) -> None:
        super().__init__(folder)
        self._binary = binary
        self._memory_mib = memory_mib
        self.start()

    @property
    def words(self) -> list[str]:
        """The command line."""
        words = [str(self._binary), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-t", "1"]
        words += ["-m", str(self._memory_mib)]
        return [*words, "-u", "nobody"] if os.getuid() == 0 else words

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"memcached://127.0.0.1:{self.port}"

    def ask(self, command: str) -> bytes:
        """The first line of the answer to a command that has no value."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline()

    def flush(self) -> None:
        """Forget everything."""
        assert self.ask("flush_all").startswith(b"OK")


def serving(*, memory_mib: int = 64) -> Iterator[Memcached]:
    """A server for as long as a fixture lives."""
    binary = program()
    with temporary_folder("memcached") as folder:
        server = Memcached(folder, binary, memory_mib=memory_mib)
        try:
            yield server
        finally:
            server.kill()
