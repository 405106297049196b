"""A receiver that is no part of the program: a plain threaded server that answers by script and writes all down."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Hit:
    """A request that came in."""

    method: str
    path: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    fields: list[tuple[str, str]]
    """As they came."""
    body: bytes
    at_s: float

    @property
    def id(self) -> str:
        """The webhook-id."""
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Answer:
    """What to answer. `wait_s` before anything is sent; `raw` are the bytes of the whole answer instead."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    raw: bytes | None = None


OK = Answer()
Script = Callable[[Hit, int], Answer]
"""(the request, how many came to this path before it) → the answer."""


class Receiver:
    """One server for many tests: each uses a path of its own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._lock = threading.Lock()
        self._hits: dict[str, list[Hit]] = defaultdict(list)
        self._scripts: dict[str, Script] = {}
        self._names = 0
        self._open: set[socket.socket] = set()
        self.connections = 0
        self._server = _Server((host, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from the next connection on."""
        self._server.context = context

    def url(self, script: Script | Sequence[int] | None = None, *, tail: str = "") -> str:
        """A new address here. `script`: what it answers; or statuses, one after the other, the last for ever."""
        with self._lock:
            self._names += 1
            path = f"/{self._names}{tail}"
        if callable(script):
            self._scripts[path] = script
        elif script is not None:
            statuses = list(script)
            self._scripts[path] = lambda _hit, before: Answer(statuses[min(before, len(statuses) - 1)])
        host = self._server.server_address[0]
        return f"http://{host!s}:{self.port}{path}"

    def say(self, url: str, script: Script) -> None:
        """Answer otherwise from now on."""
        self._scripts[urlsplit(url).path] = script

    def hits(self, url: str) -> list[Hit]:
        """What came to this address."""
        with self._lock:
            return list(self._hits[urlsplit(url).path])

    def came(self, url: str, count: int = 1, wait_s: float = 20.0) -> list[Hit]:
        """Wait until so many have come to this address."""
        end = time.monotonic() + wait_s
        while len(hits := self.hits(url)) < count:
            assert time.monotonic() < end, f"{len(hits)} of {count} came within {wait_s} s"
            time.sleep(0.01)
        return hits

    def take(self, hit: Hit) -> Answer:
        """Write a request down, then say what to answer."""
        with self._lock:
            before = len(self._hits[hit.path])
            self._hits[hit.path].append(hit)
        script = self._scripts.get(hit.path)
        return OK if script is None else script(hit, before)

    def opened(self, connection: socket.socket) -> None:
        """A connection was made."""
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def ended(self, connection: socket.socket) -> None:
        """A connection is gone."""
        with self._lock:
            self._open.discard(connection)

    def close(self) -> None:
        """Stop, and end every connection."""
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them, so that none outlives the tests
    block_on_close = True
    request_queue_size = 512
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its thread; over TLS where that is wanted."""
        if self.context is not None:
            with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
            return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 100

        def setup(self) -> None:
            super().setup()
            receiver.opened(self.connection)

        def finish(self) -> None:
            receiver.ended(self.connection)
            with contextlib.suppress(OSError):
                super().finish()

        def answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            path = urlsplit(self.path).path
            fields = list(self.headers.items())
            headers = {name.lower(): value for name, value in fields}
            answer = receiver.take(Hit(self.command, path, self.path, headers, fields, body, time.monotonic()))
            if answer.wait_s:
                time.sleep(answer.wait_s)
            if answer.raw is not None:
                self.wfile.write(answer.raw)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("content-length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET = do_OPTIONS = answer  # noqa: N815 (the base class looks for these)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def receiving(host: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver for as long as it is wanted."""
    receiver = Receiver(host)
    try:
        yield receiver
    finally:
        receiver.close()
