"""One request on its way through the ASGI application, with the connection's order and end kept by the front."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hookline.core.server_sent import MEDIA_TYPE

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_STREAM = (b"content-type", MEDIA_TYPE.encode("ascii") + b"; charset=utf-8")
STREAM_SEND_BYTES: Final = 128 * 1024
"""Of a stream in the kernel, which takes up to twice as much; left to itself it takes megabytes of a client that does
not read, and he would look like one that does."""
_SILENT = logging.getLogger("hookline.web.cycle")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class HeldFlow(FlowControl):
    """Flow control whose reading stays paused while `held`: pipelined requests wait in the kernel, not here."""

    held = False

    def resume_reading(self) -> None:
        """Read again, unless held."""
        if not self.held:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing until `release`."""
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again."""
        self.held = False
        self.resume_reading()


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport

    def finish(self, status: int = 200) -> None:
        """Close when the client can have read the answer, whose status this is."""
        ...


class Outlet(asyncio.Transport):
    """What a cycle sees of the transport: it may write; closing is the connection's business."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.status = 200
        """Of the answer that is being written."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write to the client."""
        self._connection.transport.write(data)

    def keep_little(self) -> None:
        """Let the kernel hold little of what the client has not taken."""
        sock = self._connection.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # gone
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_SEND_BYTES)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """End the connection after this answer."""
        self._connection.finish(self.status)


class Cycle(RequestResponseCycle):
    """uvicorn's cycle, but a response that comes before the whole body was read says that it closes, and so does a
    stream of events: whoever is at its end comes back on another connection. To HTTP/1.0, which knows no chunks, an
    answer of unknown length ends with the connection."""

    def __init__(
        self,
        scope: HTTPScope,
        connection: Connection,
        flow: FlowControl,
        default_headers: list[tuple[bytes, bytes]],
        on_response: Callable[[], None],
        *,
        expects: bool,
        keep: bool,
    ) -> None:
        self._outlet = Outlet(connection)
        self.endless = False
        """Its answer is a stream of events, which ends only with the client or with the process."""
        self._unframed = False
        super().__init__(
            scope=scope,
            transport=self._outlet,
            flow=flow,
            logger=_SILENT,  # the application's outermost layer logs what it did not expect
            access_logger=_SILENT,
            access_log=False,
            default_headers=default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expects,
            keep_alive=keep,
            on_response=on_response,
        )

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self._outlet.status = message["status"]
            headers = message.get("headers", ())
            self.endless = _STREAM in headers
            if self.endless:
                self._outlet.keep_little()
            if self.more_body or self.endless:
                self.keep_alive = False
            if self.scope["http_version"] == "1.0" and not any(name.lower() in _FRAMING for name, _ in headers):
                self._unframed = True
                self.chunked_encoding = False
                self.keep_alive = False
        elif self._unframed and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
