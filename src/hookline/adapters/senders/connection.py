"""One connection to a receiver: HTTP/1.1, one request at a time, kept alive in between.

Every doubt about where an answer ends costs the connection, never the next delivery: it is not used again after an
answer that was cut, malformed or followed by more bytes, that said `close`, or that came before the request had left.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from hookline.adapters.senders.answer import AnswerReader
from hookline.adapters.senders.outbox import Outbox

PEEK_AFTER_S: Final = 0.1
"""Idle for longer than this: ask the kernel whether the receiver has closed it meanwhile. Of a receiver that has
closed one sooner after an answer it is always asked."""
KEEP_ALIVE_MARGIN_S: Final = 1.0
"""Given up so long before the receiver says that it closes it."""
AGE_S_MAX: Final = 300.0
"""Not used again when older, so that a changed DNS record is noticed on a busy connection too."""

Key = tuple[str, str, int]
"""Scheme, host and port: what a kept connection can be used for."""


class Idle:
    """The idle connections of one key, the one that was used last at the end. Whoever may want one, and each of the
    connections, has it at hand: nothing is looked up for a request."""

    __slots__ = ("__weakref__", "connections", "key", "peek_after_s")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.connections: list[Connection] = []
        self.peek_after_s = PEEK_AFTER_S


class Connection(asyncio.Protocol):
    """Sends a request and reads its answer. Made by the dialer, kept by the pool, watched by `Deadlines`.

    It never raises for what the other side does: see `reader`, `lost` and `expired` when a request has ended.
    """

    __slots__ = (
        "_closing",
        "_ended",
        "_idle_since_s",
        "_loop",
        "_lost",
        "_monotonic_s",
        "_on_lost",
        "_outbox",
        "_rested",
        "_sock",
        "_too_old_s",
        "_transport",
        "_unsent",
        "deadline_s",
        "ended_s",
        "expired",
        "first_byte_s",
        "idle",
        "reader",
    )

    def __init__(
        self,
        idle: Idle,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        monotonic_s: Callable[[], float],
        on_lost: Callable[[Connection], None],
        outbox: Outbox,
    ) -> None:
        self.idle = idle
        """Those with the same scheme, host and port that can take a request: it is one of them while it is idle."""
        self.deadline_s = float("inf")
        """When the running request must have ended, or this idle connection is closed."""
        self.expired = False
        """The deadline passed during a request."""
        self.first_byte_s: float | None = None
        """When the first byte of the answer came, by the monotonic clock."""
        self.ended_s = 0.0
        """When the last of it came, or it was given up."""
        self.reader = AnswerReader()
        self._closing = self._rested = False
        self._loop = loop
        self._sock = sock
        self._monotonic_s = monotonic_s
        self._on_lost = on_lost
        self._idle_since_s = self._too_old_s = 0.0
        self._lost: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport
        self._ended: Ended | None = None
        self._outbox = outbox
        self._unsent = b""
        """A request that is in the outbox."""

    # ------------------------------------------------------------------------------------------- for the sender

    def start(self, data: bytes, deadline_s: float, body_max: int, ended: Ended, *, whole: bool) -> None:
        """Write a whole request, at the end of this turn of the loop, on a connection that is `usable`; `body_max` and
        `whole` as in `AnswerReader.begin`.

        `ended` is called once, when `reader` holds the answer, or as much of it as came until the connection broke or
        `deadline_s` passed; not while this runs. It must not raise.
        """
        self.reader.begin(body_max, whole=whole)
        self.deadline_s = deadline_s
        self.first_byte_s = None
        self._ended = ended
        self._unsent = data
        self._outbox.put(self)

    def leave(self) -> None:
        """The turn ends: write what is in the outbox, unless the request was given up meanwhile."""
        data, self._unsent = self._unsent, b""
        if data and not self._closing:
            self._transport.write(data)

    def send(self, data: bytes, deadline_s: float, body_max: int, *, whole: bool) -> asyncio.Future[None]:
        """The same with a future, which ends always without an exception."""
        waiter: asyncio.Future[None] = self._loop.create_future()

        def ended(_: Connection) -> None:
            if not waiter.done():
                waiter.set_result(None)

        self.start(data, deadline_s, body_max, ended, whole=whole)
        return waiter

    def rest(self, now_s: float, idle_s_max: float) -> bool:
        """Be idle, until used again. False: it cannot be used again."""
        reader = self.reader
        # With bytes left to be written the answer came too early: the receiver would read them as its next request.
        if not reader.complete or not reader.reusable or self._closing:
            return False
        if self._unsent or self._transport.get_write_buffer_size():
            return False
        if reader.keep_alive_s is not None:
            idle_s_max = min(idle_s_max, reader.keep_alive_s - KEEP_ALIVE_MARGIN_S)
        self._idle_since_s = now_s
        self._rested = True
        until_s = now_s + idle_s_max
        self.deadline_s = until_s = min(self._too_old_s, until_s)
        return until_s > now_s

    def usable(self, now_s: float) -> bool:
        """Whether a connection without a request can take one now, as far as this machine knows."""
        if self._closing or now_s >= self.deadline_s or self._transport.is_closing():
            return False
        if now_s - self._idle_since_s < self.idle.peek_after_s:
            return True
        try:
            # The loop may be late with the news; an end, or bytes that nobody asked for, are there already.
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass  # reset
        return False

    def close(self) -> None:
        """End an idle connection politely."""
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        """End it at once, whatever is under way; nothing more is sent or read."""
        self._closing = True
        self._ended = None
        self._unsent = b""
        self._transport.abort()

    def failure(self, timeout_s: float) -> tuple[str, str]:
        """Why there is no whole answer: a key of `attempt.REASONS`, and one line for a person."""
        if self.expired:
            reason, detail = "timeout", f"The answer did not end within {timeout_s:g} s."
        elif self.reader.fault is not None:
            reason, detail = "protocol", self.reader.fault
        else:
            reason, detail = "connect", "The connection broke before the answer ended."
        status = self.reader.status
        # Not an answer that counts, so its status is for people only.
        return reason, detail if status is None else f"{detail} Its status was {status}."

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""
        return self._lost

    # ------------------------------------------------------------------------------------------ for `Deadlines`

    def expire(self) -> None:
        """The request took too long, or nobody used the connection."""
        ended = self._ended
        if ended is None:
            self.close()
        else:
            self.expired = True
            self.ended_s = self._monotonic_s()
            self.abort()
            ended(self)

    # --------------------------------------------------------------------------------------- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be written to (over TLS: the handshake is done)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._idle_since_s = self._monotonic_s()
        self._too_old_s = self._idle_since_s + AGE_S_MAX

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        ended = self._ended
        if ended is None:
            self.abort()  # nobody asked for anything
            return
        now_s = self._monotonic_s()
        if self.first_byte_s is None:
            self.first_byte_s = now_s
        if self.reader.feed(data):
            self.ended_s = now_s
            self._ended = None
            ended(self)

    def eof_received(self) -> None:
        """The receiver sends nothing more: the connection is closed, by the loop, at its next turn."""
        self._left()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended, by whomsoever."""
        self._left()
        ended, self._ended = self._ended, None
        self.reader.end(broken=ended is None or exc is not None)
        if not self._lost.done():
            self._lost.set_result(None)
        self._on_lost(self)
        if ended is not None:
            self.ended_s = self._monotonic_s()
            ended(self)

    def _left(self) -> None:
        """It ended; if not by us, perhaps at once after an answer that said nothing of it."""
        if self._closing:
            return
        self._closing = True
        unanswered = self._ended is None or self.first_byte_s is None
        if self._rested and unanswered and self._monotonic_s() - self._idle_since_s < PEEK_AFTER_S:
            self.idle.peek_after_s = 0.0


Ended = Callable[[Connection], None]
"""Takes a connection whose request has ended."""
