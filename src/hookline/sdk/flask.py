"""Webhooks in Flask: a decorator of a view that gets the event.

@app.post("/hooks")
@webhook(receiver)
def hook(event: Event) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import flask
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.environ import headers_of, url_of
from hookline.sdk.host import Host, Native
from hookline.sdk.receiver import Receiver
from hookline.sdk.steps import advance

__all__ = ["webhook"]


def webhook(receiver: Receiver) -> Callable[[Callable[..., Any]], Callable[..., flask.Response]]:
    """Decorates a view: it is called with each proven `Event`, then the arguments of the route.

    It may be a coroutine function. It returns None (the usual success) or whatever Flask takes; an answer of 400 or
    more, and `abort`, release the replay guard. The route's own `methods` are Flask's to refuse; let it have the
    receiver's (`methods=receiver.methods`) where the sender's handshakes use others than POST. Raises `TypeError` for a
    guard that needs an event loop.
    """
    receiver.needs_no_loop()

    def decorate(view: Callable[..., Any]) -> Callable[..., flask.Response]:
        @functools.wraps(view)
        def verified(*args: Any, **kwargs: Any) -> flask.Response:
            request = _read(receiver)
            if isinstance(request, Answer):
                return _response(request)
            call = flask.current_app.ensure_sync(view)
            found = advance(receiver.steps(request, lambda event: call(event, *args, **kwargs), _HOST))
            if isinstance(found, Native):
                return found.response  # type: ignore[no-any-return]
            assert isinstance(found, Answer)
            return _response(found)

        return verified

    return decorate


def _read(receiver: Receiver) -> Inbound | Answer:
    request = flask.request
    early = receiver.early(request.method, request.environ.get("CONTENT_LENGTH"))
    if early is not None:
        return early
    try:
        # Kept, so that a view may still read it its own way; without a length it is read up to the limit.
        length = request.content_length
        body = request.get_data() if length is not None else request.stream.read(receiver.body_bytes_max + 1)
    except RequestEntityTooLarge:
        return receiver.too_large()
    except (ClientDisconnected, OSError) as error:
        return receiver.malformed(f"the body could not be read: {type(error).__name__}")
    if len(body) > receiver.body_bytes_max:
        return receiver.too_large()
    if length and not body:
        return receiver.consumed("Something before the view has read the form: its bytes are gone.")
    return Inbound(request.method.upper(), url_of(request.environ), headers_of(request.environ), body)


def _native(result: Any) -> Native | None:
    """Whatever Flask makes a response of; it raises `TypeError` for what it does not."""
    if isinstance(result, Answer):
        return None
    response = flask.make_response(result)
    return Native(response, response.status_code)


_HOST: Final = Host(native=_native, errors=(HTTPException,))


def _response(answer: Answer) -> flask.Response:
    response = flask.Response(answer.body, answer.status)
    response.headers.remove("Content-Type")
    for name, value in answer.headers:
        response.headers.add(name, value)
    return response
