"""The decision of the receiver kit that every framework shares, by `respond` and in an event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from typing import Any

import pytest
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post, raising
from tests.sdk.signed import ED_PUBLIC, ED_SECRET, SECRET, Sent, sent

from hookline.core.verifiers import presets
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.verdict import Verified
from hookline.sdk import Claim, Receiver, Verifier
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded
from hookline.sdk.steps import Run, advance, advance_async, is_async

URL = "https://app.example.com/hooks"


def got(answer: Any) -> Got:
    """An answer as the contract has it."""
    return Got(answer.status, dict(answer.headers), answer.body)


class TestRespond(FrameworkContract):
    """Without a framework."""

    @pytest.fixture
    def make(self) -> Make:
        """`respond`."""

        def made(receiver: Receiver, handler: Any) -> Call:
            return lambda method, headers, body: got(receiver.respond(method, URL, headers, body, handler))

        return made


class TestRespondAsync(FrameworkContract):
    """In an event loop, with a handler that is awaited."""

    @pytest.fixture
    def make(self) -> Make:
        """`respond_async`."""

        def made(receiver: Receiver, handler: Any) -> Call:
            async def handle(event: Any) -> Any:
                await asyncio.sleep(0)
                return handler(event)

            def call(method: str, headers: Any, body: bytes) -> Got:
                return got(asyncio.run(receiver.respond_async(method, URL, headers, body, handle)))

            return call

        return made


# ------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"secret": SECRET, "verifier": Verifier("github")},
        {"secret": "whsec_"},
        {"secret": "plain"},
        {"secret": ["whpk_AAAA"]},
        {"secret": ["whsk_AAAA"]},
        {"secret": SECRET, "tolerance_s": -1},
        {"secret": SECRET, "public_url": "hooks.example.com"},
        {"secret": SECRET, "schema": {"type": 7}},
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings: dict[str, Any]):
    """A receiver that could never verify anything is not made."""
    with pytest.raises(ValueError):
        Receiver(**settings)


def test_public_keys_are_enough():
    """A receiver that holds no secret verifies by a public key."""
    handler = Handler()
    request = sent(secret=ED_SECRET)
    answer = Receiver([ED_PUBLIC]).respond("POST", URL, request.headers, request.body, handler)
    assert (answer.status, len(handler.events)) == (200, 1)


def test_a_guard_for_loops_is_refused_where_there_is_none():
    """`respond` says so before anything is handled."""
    receiver = Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard()))
    with pytest.raises(TypeError):
        receiver.respond("POST", URL, {}, b"", Handler())


# ------------------------------------------------------------------------------------------------------- the guard


class BrokenGuard:
    """One whose database is gone at a step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self.asked: list[str] = []

    def _ask(self, step: str) -> None:
        self.asked.append(step)
        if step == self._step:
            raise ConnectionError

    def begin(self, key: str) -> Claim:
        """Claim."""
        self._ask("begin")
        return Claim(key, "first", "1")

    def done(self, _claim: Claim) -> None:
        """Done."""
        self._ask("done")

    def release(self, _claim: Claim) -> None:
        """Release."""
        self._ask("release")


@pytest.mark.parametrize(
    ("step", "fails", "status", "kinds", "runs"),
    [
        ("begin", False, 503, ["guard_unavailable"], 0),
        ("done", False, 200, ["handled"], 1),
        ("release", True, 500, ["failed"], 1),
    ],
)
def test_a_guard_that_is_gone(step: str, fails: bool, status: int, kinds: list[str], runs: int):
    """Without its answer nothing runs, and the sender comes again; after the work its failure changes nothing."""
    handler = Handler(raising(ValueError()) if fails else lambda _: None)
    counted = Counted()
    request = sent()
    receiver = Receiver(SECRET, replay_guard=BrokenGuard(step), on_outcome=counted)
    answer = receiver.respond("POST", URL, request.headers, request.body, handler)
    assert (answer.status, counted.kinds, len(handler.events)) == (status, kinds, runs)
    assert ("retry-after" in dict(answer.headers)) == (status == 503)


async def test_a_cancelled_handler_releases_its_claim():
    """When the task is cancelled in the handler the claim is free again, and the cancellation goes on."""
    guard = MemoryReplayGuard()
    began = asyncio.Event()

    async def handle(_: Any) -> None:
        began.set()
        await asyncio.sleep(60)

    request = sent()
    receiver = Receiver(SECRET, replay_guard=guard)
    task = asyncio.create_task(receiver.respond_async("POST", URL, request.headers, request.body, handle))
    await began.wait()
    assert guard.begin("standard_webhooks:msg_1").state == "running"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert guard.begin("standard_webhooks:msg_1").state == "first"


def test_an_interrupt_releases_its_claim_and_goes_on():
    """KeyboardInterrupt and SystemExit are not taken for failures of the handler."""
    guard = MemoryReplayGuard()
    request = sent()
    receiver = Receiver(SECRET, replay_guard=guard)
    for error in (KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)):
            receiver.respond("POST", URL, request.headers, request.body, raising(error))
        claim = guard.begin("standard_webhooks:msg_1")
        assert claim.state == "first"
        guard.release(claim)


async def test_an_asynchronous_guard_is_awaited():
    """A guard of coroutines works in an event loop, with handlers of either kind."""
    guard = threaded(MemoryReplayGuard())
    handler = Handler()
    request = sent()
    receiver = Receiver(SECRET, replay_guard=guard)
    for message in ("received", "handled before"):
        answer = await receiver.respond_async("POST", URL, request.headers, request.body, handler)
        assert json.loads(answer.body)["message"] == message
    assert len(handler.events) == 1


async def test_a_blocking_handler_does_not_hold_up_the_loop():
    """What is no coroutine function runs in a thread."""
    threads: list[int] = []
    request = sent()
    await Receiver(SECRET).respond_async(
        "POST", URL, request.headers, request.body, lambda _: threads.append(threading.get_ident())
    )
    assert threads != [threading.get_ident()]


def test_a_coroutine_is_run_where_there_is_no_loop():
    """`respond` takes a coroutine function, too."""
    found: list[str] = []

    async def handle(event: Any) -> None:
        await asyncio.sleep(0)
        found.append(event.id)

    request = sent()
    assert Receiver(SECRET).respond("POST", URL, request.headers, request.body, handle).status == 200
    assert found == ["msg_1"]


def test_events_without_an_id_are_not_guarded():
    """Where the provider gives no id, each request runs."""
    handler = Handler()
    receiver = Receiver(
        verifier=Verifier({"scheme": "static", "header": "x-key"}, secret="k"), replay_guard=MemoryReplayGuard()
    )
    for _ in range(2):
        answer = receiver.respond("POST", URL, {"x-key": "k"}, b"{}", handler)
        assert json.loads(answer.body) == {"status": "success", "message": "received", "event_id": None}
    assert len(handler.events) == 2


# ------------------------------------------------------------------------------------------------- several events


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    """A provider whose requests are arrays, and need no proof."""
    reading = Reading(type="item:type", id="item:id", split="body:")
    preset = Preset("several", "Several", lambda *_: Verified(), (), reading)
    monkeypatch.setattr(presets, "preset", lambda _: preset)
    return Verifier("several")


def items(*ids: str) -> bytes:
    """An array."""
    return json.dumps([{"id": one, "type": f"t.{one}"} for one in ids]).encode()


JSON = {"content-type": "application/json"}


def test_each_event_of_a_request_is_handled_by_itself(several: Verifier):
    """One bad item does not lose the others: they are handled once, and the retry runs the bad one alone."""
    failures = {"b"}

    def does(event: Any) -> None:
        if event.id in failures:
            raise ValueError

    handler, counted = Handler(does), Counted()
    receiver = Receiver(verifier=several, replay_guard=MemoryReplayGuard(), on_outcome=counted)
    assert receiver.respond("POST", URL, JSON, items("a", "b", "c"), handler).status == 500
    assert counted.kinds == ["handled", "failed", "handled"]
    failures.clear()
    answer = receiver.respond("POST", URL, JSON, items("a", "b", "c"), handler)
    assert json.loads(answer.body) == {
        "status": "success",
        "message": "received",
        "event_id": "a",
        "event_ids": ["a", "b", "c"],
    }
    assert [event.id for event in handler.events] == ["a", "b", "c", "b"]
    assert handler.events[0].body == b'{"id": "a", "type": "t.a"}'


def test_the_worst_of_several_is_the_answer(several: Verifier):
    """A failure weighs more than a claim, that more than a refusal, and that more than success."""
    guard = MemoryReplayGuard()
    guard.begin("several:running")
    errors = {"failed": ValueError()}

    def does(event: Any) -> None:
        if event.id in errors:
            raise errors[event.id]

    def check(event: Any) -> Any:
        return "no" if event.id == "unacceptable" else None

    receiver = Receiver(verifier=several, replay_guard=guard, check=check, schema=lambda data: data["id"] != "invalid")
    worst = [("failed", 500), ("running", 409), ("unacceptable", 422), ("ok", 200)]
    for place, (_, status) in enumerate(worst):
        body = items(*reversed([name for name, _ in worst[place:]]))
        assert receiver.respond("POST", URL, JSON, body, Handler(does)).status == status
    assert receiver.respond("POST", URL, JSON, items("x", "invalid"), Handler(does)).status == 400


def test_an_empty_request_is_a_success(several: Verifier):
    """An array without items is answered, and nothing runs."""
    answer = Receiver(verifier=several).respond("POST", URL, JSON, b"[]", Handler())
    assert json.loads(answer.body)["event_ids"] == []


def test_events_may_be_handled_together(several: Verifier):
    """Where the application runs in between, the new events come as one, and all of them are done or released."""
    guard = MemoryReplayGuard()
    guard.done(guard.begin("several:a"))
    receiver = Receiver(verifier=several, replay_guard=guard)
    request = Inbound("POST", URL, tuple(JSON.items()), items("a", "b", "c"))
    for error in (ValueError(), None):
        steps = receiver.steps(request, None)
        run = advance(steps)
        assert isinstance(run, Run)
        assert [event.id for event in run.events] == ["b", "c"]
        answer = advance(steps, error=error)
        assert answer.status == (500 if error else 200)
    again = advance(receiver.steps(request, None))
    assert json.loads(again.body)["message"] == "handled before"


def test_what_is_running_releases_what_was_claimed_with_it(several: Verifier):
    """If one of several is being handled, the others are free for the retry."""
    guard = MemoryReplayGuard()
    guard.begin("several:b")
    receiver = Receiver(verifier=several, replay_guard=guard)
    request = Inbound("POST", URL, tuple(JSON.items()), items("a", "b"))
    assert advance(receiver.steps(request, None)).status == 409
    assert guard.begin("several:a").state == "first"


# --------------------------------------------------------------------------------------------------- other answers


@pytest.mark.parametrize(
    ("length", "status"),
    [("12", None), ("", None), (None, None), ("-1", 400), ("1e3", 400), ("9" * 30, 400), ("１", 400), ("9999999", 413)],
)
def test_a_length_is_judged_before_the_body(length: str | None, status: int | None):
    """What says that it is too large is not read, and what says no number is malformed."""
    answer = Receiver(SECRET).early("POST", length)
    assert (None if answer is None else answer.status) == status


def test_consent_is_given_to_the_origins_that_are_allowed():
    """The handshake of CloudEvents is answered for them, and 401 for others; without any OPTIONS is no method."""
    receiver = Receiver(SECRET, methods=["PUT"], allowed_origins=["hooks.example.com"])
    asked = {"WebHook-Request-Origin": "hooks.example.com", "WebHook-Request-Rate": "60"}
    answer = receiver.respond("OPTIONS", URL, asked, b"", Handler())
    assert answer.status == 200
    assert dict(answer.headers)["webhook-allowed-origin"] == "hooks.example.com"
    assert dict(answer.headers)["webhook-allowed-rate"] == "*"
    other = receiver.respond("OPTIONS", URL, {"WebHook-Request-Origin": "evil.example"}, b"", Handler())
    assert other.status == 401
    refused = Receiver(SECRET).respond("OPTIONS", URL, asked, b"", Handler())
    assert (refused.status, dict(refused.headers)["allow"]) == (405, "POST")


def test_a_receiver_whose_fault_it_is_says_500_and_no_more():
    """A text for a body, and a secret that is missing, are answered so that the sender tries again."""
    request = sent()
    body: Any = request.body.decode()
    answer = Receiver(SECRET).respond("POST", URL, request.headers, body, Handler())
    assert (answer.status, json.loads(answer.body)["code"]) == (500, "unverifiable")
    answer = Receiver(verifier=Verifier("github")).respond(
        "POST", URL, {"x-hub-signature-256": "sha256=00"}, b"", Handler()
    )
    assert (answer.status, json.loads(answer.body)["code"]) == (500, "unverifiable")
    assert b"secret" not in answer.body


def test_a_handler_that_returns_what_is_no_answer_fails():
    """The sender is answered 500, and may send it again."""
    request = sent()
    for result in (object(), "text", b"bytes", 204):
        answer = Receiver(SECRET).respond("POST", URL, request.headers, request.body, lambda _, it=result: it)
        assert answer.status == 500


def test_the_public_url_is_the_one_that_was_signed():
    """Behind a proxy scheme and host are what the sender calls; path and query stay as they came."""
    seen: list[str] = []

    class Prover:
        name, methods, is_several = "p", ("POST",), False

        def prove(self, request: Inbound, _now_s: float) -> Any:
            seen.append(request.url)
            from hookline.sdk import Delivery

            yield from ()
            return Delivery()

    for url in ("http://10.0.0.1:8000/in/a%20b?x=1&y=", "http://[", "http://h"):
        Receiver(verifier=Prover(), public_url="https://hooks.example.com/").respond("POST", url, {}, b"", Handler())
    assert seen == ["https://hooks.example.com/in/a%20b?x=1&y=", "http://[", "https://hooks.example.com"]


# ------------------------------------------------------------------------------------------------ logs and counts


def test_every_outcome_is_logged_in_one_line(caplog: pytest.LogCaptureFixture):
    """Successes at info, refusals as warnings, failures as errors with their trace; nothing in them makes a line."""
    caplog.set_level(logging.INFO, logger="hookline.sdk")
    receiver = Receiver(SECRET)
    request = sent(event_type="a\x1b[2J\r\nb")
    receiver.respond("POST", URL, request.headers, request.body, Handler())
    receiver.respond("PO\r\nST", URL, {}, b"", Handler())
    receiver.respond("POST", URL, request.headers, request.body, raising(ValueError("x\ny")))
    levels = [(record.levelname, record.webhook_outcome) for record in caplog.records]  # type: ignore[attr-defined]
    assert levels == [("INFO", "handled"), ("WARNING", "method_not_allowed"), ("ERROR", "failed")]
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) <= 1300
    assert caplog.records[2].exc_info is not None
    assert SECRET not in caplog.text


def test_a_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture):
    """It is logged, and the sender is answered as ever."""
    request = sent()

    def hook(_: Any) -> None:
        raise ZeroDivisionError

    answer = Receiver(SECRET, on_outcome=hook).respond("POST", URL, request.headers, request.body, Handler())
    assert answer.status == 200
    assert "hook failed" in caplog.text


def test_an_outcome_knows_how_long_it_took():
    """The duration is that of the whole request up to then, and the reason is the error's."""
    counted = Counted()
    request = sent()
    Receiver(SECRET, on_outcome=counted).respond("POST", URL, request.headers, request.body, Handler())
    Receiver(SECRET, on_outcome=counted).respond("POST", URL, {}, b"", Handler())
    assert 0 < counted.outcomes[0].duration_s < 5
    assert counted.outcomes[0].events[0].id == "msg_1"
    assert counted.outcomes[1].reason == "missing_header"


# --------------------------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize("package", ["jsonschema_rs", "jsonschema"])
def test_either_validator_says_the_same(package: str, monkeypatch: pytest.MonkeyPatch):
    """With only one of the two packages installed a schema holds all the same."""
    if package == "jsonschema":
        monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    schema = {
        "type": "object",
        "properties": {"a/b": {"type": "array", "items": {"type": "integer"}}, "at": {"format": "date"}},
    }
    receiver = Receiver(SECRET, schema=schema)

    def answered(data: Any, **more: Any) -> Any:
        request = sent(data, **more)
        answer = receiver.respond("POST", URL, request.headers, request.body, Handler())
        return answer.status, json.loads(answer.body).get("pointer")

    assert answered({"a/b": [1, 2]}) == (200, None)
    assert answered({"a/b": [1, "x"]}) == (400, "/a~1b/1")
    assert answered([1]) == (400, "")
    assert answered(None, body=b"\x00", content_type="image/png") == (400, "")
    with pytest.raises(ValueError):
        Receiver(SECRET, schema={"type": "nothing"})


def test_without_a_validator_a_schema_is_refused(monkeypatch: pytest.MonkeyPatch):
    """The receiver is not made, so that nobody believes in a schema that is not looked at."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ImportError):
        Receiver(SECRET, schema={"type": "object"})
    Receiver(SECRET, schema=lambda data: True)


@pytest.mark.parametrize(("schema", "status"), [(True, 200), (False, 400)])
def test_a_schema_may_be_a_boolean(schema: bool, status: int):
    """JSON Schema has these two."""
    request = sent()
    assert (
        Receiver(SECRET, schema=schema).respond("POST", URL, request.headers, request.body, Handler()).status == status
    )


def test_a_schema_may_be_a_function():
    """False and whatever it raises are 400; anything else passes."""

    def strict(data: Any) -> Any:
        return int(data["n"])

    request, bad = sent({"n": "7"}), sent({"n": "x" * 1000})
    receiver = Receiver(SECRET, schema=strict)
    assert receiver.respond("POST", URL, request.headers, request.body, Handler()).status == 200
    answer = receiver.respond("POST", URL, bad.headers, bad.body, Handler())
    assert (answer.status, "pointer" in json.loads(answer.body)) == (400, False)
    assert len(answer.body) < 500


# ---------------------------------------------------------------------------------------------------------- drivers


async def test_a_driver_tells_coroutines_from_other_calls():
    """Functions, methods, partials and objects are told apart."""
    from functools import partial

    class Object:
        async def __call__(self) -> None: ...

        async def method(self) -> None: ...

    assert is_async(Object())
    assert is_async(Object().method)
    assert is_async(partial(partial(Object().method)))
    assert not is_async(partial(print))
    assert not is_async(len)


async def test_steps_that_are_left_are_closed_quietly():
    """A decision that nobody drives on leaves its claim to its lease."""
    guard = MemoryReplayGuard()
    request = sent()
    steps = Receiver(SECRET, replay_guard=guard).steps(
        Inbound("POST", URL, tuple(request.headers.items()), request.body), None
    )
    assert isinstance(await advance_async(steps), Run)
    steps.close()
    assert guard.begin("standard_webhooks:msg_1").state == "running"


def test_a_request_of_an_unknown_shape_is_refused():
    """Headers that are none are the application's fault."""
    headers: Any = 7
    assert Receiver(SECRET).respond("POST", URL, headers, b"", Handler()).status == 500
    assert (
        post(
            lambda *parts: got(Receiver(SECRET).respond(parts[0], URL, parts[1], parts[2], Handler())), Sent({}, b"")
        ).status
        == 401
    )
