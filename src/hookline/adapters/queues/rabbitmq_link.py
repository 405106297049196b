"""A connection to RabbitMQ that can be cut, over a driver whose own can only be asked to close."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

import aio_pika
from aiormq.connection import TransportFactory
from yarl import URL

from hookline.adapters.queues.lasting import within

CLOSE_S: Final = 1.0


class Link:
    """One connection of the driver's, and the socket below it.

    The driver's tasks go on when they are cancelled, and wait for a broker that stands still until its heartbeat has
    run out three times; so would the program at its end. What cannot be closed in time is cut.
    """

    def __init__(self, url: URL, tls: ssl.SSLContext | None) -> None:
        self._dial = Dial(tls)
        self.connection = aio_pika.Connection(url)
        self.connection.kwargs["transport_factory"] = self._dial

    async def close(self) -> None:
        """Close it, or cut it."""
        try:
            await within(CLOSE_S, self.connection.close())
        finally:
            self._dial.cut()

    def abandon(self) -> None:
        """Close what could not be used, beside whatever else there is to do."""

        async def closed() -> None:
            try:
                await self.close()
            except Exception:  # noqa: BLE001, S110 - it is gone anyway
                pass

        task = asyncio.get_running_loop().create_task(closed())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)


class Dial(TransportFactory):
    """How the driver gets its socket."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As the driver wants it."""
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._tls)
        return reader, self._writer

    def cut(self) -> None:
        """No more of it, at once."""
        if self._writer is not None:
            self._writer.transport.abort()


_CLOSING: Final[set[asyncio.Task[None]]] = set()
