"""deploy/docker/nginx.conf, in front of two servers: one that is gone, and one that stands still."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.program import free_port, needs, until
from tests.deploy.rendered import DEPLOY

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("content-length", "1")
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *_): ...

class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LEFT_S = 5.0
"""After so long a server that stands still gets nothing."""


class Balanced:
    """nginx with two servers behind it."""

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port(), free_port()]
        self.port = free_port()
        self.servers: list[subprocess.Popen[bytes] | None] = [None, None]
        for number in (0, 1):
            self.start(number)
            until(lambda number=number: self._listens(self.ports[number]))
        configuration = folder / "nginx.conf"
        configuration.write_text(self._configuration(folder))
        checked = subprocess.run(
            [needs("nginx"), "-t", "-c", configuration], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        user = " user root;" if os.getuid() == 0 else ""  # whose workers could not write here otherwise
        self._nginx = subprocess.Popen([needs("nginx"), "-c", configuration, "-g", f"daemon off;{user}"])

    def _configuration(self, folder: Path) -> str:
        text = (DEPLOY / "docker" / "nginx.conf").read_text(encoding="utf-8")
        for address, port in zip(("172.31.84.11:8400", "172.31.84.12:8400"), self.ports, strict=True):
            assert text.count(address) == 1
            text = text.replace(address, f"127.0.0.1:{port}")
        assert text.count("listen 8080;") == 1
        return text.replace("listen 8080;", f"listen 127.0.0.1:{self.port};").replace("/tmp/", f"{folder}/")

    @staticmethod
    def _listens(port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    def start(self, number: int) -> None:
        """One of the servers."""
        words = [sys.executable, "-c", SERVER, str(self.ports[number]), "ab"[number]]
        self.servers[number] = subprocess.Popen(words)

    def signal(self, number: int, what: signal.Signals) -> None:
        """To one of the servers."""
        server = self.servers[number]
        assert server is not None
        server.send_signal(what)
        if what == signal.SIGKILL:
            server.wait()

    def publish(self, client: httpx2.Client) -> str:
        """Who answered; or the status, or what went wrong."""
        try:
            answer = client.post("/v1/events", content=b"{}")
        except httpx2.TransportError as error:
            return type(error).__name__
        return answer.text if answer.status_code == 202 else str(answer.status_code)

    def client(self) -> httpx2.Client:
        """One that is patient."""
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)

    def close(self) -> None:
        """End everything."""
        self._nginx.terminate()
        self._nginx.wait(10)
        for server in self.servers:
            if server is not None:
                server.send_signal(signal.SIGCONT)
                server.kill()
                server.wait()


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    made = Balanced(tmp_path_factory.mktemp("balanced"))
    try:
        with made.client() as client:
            until(lambda: made.publish(client) in ("a", "b"))
            until(lambda: {made.publish(client) for _ in range(8)} == {"a", "b"})
        yield made
    finally:
        made.close()


def test_what_is_not_for_the_world_is_closed(balanced: Balanced) -> None:
    """Health and metrics are refused from outside; the size that publishing takes is let through."""
    with balanced.client() as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 403
        assert client.post("/v1/events", content=bytes(15 * 1024 * 1024)).status_code == 202
        assert client.post("/v1/events", content=bytes(17 * 1024 * 1024)).status_code == 413


def test_a_server_that_stands_still_is_left(balanced: Balanced) -> None:
    """From 5 s after one of two was stopped no POST goes to it; those before that fail, and are as few as were open."""
    found: list[tuple[float, float, str]] = []
    stop = threading.Event()

    def publish() -> None:
        with balanced.client() as client:
            while not stop.wait(0.02):
                began = time.monotonic()
                said = balanced.publish(client)
                found.append((began, time.monotonic() - began, said))

    threads = [threading.Thread(target=publish) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: {said for _, _, said in found} == {"a", "b"})
    balanced.signal(0, signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(LEFT_S + 3.0)
    stop.set()
    for thread in threads:
        thread.join()
    before = [said for began, took, said in found if began + took < stopped]
    after = [said for began, _, said in found if began > stopped + LEFT_S]
    failed = [said for _, _, said in found if said not in "ab"]
    assert set(before) == {"a", "b"}
    assert len(after) > 50
    assert set(after) == {"b"}
    assert len(failed) <= 2 * len(threads)
    assert set(failed) <= {"504"}
    balanced.signal(0, signal.SIGCONT)


def test_a_server_that_is_gone_loses_nothing(balanced: Balanced) -> None:
    """With one of two killed every POST is answered by the other."""
    with balanced.client() as client:
        balanced.signal(0, signal.SIGKILL)
        assert [balanced.publish(client) for _ in range(40)] == ["b"] * 40
