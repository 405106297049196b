"""The guard's way to a Kafka cluster, for a driver that opens its sockets itself.

librdkafka resolves names and connects on its own, and to whatever addresses a cluster advertises. Here it knows
loopback addresses only: one listener for each server of the cluster. Behind each stands a connection that was resolved,
judged and dialled by the guard (and is TLS where asked for). So that it stays so, the answers that name servers are
rewritten:

    ApiVersions (18)  Metadata and Produce are held to the versions whose answers are read here
    Metadata (3)      up to version 8: each server's host and port become those of its listener

Later versions of Produce may name a new leader; earlier ones do not. Everything else passes byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from hookline.adapters.senders.dial import DialError, NoRoom
from hookline.core.address import Target, parse_server
from hookline.core.errors import Refusal

PRODUCE: Final = 0
METADATA: Final = 3
API_VERSIONS: Final = 18
VERSION_MAX: Final = {PRODUCE: 9, METADATA: 8}
SERVERS_MAX: Final = 256
CONNECTIONS_MAX: Final = 64
FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
REWRITTEN_BYTES_MAX: Final = 16 * 1024 * 1024
GIVE_UP_S: Final = 1.0
CHUNK_BYTES: Final = 64 * 1024
LOOPBACK: Final = b"127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[Target], Awaitable[Streams]]


class Malformed(ValueError):
    """What answers there does not speak Kafka's protocol."""


class Relay:
    """One cluster. Belongs to one event loop."""

    def __init__(self, servers: tuple[Target, ...], dial: Dial) -> None:
        self._first = servers
        self._tls = servers[0].tls
        self._dial = dial
        self._ports: dict[tuple[str, int], int] = {}
        """Of the listener that stands for a server."""
        self._listeners: list[asyncio.Server] = []
        self._closed = False
        self._connections: set[asyncio.Task[None]] = set()
        self.refused: Callable[[], None] = lambda: None
        """Called when a server may not be connected to, which may be one that the cluster advertises."""
        self._failures: dict[Target, DialError] = {}
        """Of each server whose latest connection could not be made."""

    @property
    def failure(self) -> DialError | None:
        """Why none of the servers that were named can be reached; None: one can, or it is not known yet."""
        if any(target not in self._failures for target in self._first):
            return None
        return self._failures[self._first[0]]

    @property
    def latest_failure(self) -> DialError | None:
        """Why a server of the cluster, which may be one that it advertises, cannot be reached."""
        return next(reversed(self._failures.values()), None)

    async def start(self) -> str:
        """Listen. Returns the `bootstrap.servers`."""
        ports = [await self._listen(target) for target in self._first]
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    async def close(self) -> None:
        """End every connection and listen no more."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
        await _turns()  # what was accepted a moment ago begins, and sees that it is too late
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await _turns()  # sockets are closed at the loop's next turn

    async def _listen(self, target: Target) -> int:
        known = self._ports.get((target.host, target.port))
        if known is not None:
            return known
        if self._closed or len(self._listeners) >= SERVERS_MAX:
            raise Malformed

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if self._closed or len(self._connections) >= CONNECTIONS_MAX:
                writer.close()
                return
            self._connections.add(task)
            try:
                await self._relay(target, reader, writer)
            except asyncio.CancelledError:
                pass  # the relay is closed
            finally:
                self._connections.discard(task)
                writer.close()

        sock = socket.create_server((LOOPBACK.decode(), 0))
        # Known before it serves, so that whoever cancels this leaves no socket behind.
        listener = await asyncio.start_server(connected, sock=sock, start_serving=False)
        self._listeners.append(listener)
        port: int = sock.getsockname()[1]
        self._ports[target.host, target.port] = port
        await listener.start_serving()
        return port

    async def _relay(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialling = asyncio.ensure_future(self._dial(target))
        try:
            far_reader, far_writer = await asyncio.shield(dialling)
        except asyncio.CancelledError:
            with contextlib.suppress(DialError, NoRoom, TimeoutError):
                _, made = await asyncio.wait_for(dialling, GIVE_UP_S)  # what was made meanwhile is not left open
                made.close()
            raise
        except DialError as error:
            self._failures[target] = error
            if error.reason == "address_refused":
                self.refused()
            return
        except NoRoom as error:
            self._failures[target] = DialError("connect", f"This process has no room for a connection: {error}.")
            return
        self._failures.pop(target, None)
        asked: dict[int, tuple[int, int]] = {}
        ways = [
            asyncio.ensure_future(_questions(reader, far_writer, asked)),
            asyncio.ensure_future(self._answers(far_reader, writer, asked)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            results = await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()
            if any(isinstance(result, Malformed) for result in results):
                self._failures[target] = DialError("protocol", "What answers there does not speak Kafka's protocol.")

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, tuple[int, int]]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size = _size(await reader.readexactly(4))
                head = await reader.readexactly(4)
                key, version = asked.pop(int.from_bytes(head, "big"), (-1, 0))
                if key not in (METADATA, API_VERSIONS):
                    writer.write(size.to_bytes(4, "big") + head)
                    await _pass(reader, writer, size - 4)
                    continue
                if size > REWRITTEN_BYTES_MAX:
                    raise Malformed
                body = await reader.readexactly(size - 4)
                body = await self._metadata(body, version) if key == METADATA else clamped(body, version)
                writer.write((len(body) + 4).to_bytes(4, "big") + head + body)
                await writer.drain()

    async def _metadata(self, body: bytes, version: int) -> bytes:
        """With the servers' addresses replaced."""
        if version > VERSION_MAX[METADATA]:
            raise Malformed
        at = 4 if version >= 3 else 0  # throttle_time_ms
        try:
            (count,) = struct.unpack_from(">i", body, at)
            at += 4
            parts = [body[:at]]
            for _ in range(count):
                node = body[at : at + 4]
                host, at = _text(body, at + 4)
                (port,) = struct.unpack_from(">i", body, at)
                rack_at = at = at + 4
                if version >= 1:
                    _, at = _text(body, at)
                listening = await self._listen(self._advertised(host or b"", port))
                parts.append(
                    node + struct.pack(">h", len(LOOPBACK)) + LOOPBACK + struct.pack(">i", listening) + body[rack_at:at]
                )
        except struct.error:
            raise Malformed from None
        return b"".join(parts) + body[at:]

    def _advertised(self, host: bytes, port: int) -> Target:
        name = host.decode("ascii", "replace")
        try:
            return parse_server(f"[{name}]:{port}" if ":" in name else f"{name}:{port}", port, tls=self._tls)
        except Refusal:
            raise Malformed from None


async def _questions(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, tuple[int, int]]
) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            size = _size(await reader.readexactly(4))
            head = await reader.readexactly(min(8, size))
            if len(head) == 8:
                key, version, correlation = struct.unpack(">hhI", head)
                if key in (METADATA, API_VERSIONS):
                    asked[correlation] = (key, version)
            writer.write(size.to_bytes(4, "big") + head)
            await _pass(reader, writer, size - len(head))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    while size > 0:
        chunk = await reader.readexactly(min(size, CHUNK_BYTES))
        writer.write(chunk)
        await writer.drain()
        size -= len(chunk)


def _size(head: bytes) -> int:
    size = int.from_bytes(head, "big")
    if not 4 <= size <= FRAME_BYTES_MAX:
        raise Malformed
    return size


def _text(body: bytes, at: int) -> tuple[bytes | None, int]:
    """A nullable string, and where it ends."""
    (length,) = struct.unpack_from(">h", body, at)
    if length < 0:
        return None, at + 2
    if at + 2 + length > len(body):
        raise Malformed
    return body[at + 2 : at + 2 + length], at + 2 + length


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(body) or shift > 28:
            raise Malformed
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def clamped(body: bytes, version: int) -> bytes:
    """An answer to ApiVersions that offers no version whose answers are not read here. Raises `Malformed`."""
    changed = bytearray(body)
    try:
        (error,) = struct.unpack_from(">h", body, 0)
        if error:
            return body  # the driver asks again, in a lower version
        flexible = version >= 3
        if flexible:
            count, at = _varint(body, 2)
            count -= 1
        else:
            (count,) = struct.unpack_from(">i", body, 2)
            at = 6
        for _ in range(count):
            key, lowest, highest = struct.unpack_from(">hhh", body, at)
            most = VERSION_MAX.get(key)
            if most is not None and highest > most:
                if lowest > most:
                    raise Malformed
                struct.pack_into(">h", changed, at + 4, most)
            at += 6
            if flexible:
                tags, at = _varint(body, at)
                for _ in range(tags):
                    _, at = _varint(body, at)
                    length, at = _varint(body, at)
                    at += length
    except struct.error:
        raise Malformed from None
    return bytes(changed)


async def _turns() -> None:
    """From a socket's accepting to its handler's first line the loop takes four turns."""
    for _ in range(8):
        await asyncio.sleep(0)
