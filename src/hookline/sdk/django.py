"""Webhooks in Django: a decorator of a view that gets the event.

@webhook(receiver)
def hook(request: HttpRequest, event: Event) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, RawPostDataException, UnreadablePostError
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.environ import headers_of, url_of
from hookline.sdk.event import Event
from hookline.sdk.host import Host, Native
from hookline.sdk.receiver import Receiver
from hookline.sdk.steps import advance, advance_async

__all__ = ["webhook"]


def webhook(receiver: Receiver) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a view, synchronous or not: it is called with the request and each proven `Event`, then the arguments
    of the route. It is exempt from CSRF: the signature is the proof.

    It returns None (the usual success), an `HttpResponse`, a mapping or list (as JSON) or an `Answer`. An answer of 400
    or more, and an exception, release the replay guard; with `ATOMIC_REQUESTS` they roll back, and an event counts as
    handled when the transaction has committed. `DATA_UPLOAD_MAX_MEMORY_SIZE` limits bodies too.
    Raises `TypeError` for a synchronous view with a guard that needs an event loop.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def verified_async(http: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                request = _read(http, receiver)
                if isinstance(request, Answer):
                    return _response(request)

                async def call(event: Event) -> Any:
                    return await view(http, event, *args, **kwargs)

                return _finished(await advance_async(receiver.steps(request, call, _HOST), in_thread=_in_thread))

            return csrf_exempt(verified_async)  # type: ignore[no-any-return]
        receiver.needs_no_loop()

        @functools.wraps(view)
        def verified(http: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            request = _read(http, receiver)
            if isinstance(request, Answer):
                return _response(request)
            steps = receiver.steps(request, lambda event: view(http, event, *args, **kwargs), _HOST)
            response = _finished(advance(steps))
            if response.status_code >= 400:
                # Django commits where a view returns: what a failed handler has written must not stay.
                for alias in _atomic():
                    transaction.set_rollback(True, using=alias)
            return response

        return csrf_exempt(verified)  # type: ignore[no-any-return]

    return decorate


def _in_thread(call: Callable[[], Any]) -> Any:
    """In the thread that Django's connections belong to."""
    return sync_to_async(call)()


def _read(http: HttpRequest, receiver: Receiver) -> Inbound | Answer:
    length = http.META.get("CONTENT_LENGTH") or None
    early = receiver.early(http.method or "GET", length)
    if early is not None:
        return early
    try:
        body = http.body
    except RequestDataTooBig:
        return receiver.too_large()
    except UnreadablePostError as error:
        return receiver.malformed(f"the body could not be read: {error}")
    except RawPostDataException:
        return receiver.consumed("Something before the view has read request.POST or the stream: the bytes are gone.")
    if len(body) > receiver.body_bytes_max:
        return receiver.too_large()
    if length is not None and len(body) < int(length):
        return receiver.malformed("the body ended before its length")
    return Inbound((http.method or "GET").upper(), _url(http), headers_of(http.META), body)


def _url(http: HttpRequest) -> str:
    raw = getattr(http, "scope", {}).get("raw_path")
    if not raw:
        return url_of(http.META, http.scheme)
    query = http.META.get("QUERY_STRING", "")
    return url_of({**http.META, "RAW_URI": raw.decode("latin-1") + (f"?{query}" if query else "")}, http.scheme)


def _atomic() -> list[str]:
    """The databases in which this request is one transaction."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.settings_dict["ATOMIC_REQUESTS"] and connection.in_atomic_block
    ]


def _settle(call: Callable[[], Any]) -> Any:
    aliases = _atomic()
    if not aliases:
        return call()
    transaction.on_commit(call, using=aliases[0], robust=True)
    return None


def _native(result: Any) -> Native | None:
    return Native(result, result.status_code) if isinstance(result, HttpResponseBase) else None


def _error_status(error: Exception) -> int:
    return 404 if isinstance(error, Http404) else 403 if isinstance(error, PermissionDenied) else 400


_HOST: Final = Host(
    native=_native,
    errors=(Http404, PermissionDenied, SuspiciousOperation, BadRequest),
    error_status=_error_status,
    settle=_settle,
)


def _finished(found: Any) -> HttpResponseBase:
    return found.response if isinstance(found, Native) else _response(found)


def _response(answer: Answer) -> HttpResponseBase:
    headers = dict(answer.headers)
    kind = next((value for name, value in answer.headers if name == "content-type"), None)
    response = HttpResponse(answer.body, status=answer.status, content_type=kind or "")
    if kind is None:
        del response.headers["Content-Type"]
    for name, value in headers.items():
        response.headers[name] = value
    return response
