"""A webhook receiver that misbehaves on cue and remembers every request.

    async with Receiver() as receiver:
        receiver.answer("/orders", reply(500), reply(503, headers=[(b"retry-after", b"2")]), reply(200))
        receiver.answer("/dead", hang())
        ...deliver to receiver.url + "/orders"...
        await receiver.wait_for(3)
        assert receiver.requests[0].header("webhook-id")

It listens on a free port of the loopback. What it can do is in `hookline.testing.answers`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from hookline.testing.answers import Answer, reply
from hookline.testing.wire import HEAD_BYTES_MAX, Line, Received

_BROKEN = (OSError, EOFError, asyncio.LimitOverrunError, ValueError)
"""What a client may do to a connection: it is dropped and counted, and the receiver goes on."""


class Receiver:
    """A small HTTP/1.1 server on raw streams. Use it as an async context manager, in one event loop.

    `tls` makes it https (see `hookline.testing.certificates`). With `accept_delay_s` it accepts connections late: the
    kernel completes the TCP handshake, and then nothing happens for so long. `at_once` is played as soon as a
    connection is accepted, instead of reading a request, and also instead of a TLS handshake.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        accept_delay_s: float = 0.0,
        at_once: Answer | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[Received] = []
        """Every request, in the order in which they were complete (or, answered early, their heads were)."""
        self.broken: list[str] = []
        """What went wrong with connections: resets, requests that were no HTTP."""
        self.connections = 0
        """How many connections were accepted."""
        self.accept_delay_s = accept_delay_s
        self._at_once = at_once
        self._host = host
        self._tls = tls
        self._scripts: dict[str | None, list[Answer]] = {None: [reply(200)]}
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)  # noqa: FBT003
        self._listener.bind((self._host, 0))
        self._listener.listen(1024)
        self._spawn(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Scheme, host and port, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def answer(self, path: str | None, *answers: Answer) -> None:
        """Answer requests to `path` (without its query; None: every other path) with these, one after the other;
        the last one is repeated."""
        if not answers:
            raise ValueError("nothing to answer with")
        self._scripts[path] = list(answers)

    async def wait_for(self, count: int, wait_s_max: float = 10.0) -> list[Received]:
        """All requests, as soon as there are at least `count`. Raises TimeoutError."""
        async with asyncio.timeout(wait_s_max), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    def to(self, path: str) -> list[Received]:
        """The requests to a path, whatever their query."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            self.connections += 1
            self._spawn(self._serve(connection, self.connections))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:  # else kept: a mistake of a test's answer shows at the end
            self._tasks.discard(task)

    async def _serve(self, connection: socket.socket, number: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            await asyncio.sleep(self.accept_delay_s)
            context = self._tls if self._at_once is None else None
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
        except OSError as error:  # a client that does not like our certificate
            self.broken.append(f"{type(error).__name__}: {error}")
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._converse(Line(reader, writer, number))
        except _BROKEN as error:
            self.broken.append(f"{type(error).__name__}: {error}")
        finally:
            await _close(writer)

    async def _converse(self, line: Line) -> None:
        """Read requests and answer them, until one side has enough."""
        if self._at_once is not None:
            await self._at_once.play(line)
            return
        while (request := await line.read_head()) is not None:
            answer = self._next_answer(request.path.partition("?")[0])
            if answer.reads_body:
                await line.read_body(request)
            async with self._came:
                self.requests.append(request)
                self._came.notify_all()
            await answer.play(line)
            if not answer.reads_body:
                await line.linger()
                return
            if not answer.keeps or (request.header("connection") or "").lower() == "close":
                return

    def _next_answer(self, path: str) -> Answer:
        script = self._scripts.get(path) or self._scripts[None]
        return script.pop(0) if len(script) > 1 else script[0]


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close after what is written was sent; a client that does not read, or TLS that does not end, is cut off."""
    try:
        writer.close()
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        pass  # the client left first
    finally:
        writer.transport.abort()
