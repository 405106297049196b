"""Asking for consent: which bytes are sent, and what of an answer counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook
from tests.adapters.senders.sending import send_to

from hookline.adapters.senders.http import HttpSender
from hookline.core.attempt import Kind
from hookline.core.consent import CHALLENGE_TYPE
from hookline.core.endpoint import Endpoint, RateSpec
from hookline.ports.sender import Consent, VerifyRequest
from hookline.testing.answers import close_early, gzip_bomb, not_http, redirect, reply
from hookline.testing.clock import START_WALL_MS
from hookline.testing.receiver import Receiver
from hookline.testing.samples import SIGNING_SECRET, sample_endpoint, sample_event

CHALLENGE = "kL2x0Yp8Qm4tN6vB1cR7sW3eA9dF5gH-jK_uZiXoPqT"
CALLBACK = "https://hooks.example/v1/endpoint-consent/abc"
ORIGIN = "hooks.example"
BOTH = [(b"WebHook-Allowed-Origin", b"hooks.example"), (b"WebHook-Allowed-Rate", b"120")]


def question(endpoint: Endpoint, how: str, callback_url: str | None = CALLBACK) -> VerifyRequest:
    event = sample_event(type=CHALLENGE_TYPE, data=json.dumps({"challenge": CHALLENGE}).encode())
    return VerifyRequest(endpoint, how, CHALLENGE, event, START_WALL_MS, ORIGIN, callback_url)


async def ask(sender: HttpSender, receiver: Receiver, how: str, **changes: Any) -> Consent:
    return await sender.verify(question(sample_endpoint(receiver.url + "/hook?a=1", **changes), how))


async def test_the_challenge_is_a_signed_delivery(sender: HttpSender, receiver: Receiver) -> None:
    """The challenge comes as any delivery: method, headers, credentials, format, and a signature that verifies."""
    receiver.answer("/hook", reply(200, CHALLENGE.encode()))
    consent = await ask(
        sender,
        receiver,
        "challenge",
        method="PUT",
        headers=[(b"x-shop", b"7")],
        auth_headers=[(b"authorization", b"Bearer secret")],
    )
    (came,) = receiver.requests
    assert (came.method, came.path, came.header("x-shop")) == ("PUT", "/hook?a=1", "7")
    assert came.header("authorization") == "Bearer secret"
    assert came.json()["type"] == CHALLENGE_TYPE
    assert came.json()["data"] == {"challenge": CHALLENGE}
    headers = {name.decode(): value.decode() for name, value in came.headers}
    verifier = Webhook(SIGNING_SECRET)
    assert came.header("webhook-timestamp") == str(START_WALL_MS // 1000)
    assert verifier.sign(headers["webhook-id"], _told_now(), came.body.decode()) == headers["webhook-signature"]
    assert consent.given
    assert consent.outcome.seen is not None
    assert (b"authorization", b"***") in consent.outcome.seen.request_headers
    assert consent.outcome.seen.response_body == CHALLENGE.encode()


def _told_now() -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(START_WALL_MS / 1000, UTC)


async def test_an_echo_among_much_else(sender: HttpSender, receiver: Receiver) -> None:
    """An echo in a large JSON answer counts, also where the endpoint's own limit on answers is smaller."""
    body = json.dumps({"padding": "x" * 8000, "challenge": CHALLENGE}).encode()
    receiver.answer("/hook", reply(200, body))
    assert (await ask(sender, receiver, "challenge", response_bytes_max=0)).given


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(200, b"ok"), "answer_rejected"),
        (reply(500, CHALLENGE.encode()), "server_error"),
        (reply(404, CHALLENGE.encode()), "client_error"),
        (reply(410), "gone"),
        (redirect("http://127.0.0.1:1/"), "redirect"),
        (gzip_bomb(1024), "answer_rejected"),
        (reply(200, b"x" * 100_000), "answer_rejected"),
        (close_early(), "connect"),
        (not_http(), "protocol"),
    ],
)
async def test_no_echo(sender: HttpSender, receiver: Receiver, answer: Any, reason: str) -> None:
    """Any other answer is no consent: it has its reason and says in words what was missing."""
    receiver.answer("/hook", answer)
    consent = await ask(sender, receiver, "challenge")
    assert not consent.given
    assert consent.outcome.reason == reason
    assert consent.outcome.detail
    assert len(receiver.requests) == 1


async def test_a_success_rule_does_not_count(sender: HttpSender, receiver: Receiver) -> None:
    """The endpoint's own success rules say nothing about consent."""
    from hookline.core.success import parse_success

    receiver.answer("/hook", reply(200, CHALLENGE.encode()))
    assert (await ask(sender, receiver, "challenge", success=parse_success({"status": [418]}))).given
    receiver.answer("/hook", reply(418, CHALLENGE.encode()))
    assert not (await ask(sender, receiver, "challenge", success=parse_success({"status": [418]}))).given


async def test_the_handshake(sender: HttpSender, receiver: Receiver) -> None:
    """The handshake is OPTIONS to the exact target, with origin, rate and callback, without a body; the allowed
    rate is told, and the callback is masked where the request is kept."""
    receiver.answer("/hook", reply(200, headers=BOTH))
    consent = await ask(
        sender, receiver, "cloudevents", verify="cloudevents", rate=RateSpec(10), auth_headers=[(b"x-api-key", b"k")]
    )
    (came,) = receiver.requests
    assert (came.method, came.path, came.body) == ("OPTIONS", "/hook?a=1", b"")
    assert came.header("webhook-request-origin") == ORIGIN
    assert came.header("webhook-request-callback") == CALLBACK
    assert came.header("webhook-request-rate") == "600"
    assert came.header("x-api-key") == "k"
    assert came.header("content-length") is None
    assert came.header("webhook-signature") is None
    assert (consent.given, consent.rate_per_min, consent.outcome.kind) == (True, 120, Kind.DELIVERED)
    exchange = consent.outcome.seen
    assert exchange is not None
    assert exchange.method == "OPTIONS"
    assert (b"webhook-request-callback", b"***") in exchange.request_headers


@pytest.mark.parametrize("status", [200, 204, 403, 405, 500])
async def test_the_status_of_the_handshake_does_not_count(sender: HttpSender, receiver: Receiver, status: int) -> None:
    """Consent is given by headers: with them any status is a yes, without them none is."""
    receiver.answer("/hook", reply(status, headers=BOTH), reply(status, headers=[(b"allow", b"POST")]))
    assert (await ask(sender, receiver, "cloudevents")).given
    refused = await ask(sender, receiver, "cloudevents")
    assert not refused.given
    assert "WebHook-Allowed-Origin" in refused.outcome.detail
    assert refused.outcome.status == status


async def test_a_redirect_of_the_handshake_is_not_followed(sender: HttpSender, receiver: Receiver) -> None:
    """A redirect without the headers is no consent, and where it leads is not asked."""
    receiver.answer("/hook", redirect(receiver.url + "/other", 307))
    receiver.answer("/other", reply(200, headers=BOTH))
    assert not (await ask(sender, receiver, "cloudevents")).given
    assert len(receiver.requests) == 1


async def test_deliveries_say_whence_they_come(make_sender: Callable[..., HttpSender], receiver: Receiver) -> None:
    """Every delivery to an endpoint that consented by handshake carries WebHook-Request-Origin, others do not."""
    sender = make_sender(origin=ORIGIN)
    await send_to(sender, sample_endpoint(receiver.url + "/a", verify="cloudevents"))
    await send_to(sender, sample_endpoint(receiver.url + "/b", verify="challenge"))
    assert receiver.to("/a")[0].header("webhook-request-origin") == ORIGIN
    assert receiver.to("/b")[0].header("webhook-request-origin") is None


async def test_without_a_callback(sender: HttpSender, receiver: Receiver) -> None:
    """Where there is no callback none is named; one that cannot be a header is an outcome, not an exception."""
    endpoint = sample_endpoint(receiver.url + "/hook")
    await sender.verify(question(endpoint, "cloudevents", None))
    assert receiver.requests[0].header("webhook-request-callback") is None
    consent = await sender.verify(question(endpoint, "cloudevents", "https://höst/x"))
    assert (consent.given, consent.outcome.kind) == (False, Kind.REJECTED)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("how", ["challenge", "cloudevents"])
async def test_the_guard_holds_for_questions(
    make_sender: Callable[..., HttpSender], receiver: Receiver, how: str
) -> None:
    """Addresses that may not be reached, and http:// where only https:// may, are not asked."""
    endpoint = sample_endpoint(receiver.url + "/hook")
    for sender in (make_sender(allow=()), make_sender(https_only=True)):
        consent = await sender.verify(question(endpoint, how))
        assert (consent.given, consent.outcome.reason) == (False, "address_refused")
    assert receiver.connections == 0


async def test_a_question_takes_no_old_connection(sender: HttpSender, receiver: Receiver) -> None:
    """A question is asked on a connection of its own, which deliveries may use afterwards."""
    receiver.answer(None, reply(200, CHALLENGE.encode()))
    endpoint = sample_endpoint(receiver.url + "/hook")
    await send_to(sender, endpoint)
    await ask(sender, receiver, "challenge")
    await send_to(sender, endpoint)
    assert [request.connection for request in receiver.requests] == [1, 2, 2]


async def test_an_unusable_key_is_an_outcome(sender: HttpSender, receiver: Receiver) -> None:
    """An endpoint whose key cannot sign is not asked."""
    endpoint = sample_endpoint(receiver.url + "/hook")
    broken = [msgspec.structs.replace(endpoint.signing[0], secret="whsec_*")]
    consent = await sender.verify(question(msgspec.structs.replace(endpoint, signing=broken), "challenge"))
    assert (consent.given, consent.outcome.kind) == (False, Kind.REJECTED)
    assert receiver.requests == []
