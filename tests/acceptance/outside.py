"""The world on the other side of a broker: who publishes there, and who ends its server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tests.servers import nats, valkey


class Outside(Protocol):
    """One broker."""

    kind: str
    exactly: bool
    """Whether its messages have coordinates, by which repeats are known."""

    def config(self, name: str) -> dict[str, Any]:
        """Of a source that consumes what is published under this name."""
        ...

    def make(self, name: str) -> None:
        """Make what is published to."""
        ...

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        """One message for each number, all confirmed by the server."""
        ...

    def restart(self) -> None:
        """Kill the server, and start it again where it was."""
        ...


def body(number: int) -> bytes:
    """What the message of this number says."""
    return json.dumps({"n": number}).encode()


class Redis:
    """`Outside` with Valkey, which writes everything down at once."""

    kind = "redis"
    exactly = True

    def __init__(self, server: valkey.Valkey) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "stream": name}

    def make(self, name: str) -> None:
        """The source makes it."""

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        import redis

        with redis.Redis.from_url(self._server.url) as client, client.pipeline(transaction=False) as pipeline:
            for number in numbers:
                pipeline.xadd(name, {"data": body(number)})
            pipeline.execute()

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


class Nats:
    """`Outside` with a stream in files."""

    kind = "nats"
    exactly = True

    def __init__(self, server: nats.Nats) -> None:
        self._server = server

    def config(self, name: str) -> dict[str, Any]:
        return {"url": self._server.url, "stream": name}

    def make(self, name: str) -> None:
        async def work() -> None:
            import nats as driver

            client = await driver.connect(self._server.url)
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
            await client.close()

        asyncio.run(work())

    def publish(self, name: str, numbers: Sequence[int]) -> None:
        async def work() -> None:
            import nats as driver

            client = await driver.connect(self._server.url)
            js = client.jetstream()
            for number in numbers:
                await js.publish(f"{name}.new", body(number))
            await client.close()

        asyncio.run(work())

    def restart(self) -> None:
        self._server.kill()
        self._server.start()


@contextmanager
def outside(kind: str) -> Iterator[Outside]:
    """A broker of this kind, started, for as long as the block lasts."""
    if kind == "redis":
        for server in valkey.serving(appendonly="yes", appendfsync="always"):
            yield Redis(server)
    elif kind == "nats":
        for nats_server in nats.serving():
            yield Nats(nats_server)
