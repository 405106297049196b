"""Webhooks in plain WSGI: an application of their own, or a middleware in front of one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeAlias

from hookline.sdk.answer import Answer
from hookline.sdk.environ import read
from hookline.sdk.host import Host, Native
from hookline.sdk.receiver import EventHandler, Receiver
from hookline.sdk.steps import Run, advance

__all__ = ["WebhookMiddleware", "webhook"]

StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

EVENTS = "hookline.events"
"""Where in the environ a middleware puts the tuple of proven events."""


def webhook(receiver: Receiver) -> Callable[[EventHandler], Application]:
    """Makes a handler of events a WSGI application. Raises `TypeError` for a guard that needs an event loop.

    The handler gets each `Event`, and returns None (the usual success), a mapping or list (as JSON), or an `Answer`.
    """
    receiver.needs_no_loop()

    def decorate(handler: EventHandler) -> Application:
        def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            request = read(environ, receiver)
            found = request if isinstance(request, Answer) else advance(receiver.steps(request, handler))
            assert isinstance(found, Answer)
            return _start(found, start_response)

        return application

    return decorate


class WebhookMiddleware:
    """Lets proven webhooks through to an application, which finds them in `environ["hookline.events"]` and the body
    where it always is.

    What the application answers decides: below 400 the events count as handled, above they are released for a retry.
    A repeated delivery, a handshake and whatever is refused does not reach it. `path`: the one path that takes
    webhooks, as in PATH_INFO; all others pass by. None: every request is one.
    Raises `TypeError` for a guard that needs an event loop.
    """

    def __init__(self, application: Application, receiver: Receiver, *, path: str | None = None) -> None:
        receiver.needs_no_loop()
        self._application = application
        self._receiver = receiver
        self._path = path

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        if self._path is not None and environ.get("PATH_INFO") != self._path:
            return self._application(environ, start_response)
        request = read(environ, self._receiver)
        if isinstance(request, Answer):
            return _start(request, start_response)
        steps = self._receiver.steps(request, None, _HOST)
        found = advance(steps)
        if isinstance(found, Run):
            inner = {
                **environ,
                EVENTS: found.events,
                "wsgi.input": io.BytesIO(request.body),
                "CONTENT_LENGTH": str(len(request.body)),
            }
            try:
                response = _Collected().of(self._application, inner)
            except BaseException as error:  # noqa: BLE001 - the steps release the guard, and raise on what is no defect
                found = advance(steps, error=error)
            else:
                found = advance(steps, response)
        if isinstance(found, Native):
            return found.response.start(start_response)  # type: ignore[no-any-return]
        assert isinstance(found, Answer)
        return _start(found, start_response)


class _Collected:
    """A whole response of an application, kept until it is known that it is to be sent."""

    def __init__(self) -> None:
        self._heads: list[tuple[str, list[tuple[str, str]]]] = []
        self._pieces: list[bytes] = []

    def of(self, application: Application, environ: dict[str, Any]) -> Native:
        """Call it."""
        given = application(environ, self._begin)
        try:
            self._pieces.extend(given)
        finally:
            close = getattr(given, "close", None)
            if close is not None:
                close()
        if not self._heads:
            raise RuntimeError("The application did not call start_response.")
        return Native(self, int(self._heads[-1][0][:3]))

    def _begin(self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], None]:
        self._heads.append((status, headers))
        return self._pieces.append

    def start(self, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        start_response(*self._heads[-1])
        return self._pieces


def _native(result: Any) -> Native | None:
    return result if isinstance(result, Native) else None


_HOST = Host(native=_native)


def _start(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    start_response(status_line(answer.status), [*header_list(answer)])
    return [answer.body]


def status_line(status: int) -> str:
    """`404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Status"


def header_list(answer: Answer) -> list[tuple[str, str]]:
    """The answer's headers, with its length; and with a type, which servers ask for also where there is no body."""
    kind = [] if any(name == "content-type" for name, _ in answer.headers) else [("content-type", "text/plain")]
    return [*kind, *answer.headers, ("content-length", str(len(answer.body)))]
