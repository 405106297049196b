"""The receiver kit in AWS Lambda: API Gateway of both kinds, function URLs and load balancers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.framework_contract import Call, FrameworkContract, Got, Handler, Make, post
from tests.sdk.signed import SECRET, sent

from hookline.sdk import Answer, Receiver, Verifier
from hookline.sdk.aws_lambda import respond, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded


def second(method: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Payload format 2.0, as an HTTP API or a function URL has it: text where it can be."""
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/hooks",
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {"domainName": "x.lambda-url.eu-west-1.on.aws", "http": {"method": method, "path": "/hooks"}},
        "body": text,
        "isBase64Encoded": is_base64,
    }


def first(method: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Payload format 1.0, as a REST API has it whose every type is binary."""
    return {
        "resource": "/hooks",
        "path": "/hooks",
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "path": "/prod/hooks",
            "stage": "prod",
            "domainName": "x.execute-api.eu-west-1.amazonaws.com",
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def balancer(method: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """As a load balancer has it."""
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x"}},
        "httpMethod": method,
        "path": "/hooks",
        "queryStringParameters": {},
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def got(response: dict[str, Any]) -> Got:
    """What the caller of the function makes of its response."""
    assert set(response) <= {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    json.dumps(response)
    several = response.get("multiValueHeaders", {})
    named = response.get("headers", {name: value[0] for name, value in several.items()})
    body = response["body"]
    data = base64.b64decode(body) if response["isBase64Encoded"] else body.encode()
    return Got(response["statusCode"], named, data)


class LambdaContract(FrameworkContract):
    """The contract for events of one kind."""

    event_of: Callable[..., dict[str, Any]]

    @pytest.fixture
    def make(self) -> Make:
        """A handler as the function that Lambda calls."""
        event_of = type(self).event_of

        def made(receiver: Receiver, handler: Any) -> Call:
            function = webhook(receiver)(handler)
            return lambda method, headers, body: got(function(event_of(method, headers, body), object()))

        return made


class TestHttpApi(LambdaContract):
    """HTTP APIs and function URLs."""

    event_of = staticmethod(second)


class TestRestApi(LambdaContract):
    """REST APIs."""

    event_of = staticmethod(first)


class TestLoadBalancer(LambdaContract):
    """Load balancers."""

    event_of = staticmethod(balancer)


def test_a_coroutine_is_a_handler_too():
    """The function runs it in a loop of its own."""

    @webhook(Receiver(SECRET))
    async def lambda_handler(event: Any) -> dict[str, str]:
        return {"id": event.id}

    request = sent()
    assert lambda_handler.__name__ == "lambda_handler"
    assert got(lambda_handler(second("POST", request.headers, request.body), None)).json == {"id": "msg_1"}


def test_a_body_of_text_is_its_utf_8():
    """What comes as text is verified as the bytes it was sent as."""
    request = sent(body='{"name": "Zoë"}'.encode())
    event = first("POST", request.headers, b"") | {"body": request.body.decode(), "isBase64Encoded": False}
    handler = Handler()
    assert respond(event, Receiver(SECRET), handler)["statusCode"] == 200
    assert handler.events[0].body == request.body


def twilio(url: str) -> dict[str, str]:
    """The headers of a request that signs its URL."""
    signature = base64.b64encode(hmac.digest(b"token", (url + "From+1").encode(), hashlib.sha1)).decode()
    return {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded", "Host": "h.example"}


@pytest.mark.parametrize(
    ("url", "change"),
    [
        ("https://h.example/hooks?a=%C3%A9&b=1", {"rawQueryString": "a=%C3%A9&b=1"}),
        ("https://h.example/prod/hooks", {"rawPath": "/prod/hooks"}),
    ],
)
def test_the_url_of_format_2(url: str, change: dict[str, Any]):
    """Path and query are as they were called."""
    receiver = Receiver(verifier=Verifier("twilio", auth_token="token"))
    assert respond(second("POST", twilio(url), b"From=%2B1") | change, receiver, Handler())["statusCode"] == 200


@pytest.mark.parametrize(
    ("url", "event_of", "change"),
    [
        (
            "https://h.example/prod/hooks?a=%C3%A9&b=1&b=2",
            first,
            {"multiValueQueryStringParameters": {"a": ["é"], "b": ["1", "2"]}},
        ),
        ("https://h.example/prod/hooks?a=1", first, {"queryStringParameters": {"a": "1"}}),
        ("https://h.example/hooks?a=%C3%A9", balancer, {"queryStringParameters": {"a": "%C3%A9"}}),
    ],
)
def test_the_url_of_format_1(url: str, event_of: Any, change: dict[str, Any]):
    """The stage is in it, the query is encoded anew, and that of a load balancer left as it is."""
    receiver = Receiver(verifier=Verifier("twilio", auth_token="token"))
    assert respond(event_of("POST", twilio(url), b"From=%2B1") | change, receiver, Handler())["statusCode"] == 200


def test_a_repeated_header_is_no_proof():
    """Two values of a signature's header are refused, whichever is good."""
    request = sent()
    event = first("POST", request.headers, request.body)
    event["multiValueHeaders"]["webhook-signature"].append("v1,AAAA")
    assert respond(event, Receiver(SECRET), Handler())["statusCode"] == 401


def test_bytes_are_answered_as_base64():
    """An answer that is no text travels as base64, and a caller with lists of values gets lists."""
    request = sent()
    answer = Answer(200, b"\xff\x00", (("content-type", "image/png"),))
    response = respond(first("POST", request.headers, request.body), Receiver(SECRET), lambda _: answer)
    assert (response["body"], response["isBase64Encoded"]) == ("/wA=", True)
    assert response["multiValueHeaders"] == {"content-type": ["image/png"]}


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        {"Records": []},
        {"version": "2.0"},
        {"version": "2.0", "requestContext": {"http": "POST"}},
        {"version": "2.0", "requestContext": {"http": {"method": 7}}},
        {"httpMethod": "POST", "body": 7},
        {"httpMethod": "POST", "body": "%", "isBase64Encoded": True},
        {"httpMethod": "POST", "body": "", "headers": [1]},
        {"httpMethod": "POST", "body": "", "headers": {"a": 1}},
    ],
)
def test_what_is_no_request_is_400(event: Any):
    """An event of another kind is answered, not raised."""
    assert respond(event, Receiver(SECRET), Handler())["statusCode"] == 400


VALUES = st.one_of(st.none(), st.text(max_size=20), st.integers(), st.booleans(), st.dictionaries(st.text(), st.text()))
NAMES = st.sampled_from(
    [
        "version",
        "httpMethod",
        "headers",
        "multiValueHeaders",
        "body",
        "isBase64Encoded",
        "requestContext",
        "rawPath",
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "cookies",
        "path",
        "rawQueryString",
    ]
)


@given(
    st.dictionaries(NAMES, st.one_of(VALUES, st.just("2.0"), st.just("POST"), st.just({"http": {"method": "POST"}})))
)
def test_whatever_the_event_there_is_a_response(event: dict[str, Any]):
    """No event raises anything, and none is let through."""
    response = respond(event, Receiver(SECRET), Handler())
    assert response["statusCode"] in (400, 401, 405)


def test_a_guard_that_needs_a_loop_is_refused():
    """The mistake is found when the function is made."""
    with pytest.raises(TypeError):
        webhook(Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard())))


def test_the_pure_function_and_the_decorator_do_the_same():
    """One is made of the other."""
    request = sent()
    event = second("POST", request.headers, request.body)
    assert respond(event, Receiver(SECRET), Handler()) == webhook(Receiver(SECRET))(Handler())(event)
    assert post(lambda *parts: got(respond(second(*parts), Receiver(SECRET), Handler())), request).status == 200
