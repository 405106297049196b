"""What the receiver kit does in every framework alike: each framework's tests inherit these."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.sdk.signed import OTHER, SECRET, SLACK_SECRET, Sent, github, sent, slack

from hookline.sdk import Answer, Event, Outcome, Receiver, Unacceptable, Verifier
from hookline.sdk.replay_guard import MemoryReplayGuard

SCHEMA = {"type": "object", "required": ["order_id"], "properties": {"amount": {"type": "number"}}}


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, which it says it is."""
        assert self.headers["content-type"].startswith("application/json")
        return json.loads(self.body)


Call = Callable[..., Got]
"""(method, headers, body) → the answer."""
Make = Callable[..., Call]
"""(receiver, handler) → how the framework's application is called."""


class Handler:
    """A handler that keeps its events, and does as it is told."""

    def __init__(self, does: Callable[[Event], Any] = lambda _: None) -> None:
        self.events: list[Event] = []
        self.does = does

    def __call__(self, event: Event) -> Any:
        self.events.append(event)
        return self.does(event)


class Counted:
    """Counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def kinds(self) -> list[str]:
        """Their kinds."""
        return [one.kind for one in self.outcomes]


def post(call: Call, request: Sent, method: str = "POST") -> Got:
    """Send a request."""
    return call(method, request.headers, request.body)


def raising(error: BaseException) -> Callable[[Event], Any]:
    """What raises this."""

    def does(_: Event) -> Any:
        raise error

    return does


class FrameworkContract:
    """The tests. A subclass has the fixture `make`."""

    @pytest.fixture
    def make(self) -> Make:
        """How an application is made and called."""
        raise NotImplementedError

    @pytest.fixture
    def counted(self) -> Counted:
        """The outcomes of the test."""
        return Counted()

    def test_a_proven_event_is_handled(self, make: Make, counted: Counted):
        """The handler gets the event, and the sender the JSON of success."""
        handler = Handler()
        got = post(make(Receiver(SECRET, on_outcome=counted), handler), sent())
        assert (got.status, got.json) == (200, {"status": "success", "message": "received", "event_id": "msg_1"})
        [event] = handler.events
        assert (event.id, event.type, event.data["order_id"]) == ("msg_1", "order.created", "A-1")
        assert counted.kinds == ["handled"]

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b'{"a":  1.0, "b": "\\u00e9\\/"}\r\n', "application/json"),
            (bytes(range(256)) * 8, "application/octet-stream"),
            (b"a=1&b=%20&a=2", "application/x-www-form-urlencoded"),
            (b"<a>\r\n</a>", "text/xml"),
            (b"", "text/plain"),
            (
                b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
                "multipart/form-data; boundary=x",
            ),
        ],
    )
    def test_the_body_is_the_bytes_that_came(self, make: Make, body: bytes, content_type: str):
        """Whatever the content type, the handler has the bytes that were signed."""
        handler = Handler()
        got = post(make(Receiver(SECRET), handler), sent(body=body, content_type=content_type))
        assert got.status == 200
        assert handler.events[0].body == body

    def test_a_wrong_method_is_405(self, make: Make, counted: Counted):
        """What is not POST is answered with what is allowed."""
        handler = Handler()
        got = post(make(Receiver(SECRET, on_outcome=counted), handler), sent(), "PUT")
        assert (got.status, got.headers["allow"], got.json["code"]) == (405, "POST", "method_not_allowed")
        assert (handler.events, counted.kinds) == ([], ["method_not_allowed"])

    def test_a_method_that_is_allowed_passes(self, make: Make):
        """An endpoint may have another method than POST."""
        handler = Handler()
        assert post(make(Receiver(SECRET, methods=["PUT", "PATCH"]), handler), sent(), "PUT").status == 200

    def test_a_body_that_is_too_large_is_413(self, make: Make, counted: Counted):
        """One byte more than allowed is refused, as many as allowed are taken."""
        handler = Handler()
        request = sent()
        receiver = Receiver(SECRET, body_bytes_max=len(request.body), on_outcome=counted)
        assert post(make(receiver, handler), request).status == 200
        receiver = Receiver(SECRET, body_bytes_max=len(request.body) - 1, on_outcome=counted)
        got = post(make(receiver, handler), request)
        assert (got.status, got.json["code"]) == (413, "too_large")
        assert (len(handler.events), counted.kinds) == (1, ["handled", "too_large"])

    @pytest.mark.parametrize(
        ("request_of", "reason"),
        [
            (lambda: sent(secret=OTHER), "no_matching_signature"),
            (lambda: Sent(sent().headers, sent().body + b" "), "no_matching_signature"),
            (lambda: Sent({}, b"{}"), "missing_header"),
            (lambda: sent(at_s=1_600_000_000), "too_old"),
            (lambda: Sent({**sent().headers, "webhook-signature": "v1"}, sent().body), "no_matching_signature"),
        ],
    )
    def test_what_is_not_proven_is_401(self, make: Make, counted: Counted, request_of: Callable[[], Sent], reason: str):
        """A forged, changed, unsigned or old request does not reach the handler."""
        handler = Handler()
        got = post(make(Receiver(SECRET, on_outcome=counted), handler), request_of())
        assert (got.status, got.json["status"], got.json["code"]) == (401, "error", reason)
        assert (handler.events, counted.kinds) == ([], ["unverified"])

    def test_a_malformed_body_is_400(self, make: Make, counted: Counted):
        """A genuine body that is no JSON, but says so, does not reach the handler."""
        handler = Handler()
        got = post(make(Receiver(SECRET, on_outcome=counted), handler), sent(body=b'{"a":'))
        assert (got.status, got.json["code"]) == (400, "malformed")
        assert (handler.events, counted.kinds) == ([], ["malformed"])

    def test_what_breaks_the_schema_is_400(self, make: Make, counted: Counted):
        """The sender is told where."""
        handler = Handler()
        call = make(Receiver(SECRET, schema=SCHEMA, on_outcome=counted), handler)
        got = post(call, sent({"order_id": 1, "amount": "12"}))
        assert (got.status, got.json["code"], got.json["pointer"]) == (400, "invalid", "/amount")
        assert post(call, sent()).status == 200
        assert (len(handler.events), counted.kinds) == (1, ["invalid", "handled"])

    def test_what_the_application_refuses_is_422(self, make: Make, counted: Counted):
        """A check that says no releases the guard, so that it may be sent again."""
        answers = iter(["no such order", None])
        handler = Handler()
        receiver = Receiver(SECRET, check=lambda _: next(answers), replay_guard=MemoryReplayGuard(), on_outcome=counted)
        call = make(receiver, handler)
        got = post(call, sent())
        assert (got.status, got.json["code"], got.json["message"]) == (422, "unacceptable", "no such order")
        assert post(call, sent()).status == 200
        assert (len(handler.events), counted.kinds) == (1, ["unacceptable", "handled"])

    def test_the_handler_may_refuse_too(self, make: Make):
        """`Unacceptable` out of the handler is 422, or the status that it has."""
        handler = Handler(raising(Unacceptable("gone", 410)))
        got = post(make(Receiver(SECRET), handler), sent())
        assert (got.status, got.json["message"]) == (410, "gone")

    def test_a_handler_that_fails_is_500_and_runs_again(self, make: Make, counted: Counted):
        """The guard is released, so that the retry runs; what was raised is not told to the sender."""
        failures = iter([ValueError("secret detail")])

        def does(_: Event) -> None:
            for error in failures:
                raise error

        handler = Handler(does)
        call = make(Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted), handler)
        got = post(call, sent())
        assert (got.status, got.json["status"], got.json["code"]) == (500, "error", "failed")
        assert b"secret detail" not in got.body
        assert post(call, sent()).status == 200
        assert post(call, sent()).json["message"] == "handled before"
        assert (len(handler.events), counted.kinds) == (2, ["failed", "handled", "duplicate"])
        assert isinstance(counted.outcomes[0].error, ValueError)

    def test_what_is_delivered_again_runs_once(self, make: Make, counted: Counted):
        """The same id is answered with success, and another one runs."""
        handler = Handler()
        call = make(Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted), handler)
        for webhook_id in ("msg_1", "msg_1", "msg_2"):
            got = post(call, sent(webhook_id=webhook_id))
            assert (got.status, got.json["event_id"]) == (200, webhook_id)
        assert [event.id for event in handler.events] == ["msg_1", "msg_2"]
        assert counted.kinds == ["handled", "duplicate", "handled"]

    def test_what_is_being_handled_is_409(self, make: Make, counted: Counted):
        """A sender that repeats while the handler still runs is told to come again."""
        guard = MemoryReplayGuard()
        claim = guard.begin("standard_webhooks:msg_1")
        handler = Handler()
        call = make(Receiver(SECRET, replay_guard=guard, on_outcome=counted), handler)
        got = post(call, sent())
        assert (got.status, got.headers["retry-after"], got.json["code"]) == (409, "5", "running")
        guard.release(claim)
        assert post(call, sent()).status == 200
        assert counted.kinds == ["running", "handled"]

    def test_a_handshake_is_answered(self, make: Make, counted: Counted):
        """A provider's question gets its answer to the byte, and the handler does not hear of it."""
        handler = Handler()
        receiver = Receiver(verifier=Verifier("slack", secret=SLACK_SECRET), on_outcome=counted)
        got = post(make(receiver, handler), slack(b'{"type": "url_verification", "challenge": "c-1"}'))
        assert got.status == 200
        assert b"c-1" in got.body
        assert (handler.events, counted.kinds) == ([], ["handshake"])

    def test_an_endpoint_agrees_to_be_one(self, make: Make):
        """The challenge of Hookline is echoed, and its test is answered with success, both without the handler."""
        handler = Handler()
        call = make(Receiver(SECRET), handler)
        assert post(call, sent({"challenge": "c"}, event_type="hookline.challenge")).json == {"challenge": "c"}
        assert post(call, sent({}, event_type="hookline.test")).json["status"] == "success"
        assert post(call, sent({"challenge": "c"}, event_type="hookline.challenge", secret=OTHER)).status == 401
        assert handler.events == []

    def test_a_provider_hears_what_it_wants_to(self, make: Make):
        """A preset's own answer is given when the event was handled."""
        handler = Handler()
        receiver = Receiver(verifier=Verifier("slack", secret=SLACK_SECRET))
        got = post(
            make(receiver, handler), slack(b'{"type": "event_callback", "event_id": "E1", "event": {"type": "m"}}')
        )
        assert (got.status, got.body) == (200, b"")
        assert handler.events[0].id == "E1"

    def test_a_handler_may_answer_itself(self, make: Make):
        """A mapping is JSON, an `Answer` is sent as it is."""
        assert post(make(Receiver(SECRET), Handler(lambda _: {"type": 4})), sent()).json == {"type": 4}
        answer = Answer(202, b"taken", (("content-type", "text/plain; charset=utf-8"), ("x-a", "1")))
        got = post(make(Receiver(SECRET), Handler(lambda _: answer)), sent())
        assert (got.status, got.body, got.headers["x-a"]) == (202, b"taken", "1")
        assert got.headers["content-type"] == "text/plain; charset=utf-8"

    def test_an_answer_that_refuses_releases_the_guard(self, make: Make, counted: Counted):
        """What the handler answers with 400 or more may be sent again."""
        answers = iter([Answer(404, b"not yet"), None])
        handler = Handler(lambda _: next(answers))
        call = make(Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted), handler)
        assert [post(call, sent()).status for _ in range(3)] == [404, 200, 200]
        assert (len(handler.events), counted.kinds) == (2, ["answered", "handled", "duplicate"])

    def test_github_is_received_too(self, make: Make):
        """Any preset works in any framework."""
        handler = Handler()
        receiver = Receiver(verifier=Verifier("github", secret="s3cret"), replay_guard=MemoryReplayGuard())
        call = make(receiver, handler)
        assert post(call, github(b'{"ref": "x"}')).json["event_id"] == "d-1"
        assert post(call, github(b'{"ref": "x"}')).json["message"] == "handled before"
        assert post(call, github(b'{"ref": "x"}', secret="other")).status == 401
        assert [event.type for event in handler.events] == ["push"]
