"""A server that answers from a script, and the command line run in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hookline.cli.main import main

KEY = "the key of the tests"


@dataclass
class Asked:
    """A request that the scripted server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Script:
    """What the server answers: (status, document) per method and path, without the query."""

    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def on(self, method: str, path: str, document: Any, status: int = 200) -> None:
        """Answer this; several for the same are answered in turn, the last for ever."""
        self.answers.setdefault((method, path), []).append((status, document))

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """The next answer."""
        self.asked.append(asked)
        queue = self.answers.get((asked.method, asked.path.partition("?")[0]))
        if queue is None:
            return 404, {"code": "not_found", "detail": "There is no such thing.", "status": 404}
        return queue.pop(0) if len(queue) > 1 else queue[0]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        assert self.out, self.err
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A scripted server at HOOKLINE_URL, with a key in HOOKLINE_KEY."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, document = script.answer(Asked(self.command, self.path, headers, body))
            content = (
                b"" if document is None else document if isinstance(document, bytes) else json.dumps(document).encode()
            )
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HOOKLINE_URL", script.url)
    monkeypatch.setenv("HOOKLINE_KEY", KEY)
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line."""

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        return Ended(int(code), out, err)

    return call


@dataclass
class Server:
    """The real program in a process of its own, in a folder of its own."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    @property
    def key(self) -> str:
        """The operator's key, as the program wrote it."""
        return (self.folder / "hookline.key").read_text().strip()

    @property
    def log(self) -> str:
        """What it wrote to stderr."""
        return (self.folder / "stderr").read_text()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


StartServer = Callable[..., contextlib.AbstractContextManager[Server]]


@contextlib.contextmanager
def _running(folder: Path, *options: str, **settings: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    environment |= {"HOOKLINE_PORT": str(port), "HOOKLINE_ALLOW_NETWORKS": "127.0.0.0/8,::1/128"}
    environment |= {f"HOOKLINE_{name.upper()}": value for name, value in settings.items()}
    with (folder / "stderr").open("wb") as stderr:
        command = [sys.executable, "-m", "hookline", "serve", *options]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=stderr, stdout=stderr)
    server = Server(folder, f"http://127.0.0.1:{port}", process, environment)
    try:
        end_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{server.url}/readyz", trust_env=False).status_code == 200:
                    break
            assert process.poll() is None, server.log
            assert time.monotonic() < end_s, server.log
            time.sleep(0.05)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def start_server() -> StartServer:
    """Starts the real program in a folder, until the end of a `with`."""
    return _running


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that all tests of a process may use: each with event types and uids of its own."""
    with _running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The same, and the command line speaks to it."""
    monkeypatch.setenv("HOOKLINE_URL", shared_server.url)
    monkeypatch.setenv("HOOKLINE_KEY", shared_server.key)
    return shared_server
