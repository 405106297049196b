"""A memcached of our own, from Debian's package."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

from tests.acceptance.program import free_port, needs

WAIT_S = 20.0


class Memcached:
    """One server, started, on the same port for as long as it is used. It keeps nothing when it ends."""

    def __init__(self, *, memory_mib: int = 64) -> None:
        self.port = free_port()
        self.url = f"memcached://127.0.0.1:{self.port}"
        self._command = [needs("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-t", "1"]
        self._command += ["-m", str(memory_mib)]
        if os.getuid() == 0:
            self._command += ["-u", "nobody"]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end_s = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError):
                if self.ask("version").startswith(b"VERSION"):
                    return
            assert self._process.poll() is None, f"memcached ended with {self._process.returncode}"
            assert time.monotonic() < end_s
            time.sleep(0.02)

    def ask(self, command: str) -> bytes:
        """The first line of the answer to a command that has no value."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline()

    def flush(self) -> None:
        """Forget everything."""
        assert self.ask("flush_all").startswith(b"OK")

    def stall(self) -> None:
        """It takes connections, and answers nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `stall`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def serving(*, memory_mib: int = 64) -> Iterator[Memcached]:
    """A server for as long as a fixture lives."""
    server = Memcached(memory_mib=memory_mib)
    try:
        yield server
    finally:
        server.stop()
