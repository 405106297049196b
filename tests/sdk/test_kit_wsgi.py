"""The receiver kit in plain WSGI: an application, and a middleware in front of one."""

from __future__ import annotations

import io
import json
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post, raising
from tests.sdk.signed import SECRET, sent

from hookline.sdk import Receiver
from hookline.sdk.environ import url_of
from hookline.sdk.replay_guard import MemoryReplayGuard
from hookline.sdk.wsgi import WebhookMiddleware, webhook


class Stream(io.BytesIO):
    """A body that comes in pieces of at most 100 bytes, as from a socket."""

    def read(self, size: int | None = -1) -> bytes:
        """A piece."""
        return super().read(100 if size is None or size < 0 else min(size, 100))


def called(application: Any, path: str = "/hooks", **more: Any) -> Call:
    """How a server calls it, by the letter of PEP 3333."""

    def call(method: str, headers: dict[str, str], body: bytes) -> Got:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": Stream(body)}
        environ |= {"QUERY_STRING": "", "SCRIPT_NAME": ""}
        setup_testing_defaults(environ)
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.update(more)
        began: list[Any] = []
        given = validator(application)(environ, lambda status, named, exc_info=None: began.append((status, named)))
        try:
            data = b"".join(given)
        finally:
            given.close()
        [(status, named)] = began
        return Got(int(status[:3]), {name.lower(): value for name, value in named}, data)

    return call


class TestWsgi(FrameworkContract):
    """An application."""

    @pytest.fixture
    def make(self) -> Make:
        """A handler as an application."""
        return lambda receiver, handler: called(webhook(receiver)(handler))


class TestWsgiMiddleware(FrameworkContract):
    """A middleware in front of an application that finds the events in its environ."""

    @pytest.fixture
    def make(self) -> Make:
        """The application of Flask calls the handler and says what it returned."""

        def made(receiver: Receiver, handler: Any) -> Call:
            app = flask.Flask(__name__)
            app.config["PROPAGATE_EXCEPTIONS"] = True

            @app.route("/hooks", methods=["POST", "PUT"])
            def hook() -> Any:
                [event] = flask.request.environ["hookline.events"]
                assert flask.request.get_data() == event.body
                answer = handler(event)
                if answer is None:
                    return {"status": "success", "message": "received", "event_id": event.id}
                if isinstance(answer, dict):
                    return answer
                return flask.Response(answer.body, answer.status, answer.headers)

            return called(WebhookMiddleware(app.wsgi_app, receiver))

        return made

    def test_a_provider_hears_what_it_wants_to(self, make: Make):
        """Here the application answers, so it is the application that must say it."""


def test_other_paths_pass_by():
    """Only the path of webhooks is looked at."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"events: %d" % len(environ.get("hookline.events", ()))]

    middleware = WebhookMiddleware(application, Receiver(SECRET), path="/hooks")
    assert called(middleware, "/")("GET", {}, b"").body == b"events: 0"
    assert called(middleware)("POST", {}, b"").status == 401
    assert post(called(middleware), sent()).body == b"events: 1"


def test_an_application_that_fails_after_it_began_is_500():
    """Whatever it has said by then, the sender hears that it failed, and the retry runs."""
    guard = MemoryReplayGuard()
    closed: list[int] = []

    class Broken:
        def __iter__(self) -> Any:
            yield b"half"
            raise ValueError

        def close(self) -> None:
            closed.append(1)

    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
        return Broken()

    got = post(called(WebhookMiddleware(application, Receiver(SECRET, replay_guard=guard))), sent())
    assert (got.status, got.json["code"], closed) == (500, "failed", [1])
    assert guard.begin("standard_webhooks:msg_1").state == "first"


def test_what_is_written_comes_first():
    """An application may use `write`, and start again with an error."""

    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"a")
        return [b"b"]

    assert post(called(WebhookMiddleware(application, Receiver(SECRET))), sent()).body == b"ab"


def test_an_application_that_never_begins_is_500():
    """Without a status there is no answer to pass on."""
    middleware = WebhookMiddleware(lambda *_: [], Receiver(SECRET))
    assert post(called(middleware), sent()).status == 500


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"CONTENT_LENGTH": "1000"}, 400),
        ({"CONTENT_LENGTH": "abc"}, 400),
        ({"CONTENT_LENGTH": "", "wsgi.input_terminated": True}, 200),
        ({"CONTENT_LENGTH": ""}, 401),
    ],
)
def test_lengths(environ: dict[str, Any], status: int):
    """A body that ends early and a length that is none are 400; without a length there is a body only where the server
    says that it ends."""
    application = webhook(Receiver(SECRET))(Handler())
    request = sent()
    full: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": Stream(request.body)}
    setup_testing_defaults(full)
    full |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()} | environ
    began: list[Any] = []
    application(full, lambda *head: began.append(head))
    assert int(began[0][0][:3]) == status


def test_a_body_without_a_length_has_a_limit():
    """What comes without a length is read no further than is allowed."""
    stream = Stream(b"x" * 10_000)
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": stream, "wsgi.input_terminated": True}
    setup_testing_defaults(environ)
    began: list[Any] = []
    webhook(Receiver(SECRET, body_bytes_max=1000))(Handler())(environ, lambda *head: began.append(head))
    assert began[0][0] == "413 " + began[0][0][4:]
    assert stream.tell() <= 1100


def test_a_stream_that_breaks_is_400():
    """A connection that is lost within the body is no failure of ours."""

    class Lost(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

    got = called(webhook(Receiver(SECRET))(Handler()))
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": Lost(), "CONTENT_LENGTH": "5"}
    setup_testing_defaults(environ)
    began: list[Any] = []
    webhook(Receiver(SECRET))(Handler())(environ, lambda *head: began.append(head))
    assert began[0][0].startswith("400")
    assert got("GET", {}, b"").status == 405


def test_an_interrupt_passes_through_the_middleware():
    """The process may be told to end, and the claim is released."""
    guard, counted = MemoryReplayGuard(), Counted()
    middleware = WebhookMiddleware(
        lambda *_: raising(SystemExit(0))(None),  # type: ignore[arg-type]
        Receiver(SECRET, replay_guard=guard, on_outcome=counted),
    )
    with pytest.raises(SystemExit):
        post(called(middleware), sent())
    assert guard.begin("standard_webhooks:msg_1").state == "first"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"HTTP_HOST": "h", "RAW_URI": "/a%20b?x=%zz", "wsgi.url_scheme": "https"}, "https://h/a%20b?x=%zz"),
        ({"HTTP_HOST": "h:8000", "REQUEST_URI": "/a"}, "http://h:8000/a"),
        (
            {"SERVER_NAME": "s", "SERVER_PORT": "80", "SCRIPT_NAME": "/m", "PATH_INFO": "/\xc3\xa9 "},
            "http://s/m/%C3%A9%20",
        ),
        ({"SERVER_NAME": "s", "SERVER_PORT": "8080", "QUERY_STRING": "a=1"}, "http://s:8080/?a=1"),
        ({"SERVER_NAME": "s", "SERVER_PORT": "443", "wsgi.url_scheme": "https"}, "https://s/"),
        ({"HTTP_HOST": "h", "RAW_URI": "http://evil/x", "PATH_INFO": "/p"}, "http://h/p"),
    ],
)
def test_urls(environ: dict[str, Any], url: str):
    """The server's own spelling counts where it keeps it."""
    assert url_of(environ) == url


def test_an_answer_is_json_by_the_letter():
    """What the application sends has its length."""
    got = post(called(webhook(Receiver(SECRET))(Handler())), sent())
    assert got.headers["content-length"] == str(len(got.body))
    assert json.loads(got.body)["status"] == "success"
