"""A Redis of a test's own, and a client that speaks to it as redis-py does: the three calls that a guard makes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.acceptance.program import free_port, needs


class RedisError(Exception):
    """The server said so."""


class Client:
    """RESP2 over one connection; answers are bytes, as redis-py's are unless told otherwise."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
        self._file = self._socket.makefile("rb")

    def set(self, name: str, value: str, *, nx: bool = False, px: int | None = None) -> bool | None:
        """SET; None where `nx` kept it from being set."""
        more = (*(("NX",) if nx else ()), *(("PX", px) if px is not None else ()))
        return True if self.call("SET", name, value, *more) == b"OK" else None

    def get(self, name: str) -> bytes | None:
        """GET."""
        found: bytes | None = self.call("GET", name)
        return found

    def eval(self, script: str, numkeys: int, *keys_and_args: object) -> Any:
        """EVAL."""
        return self.call("EVAL", script, numkeys, *keys_and_args)

    def call(self, *words: object) -> Any:
        """One command."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with self._lock:
            self._socket.sendall(request)
            return self._answer()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def _answer(self) -> Any:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            return self._file.read(size + 2)[:-2]
        assert kind == b"+", line
        return rest


class AsyncClient:
    """The same for an event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def set(self, *arguments: Any, **named: Any) -> Any:
        """SET."""
        return self._client.set(*arguments, **named)

    async def get(self, name: str) -> Any:
        """GET, as a client with `decode_responses` gives it."""
        found = self._client.get(name)
        return None if found is None else found.decode()

    async def eval(self, *arguments: Any) -> Any:
        """EVAL."""
        return self._client.eval(*arguments)


@contextlib.contextmanager
def redis_running(folder: Path) -> Iterator[int]:
    """A server that keeps nothing; its port."""
    port = free_port()
    command = [needs("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        end_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), contextlib.closing(Client(port)) as client:
                if client.call("PING") == b"PONG":
                    break
            assert process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
