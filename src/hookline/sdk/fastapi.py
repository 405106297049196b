"""Webhooks in FastAPI: a dependency that is the proven event, and a route class that answers as senders expect.

    router = APIRouter(route_class=WebhookRoute)

    @router.post("/hooks")
    async def hook(event: Annotated[Event, webhook(receiver)]) -> None: ...

The dependency works on any route. Without the route class FastAPI puts an answer of the kit into `{"detail": …}`, and
a route that returns None is answered `null`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from fastapi import Depends, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hookline.sdk.answer import Answer
from hookline.sdk.asgi import Disconnected, read
from hookline.sdk.delivery import Delivery
from hookline.sdk.event import Event
from hookline.sdk.host import Host, Native
from hookline.sdk.receiver import Receiver
from hookline.sdk.steps import Run, advance_async

__all__ = ["WebhookRoute", "delivery", "webhook"]

_TURN: Final = "hookline.turn"
_BY_SCOPE: Final = "scope" in inspect.signature(Depends).parameters


def webhook(receiver: Receiver) -> Any:
    """What stands in `Annotated[Event, webhook(receiver)]`. Whatever is not proven and new does not reach the route.

    The route's exception is answered 500 and releases the replay guard; its `HTTPException` is its own answer, and
    releases it too. Raises `ValueError` for a sender whose requests may have several events: use `delivery`.
    """
    if receiver.is_several:
        raise ValueError("This sender's requests may have several events: use delivery(receiver).")

    async def event(request: Request) -> AsyncIterator[Event]:
        turn = _Turn(receiver, request)
        async with turn.taken() as events:
            yield events[0]

    return _depends(event)


def delivery(receiver: Receiver) -> Any:
    """What stands in `Annotated[Delivery, delivery(receiver)]`: all new events of a request. They count as handled
    together, when the route has ended well."""

    async def events(request: Request) -> AsyncIterator[Delivery]:
        turn = _Turn(receiver, request)
        async with turn.taken() as found:
            yield Delivery(found)

    return _depends(events)


class WebhookRoute(APIRoute):
    """A route whose answers to a sender are the kit's own: handshakes and refusals to the byte, and where the function
    returns None `{"status": "success", …}` or what the provider wants to hear."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _with_usual(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, and the dependency is told what was answered."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response = await handler(request)
            turn = request.scope.get(_TURN)
            if turn is not None:
                turn.response = response
            return response

        return handle

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette's, and what the dependency answers is sent."""
        try:
            await super().handle(scope, receive, send)
        except _Answered as answered:
            await _response(answered.answer)(scope, receive, send)


class _Answered(Exception):
    """Ends a request with an answer of the kit, on a `WebhookRoute`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Usual(Response):
    """Stands for the usual answer until it is known."""

    usual: Answer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        answer = self.usual or Answer.of({"status": "success", "message": "received"})
        response = _response(answer)
        response.background = self.background
        await response(scope, receive, send)


class _Turn:
    """One request on its way through a route."""

    def __init__(self, receiver: Receiver, request: Request) -> None:
        self._receiver = receiver
        self._request = request
        self._pieces = request.stream()
        self.response: Response | None = None

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[tuple[Event, ...]]:
        """The events for the route, once; then the end, good or bad. Raises what ends the request otherwise."""
        try:
            request = await read(self._request.scope, self._receive, self._receiver)
        except (Disconnected, ClientDisconnect):
            raise self._ending(self._receiver.malformed("the sender went away")) from None
        except RuntimeError:
            raise self._ending(self._receiver.consumed("The route has a form: its bytes are gone.")) from None
        if isinstance(request, Answer):
            raise self._ending(request)
        steps = self._receiver.steps(request, None, _HOST)
        found = await advance_async(steps, in_thread=run_in_threadpool)
        if not isinstance(found, Run):
            assert isinstance(found, Answer)
            raise self._ending(found)
        self._request.scope[_TURN] = self
        try:
            yield found.events
        except BaseException as error:
            ended = await advance_async(steps, error=error, in_thread=run_in_threadpool)
            assert isinstance(ended, Answer)
            raise self._ending(ended) from error
        response = self.response
        told = None if response is None or isinstance(response, _Usual) else Native(response, response.status_code)
        ended = await advance_async(steps, told, in_thread=run_in_threadpool)
        if isinstance(response, _Usual) and isinstance(ended, Answer):
            response.usual = ended

    async def _receive(self) -> Any:
        """The body, through the request, which keeps it, so that the route may still read it; what has no length comes
        in pieces, so that it is not taken in whole before it is known to be too large."""
        if "content-length" in self._request.headers:
            return {"type": "http.request", "body": await self._request.body()}
        piece = await anext(self._pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    def _ending(self, answer: Answer) -> Exception:
        if isinstance(self._request.scope.get("route"), WebhookRoute):
            return _Answered(answer)
        headers = {name: value for name, value in answer.headers if name != "content-type"}
        try:
            detail: Any = json.loads(answer.body)
        except ValueError:
            detail = answer.body.decode("utf-8", "replace")
        return HTTPException(answer.status, detail, headers)


def _depends(dependency: Callable[..., Any]) -> Any:
    # At the end of the function, before its answer is sent: then "handled" is kept before the sender hears of it.
    return Depends(dependency, scope="function") if _BY_SCOPE else Depends(dependency)


def _with_usual(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint):

        @functools.wraps(endpoint)
        async def answered_async(*args: Any, **kwargs: Any) -> Any:
            found = await endpoint(*args, **kwargs)
            return _Usual() if found is None else found

        return answered_async

    @functools.wraps(endpoint)
    def answered(*args: Any, **kwargs: Any) -> Any:
        found = endpoint(*args, **kwargs)
        return _Usual() if found is None else found

    return answered


def _native(result: Any) -> Native | None:
    return result if isinstance(result, Native) else None


_HOST: Final = Host(native=_native, errors=(StarletteHTTPException,))


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers[name] = value
    return response
