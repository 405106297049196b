"""Generated requests against the whole program, in process and without sockets: store, engine, every route.

Valid requests of every route are changed (values of their JSON, their query, their bytes), put on connections one
after the other, and cut into pieces. Nobody is connected to: the sender takes everything. What must hold: no answer
is a 5xx, none is missing, and the bytes of every answer are read strictly. A seed makes the same requests again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import uvloop
from tests.acceptance.hostile import BODIES as PUBLISHED
from tests.acceptance.hostile import GOOD, HOST, KEY, REQUESTS
from tests.fuzz.checks.front import Wire, cut
from tests.fuzz.mutate import HOSTILE, mutate_bytes, mutate_json
from tests.fuzz.seeds import SEED_BYTES_MAX, publication, words
from tests.web.api import CheckedSender
from tests.web.test_hostile_values import BODIES

from hookline import compose
from hookline.settings import Settings
from hookline.web.protocol import FrontProtocol
from hookline.web.server import bind

PROGRAM_REQUESTS = 10_000
"""After so many the program begins again with an empty store: endpoints that were made would get all events."""
CONNECTIONS = 32
WAIT_S = 60.0
OVERLOADED = b'"code":"overloaded"'
VALID = 8
"""So many of the publications that are seeds come first and are accepted."""
_ID = {"evt": 24, "ep": 24, "dlv": 32, "rpl": 24, "key": 24}


class TakingSender(CheckedSender):
    """Takes everything, connects to nobody, remembers nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    async def send(self, request: Any) -> Any:
        self.sent.clear()
        return await super().send(request)

    async def verify(self, request: Any) -> Any:
        self.asked.clear()
        return await super().verify(request)


class Failed(Exception):
    """An answer that must not be. `data` is what the connection got."""

    def __init__(self, why: str, data: bytes) -> None:
        super().__init__(why)
        self.data = data


class Maker:
    """Makes requests, by a seed."""

    def __init__(self, dice: Random, document: dict[str, Any]) -> None:
        self._dice = dice
        self._routes = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
        self._bodies = {(method, path): json.dumps(body).encode() for method, path, body in BODIES}
        self._publications = [seed for seed in publication() if len(seed) <= SEED_BYTES_MAX]
        self._whole = [data for data in REQUESTS.values() if len(data) <= SEED_BYTES_MAX]
        self._words = words("configuration")

    def connection(self) -> tuple[bytes, int]:
        """The bytes of one connection, and how many requests they were made of."""
        count = self._dice.choice((1, 1, 1, 2, 4))
        return b"".join(self.request() for _ in range(count)), count

    def request(self) -> bytes:
        """One request, valid or changed."""
        kind = self._dice.random()
        if kind < 0.4:
            data = self._publish()
        elif kind < 0.9:
            data = self._route()
        else:
            data = self._dice.choice((*self._whole, GOOD))
        if self._dice.random() < 0.12:
            tokens = tuple(word.encode() for word in words("front"))
            data = mutate_bytes(self._dice, data, tokens, self._dice.choice(self._whole))
        return data

    def _publish(self) -> bytes:
        dice = self._dice
        valid = self._publications[:VALID] if dice.random() < 0.7 else self._publications
        head, _, body = dice.choice(valid).partition(b"\n\n")
        if dice.random() < 0.6:
            body = mutate_json(dice, body, words("publication"), dice.choice(self._publications).partition(b"\n\n")[2])
        elif dice.random() < 0.2:
            body = dice.choice([one for one in PUBLISHED.values() if len(one) <= SEED_BYTES_MAX])
        fields = head.split(b"\n")
        if dice.random() < 0.3:
            fields.append(b"idempotency-key: %d" % dice.randrange(50))
        return self._framed(b"POST /v1/events", [field for field in fields if b":" in field], body)

    def _route(self) -> bytes:
        dice = self._dice
        method, template = dice.choice(self._routes)
        known = [(m, p) for m, p in self._bodies if m == method and _alike(p, template)]
        path = dice.choice(known)[1] if known else self._path(template)
        body = self._bodies.get((method, path), b"{}" if method in ("POST", "PATCH", "PUT") else b"")
        if body and dice.random() < 0.8:
            body = mutate_json(dice, body, self._words, dice.choice(list(self._bodies.values())))
        fields = [b"content-type: application/json"] if body else []
        if dice.random() < 0.2:
            fields.append(b"hookline-tenant: " + dice.choice((b"acme", b"default", b"x", b"..", b"\xff")))
        return self._framed(f"{method} {path}{self._query()}".encode("utf-8", "replace"), fields, body)

    def _path(self, template: str) -> str:
        dice, parts = self._dice, template.split("/")
        for at, part in enumerate(parts):
            if part.startswith("{"):
                prefix, digits = dice.choice(list(_ID.items()))
                own = ("other", "acme", "order.created", "default", f"{prefix}_{'0' * digits}", f"{prefix}_{'ab' * 12}")
                odd = quote(str(dice.choice(HOSTILE))[:100].encode("utf-8", "replace"), safe="")
                parts[at] = dice.choice(own) if dice.random() < 0.8 else odd
        return "/".join(parts)

    def _query(self) -> str:
        dice = self._dice
        if dice.random() < 0.6:
            return ""
        names = ("limit", "cursor", "since", "until", "state", "endpoint", "event", "reason", "type", "source", "q")
        values = ("1", "250", "failed", "pending", "2020-01-01T00:00:00Z", "other", "order.created", *map(str, HOSTILE))
        chosen = [(dice.choice(names), dice.choice(values)[:200]) for _ in range(dice.choice((1, 2)))]
        return "?" + "&".join(f"{name}={quote(value.encode('utf-8', 'replace'))}" for name, value in chosen)

    def _framed(self, line: bytes, fields: Sequence[bytes], body: bytes) -> bytes:
        authorization = b"" if self._dice.random() < 0.02 else b"authorization: Bearer " + KEY + b"\r\n"
        head = line + b" HTTP/1.1\r\n" + HOST + authorization + b"".join(field + b"\r\n" for field in fields)
        if self._dice.random() < 0.2:
            return (
                head
                + b"transfer-encoding: chunked\r\n\r\n"
                + b"%x\r\n%b\r\n" % (len(body), body) * bool(body)
                + b"0\r\n\r\n"
            )
        return head + b"content-length: %d\r\n\r\n" % len(body) + body


def _alike(path: str, template: str) -> bool:
    ours, theirs = path.split("/"), template.split("/")
    return len(ours) == len(theirs) and all(b.startswith("{") or a == b for a, b in zip(ours, theirs, strict=True))


class Served:
    """A running program without a listening socket."""

    def __init__(self, program: compose.Program) -> None:
        self.front = program._front()
        self.front._config.load()
        app: Any = self.front._config.app
        while not hasattr(app, "openapi"):
            app = app._app if hasattr(app, "_app") else app.app
        self.document: dict[str, Any] = app.openapi()

    async def ask(self, data: bytes, seed: int) -> list[int]:
        """The statuses that one connection is answered with. Raises `Failed`."""
        loop = asyncio.get_running_loop()
        wire = Wire(loop)
        wire.protocol = protocol = FrontProtocol(self.front._shared, self.front._config, self.front._state, loop)
        protocol.connection_made(wire)
        try:
            async with asyncio.timeout(WAIT_S):
                for piece in cut(data, seed):
                    while wire.paused and not wire.closing and _owes(protocol):
                        await asyncio.sleep(0.0005)
                    if wire.closing or wire.paused:
                        break
                    protocol.data_received(piece)
                while not wire.closing and _owes(protocol):
                    await asyncio.sleep(0.0005)
        except TimeoutError:
            raise Failed("an answer is missing", data) from None
        finally:
            if not wire.closing and not protocol.eof_received():
                wire.close()
            await asyncio.sleep(0)
            wire.abort()
            await asyncio.sleep(0)
        try:
            found = statuses(bytes(wire.written))
        except (AssertionError, ValueError) as error:
            raise Failed(f"an answer is not correct HTTP: {error}", data) from None
        failed = [status for status in found if status >= 500]
        if failed and failed != [503] * wire.written.count(OVERLOADED):
            raise Failed(f"an answer is a 5xx: {bytes(wire.written)!r}", data)
        return found


def _owes(protocol: FrontProtocol) -> bool:
    """Whether an answer is due that does not wait for the client."""
    current = protocol._current
    if current is not None and current.cycle is not None and current.cycle.endless:
        return False
    return bool(protocol._queue) or (current is not None and current is not protocol._reading)


def statuses(output: bytes) -> list[int]:
    """The statuses of answers, read strictly up to a stream without end."""
    found: list[int] = []
    while output:
        head, end, rest = output.partition(b"\r\n\r\n")
        assert end, f"half a head: {head!r}"
        line, *fields = head.split(b"\r\n")
        assert line.startswith(b"HTTP/1.1 "), f"no status line: {line[:80]!r}"
        found.append(int(line.split(b" ", 2)[1]))
        names = dict(field.lower().split(b": ", 1) for field in fields)
        if b"transfer-encoding" in names or b"content-length" not in names:
            assert (
                found[-1] in (100, 204)
                or b"text/event-stream" in names.get(b"content-type", b"")
                or names.get(b"connection") == b"close"
            )
            if found[-1] not in (100, 204):
                return found
            output = rest
            continue
        length = int(names[b"content-length"])
        output = rest if rest.startswith(b"HTTP/1.1 ") else rest[length:]
    return found


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """The program with an empty store in `folder`."""
    settings = Settings(
        db=f"sqlite:///{folder}/fuzz.db", key=KEY.decode(), port=0, log_level="error", disk_free_min_mib=0
    )
    listeners = bind("127.0.0.1", 0)  # for its own address; nothing listens
    with patch.object(compose, "HttpSender", TakingSender), contextlib.ExitStack() as closing:
        for listener in listeners:
            closing.enter_context(listener)
        program = compose.Program(settings, listeners)
    await program.engine.start()
    try:
        yield Served(program)
    finally:
        program.engine.start_drain()
        program.live.close()
        await program.engine.stop(5.0)
        program.logs.close()


async def _some(dice: Random, wanted: int, counted: Counter[int]) -> int:
    made = 0
    with tempfile.TemporaryDirectory(prefix="hookline-fuzz-") as folder:
        async with served(Path(folder)) as program:
            maker = Maker(dice, program.document)

            async def connections() -> None:
                nonlocal made
                while made < wanted:
                    data, count = maker.connection()
                    made += count
                    counted.update(await program.ask(data, dice.randrange(1 << 30)))

            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(connections())
    return made


def run(requests: int, seed: int) -> tuple[int, Counter[int], float]:
    """Make so many requests; how many, the statuses that were answered, and seconds. Raises `Failed`."""
    dice, counted, made, begun = Random(seed), Counter[int](), 0, time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while made < requests:
            try:
                made += runner.run(_some(dice, min(PROGRAM_REQUESTS, requests - made), counted))
            except* Failed as failures:
                raise failures.exceptions[0] from None
    return made, counted, time.perf_counter() - begun


def check(data: bytes) -> None:
    """One connection's bytes again, against a program of its own."""

    async def once() -> None:
        with tempfile.TemporaryDirectory(prefix="hookline-fuzz-") as folder:
            async with served(Path(folder)) as program:
                await program.ask(data, 0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(once())
