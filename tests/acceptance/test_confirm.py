"""Confirmation, from outside: a receiver that confirms later, before it answers, twice, with an error, never; and one
that makes tokens up."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import httpx2
from tests.acceptance.program import Program, balanced, running, until
from tests.acceptance.receiver import OK, Answer, Hit, Receiver

QUICK = {"schedule_s": [0.3, 0.3], "jitter": 0}


def say(url: str, status: str = "success", **more: object) -> dict[str, object]:
    """What a receiver does that has read the manual, and has no API key."""
    request = urllib.request.Request(
        url,
        json.dumps({"status": status, **more}).encode(),
        {"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def told(hit: Hit) -> str:
    """Where a request says that it is to be confirmed."""
    return hit.headers["hookline-confirm-url"]


def asking(program: Program, url: str, within_s: float = 30, **more: object) -> dict[str, object]:
    """An endpoint that asks for confirmation."""
    return program.endpoint(url, confirm={"within_s": within_s}, **{"retry": QUICK, **more})


def test_it_is_delivered_when_the_receiver_says_so(program: Program, receiver: Receiver):
    """After its 2xx it is unconfirmed; the first word delivers it, the second changes nothing."""
    url = receiver.url()
    asking(program, url, event_types=["c.later"])
    event = program.publish("c.later", 1)
    (hit,) = receiver.came(url)
    row = program.delivered(event["id"], "unconfirmed")
    assert told(hit).startswith(program.url + "/v1/confirm/")
    assert say(told(hit)) == {"applied": True}
    delivered = program.delivered(event["id"])
    assert (delivered["id"], delivered["attempts"], delivered["reason"]) == (row["id"], 1, None)
    assert say(told(hit)) == {"applied": False}
    assert say(told(hit), "error") == {"applied": False}
    assert program.delivery(event["id"]) == delivered


def test_the_address_to_confirm_at_is_not_kept(program: Program, receiver: Receiver):
    """It proves who has it: attempts show it masked, as they show credentials."""
    url = receiver.url()
    asking(program, url, event_types=["c.masked"])
    event = program.publish("c.masked", 1)
    (hit,) = receiver.came(url)
    row = program.delivered(event["id"], "unconfirmed")
    (attempt,) = program.attempts(row["id"])
    assert attempt["request_headers"]["hookline-confirm-url"] == "***"
    assert attempt["outcome"] == "unconfirmed"
    token = told(hit).rpartition("/")[2]
    answers = [program.client.get(path).text for path in ("/v1/events", "/v1/deliveries", "/v1/endpoints")]
    assert [text for text in [*answers, json.dumps(attempt), program.log()] if token in text] == []
    assert token.encode() not in (program.folder / "hookline.db").read_bytes()
    say(told(hit))


def test_a_receiver_may_confirm_before_it_answers(program: Program, receiver: Receiver):
    """What is said while the request still runs counts as soon as it was answered, without a pause."""
    said: list[dict[str, object]] = []

    def script(hit: Hit, _before: int) -> Answer:
        said.append(say(told(hit)))
        return Answer(202)

    url = receiver.url(script)
    asking(program, url, event_types=["c.before"], order="key")
    events = [program.publish("c.before", n, ordering_key="k") for n in range(5)]
    for event in events:
        program.delivered(event["id"])
    assert said == [{"applied": True}] * 5
    assert [json.loads(hit.body)["data"] for hit in receiver.hits(url)] == list(range(5))


def test_an_error_is_a_failed_try(program: Program, receiver: Receiver):
    """Each error is tried again after its wait, with the same address to confirm at; the last one fails it."""
    url = receiver.url()
    asking(program, url, event_types=["c.error"])
    event = program.publish("c.error", 1)
    for count in (1, 2, 3):
        hit = receiver.came(url, count)[-1]
        program.delivered(event["id"], "unconfirmed")
        assert hit.headers["hookline-attempt"] == str(count)
        assert say(told(hit), "error", message=f"no {count}") == {"applied": True}
    row = program.delivered(event["id"], "failed")
    assert (row["reason"], row["attempts"]) == ("answer_rejected", 3)
    assert len({told(hit) for hit in receiver.hits(url)}) == 1
    assert say(told(receiver.hits(url)[0])) == {"applied": False}
    assert balanced(program.stats())


def test_silence_is_a_failed_try(program: Program, receiver: Receiver):
    """At each deadline it is sent again, and failed with the last; a late word changes nothing."""
    url = receiver.url()
    asking(program, url, within_s=1, event_types=["c.never"])
    event = program.publish("c.never", 1)
    hits = receiver.came(url, 3)
    row = program.delivered(event["id"], "failed")
    assert (row["reason"], row["attempts"]) == ("timeout", 3)
    assert hits[1].at_s - hits[0].at_s >= 0.9
    assert say(told(hits[0])) == {"applied": False}
    assert len(receiver.hits(url)) == 3


def test_a_retry_can_be_confirmed(program: Program, receiver: Receiver):
    """Who was too late for the first attempt may confirm the second, with what the first one told him."""
    url = receiver.url()
    asking(program, url, within_s=1, event_types=["c.second"])
    event = program.publish("c.second", 1)
    first, _ = receiver.came(url, 2)
    program.delivered(event["id"], "unconfirmed")
    until(lambda: say(told(first))["applied"], 3)
    assert program.delivered(event["id"])["attempts"] == 2


def test_nobody_confirms_by_chance(program: Program, receiver: Receiver):
    """Forged, changed and borrowed tokens have one answer, links that are followed confirm nothing."""
    url = receiver.url()
    asking(program, url, event_types=["c.forged"])
    event = program.publish("c.forged", 1)
    (hit,) = receiver.came(url)
    program.delivered(event["id"], "unconfirmed")
    base, _, token = told(hit).rpartition("/")
    forged = ["", "x", "A" * 43, token[:-1], token + "A", token[1:] + token[0], token.swapcase()]
    with httpx2.Client(timeout=10, trust_env=False) as nobody:
        answers = {nobody.post(f"{base}/{text}", json={"status": "success"}).content for text in forged}
        answers.add(nobody.post(f"{base}/{forged[2]}", content=b"\xff" * 10_000).content)
        assert len(answers) == 1
        assert [nobody.request(method, told(hit)).status_code for method in ("GET", "HEAD", "PUT")] == [405] * 3
        assert nobody.post(told(hit)).status_code == 400
        assert nobody.post(told(hit), json={"status": "maybe"}).status_code == 422
    assert program.delivery(event["id"])["state"] == "unconfirmed"
    assert say(told(hit)) == {"applied": True}
    program.delivered(event["id"])


def test_a_pause_does_not_stop_confirmations(program: Program, receiver: Receiver):
    """What was sent before a pause can be confirmed during it; a change of confirm does not touch its deadline."""
    url = receiver.url()
    endpoint = asking(program, url, event_types=["c.paused"])
    event = program.publish("c.paused", 1)
    (hit,) = receiver.came(url)
    program.delivered(event["id"], "unconfirmed")
    path = f"/v1/endpoints/{endpoint['id']}"
    program.post(f"{path}/pause", status=200)
    assert program.client.patch(path, json={"confirm": None}).status_code == 200
    assert program.delivery(event["id"])["state"] == "unconfirmed"
    assert say(told(hit)) == {"applied": True}
    program.delivered(event["id"])


def test_a_person_may_discard_what_waits(program: Program, receiver: Receiver):
    """An unconfirmed delivery can be discarded and not be retried; the word that comes later changes nothing."""
    url = receiver.url()
    asking(program, url, event_types=["c.discard"])
    event = program.publish("c.discard", 1)
    (hit,) = receiver.came(url)
    row = program.delivered(event["id"], "unconfirmed")
    assert program.post(f"/v1/deliveries/{row['id']}/retry").status_code == 409
    program.post(f"/v1/deliveries/{row['id']}/discard", status=200)
    assert say(told(hit)) == {"applied": False}
    assert program.delivery(event["id"])["state"] == "discarded"


def test_a_kill_between_answer_and_confirmation_loses_nothing(tmp_path: Path, receiver: Receiver):
    """kill -9 while deliveries wait: afterwards words that come late count, and those that do not come are missed."""
    url, silent = receiver.url(), receiver.url([200])
    with running(tmp_path) as program:
        asking(program, url, event_types=["k.word"])
        asking(program, silent, within_s=2, event_types=["k.silence"], retry={"schedule_s": [0]})
        words = [program.publish("k.word", n) for n in range(20)]
        silence = program.publish("k.silence", 1)
        receiver.came(url, 20)
        receiver.came(silent, 1)
        until(lambda: program.stats()["open"]["unconfirmed"] >= 20)
        program.kill()
        program.start()
        for hit in receiver.hits(url):
            until(lambda hit=hit: say(told(hit))["applied"] or program.delivery(hit.id)["state"] == "delivered")
        for event in words:
            program.delivered(event["id"])
        assert program.delivered(silence["id"], "failed")["reason"] == "timeout"
        assert len(receiver.hits(silent)) >= 2
        assert balanced(program.stats())


def test_a_word_that_was_answered_outlives_a_kill(tmp_path: Path, receiver: Receiver):
    """kill -9 right after `applied: true`: the word was on disk before it was answered."""
    url = receiver.url()
    with running(tmp_path) as program:
        asking(program, url, event_types=["k.applied"])
        event = program.publish("k.applied", 1)
        (hit,) = receiver.came(url)
        program.delivered(event["id"], "unconfirmed")
        assert say(told(hit)) == {"applied": True}
        program.kill()
        program.start()
        program.delivered(event["id"])
        assert len(receiver.hits(url)) == 1


def test_the_worlds_address_is_told(tmp_path: Path, receiver: Receiver):
    """With HOOKLINE_PUBLIC_URL receivers are told that address, path and all."""
    url = receiver.url()
    with running(tmp_path, public_url="https://hooks.example.com/h") as program:
        asking(program, url, event_types=["p"])
        program.publish("p", 1)
        (hit,) = receiver.came(url)
        assert told(hit).startswith("https://hooks.example.com/h/v1/confirm/")
        assert say(program.url + told(hit).removeprefix("https://hooks.example.com/h")) == {"applied": True}


def test_who_does_not_ask_is_told_nothing(program: Program, receiver: Receiver):
    """Without confirm there is no such header, and an endpoint cannot set one."""
    url = receiver.url(lambda _hit, _before: OK)
    program.endpoint(url, event_types=["c.none"])
    event = program.publish("c.none", 1)
    program.delivered(event["id"])
    assert "hookline-confirm-url" not in receiver.hits(url)[0].headers
    answer = program.post("/v1/endpoints", {"url": url, "headers": {"Hookline-Confirm-Url": "x"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_header")
