"""A RabbitMQ of our own: Debian's, with its own node name, port mapper, cookie and data in a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.servers.daemon import Daemon, free_port, missing

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own; the one on the PATH would change to the user `rabbitmq`, whose folders are the machine's."""

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


class RabbitMQ(Daemon):
    """One node, started. Its port mapper is a program of its own and ends with it."""

    def __init__(self, folder: Path, server: Path) -> None:
        port = free_port()
        mapper_port = free_port()
        (folder / "rabbitmq.conf").write_text(SETTINGS.format(port=port))
        (folder / "enabled_plugins").write_text("[].\n")
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),  # the cookie is made here
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"hookline{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
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
        super().__init__([str(server)], folder, port, environment)
        self._mapper = subprocess.Popen(
            ["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.start()
        except BaseException:
            self.end()
            raise

    def ready(self) -> bool:
        """Whether it greets who connects in its protocol: its port listens some time before that."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as probe:
            probe.settimeout(2.0)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
        return False

    def url(self, **query: str) -> str:
        """How a client reaches it, in the virtual host that is always there."""
        words = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        return f"amqp://guest:guest@127.0.0.1:{self.port}/" + (f"?{words}" if words else "")

    def control(self, *words: str) -> str:
        """`rabbitmqctl`: takes a second or two."""
        done = subprocess.run(
            [str(SERVER.with_name("rabbitmqctl")), "-q", "-n", self._environment["RABBITMQ_NODENAME"], *words],
            env=self._environment,
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
    folder = Path(tempfile.mkdtemp(prefix="hookline-rabbitmq-"))
    try:
        running = RabbitMQ(folder, server)
        yield running
        running.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
