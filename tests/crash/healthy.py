"""Endpoints that behave, a steady stream of events to them, and how long each event takes from end to end.

Publisher and receivers share one event loop and one clock, so a latency is a difference of two readings of it: from
the moment an event was due to be published (a publisher that is held up makes it longer, not rarer) to the moment its
delivery was read whole. One event goes to one endpoint, in turn.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Any, Self, cast

from tests.acceptance.program import KEY, Program

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_LENGTH = re.compile(rb"content-length: (\d+)\r\n", re.IGNORECASE)
_NUMBER = re.compile(rb'"n":(\d+)')
PUBLISHERS = 16


class Healthy:
    """`count` endpoints with the event types `{prefix}.0`, `{prefix}.1` …; use it as an async context manager."""

    def __init__(self, program: Program, count: int, prefix: str = "healthy", tenant: str = "default") -> None:
        self.arrived_s: dict[int, float] = {}
        """Event number → when its first delivery was there."""
        self.repeated = 0
        """Deliveries beyond the first of their event."""
        self._program = program
        self._count = count
        self._prefix = prefix
        self._tenant = tenant
        self._published = 0
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Receiving] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in range(self._count):
            server = await loop.create_server(lambda: _Receiving(self._take, self._connections), "127.0.0.1", 0)
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
            spec = {"url": f"http://127.0.0.1:{port}/", "event_types": [f"{self._prefix}.{number}"]}
            await asyncio.to_thread(self._program.post, "/v1/endpoints", spec, status=201, hookline_tenant=self._tenant)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0.01)

    async def send(self, count: int, rate: float) -> list[float]:
        """Publish so many events at so many per second; seconds that each took to arrive, in their order. Fails when
        one has not arrived after a minute."""
        first = self._published
        self._published += count
        begin_s = time.monotonic() + 0.05
        due_s = {first + position: begin_s + position / rate for position in range(count)}
        numbers = iter(due_s)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(PUBLISHERS, count)):
                tasks.create_task(self._publish(numbers, due_s))
        async with asyncio.timeout(60):
            while not all(number in self.arrived_s for number in due_s):
                self._news.clear()
                await self._news.wait()
        return [self.arrived_s[number] - due_s[number] for number in due_s]

    async def _publish(self, numbers: Any, due_s: dict[int, float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._program.port)
        try:
            for number in numbers:
                await asyncio.sleep(due_s[number] - time.monotonic())
                body = b'{"type":"%s.%d","data":{"n":%d,"fill":"%s"}}' % (
                    self._prefix.encode(),
                    number % self._count,
                    number,
                    b"x" * 900,
                )
                writer.write(
                    b"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\nhookline-tenant: %s\r\n"
                    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (KEY.encode(), self._tenant.encode(), len(body), body)
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None
                answer = await reader.readexactly(int(length[1]))
                assert head.startswith(b"HTTP/1.1 202"), (head, answer)
                assert json.loads(answer)["id"]
        finally:
            writer.close()
            await writer.wait_closed()

    def _take(self, body: bytes) -> None:
        now_s = time.monotonic()
        found = _NUMBER.search(body)
        assert found is not None, body
        number = int(found[1])
        if number in self.arrived_s:
            self.repeated += 1
        else:
            self.arrived_s[number] = now_s
        self._news.set()


class _Receiving(asyncio.Protocol):
    """Reads requests with a length and answers each with 200 at once."""

    def __init__(self, take: Any, connections: set[_Receiving]) -> None:
        self._take = take
        self._connections = connections
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)

    def abort(self) -> None:
        """End it."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end + 2)
            assert length is not None
            whole = end + 4 + int(length[1])
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._take(body)
            self._transport.write(_OK)


def quantile_ms(latencies_s: Sequence[float], share: float) -> float:
    """The value that `share` of the latencies do not exceed, in ms."""
    ordered = sorted(latencies_s)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000
