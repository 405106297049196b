"""Testing, verifying and re-keying endpoints, from outside: with a real receiver, over HTTP and the command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.acceptance.program import KEY, Program, balanced, free_port, running, until
from tests.acceptance.receiver import Answer, Hit, Receiver


def echo(hit: Hit, before: int) -> Answer:
    """Echoes challenges as JSON, takes everything else."""
    document = json.loads(hit.body) if hit.body else {}
    if document.get("type") == "hookline.challenge":
        return Answer(body=json.dumps({"challenge": document["data"]["challenge"]}).encode())
    return Answer()


def consent(**headers: str) -> Any:
    """Consents to the handshake by these headers, and takes everything else."""

    def script(hit: Hit, before: int) -> Answer:
        if hit.method != "OPTIONS":
            return Answer()
        return Answer(204, b"", {f"WebHook-Allowed-{name}": value for name, value in headers.items()})

    return script


def events(hits: list[Hit], type_: str) -> list[Hit]:
    """The deliveries of a type among what came."""
    return [hit for hit in hits if hit.body and json.loads(hit.body).get("type") == type_]


def command(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line of the program, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HOOKLINE_")}
    environment |= {"HOOKLINE_URL": program.url, "HOOKLINE_KEY": KEY}
    line = [sys.executable, "-m", "hookline", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


# ----------------------------------------------------------------------------------------------------------- a test


def test_a_test_is_a_real_request(program: Program, receiver: Receiver, name: str):
    """A test is signed and sent like a delivery, answered whole with credentials masked, and in no books."""
    url = receiver.url()
    endpoint = program.endpoint(
        url,
        event_types=[name],
        headers={"x-mine": "yes"},
        auth={"kind": "bearer", "token": "canary-token"},
        filter={"data.never": 1},
    )
    secret = program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
    before = program.stats()
    attempt = program.post(f"/v1/endpoints/{endpoint['id']}/test", status=200).json()
    (hit,) = receiver.came(url)
    assert Webhook(secret).verify(hit.body, hit.headers)["type"] == "hookline.test"
    assert (hit.headers["authorization"], hit.headers["x-mine"]) == ("Bearer canary-token", "yes")
    assert hit.headers["hookline-attempt"] == "1"
    assert attempt["success"] is True
    assert (attempt["status"], attempt["number"], attempt["url"]) == (200, 1, url)
    assert attempt["request_body"].encode() == hit.body
    assert attempt["request_headers"]["webhook-signature"] == hit.headers["webhook-signature"]
    assert attempt["response_body"] == "ok"
    assert "canary-token" not in json.dumps(attempt)
    assert program.stats()["deliveries"] == before["deliveries"]
    assert program.deliveries(endpoint=endpoint["id"]) == []


def test_a_test_of_a_type(program: Program, receiver: Receiver, name: str):
    """A test of a type sends the catalogue's example of the current version, in the endpoint's format."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=["never"], format="cloudevents")
    program.post("/v1/event-types", {"name": name, "example": {"version": 1}}, status=201)
    program.client.patch(f"/v1/event-types/{name}", json={"example": {"version": 2}}).raise_for_status()
    path = f"/v1/endpoints/{endpoint['id']}/test"
    assert program.post(path, {"type": name}, status=200).json()["success"]
    assert program.post(path, {"type": name, "data": {"mine": 1}}, status=200).json()["success"]
    bodies = [json.loads(hit.body) for hit in receiver.came(url, 2)]
    assert [body["specversion"] for body in bodies] == ["1.0", "1.0"]
    assert [body["type"] for body in bodies] == [name, name]
    assert [body["data"] for body in bodies] == [{"version": 2}, {"mine": 1}]


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_a_test_whatever_the_state(program: Program, receiver: Receiver, name: str, state: str):
    """A paused or disabled endpoint can be tested, and stays what it is."""
    url = receiver.url([410] if state == "disabled" else None)
    endpoint = program.endpoint(url, event_types=[name])
    if state == "paused":
        program.post(f"/v1/endpoints/{endpoint['id']}/pause", status=200)
    else:
        program.publish(name, 1)
        until(lambda: program.get(f"/v1/endpoints/{endpoint['id']}")["state"] == "disabled")
    attempt = program.post(f"/v1/endpoints/{endpoint['id']}/test", status=200).json()
    assert attempt["success"] is (state == "paused")
    assert program.get(f"/v1/endpoints/{endpoint['id']}")["state"] == state


def test_a_test_that_fails(program: Program, receiver: Receiver, name: str):
    """What is wrong is told at once, by the endpoint's own rules, and nothing follows from it."""
    nobody = program.endpoint(f"http://127.0.0.1:{free_port()}/", event_types=["never"])
    attempt = program.post(f"/v1/endpoints/{nobody['id']}/test", status=200).json()
    assert (attempt["success"], attempt["reason"], attempt["cause"]) == (False, "connect", "network")
    slow = program.endpoint(receiver.url(lambda hit, n: Answer(wait_s=3)), event_types=["never"], timeout_s=1)
    started_s = time.monotonic()
    attempt = program.post(f"/v1/endpoints/{slow['id']}/test", status=200).json()
    assert (attempt["success"], attempt["reason"]) == (False, "timeout")
    assert time.monotonic() - started_s < 2.9
    picky = program.endpoint(receiver.url(), event_types=["never"], success_when={"filter": {"body.ok": True}})
    attempt = program.post(f"/v1/endpoints/{picky['id']}/test", status=200).json()
    assert (attempt["success"], attempt["status"], attempt["reason"]) == (False, 200, "answer_rejected")
    for endpoint in (nobody, slow, picky):
        assert program.get(f"/v1/endpoints/{endpoint['id']}")["state"] == "active"


def test_the_command_line_shows_it(program: Program, receiver: Receiver, name: str):
    """`hookline endpoints test` shows the attempt and ends with 1 when it failed."""
    good = program.endpoint(receiver.url(), event_types=["never"])
    bad = program.endpoint(receiver.url([500]), event_types=["never"])
    ended = command(program, "endpoints", "test", good["id"])
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "success"), ended.stderr
    ended = command(program, "endpoints", "test", bad["id"], "--type", "a.b", "--data", '{"n": 1}')
    assert ended.returncode == 1
    assert "failed: server_error (application)" in ended.stdout
    ended = command(program, "endpoints", "test", bad["id"], "--json")
    assert (ended.returncode, json.loads(ended.stdout)["status"]) == (1, 500)


# ------------------------------------------------------------------------------------------------------ a challenge


def test_a_challenge_is_echoed(program: Program, receiver: Receiver, name: str):
    """A receiver that echoes the signed challenge is active in the answer to the creation."""
    url = receiver.url(echo)
    endpoint = program.endpoint(url, event_types=[name], verify="challenge")
    assert (endpoint["state"], endpoint["warnings"]) == ("active", [])
    (hit,) = receiver.hits(url)
    secret = program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
    challenge = Webhook(secret).verify(hit.body, hit.headers)["data"]["challenge"]
    assert len(challenge) >= 40
    made = program.publish(name, 1)
    program.delivered(made["id"])


def test_nothing_is_sent_before_consent(program: Program, receiver: Receiver, name: str):
    """Until the challenge is echoed the endpoint is unverified, its deliveries are held, and not one is sent."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name], verify="challenge", uid=name)
    assert endpoint["state"] == "unverified"
    assert "echo" in endpoint["warnings"][0]
    held_before = program.stats()["open"]["held"]
    made = [program.publish(name, n) for n in range(3)]
    assert [row["state"] for row in program.deliveries(endpoint=name)] == ["held"] * 3
    assert program.stats()["open"]["held"] == held_before + 3
    assert program.post(f"/v1/endpoints/{name}/resume").status_code == 409
    assert program.post(f"/v1/endpoints/{name}/verify", status=200).json()["state"] == "unverified"
    assert events(receiver.hits(url), name) == []
    receiver.say(url, echo)
    ended = command(program, "endpoints", "verify", name)
    assert (ended.returncode, ended.stdout) == (0, f"{endpoint['id']} is active\n"), ended.stderr
    for event in made:
        program.delivered(event["id"])
    assert len(events(receiver.hits(url), name)) == 3
    assert balanced(program.stats())


def test_it_is_tried_again_by_itself(program: Program, receiver: Receiver, name: str):
    """An endpoint that could not be verified is asked again after 10 s without anybody's doing."""
    url = receiver.url()
    program.endpoint(url, event_types=[name], verify="challenge", uid=name)
    receiver.say(url, echo)
    until(lambda: program.get(f"/v1/endpoints/{name}")["state"] == "active", 25.0)
    assert len(receiver.hits(url)) == 2


def test_a_slow_receiver_is_not_waited_for(program: Program, receiver: Receiver, name: str):
    """The creation is answered within about 10 s; an echo that comes later counts."""
    url = receiver.url(lambda hit, n: Answer(echo(hit, n).status, echo(hit, n).body, wait_s=11.5))
    started_s = time.monotonic()
    endpoint = program.endpoint(url, event_types=[name], verify="challenge")
    assert 9 < time.monotonic() - started_s < 11.4
    assert endpoint["state"] == "unverified"
    until(lambda: program.get(f"/v1/endpoints/{endpoint['id']}")["state"] == "active", 10.0)


def test_another_address_is_verified_anew(program: Program, receiver: Receiver, name: str):
    """A change of the address is verified before anything is sent there."""
    endpoint = program.endpoint(receiver.url(echo), event_types=[name], verify="challenge")
    elsewhere = receiver.url()
    path = f"/v1/endpoints/{endpoint['id']}"
    changed = program.client.patch(path, json={"url": elsewhere}).raise_for_status().json()
    assert changed["state"] == "unverified"
    made = program.publish(name, 1)
    assert program.delivery(made["id"])["state"] == "held"
    receiver.say(elsewhere, echo)
    assert program.post(path + "/verify", status=200).json()["state"] == "active"
    program.delivered(made["id"])
    assert len(events(receiver.hits(elsewhere), name)) == 1


def test_the_state_survives_a_kill(tmp_path: Path, receiver: Receiver, name: str):
    """After SIGKILL and a new start an unverified endpoint is unverified, sends nothing, and is asked again."""
    url = receiver.url()
    with running(tmp_path / "p") as program:
        endpoint = program.endpoint(url, event_types=[name], verify="challenge")
        made = program.publish(name, 1)
        program.kill()
        program.start()
        path = f"/v1/endpoints/{endpoint['id']}"
        assert program.get(path)["state"] == "unverified"
        assert program.delivery(made["id"])["state"] == "held"
        receiver.say(url, echo)
        until(lambda: program.get(path)["state"] == "active", 25.0)
        program.delivered(made["id"])
        assert len(events(receiver.hits(url), name)) == 1


def test_verified_by_a_test(program: Program, receiver: Receiver, name: str):
    """With verify test a delivered test event is enough: at creation, or when a person sends one."""
    url = receiver.url([500, 200])
    endpoint = program.endpoint(url, event_types=[name], verify="test")
    assert endpoint["state"] == "unverified"
    assert program.post(f"/v1/endpoints/{endpoint['id']}/test", status=200).json()["success"]
    assert program.get(f"/v1/endpoints/{endpoint['id']}")["state"] == "active"
    assert program.endpoint(receiver.url(), event_types=["never"], verify="test")["state"] == "active"


# ---------------------------------------------------------------------------------------------------- the handshake


def test_the_handshake_of_cloudevents(program: Program, receiver: Receiver, name: str):
    """OPTIONS to the exact target asks for consent; with it deliveries carry our origin, at the allowed rate."""
    url = receiver.url(consent(Origin="127.0.0.1", Rate="600")) + "?a=1"
    endpoint = program.endpoint(url, event_types=[name], verify="cloudevents", format="cloudevents")
    assert endpoint["state"] == "active"
    assert endpoint["rate"] == {"n": 600, "per_s": 60.0, "burst": 1}
    (asked,) = receiver.hits(url)
    assert (asked.method, asked.target.endswith("?a=1"), asked.body) == ("OPTIONS", True, b"")
    assert asked.headers["webhook-request-origin"] == "127.0.0.1"
    assert int(asked.headers["webhook-request-rate"]) > 0
    assert asked.headers["webhook-request-callback"].startswith(f"{program.url}/v1/endpoint-consent/")
    program.publish(name, 1)
    delivery = receiver.came(url, 2)[1]
    assert (delivery.method, delivery.headers["webhook-request-origin"]) == ("POST", "127.0.0.1")


def test_the_allowed_rate_is_kept(program: Program, receiver: Receiver, name: str):
    """What the receiver allowed a minute is never passed, however much there is to send."""
    url = receiver.url(consent(Origin="*", Rate="120"))
    endpoint = program.endpoint(url, event_types=[name], verify="cloudevents")
    program.post("/v1/events", [{"type": name, "data": n} for n in range(20)], status=202)
    hits = receiver.came(url, 5)[1:]
    spans = [later.at_s - earlier.at_s for earlier, later in pairwise(hits)]
    assert min(spans) > 0.35, spans
    program.client.delete(f"/v1/endpoints/{endpoint['id']}").raise_for_status()


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "lacks WebHook-Allowed-Origin"),
        ({"Origin": "*"}, "lacks WebHook-Allowed-Rate"),
        ({"Origin": "other.example", "Rate": "*"}, "neither 127.0.0.1 nor *"),
        ({"Origin": "*", "Rate": "soon"}, "neither a positive integer nor *"),
    ],
)
def test_no_consent_by_headers(program: Program, receiver: Receiver, name: str, headers: dict[str, str], says: str):
    """Without both headers, well formed and for us, there is no consent, whatever the status."""
    endpoint = program.endpoint(receiver.url(consent(**headers)), event_types=["never"], verify="cloudevents")
    assert endpoint["state"] == "unverified"
    assert says in endpoint["warnings"][0]


def test_consent_by_the_callback(program: Program, receiver: Receiver, name: str):
    """A receiver may consent later, by the callback, without a key; it works once."""
    url = receiver.url(consent())
    endpoint = program.endpoint(url, event_types=[name], verify="cloudevents")
    made = program.publish(name, 1)
    callback = receiver.hits(url)[0].headers["webhook-request-callback"]
    forged = callback[:-3] + ("AAA" if not callback.endswith("AAA") else "BBB")
    assert httpx2.post(forged, trust_env=False).status_code == 404
    assert program.delivery(made["id"])["state"] == "held"
    answer = httpx2.post(callback, headers={"webhook-allowed-rate": "6000"}, trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"state": "active"})
    program.delivered(made["id"])
    assert program.get(f"/v1/endpoints/{endpoint['id']}")["rate"]["n"] == 6000
    assert httpx2.get(callback, trust_env=False).status_code == 404
    assert callback.rpartition("/")[2] not in program.log()


# ------------------------------------------------------------------------------------------------------- rotation


def verifies(secret: str, hit: Hit) -> bool:
    """Whether a receiver with this secret accepts it, by the official library."""
    try:
        Webhook(secret).verify(hit.body, hit.headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_secret_is_rotated_without_a_gap(program: Program, receiver: Receiver, name: str):
    """During the overlap a receiver with the old and one with the new secret verify, after it only the new one."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name])
    path = f"/v1/endpoints/{endpoint['id']}/secret"
    old = program.get(path)["secret"]
    new = program.post(path + "/rotate", {"overlap_s": 2}, status=200).json()["secret"]
    rotated_s = time.monotonic()
    assert program.get(path)["secret"] == new != old
    program.publish(name, "during")
    (during,) = receiver.came(url)
    assert (verifies(old, during), verifies(new, during)) == (True, True)
    time.sleep(max(0.0, rotated_s + 2.2 - time.monotonic()))
    program.publish(name, "after")
    after = receiver.came(url, 2)[1]
    assert (verifies(old, after), verifies(new, after)) == (False, True)
    ended = command(program, "endpoints", "rotate-secret", endpoint["id"], "--overlap-s", "0", "--json")
    newest = json.loads(ended.stdout)["secret"]
    assert program.get(path)["secret"] == newest
    assert command(program, "endpoints", "secret", endpoint["id"]).stdout.strip() == newest
    program.publish(name, "at once")
    last = receiver.came(url, 3)[2]
    assert [verifies(secret, last) for secret in (old, new, newest)] == [False, False, True]


def test_a_leaked_secret_is_replaced_by_ones_own(program: Program, receiver: Receiver, name: str):
    """A secret of one's own, with no overlap, signs from the next delivery on; one that is none is refused."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name])
    path = f"/v1/endpoints/{endpoint['id']}/secret/rotate"
    mine = "whsec_" + "QUJD" * 8
    assert program.post(path, {"secret": "hunter2"}).json()["code"] == "invalid_secret"
    assert program.post(path, {"secret": mine, "overlap_s": 0}, status=200).json() == {"secret": mine}
    program.publish(name, 1)
    (hit,) = receiver.came(url)
    assert verifies(mine, hit)
    assert len(hit.headers["webhook-signature"].split()) == 1


def test_the_encryption_key_is_rotated(tmp_path: Path, receiver: Receiver, name: str):
    """As the how-to says: the new key before the old one, a restart, then the old one out; nothing is lost by it."""
    with running(tmp_path / "p") as program:
        url = receiver.url()
        endpoint = program.endpoint(url, event_types=[name])
        path = f"/v1/endpoints/{endpoint['id']}"
        secret = program.get(path + "/secret")["secret"]
        kept = program.folder / "hookline.secret"
        old = kept.read_text().strip()
        new = base64.b64encode(os.urandom(32)).decode()
        for keys in (f"{new},{old}", new):
            assert program.terminate() == 0
            kept.write_text(keys)
            program.start()
            until(lambda keys=keys: keys == new or "secrets_resealed" in program.log())
            assert program.get(path + "/secret")["secret"] == secret
            program.publish(name, 1)
        assert all(verifies(secret, hit) for hit in receiver.came(url, 2))
