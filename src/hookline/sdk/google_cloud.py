"""Webhooks in Google Cloud Functions: of HTTP functions, and of functions that get events over Pub/Sub.

@functions_framework.http
@webhook(receiver)
def hook(event: Event) -> None: ...
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.errors import VerificationError, refused
from hookline.sdk.parts import header_pairs
from hookline.sdk.receiver import EventHandler, Receiver
from hookline.sdk.steps import advance

__all__ = ["NotHandled", "event_webhook", "respond", "take", "webhook"]

HttpAnswer: TypeAlias = tuple[bytes, int, list[tuple[str, str]]]


class HttpRequest(Protocol):
    """What is asked of a request: Flask's, which functions-framework hands over."""

    method: str
    url: str
    headers: Any

    def get_data(self) -> bytes:
        """The body."""
        ...


class NotHandled(Exception):
    """Raised by an event function so that the platform sends the event again: `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body.decode('utf-8', 'replace')[:300]}")
        self.answer = answer


def webhook(receiver: Receiver) -> Callable[[EventHandler], Callable[[HttpRequest], HttpAnswer]]:
    """Makes a handler of events an HTTP function: it gets the request, and returns body, status and headers."""
    receiver.needs_no_loop()

    def decorate(handler: EventHandler) -> Callable[[HttpRequest], HttpAnswer]:
        def function(request: HttpRequest) -> HttpAnswer:
            return respond(request, receiver, handler)

        function.__name__ = getattr(handler, "__name__", "function")
        return function

    return decorate


def respond(request: HttpRequest, receiver: Receiver, handler: EventHandler) -> HttpAnswer:
    """Body, status and headers that answer a request. `handler` gets each proven `Event`; a coroutine function is run
    in a loop of its own."""
    headers = header_pairs(request.headers)
    length = next((value for name, value in headers if name == "content-length"), None)
    found: Any = receiver.early(request.method, length)
    if found is None:
        body = request.get_data()
        if len(body) > receiver.body_bytes_max:
            found = receiver.too_large()
        elif length not in (None, "0") and not body:
            found = receiver.consumed("Something before the function has read the form: its bytes are gone.")
        else:
            found = advance(receiver.steps(Inbound(request.method.upper(), request.url, headers, body), handler))
    assert isinstance(found, Answer)
    return found.body, found.status, list(found.headers)


def event_webhook(receiver: Receiver) -> Callable[[EventHandler], Callable[..., None]]:
    """Makes a handler of events an event function, of the first generation (`event, context`) or with CloudEvents
    (`cloud_event`). See `take`."""
    receiver.needs_no_loop()

    def decorate(handler: EventHandler) -> Callable[..., None]:
        def function(event: Any, context: object = None) -> None:  # noqa: ARG001
            take(event, receiver, handler)

        function.__name__ = getattr(handler, "__name__", "function")
        return function

    return decorate


def take(event: Any, receiver: Receiver, handler: EventHandler) -> None:
    """Handle a webhook that came over Pub/Sub: its body is the message's data, its headers are the message's
    attributes, as whatever put it there must have left them.

    Returns where it was handled, or never can be (not genuine, not valid): that is logged, and told to `on_outcome`.
    Raises `NotHandled` where it may be later, so that the platform sends it again. A message may wait long: give the
    receiver a `tolerance_s` to match.
    """
    try:
        message = _message(event)
        headers = header_pairs(message.get("attributes") or {})
        body = base64.b64decode(message.get("data") or "", validate=True)
    except (VerificationError, LookupError, TypeError, AttributeError, binascii.Error, ValueError) as error:
        receiver.malformed(f"no message of Pub/Sub: {type(error).__name__}")
        return
    early = receiver.early("POST", str(len(body)))
    found = early if early is not None else advance(receiver.steps(Inbound("POST", "", headers, body), handler))
    assert isinstance(found, Answer)
    if found.status >= 500 or found.status == 409:
        raise NotHandled(found)


def _message(event: Any) -> Mapping[str, Any]:
    """The message in an event of the first generation, in a CloudEvent, or in its data."""
    data = event if isinstance(event, Mapping) else event.data
    while isinstance(data, Mapping) and "attributes" not in data and ("message" in data or "data" in data):
        inner = data["message"] if "message" in data else data["data"]
        if not isinstance(inner, Mapping):
            break
        data = inner
    if not isinstance(data, Mapping):
        raise refused("unusable_body", "no message")
    return data
