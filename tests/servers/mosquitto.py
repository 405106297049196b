"""A Mosquitto of our own, which speaks MQTT: Debian's, its data in a temporary folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.servers.process import ServerProcess, missing, temporary_folder

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian keeps it where the PATH of a person may not look."""


def program() -> Path:
    """Where it is. Without it or the client the test is skipped on a person's machine, and fails in CI."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":" + PATH)
    if found is None:
        missing("Mosquitto is not here: `apt-get install mosquitto` brings it")
    if importlib.util.find_spec("aiomqtt") is None:
        missing("aiomqtt is not here: `make dev` installs it")
    return Path(found)


class Mosquitto(ServerProcess):
    """One server, started; it writes sessions and retained messages down when it is stopped in order. `lines` are
    further ones of its configuration, as `max_packet_size 4096`."""

    def __init__(self, folder: Path, binary: Path, *lines: str) -> None:
        super().__init__(folder)
        self._binary = binary
        self._configuration = folder / "mosquitto.conf"
        settings = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 100000",
            "log_dest stdout",
            *([] if any(line.startswith("allow_anonymous ") for line in lines) else ["allow_anonymous true"]),
            *(["user root"] if os.getuid() == 0 else []),  # else it becomes somebody who may not write here
            *lines,
        ]
        self._configuration.write_text("\n".join(settings) + "\n")
        self.start()

    @property
    def words(self) -> list[str]:
        """The command line."""
        return [str(self._binary), "-c", str(self._configuration)]

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"mqtt://127.0.0.1:{self.port}"


def serving(*lines: str) -> Iterator[Mosquitto]:
    """A server for as long as a fixture lives."""
    binary = program()
    with temporary_folder("mosquitto") as folder:
        server = Mosquitto(folder, binary, *lines)
        try:
            yield server
        finally:
            server.kill()
