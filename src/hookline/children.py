"""The processes that a parent starts: each has a name, a port of its own, and a socket to its parent.

They are forked, so the parent must have no thread and no event loop. A child is started again and again at its place,
always under its name: its next start takes back at once what the one before had leased.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hookline.place import READY, Place
from hookline.web.server import addresses

LOOPBACK: Final = "127.0.0.1"
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
AGAIN_FIRST_S: Final = 0.5
AGAIN_S_MAX: Final = 30.0
SETTLED_S: Final = 60.0
"""Who lived for so long has not died of how he was started."""


class Child:
    """A place for one process, and the process in it, if there is one."""

    def __init__(self, name: str, role: str, *, shares: bool) -> None:
        """`shares`: it accepts what comes to the address of all."""
        self.name = name
        self.role = role
        self.shares = shares
        self.pid = 0
        self.serves = False
        self.leaving = False
        """It was told to end, and is not to be started again."""
        self.due_s: float | None = None
        """When it is to be started again."""
        self._own: socket.socket | None = _bound(0)
        self.port: int = self._own.getsockname()[1]
        self.channel: socket.socket | None = None
        self._failures = 0
        self._started_s = 0.0

    def fork(
        self, listeners: Sequence[socket.socket], family: Iterable[Child], ports: Mapping[str, int], now_s: float
    ) -> Place | None:
        """Start it: None in the parent, and in the child its place. Signals must be blocked meanwhile; in the child
        they have their default effect afterwards."""
        own, self._own = self._own or _bound(self.port), None
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for other in family:
                other.forget()
            where = addresses(listeners)
            if not self.shares:
                for listener in listeners:
                    listener.close()
            return Place(self.name, where, listeners if self.shares else (), own, ports, theirs)
        own.close()
        theirs.close()
        ours.settimeout(0.0)
        self.pid, self.channel, self._started_s = pid, ours, now_s
        self.serves = self.leaving = False
        self.due_s = None
        return None

    def forget(self) -> None:
        """Close what is the parent's: in a child, which must not hold its siblings' sockets."""
        for held in (self._own, self.channel):
            if held is not None:
                held.close()

    def heard(self) -> None:
        """Read what it said: that it serves."""
        assert self.channel is not None
        with contextlib.suppress(OSError):
            said = self.channel.recv(16)
            self.serves |= READY in said
            if not said:  # it ends, and will be waited for
                self.channel.close()
                self.channel = None

    def tell(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ended(self) -> int | None:
        """The exit code, or minus the signal, of a process that has ended; None: it lives, or there is none."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid = 0
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        return os.waitstatus_to_exitcode(status)

    def again(self, now_s: float, *, failed: bool) -> float:
        """It ended and is wanted: when it starts again. In how many seconds that is."""
        settled = now_s - self._started_s >= SETTLED_S or not failed
        self._failures = 0 if settled else self._failures + 1
        wait_s = min(AGAIN_S_MAX, AGAIN_FIRST_S * 2.0 ** max(0, self._failures - 1))
        self.due_s = now_s + wait_s
        return wait_s


def _bound(port: int) -> socket.socket:
    """A socket on the loopback, not listening; at another port where this one is taken by now."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
    except OSError:
        bound.bind((LOOPBACK, 0))
    return bound
