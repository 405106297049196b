"""The receiver kit in Google Cloud Functions: HTTP functions with Flask's own request, and events over Pub/Sub."""

from __future__ import annotations

import base64
from typing import Any

import flask
import pytest
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, raising
from tests.sdk.signed import OTHER, SECRET, Sent, sent

from hookline.sdk import Receiver
from hookline.sdk.google_cloud import NotHandled, event_webhook, respond, take, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded


def called(function: Any) -> Call:
    """As functions-framework does: the function gets Flask's request, and Flask makes a response of what it returns."""
    app = flask.Flask(__name__)

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def entry(path: str) -> Any:
        return function(flask.request)

    def call(method: str, headers: dict[str, str], body: bytes) -> Got:
        response = app.test_client().open("/", method=method, headers=headers, data=body)
        return Got(response.status_code, {name.lower(): value for name, value in response.headers}, response.data)

    return call


class TestHttpFunction(FrameworkContract):
    """HTTP functions."""

    @pytest.fixture
    def make(self) -> Make:
        """A handler as a function."""
        return lambda receiver, handler: called(webhook(receiver)(handler))


def test_a_form_that_was_read_before_is_said_to_be_so():
    """Where something has read the form its bytes are gone."""

    def function(request: Any) -> Any:
        _ = request.form
        return respond(request, Receiver(SECRET), Handler())

    request = sent(body=b"a=1", content_type="application/x-www-form-urlencoded")
    assert called(function)("POST", request.headers, request.body).status == 500


class CloudEvent:
    """As the package cloudevents has it."""

    def __init__(self, data: Any) -> None:
        self.data = data


def message(request: Sent) -> dict[str, Any]:
    """A message of Pub/Sub that carries a webhook."""
    return {"attributes": request.headers, "data": base64.b64encode(request.body).decode(), "messageId": "1"}


WRAPPED = {
    "first generation": lambda one: one,
    "cloud event": lambda one: CloudEvent({"message": one, "subscription": "s"}),
    "cloud event as an object": lambda one: {"specversion": "1.0", "data": {"message": one, "subscription": "s"}},
    "push": lambda one: {"message": one, "subscription": "s"},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_webhook_that_comes_over_pubsub(wrap: Any):
    """It is verified by what was left of it in the message, and handled once."""
    handler, counted = Handler(), Counted()
    receiver = Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted)

    function = event_webhook(receiver)(handler)
    function(wrap(message(sent())), None)
    function(wrap(message(sent())))
    assert [event.data["order_id"] for event in handler.events] == ["A-1"]
    assert counted.kinds == ["handled", "duplicate"]


def test_what_may_be_handled_later_is_raised():
    """A handler that fails makes the platform send the event again."""
    receiver = Receiver(SECRET)
    with pytest.raises(NotHandled) as error:
        take(message(sent()), receiver, raising(ValueError()))
    assert error.value.answer.status == 500


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (message(sent(secret=OTHER)), "unverified"),
        ({"attributes": None, "data": "e30="}, "unverified"),
        ({"data": "e30="}, "unverified"),
        ({"data": "%"}, "malformed"),
        ({"data": 7}, "malformed"),
        ({"attributes": 7, "data": ""}, "malformed"),
        ({"attributes": {"a": 7}, "data": ""}, "malformed"),
        (CloudEvent(b"x"), "malformed"),
        (None, "malformed"),
        (7, "malformed"),
    ],
)
def test_what_never_can_be_handled_is_dropped(event: Any, kind: str):
    """It is counted and logged; raising would only bring it back."""
    handler, counted = Handler(), Counted()
    take(event, Receiver(SECRET, on_outcome=counted), handler)
    assert (handler.events, counted.kinds) == ([], [kind])


def test_a_guard_that_needs_a_loop_is_refused():
    """The mistake is found when the function is made."""
    receiver = Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard()))
    for make in (webhook, event_webhook):
        with pytest.raises(TypeError):
            make(receiver)
