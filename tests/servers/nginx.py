"""An nginx of our own in front of several nodes: least connections, and short passive health checks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.program import free_port, needs

ANSWER_S = 2
"""A node that has not begun to answer a publish by then is passed over."""
AWAY_S = 8
"""It gets nothing for so long, then one request that tries it."""
CONFIGURATION = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
{user}worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{
    log_format passed '$msec $status $request_time $upstream_addr';
    access_log {folder}/access.log passed;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream hookline {{
        least_conn;
{nodes}
        keepalive 64;
        keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size  16m;
        proxy_http_version    1.1;
        proxy_set_header      Connection "";
        proxy_set_header      Host $host;
        proxy_connect_timeout 1s;
        location / {{
            proxy_pass         http://hookline;
            proxy_read_timeout 90s;
        }}
        # Events have ids, so a publish may be tried at the other node when the first breaks off or stands still.
        location = /v1/events {{
            proxy_pass                  http://hookline;
            proxy_read_timeout          {answer_s}s;
            proxy_next_upstream         error timeout non_idempotent;
            proxy_next_upstream_tries   2;
        }}
    }}
}}
"""


class Passed(NamedTuple):
    """A request that passed through."""

    ended_s: float
    """Wall clock."""
    status: int
    took_s: float
    nodes: list[int]
    """Ports of the nodes that were tried, in order."""


class Nginx:
    """One, in front of these ports, from `start` to `stop`."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        server = "        server 127.0.0.1:{} max_fails=1 fail_timeout={}s;"
        nodes = "\n".join(server.format(port, AWAY_S) for port in ports)
        user = "user root; " if os.getuid() == 0 else ""
        text = CONFIGURATION.format(folder=folder, nodes=nodes, port=self.port, answer_s=ANSWER_S, user=user)
        (folder / "nginx.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Nginx:
        """Start it, and wait until it listens."""
        words = [needs("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        with (self.folder / "said").open("wb") as said:
            self._process = subprocess.Popen(words, stderr=said)
        end_s = time.monotonic() + 20.0
        while not self._listens():
            assert self._process.poll() is None, (self.folder / "said").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def passed(self) -> list[Passed]:
        """What passed so far, as it ended."""
        found = []
        for line in (self.folder / "access.log").read_text().splitlines():
            at, status, took, *nodes = line.replace(",", " ").split()
            ports = [int(port) for _, colon, port in (node.rpartition(":") for node in nodes) if colon]
            found.append(Passed(float(at), int(status), float(took), ports))
        return found

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
