"""A process's place among several on one machine: what the parent that started it gave it (`hookline.children`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

READY: Final = b"r"


@dataclass(frozen=True)
class Place:
    """One of several processes that a parent started, and starts again when they die."""

    name: str
    """No other one has it at the same time: `api-1`, `worker-2`."""
    addresses: Sequence[tuple[str, int]]
    """Where all of them together are reached."""
    listeners: Sequence[socket.socket]
    """The sockets of these addresses, shared with the others; none where others are enough for what comes there."""
    own: socket.socket
    """On the loopback, for this process's own health and metrics."""
    ports: Mapping[str, int]
    """The same of every process there can be, by name; who does not run listens on none."""
    parent: socket.socket
    """To the parent: said to once, when this process serves; it ends when the parent does."""

    def serves(self) -> None:
        """Tell the parent that this process takes work."""
        with contextlib.suppress(OSError):
            self.parent.send(READY)

    def when_parent_ends(self, ended: Callable[[], None]) -> None:
        """Call `ended` when the parent is gone, however that came: nobody would stop this process then."""
        loop = asyncio.get_running_loop()
        self.parent.settimeout(0.0)

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                if not self.parent.recv(1):
                    loop.remove_reader(self.parent)
                    ended()

        loop.add_reader(self.parent, readable)
