"""Webhooks in AWS Lambda, behind API Gateway (REST and HTTP APIs), a function URL, or a load balancer.

@webhook(receiver)
def lambda_handler(event: Event) -> None: ...
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.errors import VerificationError
from hookline.sdk.parts import Pairs, header_pairs
from hookline.sdk.receiver import EventHandler, Receiver
from hookline.sdk.steps import advance

__all__ = ["respond", "webhook"]

_PATH_SAFE: Final = "/:@!$&'()*+,;=~%"


def webhook(receiver: Receiver) -> Callable[[EventHandler], Callable[..., dict[str, Any]]]:
    """Makes a handler of events the function that Lambda calls with `(event, context)`. See `respond`."""
    receiver.needs_no_loop()

    def decorate(handler: EventHandler) -> Callable[..., dict[str, Any]]:
        def function(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001
            return respond(event, receiver, handler)

        function.__name__ = getattr(handler, "__name__", "function")
        return function

    return decorate


def respond(event: Mapping[str, Any], receiver: Receiver, handler: EventHandler) -> dict[str, Any]:
    """The response to an event of Lambda (payload formats 1.0 and 2.0, function URLs, load balancers), as its caller
    wants it. `handler` gets each proven `Event`; a coroutine function is run in a loop of its own.

    An event of any other kind is answered 400. A body that is not text must come as base64: a REST API does so for the
    types in its `binaryMediaTypes` only, HTTP APIs and function URLs by themselves.
    """
    is_second = isinstance(event, Mapping) and event.get("version") == "2.0"
    try:
        request = _request(event, is_second)
    except (_NoRequest, VerificationError) as error:
        return _response(receiver.malformed(str(error)), event, is_second)
    early = receiver.early(request.method, str(len(request.body)))
    found = early if early is not None else advance(receiver.steps(request, handler))
    assert isinstance(found, Answer)
    return _response(found, event, is_second)


class _NoRequest(Exception):
    """The event is no HTTP request."""


def _request(event: Mapping[str, Any], is_second: bool) -> Inbound:
    if not isinstance(event, Mapping):
        raise _NoRequest("the event is no object")
    context = _object(event.get("requestContext"))
    method = _object(context.get("http")).get("method") if is_second else event.get("httpMethod")
    if not isinstance(method, str):
        raise _NoRequest("the event is no HTTP request")
    headers = _headers(event)
    host = next((value for name, value in headers if name == "host"), None) or context.get("domainName") or "localhost"
    if is_second:  # as they were sent
        path, query = quote(str(event.get("rawPath") or "/"), _PATH_SAFE), str(event.get("rawQueryString") or "")
    else:
        path, query = _first(event, context)
    url = f"https://{host}{path}" + (f"?{query}" if query else "")
    return Inbound(method.upper(), url, headers, _body(event))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _headers(event: Mapping[str, Any]) -> Pairs:
    found = header_pairs(_object(event.get("multiValueHeaders")) or event.get("headers") or {})
    cookies = event.get("cookies")
    return (*found, ("cookie", "; ".join(map(str, cookies)))) if isinstance(cookies, list) and cookies else found


def _first(event: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[str, str]:
    """Path and query of payload format 1.0 and of load balancers. A query comes decoded, and is encoded anew; that of a
    load balancer is as it was sent."""
    path = str(context.get("path") or event.get("path") or "/")
    several, single = event.get("multiValueQueryStringParameters"), event.get("queryStringParameters")
    given = _object(several) or _object(single)
    pairs = [(name, one) for name, value in given.items() for one in (value if isinstance(value, list) else [value])]
    if "elb" in context:
        return quote(path, _PATH_SAFE), "&".join(f"{name}={value}" for name, value in pairs)
    return quote(path, _PATH_SAFE), urlencode(pairs)


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise _NoRequest("the body is no text")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise _NoRequest("the body is not base64") from None


def _response(answer: Answer, event: Any, is_second: bool) -> dict[str, Any]:
    try:
        body, is_base64 = answer.body.decode(), False
    except UnicodeDecodeError:
        body, is_base64 = base64.b64encode(answer.body).decode(), True
    made = {"statusCode": answer.status, "body": body, "isBase64Encoded": is_base64}
    if not is_second and isinstance(event, Mapping) and isinstance(event.get("multiValueHeaders"), Mapping):
        several: dict[str, list[str]] = {}
        for name, value in answer.headers:
            several.setdefault(name, []).append(value)
        return {**made, "multiValueHeaders": several}
    return {**made, "headers": dict(answer.headers)}
