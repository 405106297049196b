"""One server program of the tests: started, stopped, killed, stalled, and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

START_S_MAX = 90.0
STOP_S_MAX = 30.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def missing(reason: str) -> None:
    """A server is not here: the test is skipped on a person's machine, and fails in CI."""
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(reason)
    pytest.skip(reason)


class Daemon:
    """A program in a session of its own, so that a signal reaches all of its processes."""

    def __init__(self, command: Sequence[str], folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = port
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log.txt"

    @property
    def pid(self) -> int:
        """Of its first process; it leads the group of all of them."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + START_S_MAX
        while not self.ready():
            assert self._process.poll() is None, f"it ended: {self.log.read_text(errors='replace')[-4000:]}"
            assert time.monotonic() < end, f"it does not answer: {self.log.read_text(errors='replace')[-4000:]}"
            time.sleep(0.05)

    def ready(self) -> bool:
        """Whether it answers; here: whether somebody listens on its port."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
            return True
        return False

    def stop(self) -> None:
        """End it as an operator does, and wait; what does not end is killed."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_S_MAX)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def stall(self) -> None:
        """SIGSTOP to all of its processes: its connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on from where it stood."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
