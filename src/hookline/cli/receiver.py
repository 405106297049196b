"""A small HTTP server that receives webhooks: what `hookline sink` and the demo are made of."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
KEEP_ALIVE_S: Final = 300
STOP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    at_s: float
    """When its body was complete, Unix seconds."""
    method: str
    path: str
    headers: dict[str, str]
    """Lower-case names; a repeated one is joined by commas."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. Status 0: nothing, until the other side gives up."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


HANG: Final = Answer(status=0)
Handler = Callable[[Received], Awaitable[Answer]]


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has the port but does not listen: until somebody does, connections are refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """Where a socket is bound, as a URL."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Receiver:
    """Answers requests on a bound socket by `handle`, from `start` to `stop`. A body over 16 MiB gets 413."""

    def __init__(self, handle: Handler, sock: socket.socket) -> None:
        self._handle = handle
        self._sock = sock
        self.url = url_of(sock)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        import asyncio

        from uvicorn.config import Config
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
        from uvicorn.server import ServerState

        config = Config(
            self._app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        self._state = ServerState()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpToolsProtocol(config, self._state, {}), sock=self._sock, backlog=2048
        )

    async def stop(self) -> None:
        """Take no more connections, let what runs end within 2 s, then end it."""
        import asyncio

        if self._server is None:
            self._sock.close()
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=STOP_S)
        for connection in list(self._state.connections):
            connection.transport.abort()  # what still hangs sees a disconnect
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=STOP_S)
        await asyncio.sleep(0)  # lets the transports close their sockets
        self._server = None

    async def _app(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        body = await _read_body(receive)
        if body is None:
            await _send(send, Answer(413, {"connection": "close"}))
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        answer = await self._handle(Received(time.time(), scope["method"], scope["path"], headers, body))
        if answer.status == 0:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await _send(send, answer)


async def _read_body(receive: ASGIReceiveCallable) -> bytes | None:
    """The body; None when it is too big. What was cut off by the other side is an empty one."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return None
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: ASGISendCallable, answer: Answer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.status >= 200 and answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
