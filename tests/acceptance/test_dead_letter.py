"""Dead letters, from outside: what fails arrives, with its history, at the endpoint that was named for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook
from tests.acceptance.program import Program, balanced, running, until
from tests.acceptance.receiver import Answer, Receiver

QUICK = {"schedule_s": [0.2, 0.2], "jitter": 0}


def letters(receiver: Receiver, url: str) -> list[dict[str, Any]]:
    """The dead letters that came."""
    return [json.loads(hit.body) for hit in receiver.hits(url)]


def test_what_failed_arrives_with_its_history(program: Program, receiver: Receiver):
    """The letter has event, delivery and every attempt, is signed, and tells what the API tells."""
    dead, url = receiver.url(), receiver.url([500, 503, 404])
    target = program.endpoint(dead, uid="d-morgue", event_types=["never.this"])
    shop = program.endpoint(url, uid="d-shop", event_types=["d.full"], retry=QUICK, dead_letter="d-morgue")
    event = program.publish("d.full", {"n": 1.50, "ü": None}, subject="order/7")
    row = program.delivered(event["id"], "failed")
    (hit,) = receiver.came(dead)
    secret = program.get(f"/v1/endpoints/{target['id']}/secret")["secret"]
    letter = Webhook(secret).verify(hit.body, hit.headers)
    assert letter["type"] == "hookline.dead_letter"
    data = letter["data"]
    shown = program.get(f"/v1/events/{event['id']}")
    assert {name: data["event"][name] for name in ("id", "type", "subject", "content_type")} == {
        name: shown[name] for name in ("id", "type", "subject", "content_type")
    }
    assert data["delivery"] == {
        "id": row["id"],
        "endpoint_id": shop["id"],
        "endpoint_uid": "d-shop",
        "url": url,
        "reason": row["reason"],
        "attempts": 3,
        "created_at": row["created_at"],
        "failed_at": data["delivery"]["failed_at"],
    }
    told = [(a["number"], a["at"], a["status"], a["reason"], a["cause"], a["duration_ms"]) for a in data["attempts"]]
    attempts = program.attempts(row["id"])
    assert told == [(a["number"], a["at"], a["status"], a["reason"], a["cause"], a["duration_ms"]) for a in attempts]
    assert [a["status"] for a in attempts] == [500, 503, 404]


def test_the_payload_keeps_its_bytes(program: Program, receiver: Receiver):
    """JSON is in the letter byte for byte as it was published."""
    dead, url = receiver.url(), receiver.url([422])
    program.endpoint(dead, uid="d-bytes", event_types=["never.this"])
    program.endpoint(url, event_types=["d.bytes"], retry={"on": {"422": "fail"}}, dead_letter="d-bytes")
    payload = b'{ "a" : 1.50, "b":[1e2 ,"\\u00fc"],"a":2 }'
    program.raw("/v1/events", b'{"type":"d.bytes","data":%b}' % payload, "application/json")
    (hit,) = receiver.came(dead)
    assert b'"data":' + payload in hit.body


def test_only_that_endpoint_gets_it(program: Program, receiver: Receiver):
    """Who subscribes to everything gets the operational event, and no letter; a failing address is the end of it."""
    dead, ops, url = receiver.url([410]), receiver.url(), receiver.url([422])
    program.endpoint(dead, uid="d-only", event_types=["never.this"], dead_letter=None)
    admin = program.endpoint(ops, event_types=["hookline.*", "*"])
    program.endpoint(url, event_types=["d.only"], retry={"on": {"422": "fail"}}, dead_letter="d-only")
    event = program.publish("d.only", 1)
    receiver.came(dead)
    until(lambda: "hookline.delivery.failed" in {letter["type"] for letter in letters(receiver, ops)})
    program.quiet()
    assert "hookline.dead_letter" not in {letter["type"] for letter in letters(receiver, ops)}
    program.client.delete(f"/v1/endpoints/{admin['id']}")
    caused = [
        row for row in program.rows("/v1/events", type="hookline.dead_letter") if row["causation_id"] == event["id"]
    ]
    assert [row["hops"] for row in caused] == [1]
    assert len(receiver.hits(dead)) == 1


def test_endpoints_that_name_each_other_do_not_loop(program: Program, receiver: Receiver):
    """What fails at one is told to the other once, although that fails too."""
    one, two = receiver.url([422]), receiver.url([422])
    fails = {"retry": {"on": {"422": "fail"}}}
    program.endpoint(one, uid="d-one", event_types=["d.loop"], **fails)
    program.endpoint(two, uid="d-two", event_types=["never.this"], dead_letter="d-one", **fails)
    assert program.client.patch("/v1/endpoints/d-one", json={"dead_letter": "d-two"}).status_code == 200
    program.publish("d.loop", 1)
    receiver.came(two)
    program.quiet()
    assert (len(receiver.hits(one)), len(receiver.hits(two))) == (1, 1)


def test_a_confirmed_error_ends_in_a_letter(program: Program, receiver: Receiver):
    """What the receiver said when he confirmed an error is in the letter."""
    dead, url = receiver.url(), receiver.url()
    program.endpoint(dead, uid="d-confirm", event_types=["never.this"])
    program.endpoint(
        url,
        event_types=["d.confirm"],
        confirm={"within_s": 30},
        retry={"on": {"answer_rejected": "fail"}},
        dead_letter="d-confirm",
    )
    program.publish("d.confirm", 1)
    (hit,) = receiver.came(url)
    body = {"status": "error", "message": "no such customer"}
    until(lambda: program.client.post(hit.headers["hookline-confirm-url"], json=body).json()["applied"])
    receiver.came(dead)
    (letter,) = letters(receiver, dead)
    assert (letter["data"]["delivery"]["reason"], letter["data"]["delivery"]["message"]) == (
        "answer_rejected",
        "no such customer",
    )


def test_the_tenants_address_and_a_deleted_one(tmp_path: Path, receiver: Receiver):
    """The tenant's `dead_letter` gets what names no other; where it was deleted a warning says so, once."""
    dead, url = receiver.url(), receiver.url([422])
    with running(tmp_path) as program:
        target = program.endpoint(dead, uid="morgue", event_types=["never.this"])
        program.post("/v1/tenants", {"id": "default", "dead_letter": "morgue"}, status=201)
        program.endpoint(url, event_types=["t"], retry={"on": {"422": "fail"}})
        program.publish("t", 1)
        receiver.came(dead)
        assert program.client.delete(f"/v1/endpoints/{target['id']}").status_code == 204
        for n in range(3):
            program.delivered(program.publish("t", n)["id"], "failed")
        assert len(receiver.hits(dead)) == 1
        assert program.log().count("dead_letter_unaddressed") == 1
        assert balanced(program.stats())


def test_letters_outlive_a_kill(tmp_path: Path, receiver: Receiver):
    """kill -9 among failing deliveries: in the end there is a letter for each that failed, and one only."""
    dead, url = receiver.url(), receiver.url(lambda _hit, _before: Answer(500))
    with running(tmp_path) as program:
        program.endpoint(dead, uid="morgue", event_types=["never.this"])
        program.endpoint(url, event_types=["k"], retry={"schedule_s": [0.3], "jitter": 0}, dead_letter="morgue")
        events = [program.publish("k", n)["id"] for n in range(4)]
        until(lambda: len(receiver.hits(url)) >= 4)
        program.kill()
        program.start()
        until(lambda: len({letter["data"]["event"]["id"] for letter in letters(receiver, dead)}) == 4, 60)
        program.quiet(60)
        made = program.rows("/v1/events", type="hookline.dead_letter")
        assert sorted(row["causation_id"] for row in made) == sorted(events)
        assert len(program.deliveries(state="failed")) == 4
        assert balanced(program.stats())
