"""A front on a real port, with a publisher and an application that do as they are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop
from tests.web.api import KEY, TENANT_ONLY_KEY, Api, CheckedSender, services

from hookline.adapters.stores.sqlite import SqliteStore
from hookline.core.api_key import Key, digest
from hookline.flow.answers import Answer, Done
from hookline.testing.clock import ToldClock
from hookline.web.app import build_app
from hookline.web.auth import READ, Authority, operator_keys
from hookline.web.limits import Limits
from hookline.web.server import Front


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """The front's own behaviour holds on both event loops; the rest runs on the one that we ship."""
    loops: dict[str, Callable[[], Any]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name.startswith("test_front"):
        loops["asyncio"] = asyncio.new_event_loop
    return loops


@dataclass
class ToldPublisher:
    """Answers at once with what it got, or when it is told to."""

    at_once: bool = True
    got: list[tuple[str, dict[str, str], str, bytes]] = field(default_factory=list)
    waiting: list[Done] = field(default_factory=list)
    allowed: list[Callable[[str], bool] | None] = field(default_factory=list)

    def publish(
        self,
        tenant: str,
        headers: Mapping[str, str],
        content_type: str,
        body: bytes,
        done: Done,
        allowed: Callable[[str], bool] | None = None,
    ) -> None:
        self.got.append((tenant, dict(headers), content_type, body))
        self.allowed.append(allowed)
        if self.at_once:
            done(Answer(202, b'{"n":%d,"bytes":%d}' % (len(self.got), len(body))))
        else:
            self.waiting.append(done)


@dataclass
class NotedObserver:
    """Keeps what it is told."""

    refusals: list[str] = field(default_factory=list)
    warnings: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def fact(self, name: str, **fields: object) -> None:
        self.facts.append(name)

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None: ...

    def refused(self, code: str) -> None:
        self.refusals.append(code)

    def closed(self, state: str, count: int) -> None: ...

    def warn(self, name: str, **fields: object) -> None:
        self.warnings.append((name, fields))


@dataclass
class Reply:
    """One answer as read from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A client that sends exactly the bytes it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, *, head: bool = False) -> Reply:
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            lines = raw.decode("latin-1").split("\r\n")
            headers = dict(re.split(r":\s*", line, maxsplit=1) for line in lines[1:] if line)
            length = 0 if head else int(headers.get("content-length", "0"))
            return Reply(int(lines[0].split()[1]), headers, await self.reader.readexactly(length))

    async def ended(self) -> bytes:
        """What still comes before the other side closes."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


@dataclass
class Rig:
    """A running front and the ways into it."""

    front: Front
    publisher: ToldPublisher
    observer: NotedObserver
    port: int
    wires: list[Wire] = field(default_factory=list)

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self.wires.append(wire)
        return wire

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; fails when it does not within 5 s."""
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.005)

    async def ask(self, data: bytes) -> Reply:
        wire = await self.wire()
        wire.send(data)
        return await wire.reply()


async def echo_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with method, path and the body's length; `/early` answers before reading, `/slow` waits first."""
    body = b""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    if scope["path"] != "/early":
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
    text = f"{scope['method']} {scope['path']} {len(body)}".encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


RigMaker = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig() -> AsyncIterator[RigMaker]:
    """Starts fronts with the limits given; all are stopped at the end."""
    rigs: list[Rig] = []

    async def make(
        app: Any = echo_app,
        tls: Any = None,
        proxies: Any = None,
        address_rate: Any = None,
        receiver: Any = None,
        public_url: str = "",
        **limits: Any,
    ) -> Rig:
        publisher, observer = ToldPublisher(), NotedObserver()
        authority, bounds = Authority(operator_keys(KEY)), Limits(**limits)
        front = Front(
            app,
            authority,
            publisher,
            observer,  # type: ignore[arg-type]
            limits=bounds,
            tls=tls,
            proxies=proxies,
            address_rate=address_rate,
            receiver=receiver,
            public_url=public_url,
        )
        addresses = await front.start("127.0.0.1", 0)
        rig = Rig(front, publisher, observer, addresses[0][1])
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        for wire in rig.wires:
            await wire.close()
        await rig.front.stop(1.0)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The API on a port of its own, its store in a folder of its own."""
    clock, sender, publisher, observer = ToldClock(), CheckedSender(), ToldPublisher(), NotedObserver()
    store = SqliteStore(str(tmp_path / "hookline.db"), clock, disk_free_min_bytes=0)
    await store.start()
    notified: dict[bytes, float] = {}
    registry, maker, parts = services(store, clock, sender, notified, observer)
    ready: list[str | None] = [None]
    known_as = digest(TENANT_ONLY_KEY)
    keys = {**operator_keys(KEY), known_as: Key("acme", frozenset({READ}), known_as)}

    async def is_ready(_wanted: str | None = None) -> str | None:
        return ready[0]

    async def metrics(accept: str) -> tuple[bytes, str]:
        return f"accept {accept}".encode(), "text/plain; version=1.0.0"

    authority = Authority(keys, registry, parts.pop("guard"))
    app = build_app(
        authority=authority,
        publisher=publisher,
        ready=is_ready,
        metrics=metrics,
        observer=observer,  # type: ignore[arg-type]
        **parts,
    )
    live: Any = parts["live"]
    front = Front(app, authority, publisher, observer)  # type: ignore[arg-type]
    addresses = await front.start("127.0.0.1", 0)
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{addresses[0][1]}", headers=headers) as client:
        yield Api(client, store, registry, sender, clock, publisher, observer, ready, maker, front, notified, live)
    await front.stop(1.0)
    await store.stop()
