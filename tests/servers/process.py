"""A server, one process or a group of them: started on a free port, stopped, killed, stalled, gone with the run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

START_S_MAX = 30.0


def missing(what: str) -> NoReturn:
    """What a test needs is not here: it is skipped on a person's machine, and fails in CI."""
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """One server. A subclass says with which `words` it is started, and what `url` it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def words(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """How it is reached."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """What the server sees of it."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.folder)}

    @property
    def pid(self) -> int:
        """Of its process, which runs."""
        assert self._process is not None
        return self._process.pid

    def is_up(self) -> bool:
        """Whether it answers: here, whether it takes connections."""
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """The end of what it wrote."""
        path = self.folder / "log.txt"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def launch(self) -> None:
        """Start it, without waiting until it answers."""
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                self.words,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal reaches all of its processes
            )

    def start(self, wait_s: float = START_S_MAX) -> None:
        """Start it, and wait until it answers. What a killed one left of its port may need a moment."""
        end = time.monotonic() + wait_s
        self.launch()
        while not self.is_up():
            assert time.monotonic() < end, self.log()
            assert self._process is not None
            if self._process.poll() is not None:
                self.launch()
            time.sleep(0.02)

    def stop(self, wait_s: float = 20.0) -> None:
        """End it in order."""
        self._end(signal.SIGTERM, wait_s)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL, 10.0)

    def stall(self) -> None:
        """SIGSTOP: its connections stay, and nobody answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.killpg(self.pid, signal.SIGCONT)

    def restore(self) -> None:
        """It runs and answers, whatever a test did to it."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
        else:
            self.start()

    def _end(self, number: signal.Signals, wait_s: float) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, number)
        os.killpg(process.pid, signal.SIGCONT)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10.0)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder for a server, gone with it. In no folder of pytest's: a server may run as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix=f"hookline-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
