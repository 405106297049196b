"""A RabbitMQ of our own: Debian's, with its own node name, port mapper, cookie and data in a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, free_port, missing, temporary_folder

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own; the one on the PATH would change to the user `rabbitmq`, whose folders are the machine's."""

START_S_MAX = 90.0
SETTINGS = """\
listeners.tcp.default = 127.0.0.1:{port}
log.console = true
log.console.level = info
log.file = false
vm_memory_high_watermark.absolute = 512MiB
disk_free_limit.absolute = 50MB
"""


def program() -> Path:
    """Where the server is."""
    if not SERVER.exists() or not shutil.which("epmd"):
        missing("RabbitMQ is not here: `apt-get install rabbitmq-server` brings it")
    if importlib.util.find_spec("aio_pika") is None:
        missing("aio-pika is not here: `make dev` installs it")
    return SERVER


class RabbitMQ(ServerProcess):
    """One node, started. Its port mapper is a program of its own and ends with it."""

    def __init__(self, folder: Path, server: Path) -> None:
        super().__init__(folder)
        self._server = server
        self._mapper_port = free_port()
        self._nodes_port = free_port()
        (folder / "rabbitmq.conf").write_text(SETTINGS.format(port=self.port))
        (folder / "enabled_plugins").write_text("[].\n")
        self._mapper = subprocess.Popen(
            ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.start(START_S_MAX)
        except BaseException:
            self.end()
            raise

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [str(self._server)]

    @property
    def node(self) -> str:
        """Its name among nodes."""
        return f"hookline{self.port}@localhost"

    @property
    def environment(self) -> dict[str, str]:
        """All that would otherwise be the machine's own is in its folder."""
        folder = self.folder
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),  # the cookie is made here
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._nodes_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # One scheduler that sleeps when idle: the tests share the machine with it.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    @property
    def url(self) -> str:
        """How it is reached, in the virtual host that is always there."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        """Whether it greets who connects in its protocol: its port listens some time before that."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as probe:
            probe.settimeout(2.0)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
        return False

    def control(self, *words: str) -> str:
        """`rabbitmqctl`: takes a second or two."""
        done = subprocess.run(
            [str(self._server.with_name("rabbitmqctl")), "-q", "-n", self.node, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def end(self) -> None:
        """Kill it and its port mapper: nothing of it is kept."""
        self.kill()
        self._mapper.kill()
        self._mapper.wait(10)


def serving() -> Iterator[RabbitMQ]:
    """A server for as long as a fixture lives."""
    server = program()
    with temporary_folder("rabbitmq") as folder:
        running = RabbitMQ(folder, server)
        try:
            yield running
        finally:
            running.end()
