"""`make servers`: what it starts is there, is named as settings, and is gone when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.postgres import programs

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.servers"]


def test_a_server_that_is_named_runs_until_it_is_told_to_end():
    """PostgreSQL's address is printed as a setting and is listened on; after SIGINT the command ends with 0 and nobody
    listens there any more."""
    programs()
    environment = os.environ | {"SERVERS": "postgresql"}
    with subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("# running"):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        settings = dict(line.strip().split("=", 1) for line in lines if line.startswith("HOOKLINE_"))
        assert set(settings) == {"HOOKLINE_DB", "HOOKLINE_MIGRATE", "HOOKLINE_SECRET_KEY", "HOOKLINE_KEY"}
        port = urlsplit(settings["HOOKLINE_DB"]).port
        assert port is not None
        assert listens(port)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    end_s = time.monotonic() + 10.0
    while listens(port):
        assert time.monotonic() < end_s
        time.sleep(0.1)


def test_an_unknown_name_is_refused():
    """A server that there is not ends the command with the names that there are."""
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=os.environ | {"SERVERS": "oracle"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "valkey" in done.stderr


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
