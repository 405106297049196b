"""`GET /v1/stream`: what happens, as server-sent events.

The answer never ends by itself: it ends with the client, with the process, when the client is too slow (a cut-off), or
when its key is not good any more. Whoever comes back with the last `id` misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.endpoint import EndpointState
from hookline.core.errors import Refusal
from hookline.core.event_type import check_pattern
from hookline.core.history import AttemptRecord
from hookline.core.page import format_time, make_cursor, parse_cursor
from hookline.core.server_sent import MEDIA_TYPE, block, comment, place, retry
from hookline.flow.registry import Registry
from hookline.flow.stream import Live, Reader
from hookline.flow.stream_entry import KINDS, Item, Reset, Show, Wanted
from hookline.ports.store import Accepted, Attempted, Change, DeliveryRow, Entry
from hookline.web.auth import READ
from hookline.web.door import Door, Visit
from hookline.web.gate import HEAD_ASKED
from hookline.web.operation import operation
from hookline.web.views import event_document

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PATH: Final = "/v1/stream"
KEEP_ALIVE_S: Final = 15.0
"""So much silence at most; and so often it is asked whether the key is still good."""
RETRY_MS: Final = 1000
CHUNK_BYTES: Final = 32 * 1024
"""So much is written at once: beyond it, and what the connection buffers, a client that does not read is waited for."""
_PARAMETERS: Final = ("type", "endpoint", "event", "source", "kind", "state", "last_event_id")
_STATES: Final = frozenset(state.word for state in State) | {state.value for state in EndpointState} | {"deleted"}
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_encode = msgspec.json.Encoder().encode


class StreamedAttempt(msgspec.Struct, frozen=True):
    """`attempt`: an attempt was recorded. `state` is its delivery's as it is now, maybe later than the attempt.

    `next_at` is when the delivery was due again after it; null: it was the last."""

    id: str
    delivery_id: str
    event_id: str
    endpoint_id: str
    endpoint_uid: str | None
    type: str
    number: int
    at: str
    outcome: str
    status: int | None
    reason: str | None
    cause: str | None
    detail: str
    duration_ms: float
    state: str
    next_at: str | None


class DeliveryChange(msgspec.Struct, frozen=True):
    """`delivery`: its state changed, and no attempt was why. Event and type are null where history has let go of it."""

    delivery_id: str
    event_id: str | None
    endpoint_id: str
    endpoint_uid: str | None
    type: str | None
    at: str
    before: str
    after: str
    reason: str | None


class EndpointChange(msgspec.Struct, frozen=True):
    """`endpoint`: its state changed; `deleted` is the last."""

    endpoint_id: str
    endpoint_uid: str | None
    at: str
    before: str
    after: str
    reason: str | None


def shown(registry: Registry) -> Show:
    """How entries look: JSON without a line break, the documents of the lists."""

    def uid_of(endpoint_id: bytes) -> str | None:
        endpoint = registry.endpoint(endpoint_id)
        return None if endpoint is None else endpoint.uid

    def show(entry: Entry) -> bytes:
        what = entry.what
        if isinstance(what, Accepted):
            document = event_document(what.event, payload=False)
            return _encode(msgspec.structs.replace(document, data_bytes=what.data_bytes))
        if isinstance(what, Attempted):
            return _encode(_attempt(what.fence, what.record, what.delivery, uid_of(what.delivery.endpoint_id)))
        return _encode(_change(what, uid_of(what.endpoint_id)))

    return show


def _attempt(fence: int, record: AttemptRecord, row: DeliveryRow, uid: str | None) -> StreamedAttempt:
    next_at = None
    if record.next_wait_s is not None:
        next_at = format_time(record.at_ms + record.duration_us // 1000 + int(record.next_wait_s * 1000))
    return StreamedAttempt(
        id=ids.text(ids.ATTEMPT, ids.attempt_id(row.id, fence)),
        delivery_id=ids.text(ids.DELIVERY, row.id),
        event_id=ids.text(ids.EVENT, row.event_id),
        endpoint_id=ids.text(ids.ENDPOINT, row.endpoint_id),
        endpoint_uid=uid,
        type=row.type,
        number=record.number,
        at=format_time(record.at_ms),
        outcome=record.kind,
        status=record.status,
        reason=record.reason,
        cause=record.cause,
        detail=record.detail,
        duration_ms=record.duration_us / 1000,
        state=row.state,
        next_at=next_at,
    )


def _change(what: Change, uid: str | None) -> DeliveryChange | EndpointChange:
    endpoint_id, at = ids.text(ids.ENDPOINT, what.endpoint_id), format_time(what.at_ms)
    if what.delivery_id is None:
        return EndpointChange(endpoint_id, uid, at, what.before, what.after, what.reason)
    return DeliveryChange(
        delivery_id=ids.text(ids.DELIVERY, what.delivery_id),
        event_id=None if what.event_id is None else ids.text(ids.EVENT, what.event_id),
        endpoint_id=endpoint_id,
        endpoint_uid=uid,
        type=what.type or None,
        at=at,
        before=what.before,
        after=what.after,
        reason=what.reason,
    )


def stream_routes(router: APIRouter, door: Door, live: Live) -> None:
    """The route."""

    @router.get(PATH, **_operation())
    async def follow(request: Request) -> Response:
        """What happens, as server-sent events, until you go: events, attempts, changes of deliveries and endpoints."""
        visit = door.enter(request, READ, *_PARAMETERS)
        wanted = await _wanted(visit, live)
        after, known = _position(request, visit)
        if HEAD_ASKED in request.scope:
            return _endless(Response(headers=_HEADERS, media_type=MEDIA_TYPE))
        reader = await live.open(wanted, after, known=known)
        return EventStream(reader, live, lambda: _may_stay(door, request), every_tenant=wanted.tenant is None)


def _operation() -> dict[str, Any]:
    arguments = operation("Follow", 200, None, query=_PARAMETERS, refuses=(404,), tag="stream")
    text = "Blocks of `event:`, `id:` and `data:`; the data are StreamedAttempt, EventDocument and the like, by event."
    arguments["responses"][200]["content"] = {MEDIA_TYPE: {"schema": {"type": "string", "description": text}}}
    arguments["openapi_extra"]["parameters"].append(
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The last `id` seen: nothing since is missed",
            "schema": {"type": "string"},
        }
    )
    return arguments


async def _wanted(visit: Visit, live: Live) -> Wanted:
    """What is asked for. Raises `Refusal` and `NotFound`."""
    principal, given = visit.principal, visit.given
    pattern = given.get("type")
    if pattern is not None:
        try:
            check_pattern(pattern)
        except Refusal as refusal:
            raise Refusal("invalid_parameter", refusal.detail, extra={"parameter": "type"}) from None
    kinds = frozenset(given["kind"].split(",")) if "kind" in given else frozenset(KINDS)
    if not kinds <= set(KINDS):
        raise Refusal("invalid_parameter", f"kind is a list of {', '.join(KINDS)}.", extra={"parameter": "kind"})
    endpoint_id = None
    if "endpoint" in given:
        every_tenant = principal.every_tenant
        endpoint_id = await live.endpoint_id(principal.tenant, given["endpoint"], every_tenant=every_tenant)
    return Wanted(
        tenant=None if principal.every_tenant else principal.tenant,
        kinds=kinds,
        pattern=pattern,
        endpoint_id=endpoint_id,
        event_id=visit.identifier("event", ids.EVENT),
        source=given.get("source"),
        state=visit.one_of("state", _STATES),
    )


def _position(request: Request, visit: Visit) -> tuple[bytes | None, bool]:
    """Where to go on, and whether what was given can be read. The header, which browsers send when they come back,
    counts before the parameter of their first request."""
    text = request.headers.get("last-event-id") or visit.given.get("last_event_id")
    if not text:
        return None, True
    try:
        return parse_cursor(text), True
    except Refusal:
        return None, False


def _may_stay(door: Door, request: Request) -> bool:
    """Whether the key is still good for this."""
    try:
        door.enter(request, READ, *_PARAMETERS)
    except Refusal as refusal:
        return refusal.status == 429
    return True


class EventStream(Response):
    """The answer: written as fast as the client reads."""

    media_type = MEDIA_TYPE

    def __init__(self, reader: Reader, live: Live, may_stay: Callable[[], bool], *, every_tenant: bool) -> None:
        super().__init__(headers=_HEADERS)
        _endless(self)
        self._reader = reader
        self._clock = live.clock
        self._may_stay = may_stay
        self._every_tenant = every_tenant
        self._told = b""
        """The position that the client knows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        """Write until it is over."""
        reader = self._reader
        watching = asyncio.ensure_future(_until_gone(receive, reader))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(_piece(retry(RETRY_MS) + self._place()))
            await self._write(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            reader.close()
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _write(self, send: Send) -> None:
        reader, clock = self._reader, self._clock
        asked_s = clock.monotonic_s()
        while True:
            items = await reader.read(KEEP_ALIVE_S)
            if items:
                for chunk in self._chunks(items):
                    await send(_piece(chunk))
            elif reader.over is not None:
                return
            else:
                await send(_piece(self._place() or comment(b"keep-alive")))
            if clock.monotonic_s() - asked_s >= KEEP_ALIVE_S:
                asked_s = clock.monotonic_s()
                if not self._may_stay():
                    await send(_piece(comment(b"the key is not good any more")))
                    return

    def _place(self) -> bytes:
        """Where the client is; nothing where he knows it."""
        position = self._reader.position
        if not position or position == self._told:
            return b""
        self._told = position
        return place(make_cursor(position).encode("ascii"), b"keep-alive")

    def _chunks(self, items: Sequence[Item | Reset]) -> Sequence[bytes]:
        chunks: list[bytes] = []
        blocks: list[bytes] = []
        size_bytes = 0
        for item in items:
            data = item.data
            if self._every_tenant and isinstance(item, Item):
                data = b'{"tenant":"%b",%b' % (item.tenant.encode("ascii"), data[1:])
            blocks.append(block(item.kind.encode("ascii"), make_cursor(item.position).encode("ascii"), data))
            size_bytes += len(blocks[-1])
            if size_bytes >= CHUNK_BYTES:
                chunks.append(b"".join(blocks))
                blocks, size_bytes = [], 0
        self._told = items[-1].position
        if blocks:
            chunks.append(b"".join(blocks))
        return chunks


def _endless(response: Response) -> Response:
    """Of no length that is known."""
    del response.headers["content-length"]
    return response


def _piece(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive, reader: Reader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end("gone")
