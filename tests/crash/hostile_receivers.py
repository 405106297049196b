"""A process full of hostile receivers, each on a port of its own, so that each is a destination of its own.

    python tests/crash/hostile_receivers.py 500 hostile

It says in one line of JSON where they are and which certificate they show, ends when its standard input does, and
then says what it saw: for how long connections were held by those that never end one themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from tests.crash.hostile_kinds import KINDS, MANNERS, At, Kind, kinds

from hookline.testing.certificates import SelfSigned
from hookline.testing.receiver import Receiver
from hookline.testing.wire import Line

ROOT = Path(__file__).parents[2]
RECEIVE_BYTES = 16 * 1024
"""The receive buffer of those that do not read: what is larger stays with its sender."""


@dataclass
class Seen:
    """What the receivers saw, by kind."""

    connections: Counter[str] = field(default_factory=Counter)
    held_s: dict[str, float] = field(default_factory=dict)
    """The longest time until the client gave up, of kinds that hold a connection."""


class Hostile(Receiver):
    """A receiver of one kind."""

    def __init__(self, kind: Kind, contexts: dict[str, ssl.SSLContext], seen: Seen) -> None:
        early = kind.answer if kind.at is At.ACCEPTED else None
        super().__init__(tls=contexts.get(kind.tls), at_once=early)
        if kind.answer is not None and early is None:
            self.answer(None, kind.answer)
        self._kind = kind
        self._seen = seen

    async def _converse(self, line: Line) -> None:
        began_s = time.monotonic()
        self._seen.connections[self._kind.name] += 1
        try:
            await super()._converse(line)
        finally:
            self.requests.clear()  # nobody asks, and there are thousands
            if self._kind.holds:
                longest_s = self._seen.held_s.get(self._kind.name, 0.0)
                self._seen.held_s[self._kind.name] = max(longest_s, time.monotonic() - began_s)


def silent_listener(kind: Kind, stack: contextlib.ExitStack) -> int:
    """A port where the program behind it accepts nothing; its number."""
    listener = stack.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    listener.bind(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    if kind.at is At.NOT_ACCEPTED:
        listener.listen(1024)
        return port
    listener.listen(0)
    for _ in range(4):  # one is accepted by the kernel; the rest is there before anybody else is
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)  # noqa: FBT003
        filler.connect_ex(("127.0.0.1", port))
    return port


async def serve(chosen: Sequence[Kind]) -> None:
    """Be a receiver of each of these kinds until nobody reads any more."""
    authority = SelfSigned()
    expired = SelfSigned(valid_s=-60)
    contexts = {
        "trusted": authority.server(),
        "elsewhere": SelfSigned(["elsewhere.example"]).server(),
        "expired": expired.server(),
    }
    seen = Seen()
    async with contextlib.AsyncExitStack() as stack:
        plain = stack.enter_context(contextlib.ExitStack())
        found = []
        for number, kind in enumerate(chosen):
            if kind.at in (At.QUEUE_FULL, At.NOT_ACCEPTED):
                url = f"http://127.0.0.1:{silent_listener(kind, plain)}"
            else:
                url = (await stack.enter_async_context(Hostile(kind, contexts, seen))).url
            found.append({"kind": kind.name, "url": f"{url}/{number}"})
        print(json.dumps({"receivers": found, "trust": authority.pem + expired.pem}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(json.dumps({"connections": seen.connections, "held_s": seen.held_s}), flush=True)


class HostileReceivers:
    """That process, from outside. `url_kinds` says what each address is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        names = {kind.name: kind for kind in (*KINDS, *MANNERS.values())}
        self.url_kinds: dict[str, Kind] = {row["url"]: names[row["kind"]] for row in said["receivers"]}
        self.trust: str = said["trust"]

    def end(self) -> dict[str, Any]:
        """End it; what it saw."""
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, self._process.returncode
        seen: dict[str, Any] = json.loads(said)
        return seen


@contextlib.contextmanager
def hostile_receivers(count: int, manner: str = "hostile") -> Iterator[HostileReceivers]:
    """So many receivers, hostile or of one of the `MANNERS`, for as long as they are wanted."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(count), manner],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield HostileReceivers(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


if __name__ == "__main__":
    many = int(sys.argv[1])
    uvloop.run(serve(kinds(many) if sys.argv[2] == "hostile" else [MANNERS[sys.argv[2]]] * many))
