"""The receiver kit in Flask."""

from __future__ import annotations

import io
from typing import Any

import flask
import pytest
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post
from tests.sdk.signed import SECRET, sent

from hookline.sdk import Receiver, Verifier
from hookline.sdk.flask import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def called(app: flask.Flask, path: str = "/hooks") -> Call:
    """How it is called."""

    def call(method: str, headers: dict[str, str], body: bytes) -> Got:
        response = app.test_client().open(path, method=method, headers=headers, data=body)
        return Got(response.status_code, {name.lower(): value for name, value in response.headers}, response.data)

    return call


def made(receiver: Receiver, handler: Any) -> Call:
    """An application of one view."""
    app = flask.Flask(__name__)

    @app.route("/hooks", methods=METHODS)
    @webhook(receiver)
    def hook(event: Any) -> Any:
        return handler(event)

    return called(app)


class TestFlask(FrameworkContract):
    """A view."""

    @pytest.fixture
    def make(self) -> Make:
        """An application of one view."""
        return made


class TestFlaskAsync(FrameworkContract):
    """A view that is a coroutine function."""

    @pytest.fixture
    def make(self) -> Make:
        """An application of one view."""

        def made_async(receiver: Receiver, handler: Any) -> Call:
            app = flask.Flask(__name__)

            @app.route("/hooks", methods=METHODS)
            @webhook(receiver)
            async def hook(event: Any) -> Any:
                return handler(event)

            return called(app)

        return made_async


def test_what_flask_answers_is_passed_on():
    """Texts, tuples and responses of Flask are its own business; errors among them release the guard."""
    answers: Any = iter([("no", 409), flask.Response("ok", 201), "text"])
    call = made(Receiver(SECRET, replay_guard=MemoryReplayGuard()), lambda _: next(answers))
    assert [post(call, sent(webhook_id=one)).status for one in ("m1", "m1", "m2")] == [409, 201, 200]


def test_abort_is_flasks_own_answer():
    """`abort` makes Flask's answer, and the retry runs."""
    counted = Counted()
    statuses = iter([404, None])

    def handle(_: Any) -> None:
        status = next(statuses)
        if status is not None:
            flask.abort(status)

    call = made(Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted), handle)
    assert [post(call, sent()).status for _ in range(3)] == [404, 200, 200]
    assert [(one.kind, one.status) for one in counted.outcomes] == [
        ("answered", 404),
        ("handled", 200),
        ("duplicate", 200),
    ]


def test_the_arguments_of_the_route_are_passed():
    """The view gets the event first, then what the path says."""
    app = flask.Flask(__name__)

    @app.post("/hooks/<shop>")
    @webhook(Receiver(SECRET))
    def hook(event: Any, shop: str) -> Any:
        return {"shop": shop, "id": event.id, "again": flask.request.get_json()["type"]}

    assert hook.__name__ == "hook"
    got = post(called(app, "/hooks/a"), sent())
    assert got.json == {"shop": "a", "id": "msg_1", "again": "order.created"}


def test_a_form_that_was_read_before_is_said_to_be_so():
    """Where something has read the form its bytes are gone: that is the application's fault, and logged."""
    app = flask.Flask(__name__)
    counted = Counted()

    @app.before_request
    def early() -> None:
        _ = flask.request.form

    @app.post("/hooks")
    @webhook(Receiver(SECRET, on_outcome=counted))
    def hook(event: Any) -> None: ...

    got = post(called(app), sent(body=b"a=1", content_type="application/x-www-form-urlencoded"))
    assert (got.status, counted.outcomes[0].reason) == (500, "unusable_body")


def test_flasks_own_limit_is_413():
    """MAX_CONTENT_LENGTH holds as well."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 10

    @app.post("/hooks")
    @webhook(Receiver(SECRET))
    def hook(event: Any) -> None: ...

    assert post(called(app), sent()).status == 413


@pytest.mark.parametrize(("limit", "status"), [(10_000, 200), (20, 413)])
def test_a_body_without_a_length_is_read_to_its_limit(limit: int, status: int):
    """A chunked body is taken whole, or refused when it is more than allowed."""
    app = flask.Flask(__name__)
    handler = Handler()
    app.add_url_rule("/hooks", "hook", webhook(Receiver(SECRET, body_bytes_max=limit))(handler), methods=["POST"])
    request = sent()
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()} | {
        "CONTENT_TYPE": "application/json",
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    response = app.test_client().post("/hooks", input_stream=io.BytesIO(request.body), environ_overrides=environ)
    assert response.status_code == status


def test_a_body_that_ends_early_is_400():
    """A sender that goes away within its body is answered, if at all, with 400."""
    app = flask.Flask(__name__)
    app.add_url_rule("/hooks", "hook", webhook(Receiver(SECRET))(Handler()), methods=["POST"])
    environ = {"CONTENT_LENGTH": "100"}
    response = app.test_client().post("/hooks", input_stream=io.BytesIO(b"short"), environ_overrides=environ)
    assert response.status_code == 400


def test_the_url_is_the_one_that_was_called():
    """Providers that sign the URL are verified as it was spelled, also behind a proxy."""
    import base64
    import hashlib
    import hmac

    url = "https://hooks.example.com/hooks?a=%C3%A9&b=1%202"
    signature = base64.b64encode(hmac.digest(b"token", (url + "From+1").encode(), hashlib.sha1)).decode()
    handler = Handler()
    receiver = Receiver(verifier=Verifier("twilio", auth_token="token"), public_url="https://hooks.example.com")
    call = called_at(made_app(receiver, handler), "/hooks?a=%C3%A9&b=1%202")
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    assert call("POST", headers, b"From=%2B1").status == 200
    assert handler.events[0].data == {"From": "+1"}


def made_app(receiver: Receiver, handler: Any) -> flask.Flask:
    """An application of one view."""
    app = flask.Flask(__name__)
    app.add_url_rule("/hooks", "hook", webhook(receiver)(handler), methods=["POST"])
    return app


def called_at(app: flask.Flask, target: str) -> Call:
    """Called with the very target."""

    def call(method: str, headers: dict[str, str], body: bytes) -> Got:
        response = app.test_client().open(
            "/hooks", method=method, headers=headers, data=body, environ_overrides={"RAW_URI": target}
        )
        return Got(response.status_code, dict(response.headers), response.data)

    return call


def test_a_guard_for_loops_is_refused_when_the_view_is_made():
    """The mistake is found before a request comes."""
    with pytest.raises(TypeError):
        webhook(Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard())))
