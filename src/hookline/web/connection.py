"""One connection's order and end: who is answered next, what still waits, and when it closes.

    reading    IDLE ──► HEAD ──► BODY ──► IDLE      (`_phase`: the request that comes in; see `web.protocol`)
                 └────────┴───────┴─────► DEAF      (nothing more is read: refused, or the last of its connection)
    answering  `_current`, then `_queue`, then `_backlog` (bytes not parsed yet)

There are no timers: one sweep over all connections (see `web.server`) calls `sweep` of each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.flow.admission import Call
from hookline.flow.answers import Answer
from hookline.web.cycle import Cycle, HeldFlow
from hookline.web.errors import problem_answer
from hookline.web.heads import CONTINUE
from hookline.web.known_head import HEAD_BYTES_MAX, LESSONS_MAX, KnownHead
from hookline.web.publish import Admission
from hookline.web.shared import Shared

# Where the request is that comes in: plain numbers, compared several times per request.
IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
DEAF: Final = 3
_OF_AUTHORIZED: Final = frozenset({403, 409, 413, 415, 422})
"""Refusals that come only after the key was found right."""
SLICE_BYTES: Final = 16 * 1024
"""So much is parsed at once: it bounds the pipelined requests that can wait as objects."""


class Request(msgspec.Struct, eq=False):
    """A request from its head on. `cycle`: for the application; `answer`: already refused; `call`: for a source; else
    a publish."""

    keep: bool
    admission: Admission | None = None
    source: Source | None = None
    call: Call | None = None
    answer: Answer | None = None
    cycle: Cycle | None = None
    body: bytes = b""
    pieces: list[bytes] | None = None
    counted: int = 0
    stranger: bool = False
    """Refused before it was known who it is: not much of what he still sends is read."""


class Connection(HttpToolsProtocol):
    """Answers in the order of asking, within the limits. `web.protocol` adds the reading."""

    flow: HeldFlow

    def __init__(
        self, shared: Shared, config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self._shared = shared
        self._peer = ""
        self._proxied = False
        self._limits = shared.limits
        self._fields_max = shared.limits.header_fields_max
        self._known: KnownHead | None = None
        self._known_bytes_max = min(SLICE_BYTES, shared.limits.publish_bytes_max)
        # A known head is not counted again: it is far below the limit, however its fields are counted.
        self._lessons = LESSONS_MAX if shared.limits.header_bytes_max >= 2 * HEAD_BYTES_MAX else 0
        self._phase: int = IDLE
        self._since = loop.time()
        self._fed = b""
        self._line = b""
        self._before = IDLE
        self._begun = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._wire_bytes = 0
        self._trailers = 0
        self._chunked = False
        self._offered = False
        self._offered_method = b""
        self._reading: Request | None = None
        self._current: Request | None = None
        self._expecting = False
        self._queue: deque[Request] = deque()
        self._backlog = b""
        self._backlog_at = 0
        self._advancing = False
        self._lost = False
        self._answered_any = False
        self._refused = False
        self._lingering = False
        self._spilling = False
        self._discarded_bytes = 0
        self._closing_since: float | None = None

    # --------------------------------------------------------------------------------------------- connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self.flow = HeldFlow(transport)
        if self.client is not None:
            self._peer = self.client[0]
            self._proxied = self._shared.proxies.trusts(self._peer)
        if self._shared.draining:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what is on its way is finished, its answer dropped."""
        self._lost = True
        self._phase = DEAF
        self._release(self._reading)
        for request in self._queue:
            self._release(request)
        self._queue.clear()
        self._backlog = b""
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more, but may wait for answers: they are still written."""
        # Half a TLS connection is none, and who follows a stream and sends its end is gone.
        current = self._current
        if self._lingering or self.scheme == "https" or current is None or current is self._reading:
            return None
        if current.cycle is not None and current.cycle.endless:
            return None
        self._last()
        return True

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more is read from it."""
        super().pause_writing()
        self._closing_since = self.loop.time()
        self.flow.hold()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._closing_since = None
        self._advance()

    def shutdown(self) -> None:
        """Close now if idle, else after the answers that are due."""
        if self._current is None and self._phase == IDLE:
            self.transport.close()
            return
        current = self._current
        if current is not None and current.cycle is not None and current.cycle.endless and self.flow.write_paused:
            self.transport.abort()  # it would wait for a client that does not read
            return
        self._close_after_last()

    def sweep(self, now: float) -> None:
        """Cut off what takes too long; called from time to time for every connection."""
        limits, age_s = self._limits, now - self._since
        if self._closing_since is not None and now - self._closing_since > limits.write_s:
            self.transport.abort()
        elif self._lingering:
            if age_s > (limits.spill_s if self._spilling else limits.linger_s):
                self.transport.abort()
        elif self._phase == IDLE:
            if self._current is None and age_s > (limits.idle_s if self._answered_any else limits.first_s):
                self.transport.close()
        elif self._phase == HEAD:
            if self._current is None and age_s > limits.header_s:
                self._too_slow("The headers did not come within the time allowed.")
        elif (
            self._phase == BODY
            and not self.flow.read_paused
            and age_s > limits.body_s + self._body_bytes / limits.body_bytes_per_s
        ):
            self._too_slow("The body comes too slowly.")

    def _too_slow(self, detail: str) -> None:
        self._refuse(Refusal("request_timeout", detail))

    # ---------------------------------------------------------------------------------------------- answering

    def _ready(self, request: Request) -> None:
        if self._current is None and not self._queue:
            self._begin(request)
        else:
            self._queue.append(request)

    def _begin(self, request: Request) -> None:
        if request.answer is not None:
            headless = request.call is not None and request.call.method == "HEAD"
            self.transport.write(self._shared.heads.render(request.answer, keep=False, headless=headless))
            self.finish(401 if request.stranger else request.answer.status)
            return
        self._current = request
        if request.cycle is not None:
            self.cycle = request.cycle
            self._start_asgi_task(request.cycle, self.app)
            return
        if request.counted:
            self._release(request)
        if request.call is not None:
            receiver, source = self._shared.receiver, request.source
            assert receiver is not None
            assert source is not None
            receiver.receive(source, request.call, request.body, self._answered)
            return
        admission = request.admission
        assert admission is not None
        self._shared.publisher.publish(
            admission.tenant,
            admission.headers,
            admission.content_type,
            request.body,
            self._answered,
            admission.allowed,
        )

    def _answered(self, answer: Answer) -> None:
        """The publisher's answer to the current request."""
        request = self._current
        assert request is not None
        self._current = None
        self._answered_any = True
        if self._lost or self.transport.is_closing():
            return
        more = self._phase != IDLE or self._queue or self._backlog or self.flow.held
        keep = request.keep and (not self._shared.draining or bool(more))
        headless = request.call is not None and request.call.method == "HEAD"
        self.transport.write(self._shared.heads.render(answer, keep, headless=headless))
        if not keep:
            self.finish()
        elif more:
            self._advance()
        else:
            self._since = self.loop.time()

    def _cycle_done(self) -> None:
        """The application's answer to the current request is written."""
        request = self._current
        self._current = None
        self._answered_any = True
        if self._lost or request is None or request.cycle is None:
            return
        self._since = self.loop.time()
        if request.cycle.keep_alive and not self.transport.is_closing():
            self._advance()

    def _advance(self) -> None:
        """Begin what waits, as far as the current answer allows: requests first, then bytes, then the socket."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self._lost and not self._lingering and not self.flow.write_paused:
                if self._queue and self._current is None:
                    self._begin(self._queue.popleft())
                elif self._backlog and not self._queue and (self._current is None or self._current is self._reading):
                    self._feed_backlog()
                else:
                    break
        finally:
            self._advancing = False
        if self._lost or self._lingering or self.flow.write_paused:
            return
        if self._backlog or (self._current is not None and self._current is not self._reading):
            return
        if self.flow.read_paused:
            self._since = self.loop.time()
            self.flow.release()
        if self._expecting and self._current is None:
            self._continue()

    def _feed(self, data: bytes) -> None:
        raise NotImplementedError

    def _feed_backlog(self) -> None:
        at = self._backlog_at
        piece = self._backlog[at : at + SLICE_BYTES]
        self._backlog_at = at + len(piece)
        if self._backlog_at == len(self._backlog):
            self._backlog = b""
        if self._phase == DEAF:
            self._discard(len(piece))
        else:
            self._feed(piece)

    def _continue(self) -> None:
        self._expecting = False
        self.transport.write(CONTINUE)

    # ------------------------------------------------------------------------------------------ refusing, ending

    def _refuse(self, refusal: Refusal) -> None:
        """Answer the request that is being read, in its turn, and read nothing more."""
        if self._phase == DEAF or self._lost:
            return
        self._shared.observer.refused(refusal.code)
        self._turn_away(problem_answer(refusal))

    def _turn_away(self, answer: Answer, call: Call | None = None) -> None:
        """Answer the request that is being read with this, in its turn, and read nothing more. `call`: one to a
        source."""
        if self._phase == DEAF or self._lost:
            return
        self._refused = True
        request, self._reading = self._reading, None
        self._release(request)
        self._phase = DEAF
        self._expecting = False
        cycle = request.cycle if request is not None else None
        if cycle is not None:
            self._abandon(cycle)
            if request is self._current:
                self._current = None
            else:
                self._queue.pop()  # it was the last that was read
            if cycle.response_started:
                self.transport.abort()  # half an answer is out: an end that cannot be taken for a whole one
                return
        refused = Request(keep=False)
        refused.answer = answer
        refused.call = call
        refused.stranger = call is not None
        self._ready(refused)

    def _abandon(self, cycle: Cycle) -> None:
        """The application is told that its client went away; what it still answers goes nowhere."""
        cycle.disconnected = True
        cycle.on_response = _nothing
        cycle.message_event.set()

    def _last(self) -> None:
        """Nothing more is read; what is due is answered, then the connection closes."""
        self._phase = DEAF
        self._release(self._reading)
        self._reading = None
        self._close_after_last()

    def _close_after_last(self) -> None:
        request = self._queue[-1] if self._queue else self._current
        if request is not None:
            request.keep = False
            if request.cycle is not None:
                request.cycle.keep_alive = False

    def _release(self, request: Request | None) -> None:
        if request is not None and request.counted:
            self._shared.bodies_bytes -= request.counted
            request.counted = 0

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        limits = self._limits
        if self._discarded_bytes > (limits.spill_bytes_max if self._spilling else limits.linger_bytes_max):
            self.flow.hold()

    def finish(self, status: int = 200) -> None:
        """Close when the client can have read the answer, whose status this is.

        A socket closed with unread bytes sends a reset, which destroys an answer that is still on its way. So with
        anything unread only our side is closed; the rest waits for the client's end, for `linger_s` at most.
        """
        if self._lingering or self.transport.is_closing():
            return
        unread = self._refused or self._reading is not None or self._discarded_bytes > 0 or bool(self._backlog)
        self._phase = DEAF
        self._since = self._closing_since = self.loop.time()
        if not unread:
            self.transport.close()
            return
        self._lingering = True
        self._spilling = status in _OF_AUTHORIZED
        self._backlog = b""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.release()


def _nothing() -> None:
    """An answer that nobody waits for."""
