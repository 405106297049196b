"""A PgBouncer of our own in front of a PostgreSQL, in transaction mode: Debian's package."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers.postgres import Postgres
from tests.servers.process import ServerProcess, missing, temporary_folder

STATEMENTS_SINCE = (1, 21)
"""Since then it can keep prepared statements over transactions."""


def program() -> Path:
    """Where it is. Without it the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        missing("PgBouncer is not here: apt-get install pgbouncer")
    return Path(found)


class PgBouncer(ServerProcess):
    """One PgBouncer, started; every database of `postgres` is there under its own name. `settings` are of its file.
    It refuses to run as root: then it runs as `nobody`."""

    def __init__(self, folder: Path, binary: Path, postgres: Postgres, **settings: str) -> None:
        super().__init__(folder)
        self._binary = binary
        self._postgres = postgres
        self._user = "nobody" if os.getuid() == 0 else None
        told = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"(\d+)\.(\d+)", told)
        assert found is not None, told
        self.version = (int(found[1]), int(found[2]))
        (folder / "users.txt").write_text('"hookline" ""\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(folder / "users.txt"),
            "admin_users": "hookline",
            "pool_mode": "transaction",
            "default_pool_size": "20",
            "max_client_conn": "500",
            "server_idle_timeout": "2",
        }
        if self.version >= STATEMENTS_SINCE:
            lines["max_prepared_statements"] = "100"
        lines |= settings
        text = f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=hookline\n\n[pgbouncer]\n"
        (folder / "pgbouncer.ini").write_text(text + "".join(f"{name} = {value}\n" for name, value in lines.items()))
        if self._user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, pwd.getpwnam(self._user).pw_name)
        self.start()

    @property
    def words(self) -> list[str]:
        """The command line."""
        dropped = [] if self._user is None else ["-u", self._user]
        return [str(self._binary), "-q", *dropped, str(self.folder / "pgbouncer.ini")]

    @property
    def url(self) -> str:
        """How its own console is reached."""
        return self.of("pgbouncer")

    def of(self, database: str) -> str:
        """How a database is reached through it."""
        return f"postgresql://hookline@127.0.0.1:{self.port}/{database}"


def before(postgres: Postgres, **settings: str) -> Iterator[PgBouncer]:
    """One in front of this PostgreSQL for as long as a fixture lives."""
    binary = program()
    with temporary_folder("pgbouncer") as folder:
        server = PgBouncer(folder, binary, postgres, **settings)
        try:
            yield server
        finally:
            server.kill()
