"""HTTP/1.1 as a test's receiver reads it: exactly what came, without a framework in between."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec

HEAD_BYTES_MAX = 1024 * 1024


class Received(msgspec.Struct):
    """A request as it came."""

    method: str
    path: str
    """The request's target, query included."""
    version: str
    headers: list[tuple[bytes, bytes]]
    """In the order and spelling of the sender."""
    body: bytes
    at_s: float
    """When its head was complete, by the machine's monotonic clock."""
    connection: int
    """Number of the connection it came on, from 1."""

    def header(self, name: str) -> str | None:
        """The only value of a header, whatever the case of its name; None: not there. Several: ValueError."""
        wanted = name.lower().encode()
        values = [value for key, value in self.headers if key.lower() == wanted]
        if len(values) > 1:
            raise ValueError(f"{len(values)} headers {name}")
        return values[0].decode("latin-1") if values else None

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Line:
    """One connection: what a receiver reads from and what an answer writes to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def write(self, data: bytes) -> None:
        """Send; waits while the client does not read. Raises ConnectionError when it left."""
        if self.writer.is_closing():  # uvloop takes a write then as a mistake of ours
            raise ConnectionResetError("the client left")
        self.writer.write(data)
        await self.writer.drain()
        if self.writer.is_closing():
            raise ConnectionResetError("the client left")

    async def client_left(self) -> None:
        """Return when the client closed its side."""
        while await self.reader.read(65_536):
            pass

    async def linger(self) -> None:
        """End our side and read what the client still sends, for 2 s at most: closing on unread bytes is a reset,
        which would take the answer from a client that is still sending."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
            try:
                async with asyncio.timeout(2.0):
                    await self.client_left()
            except TimeoutError:
                pass  # it was told

    async def read_head(self) -> Received | None:
        """The next request without its body; None: the client is done. Raises ValueError for what is not HTTP."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as end:
            if end.partial.strip():
                raise ValueError(f"a request that ends in its head: {end.partial[:100]!r}") from None
            return None
        request_line, *lines = head[:-4].split(b"\r\n")
        method, path, version = request_line.decode("latin-1").split(" ")
        headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise ValueError(f"a header without a colon: {line[:100]!r}")
            headers.append((name, value.strip()))
        return Received(method, path, version, headers, b"", time.monotonic(), self.number)

    async def read_body(self, request: Received) -> None:
        """Read the body of the request whose head was read."""
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            request.body = await self._read_chunks()
        elif length := int(request.header("content-length") or 0):
            request.body = await self.reader.readexactly(length)

    async def _read_chunks(self) -> bytes:
        chunks = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            chunks.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        while (await self.reader.readline()).strip():
            pass  # trailers
        return b"".join(chunks)
