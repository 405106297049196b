"""Webhooks in, from outside: verified, durable, answered as each provider expects, delivered like any other event."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.program import Program, running, until
from tests.acceptance.providers import JSON, SECRET, SendGrid, World, github, mac, slack, stripe
from tests.acceptance.receiver import Answer, Receiver


@pytest.fixture(scope="module")
def world(program: Program) -> Iterator[World]:
    """Providers."""
    made = World(program)
    yield made
    made.client.close()


@pytest.fixture
def source(name: str) -> str:
    """The name of this test's own source."""
    return name.removeprefix("t.").replace("_", "-")[:64].strip("-")


def test_a_stripe_payment_comes_in_and_goes_out(world: World, receiver: Receiver, source: str):
    """Verified by its signature, an event with its bytes and type, delivered to who asked for it; sent again, it is
    known."""
    world.source(source, "stripe")
    url = receiver.url()
    world.program.endpoint(url, event_types=["payment_intent.*"], format="raw", filter={"source": f"/in/{source}"})
    identity = f"evt_{uuid.uuid4().hex}"
    body, headers = stripe(
        {"id": identity, "type": "payment_intent.succeeded", "created": 1760000000, "data": {"n": 1.0}}
    )
    first = world.send(source, body, headers)
    assert first.json() | {"event_id": ""} == {"status": "success", "message": "Stored.", "event_id": ""}
    (hit,) = receiver.came(url)
    assert (hit.body, hit.headers["content-type"]) == (body, "application/json; charset=utf-8")
    event = world.event(first)
    assert (event["type"], event["source"], event["source_id"]) == (
        "payment_intent.succeeded",
        f"/in/{source}",
        identity,
    )
    assert event["time"] == "2025-10-09T08:53:20Z"
    assert event["inbound"]["source"] == source
    assert event["inbound"]["request_id"].startswith("req_")
    assert dict(event["inbound"]["headers"])["stripe-signature"] == headers["Stripe-Signature"]
    again = world.send(source, body, stripe(json.loads(body))[1])
    assert again.json()["event_id"] == first.json()["event_id"]
    assert len(world.program.rows("/v1/events", source=f"/in/{source}")) == 1


def test_forged_stale_and_tampered_requests_are_refused_and_seen(world: World, source: str):
    """401 without a hint; the owner of the source sees each, with its reason, and no credential."""
    world.source(source, "stripe")
    good, headers = stripe({"id": "evt_1", "type": "x"})
    attempts = [
        (good.replace(b"evt_1", b"evt_2"), headers, "wrong_signature"),
        (*stripe({"id": "evt_1", "type": "x"}, at_s=1_760_000_000), "stale"),
        (good, {**JSON, "Authorization": "Bearer hunter2"}, "missing_signature"),
        (good, {**headers, "Stripe-Signature": "t=1,v1=é".encode()}, None),
    ]
    answers = [world.send(source, body, named) for body, named, _ in attempts]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["code"] for answer in answers} == {"unverified"}
    assert len({answer.text for answer in answers}) == 1
    seen = until(lambda: len(rows := world.rejections(source)) == len(attempts) and rows)
    for row, (_, _, reason) in zip(reversed(seen), attempts, strict=True):
        assert reason in (None, row["reason"])
        assert row["status"] == 401
    assert "hunter2" not in json.dumps(seen)
    assert world.program.rows("/v1/events", source=f"/in/{source}") == []
    metrics = world.program.client.get("/metrics").text
    assert f'hookline_rejected_requests_total{{reason="wrong_signature",source="{source}"}} 1.0' in metrics


def test_github_form_and_json(world: World, source: str):
    """Both content types that GitHub can be set to; the type says the action."""
    world.source(source, "github")
    answer = world.send(source, *github({"action": "opened", "n": 1}, "d-1", "pull_request"))
    assert world.event(answer)["type"] == "pull_request.opened"
    body = b"payload=%7B%22action%22%3A%22closed%22%7D"
    named = {
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": "d-2",
        "X-Hub-Signature-256": "sha256=" + mac(SECRET, body),
    }
    event = world.event(world.send(source, body, {"Content-Type": "application/x-www-form-urlencoded", **named}))
    assert (event["type"], base64.b64decode(event["data_base64"])) == ("issues.closed", body)


def test_a_batch_of_sendgrid_is_many_events(world: World, receiver: Receiver, source: str):
    """One request, one commit, one answer; each event with the bytes that stood between the CRLFs."""
    account = SendGrid()
    world.source(source, "sendgrid", {"public_key": account.public_key})
    url = receiver.url()
    world.program.endpoint(url, format="raw", filter={"source": f"/in/{source}", "data": {"event": {"$neq": "open"}}})
    kinds = ("open", "click", "bounce")
    body, headers, items = account.batch(
        *({"event": kind, "sg_event_id": kind, "timestamp": 1760000000} for kind in kinds)
    )
    told = world.send(source, body, headers).json()
    events = [world.program.get(f"/v1/events/{one}") for one in told["event_ids"]]
    assert [event["type"] for event in events] == list(kinds)
    assert {event["inbound"]["request_id"] for event in events} == {told["request_id"]}
    assert sorted(hit.body for hit in receiver.came(url, 2)) == sorted(items[1:])
    assert world.send(source, *account.batch({"event": "open", "sg_event_id": "open"})[:2]).json()["event_ids"] == [
        told["event_ids"][0]
    ]
    assert world.send(source, body.rstrip(), headers).status_code == 401


def test_handshakes_are_answered(world: World, source: str):
    """Slack's challenge, Meta's GET, the OPTIONS of CloudEvents, Discord's ping: no event, the answer that is asked."""
    world.source(f"{source}-slack", "slack")
    challenge = world.send(f"{source}-slack", *slack(b'{"type":"url_verification","challenge":"3eZbrw1a"}'))
    assert challenge.status_code == 200
    assert "3eZbrw1a" in challenge.text
    world.source(f"{source}-meta", "meta", {"secret": SECRET, "verify_token": "known"})
    query = "?hub.mode=subscribe&hub.verify_token={}&hub.challenge=1158201444"
    right = world.client.get(f"/in/{source}-meta" + query.format("known"))
    assert (right.status_code, right.text) == (200, "1158201444")
    assert world.client.get(f"/in/{source}-meta" + query.format("guessed")).status_code == 403
    world.source(f"{source}-ce", "cloudevents", {"allowed_origins": ["emitter.example"], "allowed_rate": "120"})
    asked = {"WebHook-Request-Origin": "emitter.example", "WebHook-Request-Rate": "120"}
    allowed = world.client.options(f"/in/{source}-ce", headers=asked)
    assert allowed.headers["webhook-allowed-origin"] == "emitter.example"
    assert allowed.headers["webhook-allowed-rate"] == "120"
    for one in ("slack", "meta", "ce"):
        assert world.program.rows("/v1/events", source=f"/in/{source}-{one}") == []


def test_xml_is_filtered_by_its_elements_and_delivered_raw(world: World, receiver: Receiver, source: str):
    """A source of one's own: API key in a header, type from an element; no DTD is ever read."""
    scheme = {"scheme": "static", "header": "x-api-key"}
    world.source(source, scheme, {"secret": "k-1"}, reading={"type": "body:order.@kind", "id": "body:order.id"})
    url = receiver.url()
    world.program.endpoint(
        url, format="raw", filter={"data": {"order": {"line": {"sku": "B"}}}, "source": f"/in/{source}"}
    )
    body = b'<?xml version="1.0"?><o:order xmlns:o="u" kind="new"><id>7</id><line><sku>B</sku></line></o:order>'
    headers = {"Content-Type": "application/xml; charset=utf-8", "X-API-Key": "k-1"}
    event = world.event(world.send(source, body, headers))
    assert (event["type"], event["source_id"]) == ("new", "7")
    assert "k-1" not in json.dumps(event)
    (hit,) = receiver.came(url)
    assert (hit.body, hit.headers["content-type"]) == (body, headers["Content-Type"])
    bomb = b'<!DOCTYPE o [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><order kind="new">&b;</order>'
    assert world.event(world.send(source, bomb, headers))["type"] == "webhook"
    assert world.send(source, body, {**headers, "X-API-Key": "k-2"}).status_code == 401


def test_a_command_of_slack_is_a_form(world: World, source: str):
    """The event's type is the command, without the slash that no type may begin with."""
    world.source(source, "slack")
    body = b"command=%2Fweather&text=94070&trigger_id=13345224609.738474920"
    answer = world.send(source, *slack(body, "application/x-www-form-urlencoded"))
    assert (answer.status_code, answer.content) == (200, b"")  # what it says would be shown in the channel
    (row,) = world.program.rows("/v1/events", source=f"/in/{source}")
    event = world.program.get(f"/v1/events/{row['id']}")
    assert base64.b64decode(event["data_base64"]) == body
    assert "weather" in event["type"]


def test_quarantine_and_release(world: World, receiver: Receiver, source: str):
    """What its schema does not allow waits for a person; released, it is delivered; dropped, it is gone."""
    schemas = {"order": {"required": ["id"]}}
    world.source(
        source, "none", {}, reading={"type": "'order'", "id": "body:key"}, schemas=schemas, on_invalid="quarantine"
    )
    url = receiver.url()
    world.program.endpoint(url, filter={"source": f"/in/{source}"})
    for key in "ab":
        assert world.send(source, b'{"key":"%s"}' % key.encode(), JSON).json()["status"] == "success"
    waiting = world.program.rows(f"/v1/sources/{source}/quarantine")
    assert [row["problem"]["pointer"] for row in waiting] == ["/id", "/id"]
    path = f"/v1/sources/{source}/quarantine/{waiting[0]['id']}"
    released = world.program.post(f"{path}/release", status=202).json()
    (hit,) = receiver.came(url)
    assert json.loads(hit.body)["data"] == {"key": "b"}
    assert world.program.get(f"/v1/events/{released['id']}")["inbound"]["source"] == source
    assert world.program.client.delete(f"/v1/sources/{source}/quarantine/{waiting[1]['id']}").status_code == 204
    assert world.program.rows(f"/v1/sources/{source}/quarantine") == []


def test_an_invalid_payload_is_400_with_the_pointer(world: World, source: str):
    """By the source's own schema, for a type of its own."""
    schemas = {"order.*": {"properties": {"amount": {"type": "number"}}}}
    world.source(source, "none", {}, reading={"type": "body:type"}, schemas=schemas)
    answer = world.send(source, b'{"type":"order.new","amount":"7"}', JSON)
    assert (answer.status_code, answer.json()["code"], answer.json()["pointer"]) == (400, "invalid_payload", "/amount")
    broken = world.send(source, b'{"type":', JSON)
    assert (broken.status_code, broken.json()["code"], broken.json()["pointer"]) == (400, "malformed_json", "")


def test_an_endpoints_answer_is_the_providers(world: World, receiver: Receiver, source: str):
    """A command that is answered by who handles it; without him it is stored all the same."""
    answer = Answer(200, b'{"text":"20 degrees"}' + b" " * 3000, {"content-type": "application/json; charset=utf-8"})
    url = receiver.url(lambda _hit, _before: answer)
    made = world.program.endpoint(url, event_types=["asked"], response_bytes_max=65_536)
    told = {"after": "delivered", "endpoint": made["id"], "wait_s": 5}
    world.source(source, "none", {}, reading={"type": "'asked'"}, answer=told)
    given = world.send(source, b"{}", JSON)
    assert (given.status_code, given.content, given.headers["content-type"]) == (
        200,
        answer.body,
        "application/json; charset=utf-8",
    )
    receiver.say(url, lambda _hit, _before: Answer(500))
    world.program.client.patch(f"/v1/sources/{source}", json={"answer": {"wait_s": 0.3}}).raise_for_status()
    assert world.send(source, b"{}", JSON).json()["message"] == "Stored."


def test_methods_and_limits(world: World, source: str):
    """404, 405 with Allow, 413 and 415, before anything is verified; WooCommerce's HTTP/1.0 is served."""
    world.source(source, "woocommerce", content_types=["application/json", "application/x-www-form-urlencoded"])
    assert world.client.post("/in/nobody").json()["code"] == "not_found"
    wrong = world.client.put(f"/in/{source}")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert world.client.head(f"/in/{source}").status_code == 405
    assert world.send(source, b"x" * 1_100_000, JSON).status_code == 413
    assert world.send(source, b"x", {"Content-Type": "image/png"}).status_code == 415
    ping = (
        f"POST /in/{source} HTTP/1.0\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        "Content-Length: 12\r\n\r\nwebhook_id=3"
    )
    with socket.create_connection(("127.0.0.1", world.program.port), timeout=10) as shop:
        shop.sendall(ping.encode())
        said = b"".join(iter(lambda: shop.recv(65_536), b""))
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in said


def test_what_was_answered_is_there_after_a_kill(tmp_path: Path, receiver: Receiver):
    """SIGKILL right after the 200, again and again: each event is there, once, and is delivered."""
    url = receiver.url()
    with running(tmp_path / "hookline") as program:
        world = World(program)
        world.source("gh", "github")
        program.endpoint(url)
        answered: dict[str, str] = {}
        for n in range(4):
            for m in range(5):
                delivery = f"d-{n}-{m}"
                answered[delivery] = world.send("gh", *github({"n": n}, delivery)).json()["event_id"]
            program.kill()
            program.start()
            last = world.send("gh", *github({"n": n}, f"d-{n}-4"))
            assert last.json()["event_id"] == answered[f"d-{n}-4"]
        rows = program.rows("/v1/events", source="/in/gh")
        assert {row["source_id"]: row["id"] for row in rows} == answered
        assert len(rows) == len(answered)
        until(lambda: {hit.id for hit in receiver.hits(url)} == set(answered.values()))
        world.client.close()
