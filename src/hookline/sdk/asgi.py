"""Webhooks in plain ASGI: an application of their own, or a middleware in front of one (Starlette, Quart, Litestar)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.host import Host, Native
from hookline.sdk.receiver import EventHandler, Receiver
from hookline.sdk.steps import Run, Steps, advance_async

__all__ = ["WebhookMiddleware", "webhook"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

EVENTS: Final = "hookline.events"
"""Where in the scope a middleware puts the tuple of proven events."""
_PATH_SAFE: Final = "/:@!$&'()*+,;=~"


class Disconnected(Exception):
    """The sender went away before his request was whole: there is nobody to answer."""


def webhook(receiver: Receiver) -> Callable[[EventHandler], Application]:
    """Makes a handler of events an ASGI application, lifespan included.

    The handler gets each `Event`; a coroutine function is awaited, any other runs in a thread. It returns None (the
    usual success), a mapping or list (as JSON), or an `Answer`.
    """

    def decorate(handler: EventHandler) -> Application:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await _other(scope, receive, send)
                return
            try:
                request = await read(scope, receive, receiver)
            except Disconnected:
                return
            found = request if isinstance(request, Answer) else await _driven(receiver.steps(request, handler))
            await _send(found, send)

        return application

    return decorate


class WebhookMiddleware:
    """Lets proven webhooks through to an application, which finds them in `scope["hookline.events"]` and the body
    where it always is.

    What the application answers decides: below 400 the events count as handled, above they are released for a retry.
    A repeated delivery, a handshake and whatever is refused does not reach it. `path`: the one path that takes
    webhooks; all others pass by. None: every HTTP request is one.
    """

    def __init__(self, app: Application, receiver: Receiver, *, path: str | None = None) -> None:
        self._app = app
        self._receiver = receiver
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http" or (self._path is not None and scope["path"] != self._path):
            await self._app(scope, receive, send)
            return
        try:
            request = await read(scope, receive, self._receiver)
        except Disconnected:
            return
        if isinstance(request, Answer):
            await _send(request, send)
            return
        steps = self._receiver.steps(request, None, _HOST)
        found = await advance_async(steps)
        if isinstance(found, Run):
            response = _Collected(request.body, receive)
            try:
                await self._app({**scope, EVENTS: found.events}, response.receive, response.send)
                status = response.status
            except BaseException as error:  # noqa: BLE001 - the steps release the guard, and raise on what is no defect
                found = await advance_async(steps, error=error)
            else:
                found = await advance_async(steps, Native(response, status))
        if isinstance(found, Native):
            for message in found.response.messages:
                await send(message)
            return
        assert isinstance(found, Answer)
        await _send(found, send)


class _Collected:
    """What an application is given and says, kept until it is known that it is to be sent."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        """The body, once; then what comes of the connection."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Keep a part of the response."""
        self.messages.append(message)

    @property
    def status(self) -> int:
        """Of the response. Raises `RuntimeError` where there is none."""
        for message in self.messages:
            if message["type"] == "http.response.start":
                return int(message["status"])
        raise RuntimeError("The application did not answer.")


def _native(result: Any) -> Native | None:
    return result if isinstance(result, Native) else None


_HOST: Final = Host(native=_native)


# --------------------------------------------------------------------------------------------- shared with FastAPI


async def read(scope: Scope, receive: Receive, receiver: Receiver) -> Inbound | Answer:
    """The request with its whole body, or the answer that needs none of it. Raises `Disconnected`."""
    headers = tuple((name.decode("latin-1").lower(), _value(value)) for name, value in scope["headers"])
    lengths = [value for name, value in headers if name == "content-length"]
    early = receiver.early(scope["method"], lengths[0] if lengths else None)
    if early is not None:
        return early
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        size += len(piece)
        if size > receiver.body_bytes_max:
            return receiver.too_large()
        pieces.append(piece)
        if not message.get("more_body", False):
            return Inbound(scope["method"].upper(), url_of(scope), headers, b"".join(pieces))


def url_of(scope: Scope) -> str:
    """The whole URL as it was called, as far as the server tells."""
    host = next((_value(value) for name, value in scope["headers"] if name.lower() == b"host"), "")
    server = scope.get("server")
    if not host and server:
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"], _PATH_SAFE)
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host or 'localhost'}{path or '/'}" + (f"?{query}" if query else "")


def _value(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")


async def _driven(steps: Steps[Answer | Native]) -> Answer:
    found = await advance_async(steps)
    assert isinstance(found, Answer)
    return found


async def _send(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _other(scope: Scope, receive: Receive, send: Send) -> None:
    """Lifespan: there is nothing to start or to end. A web socket: there is none here."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    raise RuntimeError(f"This application knows no {scope['type']!r}.")
