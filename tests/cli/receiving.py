"""A receiver of requests that keeps them byte for byte, and judges them as a preset does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Refused, Verdict

ANSWERED = b"HTTP/1.1 %d Answer\r\ncontent-length: %d\r\n%s\r\n%s"


@dataclass
class Got:
    """A request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    pieces: int
    """In so many it came, head included."""
    took_s: float

    def names(self) -> list[str]:
        """Of the headers, as they were written."""
        return [name for name, _ in self.headers]

    def inbound(self, url: str) -> Inbound:
        """As a verifier sees it."""
        return Inbound.of(self.method, url + self.target, self.headers, self.body)


Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Listener:
    """Answers every request with what `answer` says of it; None: closes without an answer."""

    answer: Callable[[Got], Answer | None] = lambda _: (200, b"thanks", {})
    got: list[Got] = field(default_factory=list)
    url: str = ""
    refuse_early: bool = False
    """Whether a body is answered with 413 before it is read."""
    closes: bool = False
    """Whether each connection is closed behind its answer, unannounced."""

    def judging(self, name: str, config: dict[str, Any], **more: Any) -> None:
        """From now on answer as a source of this preset would, at this moment."""

        def answer(got: Got) -> Answer:
            verdict: Verdict = judge(preset(name), got.inbound(self.url), config | more, time.time())
            if isinstance(verdict, Refused):
                return verdict.status, verdict.reason.encode(), {}
            if isinstance(verdict, Handshake):
                return verdict.status, verdict.body, dict(verdict.headers)
            return 200, b"<Ack>true</Ack>", {}

        self.answer = answer


def _serve(sock: socket.socket, listener: Listener) -> None:
    with sock, contextlib.suppress(OSError):
        sock.settimeout(20)
        rest = b""
        while True:
            start_s, pieces, data = time.monotonic(), 0, rest
            while b"\r\n\r\n" not in data:
                received = sock.recv(65_536)
                if not received:
                    return
                data, pieces = data + received, pieces + 1
            head, _, body = data.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (one.partition(":") for one in fields)]
            length = int(next((value for name, value in headers if name.lower() == "content-length"), "0"))
            if listener.refuse_early and length:
                sock.sendall(ANSWERED % (413, 9, b"connection: close\r\n", b"too large"))
                time.sleep(0.2)
                return
            while len(body) < length:
                received = sock.recv(65_536)
                if not received:
                    return
                body, pieces = body + received, pieces + 1
            body, rest = body[:length], body[length:]
            method, target, _ = line.split(" ")
            got = Got(method, target, headers, body, pieces, time.monotonic() - start_s)
            listener.got.append(got)
            answer = listener.answer(got)
            if answer is None:
                return
            status, content, more = answer
            lines = "".join(f"{name}: {value}\r\n" for name, value in more.items()).encode("latin-1")
            sock.sendall(ANSWERED % (status, len(content), lines, content))
            if listener.closes:
                return


@contextlib.contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """One at an address of its own; with a context over TLS."""
    listener = Listener()
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.url = f"http{'s' if context else ''}://127.0.0.1:{server.getsockname()[1]}"
    server.settimeout(0.05)
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError, ssl.SSLError):
                sock, _ = server.accept()
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                threads.append(threading.Thread(target=_serve, args=(sock, listener), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener
    finally:
        ended.set()
        accepting.join()
        server.close()
        for thread in threads:
            thread.join(5)
