"""Failpoints: named places at which the process kills itself with SIGKILL, for tests of what a crash leaves behind.

    HOOKLINE_TESTING=1 HOOKLINE_FAILPOINT=after_claim:kill@7 hookline serve

`compose` puts these wrappers round the store and the senders when a failpoint is armed, and only then: without one
nothing here is imported and no call is added. Before the end one line on stderr names the point and the deliveries
(32 hex digits) or events (24) that were at it:

    hookline: failpoint after_claim, hit 7: 0193…
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, cast

from hookline.core.attempt import Outcome
from hookline.ports.sender import Sender, SendRequest
from hookline.ports.store import AcceptRequest, AcceptResult, ClaimResult, RecordItem, RecordResult, Store

POINTS: Final = {
    "before_commit": "an accept's transaction is open and written, its COMMIT not yet begun",
    "after_commit": "an accept is committed and flushed, its 202 not yet written",
    "after_claim": "a claim that found something is committed, nothing of it sent",
    "after_send": "the last byte of a delivery's request is written, no answer read yet",
    "after_response": "a delivery's answer is read, its outcome not yet recorded",
    "after_record": "the outcome of an attempt is committed",
}
"""Where the process can end."""
FORM: Final = f"a point ({', '.join(POINTS)}), `:kill`, and perhaps `@n` for its n-th hit, as after_claim:kill@7"
_FORM: Final = re.compile(r"([a-z_]+):kill(?:@([1-9][0-9]{0,8}))?")
_WAIT_S: Final = 0.0005


class Failpoint:
    """One armed point. `hit` counts and, the n-th time, ends the process. May be called from any thread, each point
    from one only."""

    def __init__(self, point: str, nth: int = 1) -> None:
        self.point = point
        self.nth = nth
        self.hits = 0

    @classmethod
    def parse(cls, text: str) -> Failpoint:
        """Read `point:kill` or `point:kill@n`. Raises `ValueError` with what is allowed."""
        match = _FORM.fullmatch(text)
        if match is None or match[1] not in POINTS:
            raise ValueError(f"allowed: {FORM}")
        return cls(match[1], int(match[2] or 1))

    def hit(self, ids: Iterable[bytes]) -> None:
        """The process is at the point, with these deliveries or events."""
        self.hits += 1
        if self.hits == self.nth:
            names = " ".join(identifier.hex() for identifier in ids)
            os.write(2, f"hookline: failpoint {self.point}, hit {self.hits}: {names}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def arm(
    failpoint: Failpoint, store: Store, senders: Mapping[str, Sender], connection: type[Any]
) -> tuple[Store, Mapping[str, Sender]]:
    """The store and the senders with the failpoint in them. `connection`: the class of the HTTP sender's connections,
    whose transports are watched in this process where that is the point."""
    if failpoint.point in _SENDERS:
        if failpoint.point == "after_send":
            _watch(failpoint, connection)
        wrapped = {
            kind: cast("Sender", _SENDERS[failpoint.point](sender, failpoint)) for kind, sender in senders.items()
        }
        return store, wrapped
    return cast("Store", _STORES[failpoint.point](store, failpoint)), senders


class _Around:
    """Passes everything on."""

    def __init__(self, inner: Any, failpoint: Failpoint) -> None:
        self._inner = inner
        self._failpoint = failpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# ------------------------------------------------------------------------------------------------------ the store


class _BeforeCommit(_Around):
    """Sees the statements of the writer's connection: its COMMIT after the INSERT of an accepted event."""

    def __init__(self, inner: Any, failpoint: Failpoint) -> None:
        super().__init__(inner, failpoint)
        self._accepting: set[bytes] = set()
        self._inserted: list[bytes] = []

    async def start(self) -> None:
        await self._inner.start()
        self._inner._connection.set_trace_callback(self._statement)  # noqa: SLF001 - no seam is worth this to others

    async def accept(self, requests: Iterable[AcceptRequest], *more: Any, **named: Any) -> Iterable[AcceptResult]:
        ids = {item.event.id for request in requests for item in request.items}
        self._accepting |= ids
        try:
            results: Iterable[AcceptResult] = await self._inner.accept(requests, *more, **named)
        finally:
            self._accepting -= ids
        return results

    def _statement(self, sql: str) -> None:
        """Called by the writer's thread before each statement, with its values."""
        if sql.startswith("COMMIT"):
            if self._inserted:
                self._failpoint.hit(self._inserted)
            self._inserted = []
        elif sql.startswith(("BEGIN", "ROLLBACK")):
            self._inserted = []
        elif sql.startswith("INSERT INTO events"):
            found = map(bytes.fromhex, re.findall(r"[xX]'([0-9a-fA-F]{24})'", sql))
            self._inserted += [identifier for identifier in found if identifier in self._accepting]


class _AfterCommit(_Around):
    async def accept(self, *given: Any, **named: Any) -> Iterable[AcceptResult]:
        results: Iterable[AcceptResult] = await self._inner.accept(*given, **named)
        new = (result for result in results if not result.repeated)
        made = [item.event_id for result in new for item in result.items if not item.duplicate]
        if made:
            self._failpoint.hit(made)
        return results


class _AfterClaim(_Around):
    async def claim(self, *given: Any, **named: Any) -> ClaimResult:
        return self._claimed(await self._inner.claim(*given, **named))

    async def claim_ids(self, *given: Any, **named: Any) -> ClaimResult:
        return self._claimed(await self._inner.claim_ids(*given, **named))

    def _claimed(self, result: ClaimResult) -> ClaimResult:
        if result.claimed:
            self._failpoint.hit(row.delivery_id for row in result.claimed)
        return result


class _AfterRecord(_Around):
    async def record(self, items: Iterable[RecordItem], *more: Any, **named: Any) -> RecordResult:
        result: RecordResult = await self._inner.record(items, *more, **named)
        applied = zip(items, result.applied, strict=True)
        recorded = [item.delivery_id for item, done in applied if done and item.attempt is not None]
        if recorded:
            self._failpoint.hit(recorded)
        return result


# ---------------------------------------------------------------------------------------------------- the senders

_sending: ContextVar[tuple[bytes, ...]] = ContextVar("hookline_failpoint_sending", default=())
"""The deliveries that this task sends."""


class _AfterSend(_Around):
    """Says to the connections below, by a context variable, what is being sent."""

    def start(self, request: SendRequest, done: Callable[[Iterable[Outcome]], None]) -> None:
        token = _sending.set(tuple(item.delivery_id for item in request.items))
        try:
            self._inner.start(request, done)
        finally:
            _sending.reset(token)


class _Watched(_Around):
    """A transport that looks whether a delivery's request has left. `answered` counts what came: while it is as it was
    at the write, no answer has."""

    answered = 0
    ids: tuple[bytes, ...] = ()
    """What its connection was given last to send."""

    def write(self, data: bytes) -> None:
        self._inner.write(data)
        ids = self.ids
        if ids:  # else it is a question to an endpoint, not a delivery
            asyncio.get_running_loop().call_soon(self._look, ids, self.answered)

    def _look(self, ids: tuple[bytes, ...], answered: int) -> None:
        if self.answered != answered or self._inner.is_closing():
            return
        if self._inner.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_WAIT_S, self._look, ids, answered)
        else:
            self._failpoint.hit(ids)


def _watch(failpoint: Failpoint, connection: type[Any]) -> None:
    """Give all connections of this class, a protocol of asyncio, a transport that is watched."""
    made, received, lost = connection.connection_made, connection.data_received, connection.connection_lost
    started = connection.start
    transports: dict[int, _Watched] = {}

    def start(self: Any, *arguments: Any, **named: Any) -> None:
        transports[id(self)].ids = _sending.get()  # it is written when the turn of the loop ends
        started(self, *arguments, **named)

    def connection_made(self: Any, transport: Any) -> None:
        watched = transports[id(self)] = _Watched(transport, failpoint)
        made(self, watched)

    def data_received(self: Any, data: bytes) -> None:
        transports[id(self)].answered += 1
        received(self, data)

    def connection_lost(self: Any, exc: Exception | None) -> None:
        transports.pop(id(self), None)
        lost(self, exc)

    connection.start = start
    connection.connection_made = connection_made
    connection.data_received = data_received
    connection.connection_lost = connection_lost


class _AfterResponse(_Around):
    def start(self, request: SendRequest, done: Callable[[Iterable[Outcome]], None]) -> None:
        def answered(outcomes: Iterable[Outcome]) -> None:
            self._answered(request, outcomes)
            done(outcomes)

        self._inner.start(request, answered)

    def _answered(self, request: SendRequest, outcomes: Iterable[Outcome]) -> None:
        sent = zip(request.items, outcomes, strict=True)
        answered = [item.delivery_id for item, outcome in sent if outcome.status is not None]
        if answered:
            self._failpoint.hit(answered)


_STORES: Final[Mapping[str, type[_Around]]] = {
    "before_commit": _BeforeCommit,
    "after_commit": _AfterCommit,
    "after_claim": _AfterClaim,
    "after_record": _AfterRecord,
}
_SENDERS: Final[Mapping[str, type[_Around]]] = {"after_send": _AfterSend, "after_response": _AfterResponse}
