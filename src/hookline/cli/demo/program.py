"""The real program, as anyone would start it, in a temporary folder and a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx2

from hookline.cli.receiver import bound_socket

PORT_USUAL: Final = 8400
READY_S_MAX: Final = 30.0
STOP_S_MAX: Final = 75.0
_PR_SET_PDEATHSIG: Final = 1


class ProgramFailed(Exception):
    """The program did not start, or ended before it should; the message is for a person."""


class Program:
    """`hookline serve` on SQLite in `folder`, from `start` to `stop`. Its log is `folder/hookline.log`."""

    def __init__(self, folder: Path) -> None:
        self.key = "demo_" + secrets.token_urlsafe(24)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "hookline.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. No setting of this machine reaches it, but its own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
        environment |= {
            "HOOKLINE_HOST": "127.0.0.1",
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_DB": f"sqlite:///{self._folder}/hookline.db",
            "HOOKLINE_KEY": self.key,
            "HOOKLINE_ALLOW_NETWORKS": "127.0.0.0/8,::1/128",
            "HOOKLINE_DISK_FREE_MIN_MIB": "64",
            "HOOKLINE_LOG_FORMAT": "json",
        }
        libc = ctypes.CDLL(None)

        def end_with_the_demo() -> None:
            if sys.platform == "linux":
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also when the demo is killed and can do nothing more

        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hookline", "serve"],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is the demo's: it stops the program when it has done its sums
                preexec_fn=end_with_the_demo,  # noqa: PLW1509 (one system call, and no lock that a thread could hold)
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def _port_was_taken(self) -> bool:
        """It ended because somebody else took its port between our look and its start."""
        return self._process is not None and self._process.poll() is not None and "cannot listen" in self._tail()

    def _move(self) -> None:
        """Start again on any other port."""
        self.port = _free_port(usual=False)
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def check(self) -> None:
        """Raise `ProgramFailed` with its last words when the program is not running."""
        if self._process is not None and self._process.poll() is not None:
            raise ProgramFailed(
                f"hookline serve ended with {self._process.returncode}; its last words:\n{self._tail()}"
            )

    async def wait_until_ready(self) -> None:
        """Return when it answers. Raises `ProgramFailed`."""
        key = {"authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_S_MAX):
                    while True:
                        if self._port_was_taken:
                            self._move()
                        self.check()
                        with contextlib.suppress(httpx2.TransportError):
                            # Asked with the key: another server on this port would not know it.
                            if (await client.get(f"{self.url}/v1/stats", headers=key)).status_code == 200:
                                return
                        await asyncio.sleep(0.05)
        raise ProgramFailed(f"hookline serve was not ready within {READY_S_MAX:g} s; its last words:\n{self._tail()}")

    async def stop(self) -> None:
        """Ask it to end, and wait. Raises `ProgramFailed` when it does not end well."""
        assert self._process is not None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, STOP_S_MAX)
        if self._process.poll() != 0:
            how = "did not end" if self._process.poll() is None else f"ended with {self._process.poll()}"
            raise ProgramFailed(f"hookline serve {how} when it was asked to; its last words:\n{self._tail()}")

    def kill(self) -> None:
        """End it now, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-15:]) or "  (none)"


def _free_port(*, usual: bool = True) -> int:
    """The usual port if it is free (and wanted), else any."""
    for port in (PORT_USUAL, 0) if usual else (0,):
        with contextlib.suppress(OSError), bound_socket("127.0.0.1", port) as sock:
            sock.listen()
            return int(sock.getsockname()[1])
    raise ProgramFailed("no port is free on 127.0.0.1")
