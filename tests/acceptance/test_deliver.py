"""Delivering, from outside: signatures, retries, the dead letter, order, pauses, formats, secrets that stay secret."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.acceptance.program import Program, balanced, until
from tests.acceptance.receiver import Answer, Receiver

QUICK = {"schedule_s": [0, 0, 0]}
NEVER = {"schedule_s": [600]}
ONCE = {"first_s": 1, "factor": 2, "wait_s_max": 1, "attempts": 1}


# ----------------------------------------------------------------------------------------------------- one attempt


def test_the_request_is_as_promised(program: Program, receiver: Receiver, name: str):
    """A delivery has a length, is not chunked, and carries the headers that the design names."""
    url = receiver.url(tail="/deep/path")
    program.endpoint(url + "?q=1&r=%20", event_types=[name], headers={"X-Mine": "yes"})
    made = program.publish(name, 1)
    (hit,) = receiver.came(url)
    assert hit.method == "POST"
    assert hit.target.endswith("/deep/path?q=1&r=%20")
    assert hit.headers["content-length"] == str(len(hit.body))
    assert "transfer-encoding" not in hit.headers
    assert hit.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert hit.headers["webhook-id"] == made["id"]
    assert re.fullmatch(r"[0-9]{10}", hit.headers["webhook-timestamp"])
    assert abs(int(hit.headers["webhook-timestamp"]) - time.time()) < 30
    assert hit.headers["webhook-signature"].startswith("v1,")
    assert hit.headers["user-agent"].startswith("Hookline/")
    assert hit.headers["hookline-attempt"] == "1"
    assert hit.headers["x-mine"] == "yes"
    assert len(hit.headers) == len(hit.fields)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_methods(program: Program, receiver: Receiver, name: str, method: str):
    """Each method is used as the endpoint says, with the body."""
    url = receiver.url()
    program.endpoint(url, event_types=[name], method=method)
    program.publish(name, {"a": 1})
    (hit,) = receiver.came(url)
    assert hit.method == method
    assert json.loads(hit.body)["data"] == {"a": 1}


def test_asymmetric_signature(program: Program, receiver: Receiver, name: str):
    """An endpoint with an Ed25519 secret signs v1a, which its public key verifies."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    url = receiver.url()
    secret = "whsk_" + base64.b64encode(bytes(range(32))).decode()
    endpoint = program.endpoint(url, event_types=[name], secret=secret)
    answer = program.get(f"/v1/endpoints/{endpoint['id']}/secret")
    program.publish(name, 1)
    (hit,) = receiver.came(url)
    version, signature = hit.headers["webhook-signature"].split(",")
    assert version == "v1a"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(answer["public_key"].removeprefix("whpk_")))
    signed = f"{hit.id}.{hit.headers['webhook-timestamp']}.".encode() + hit.body
    key.verify(base64.b64decode(signature), signed)


def test_rotation_signs_with_both(program: Program, receiver: Receiver, name: str):
    """After a rotation a delivery is signed with the new and the old secret, and a stranger's is refused."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name])
    path = f"/v1/endpoints/{endpoint['id']}/secret"
    old = program.get(path)["secret"]
    assert program.post(path + "/rotate").status_code < 300
    new = program.get(path)["secret"]
    assert new != old
    program.publish(name, 1)
    (hit,) = receiver.came(url)
    for secret in (old, new):
        Webhook(secret).verify(hit.body, hit.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(24)).decode()).verify(hit.body, hit.headers)


def test_attempt_shows_the_request_as_sent(program: Program, receiver: Receiver, name: str):
    """An attempt shows exactly the body and headers that arrived, even after the endpoint changed, and the answer."""
    url = receiver.url(lambda _hit, _n: Answer(201, b'{"taken":true}', {"x-answer": "a"}))
    endpoint = program.endpoint(url, event_types=[name], headers={"X-Mine": "before"})
    made = program.publish(name, {"spaced": 1.0})
    row = program.delivered(made["id"])
    changed = program.client.patch(f"/v1/endpoints/{endpoint['id']}", json={"headers": {"X-Mine": "after"}})
    assert changed.status_code == 200
    (hit,) = receiver.hits(url)
    (attempt,) = program.attempts(row["id"])
    assert attempt["number"] == 1
    assert attempt["status"] == 201
    assert attempt["reason"] is None
    assert (attempt["method"], attempt["url"]) == ("POST", url)
    assert attempt["request_body"] == hit.body.decode()
    assert attempt["response_body"] == '{"taken":true}'
    sent = {key.lower(): value for key, value in pairs(attempt["request_headers"])}
    assert sent["x-mine"] == "before"
    for field in ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type"):
        assert sent[field] == hit.headers[field]
    assert {key.lower(): value for key, value in pairs(attempt["response_headers"])}["x-answer"] == "a"
    assert attempt["duration_ms"] > 0
    datetime.fromisoformat(attempt["at"])


def pairs(headers: object) -> list[tuple[str, str]]:
    """Headers as the API gives them: a list of pairs, or an object."""
    if isinstance(headers, dict):
        return list(headers.items())
    assert isinstance(headers, list)
    return [(name, value) for name, value in headers]


# --------------------------------------------------------------------------------------------------------- retries


def test_retries_until_it_works(program: Program, receiver: Receiver, name: str):
    """After two failures the third try delivers: same id, fresh timestamps, attempts numbered and explained."""
    url = receiver.url([500, 404, 204])
    endpoint = program.endpoint(url, event_types=[name], retry={"schedule_s": [1, 0]})
    made = program.publish(name, 1)
    hits = receiver.came(url, 3)
    row = program.delivered(made["id"])
    assert row["attempts"] == 3
    assert {hit.id for hit in hits} == {made["id"]}
    assert [hit.headers["hookline-attempt"] for hit in hits] == ["1", "2", "3"]
    assert hits[0].headers["webhook-signature"] != hits[1].headers["webhook-signature"]
    secret = program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
    for hit in hits:
        Webhook(secret).verify(hit.body, hit.headers)
    assert 0.75 < hits[1].at_s - hits[0].at_s < 3
    attempts = program.attempts(row["id"])
    assert [(a["number"], a["status"], a["reason"]) for a in attempts] == [
        (1, 500, "server_error"),
        (2, 404, "client_error"),
        (3, 204, None),
    ]
    assert attempts[0]["cause"] == "application"


def test_used_up_is_failed_and_retried_by_hand(program: Program, receiver: Receiver, name: str):
    """Tries used up make it failed, findable by state and reason; a retry by hand delivers the same delivery."""
    url = receiver.url([503])
    endpoint = program.endpoint(url, event_types=[name], retry=QUICK)
    made = program.publish(name, 1)
    row = program.delivered(made["id"], "failed")
    assert (row["attempts"], row["reason"]) == (4, "server_error")
    assert row["finished_at"] is not None
    found = program.deliveries(state="failed", endpoint=endpoint["id"], reason="server_error", type=name)
    assert [r["id"] for r in found] == [row["id"]]
    receiver.say(url, lambda _hit, _n: Answer(200))
    assert program.post(f"/v1/deliveries/{row['id']}/retry").status_code < 300
    done = program.delivered(made["id"])
    assert done["id"] == row["id"]
    assert len(program.attempts(row["id"])) == 5
    assert program.post(f"/v1/deliveries/{row['id']}/retry").status_code == 409
    assert balanced(program.stats())


def test_a_failed_one_can_be_discarded(program: Program, receiver: Receiver, name: str):
    """Discarding a failed delivery is final, and the books follow."""
    url = receiver.url([500])
    program.endpoint(url, event_types=[name], retry=ONCE)
    made = program.publish(name, 1)
    row = program.delivered(made["id"], "failed")
    before = program.stats()
    assert program.post(f"/v1/deliveries/{row['id']}/discard").status_code < 300
    assert program.delivery(made["id"])["state"] == "discarded"
    after = program.stats()
    assert after["discarded"] - before["discarded"] == 1
    assert before["failed"] - after["failed"] == 1
    assert balanced(after)


def test_a_replay_is_a_new_delivery_of_the_same_event(program: Program, receiver: Receiver, name: str):
    """A replayed event arrives again under the same webhook-id, as a delivery of its own."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    made = program.publish(name, {"a": 1})
    program.delivered(made["id"])
    assert program.post(f"/v1/events/{made['id']}/replay").status_code < 300
    first, second = receiver.came(url, 2)
    assert (first.id, first.body) == (second.id, second.body)
    rows = until(lambda: (r := program.deliveries(event=made["id"])) and len(r) == 2 and r)
    assert len({row["id"] for row in rows}) == 2
    until(lambda: {row["state"] for row in program.deliveries(event=made["id"])} == {"delivered"})


ANSWERS = {
    "301": (Answer(301, headers={"location": "http://169.254.169.254/"}), "redirect"),
    "307": (Answer(307, headers={"location": "/elsewhere"}), "redirect"),
    "400": (Answer(400), "client_error"),
    "429": (Answer(429), "rate_limited"),
    "500": (Answer(500), "server_error"),
    "http/0.9": (Answer(raw=b"HTTP/0.9 what\r\n\r\n"), "protocol"),
    "no http": (Answer(raw=b"nonsense\r\n\r\n"), "protocol"),
    "empty": (Answer(raw=b""), "connect"),
    "half": (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), "connect"),
    "two lengths": (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), "protocol"),
    "huge header": (Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n"), "protocol"),
    "1xx flood": (Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 500), "protocol"),
    "bad chunk": (Answer(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n"), "protocol"),
    "slow": (Answer(wait_s=1.6), "timeout"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_reasons(program: Program, receiver: Receiver, name: str, case: str):
    """Whatever a receiver does is one failed attempt with the reason that fits, and nothing is followed."""
    answer, reason = ANSWERS[case]
    url = receiver.url(lambda _hit, _n: answer)
    program.endpoint(url, event_types=[name], retry=ONCE, timeout_s=1)
    made = program.publish(name, 1)
    row = program.delivered(made["id"], "failed")
    assert row["reason"] == reason
    assert len(receiver.hits(url)) == 1
    (attempt,) = program.attempts(row["id"])
    assert attempt["reason"] == reason
    assert attempt["cause"]


def test_nobody_listens(program: Program, receiver: Receiver, name: str):
    """A refused connection is reason `connect`; a name that does not resolve is `dns` and a warning at creation."""
    from tests.acceptance.program import free_port

    program.endpoint(f"http://127.0.0.1:{free_port()}/", event_types=[name], retry=ONCE)
    made = program.publish(name, 1)
    assert program.delivered(made["id"], "failed")["reason"] == "connect"
    other = name + ".dns"
    endpoint = program.endpoint("http://no-such-host.invalid/", event_types=[other], retry=ONCE)
    assert endpoint["warnings"]
    made = program.publish(other, 1)
    assert program.delivered(made["id"], "failed")["reason"] == "dns"


def test_a_flood_of_an_answer_is_cut(program: Program, receiver: Receiver, name: str):
    """A long answer is delivered by its status; what is kept of its body is bounded."""
    url = receiver.url(lambda _hit, n: Answer(500 if n == 0 else 200, b"x" * 3_000_000))
    program.endpoint(url, event_types=[name], retry=QUICK)
    made = program.publish(name, 1)
    row = program.delivered(made["id"])
    bodies = [attempt["response_body"] for attempt in program.attempts(row["id"])]
    assert [len(body) for body in bodies] == [16 * 1024, 1024]


def test_gone_disables(program: Program, receiver: Receiver, name: str):
    """410 fails the delivery and disables the endpoint; what comes later is held until somebody resumes it."""
    url = receiver.url([410, 200])
    endpoint = program.endpoint(url, event_types=[name], retry=QUICK)
    made = program.publish(name, 1)
    assert program.delivered(made["id"], "failed")["reason"] == "gone"
    path = f"/v1/endpoints/{endpoint['id']}"
    until(lambda: program.get(path)["state"] == "disabled")
    later = program.publish(name, 2)
    assert later["deliveries"] == 1
    assert program.delivery(later["id"])["state"] == "held"
    assert program.post(path + "/resume").status_code < 300
    assert program.get(path)["state"] == "active"
    program.delivered(later["id"])


def test_retry_after_pauses_the_whole_endpoint(program: Program, receiver: Receiver, name: str):
    """A 429 with Retry-After makes every delivery of the endpoint wait so long; they stay pending and cost no try."""
    url = receiver.url(lambda _hit, n: Answer(429, headers={"retry-after": "2"}) if n == 0 else Answer(200))
    program.endpoint(url, event_types=[name], retry=QUICK, concurrency_max=1)
    made = [program.publish(name, 1)]
    receiver.came(url)
    time.sleep(0.2)
    made += [program.publish(name, n) for n in range(3)]
    assert {program.delivery(m["id"])["state"] for m in made} == {"pending"}
    hits = receiver.came(url, 5)
    assert hits[1].at_s - hits[0].at_s > 1.8
    for m in made[1:]:
        assert program.delivered(m["id"])["attempts"] == 1


def test_retry_rules(program: Program, receiver: Receiver, name: str):
    """`retry.on` decides by status: `fail` fails at once as `rejected`, and a schedule of its own is used."""
    url = receiver.url([409, 409, 422])
    on = {"4xx": "fail", "409": {"retry": {"schedule_s": [0, 0]}}}
    program.endpoint(url, event_types=[name], retry={"schedule_s": [600], "on": on})
    made = program.publish(name, 1)
    row = program.delivered(made["id"], "failed")
    assert (row["attempts"], row["reason"]) == (3, "rejected")


def test_success_when(program: Program, receiver: Receiver, name: str):
    """`success_when` judges status, headers and body; an answer that does not meet it is `answer_rejected`."""
    url = receiver.url(lambda _hit, n: Answer(200, b'{"ok": false}' if n == 0 else b'{"ok": true}'))
    condition = {"status": [200], "filter": {"body.ok": True}}
    program.endpoint(url, event_types=[name], retry=QUICK, success_when=condition)
    made = program.publish(name, 1)
    row = program.delivered(made["id"])
    assert [a["reason"] for a in program.attempts(row["id"])] == ["answer_rejected", None]


# ---------------------------------------------------------------------------------------- state, order, filters, rate


def test_pause_holds_and_resume_lets_flow(program: Program, receiver: Receiver, name: str):
    """While paused nothing is sent and everything is reported held, in rows, filters and books; resume sends all."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name])
    path = f"/v1/endpoints/{endpoint['id']}"
    assert program.post(path + "/pause").status_code < 300
    held = program.stats()["open"]["held"]
    made = [program.publish(name, n) for n in range(20)]
    assert program.get(path)["state"] == "paused"
    assert {row["state"] for row in program.deliveries(endpoint=endpoint["id"])} == {"held"}
    assert len(program.deliveries(endpoint=endpoint["id"], state="held")) == 20
    assert program.deliveries(endpoint=endpoint["id"], state="pending") == []
    stats = program.stats()
    assert stats["open"]["held"] - held == 20
    assert balanced(stats)
    time.sleep(0.3)
    assert receiver.hits(url) == []
    assert program.post(path + "/resume").status_code < 300
    for m in made:
        program.delivered(m["id"])
    assert program.stats()["open"]["held"] == held


def test_deleting_discards_what_is_open(program: Program, receiver: Receiver, name: str):
    """Deleting an endpoint discards its open deliveries with a reason, frees its uid, and sends nothing more."""
    url = receiver.url()
    uid = name.replace("/", "-")
    endpoint = program.endpoint(url, event_types=[name], uid=uid)
    assert program.get(f"/v1/endpoints/{uid}")["id"] == endpoint["id"]
    assert program.post("/v1/endpoints", {"url": url, "uid": uid}).status_code == 409
    program.post(f"/v1/endpoints/{uid}/pause")
    made = program.publish(name, 1)
    assert program.client.delete(f"/v1/endpoints/{uid}").status_code < 300
    row = program.delivered(made["id"], "discarded")
    assert row["reason"] == "endpoint_deleted"
    program.get(f"/v1/endpoints/{uid}", status=404)
    assert program.publish(name, 2)["deliveries"] == 0
    program.endpoint(url, event_types=[name + ".again"], uid=uid)
    assert receiver.hits(url) == []


@pytest.mark.parametrize(
    ("filter_", "data", "matches"),
    [
        ({"data.total": {"$gte": 100}}, {"total": 100}, True),
        ({"data.total": {"$gte": 100}}, {"total": 99}, False),
        ({"data": {"total": {"$lt": 1}}}, {"total": 0.5}, True),
        ({"data.country": {"$in": ["DE", "FR"]}}, {"country": "FR"}, True),
        ({"data.country": {"$nin": ["DE", "FR"]}}, {"country": "FR"}, False),
        ({"data.stock": {"$lt": {"$ref": "data.reorder_level"}}}, {"stock": 1, "reorder_level": 2}, True),
        ({"data.stock": {"$lt": {"$ref": "data.reorder_level"}}}, {"stock": 2, "reorder_level": 2}, False),
        ({"data.a": {"$exist": False}}, {}, True),
        ({"data.a": {"$exists": True}}, {}, False),
        ({"data.name": {"$startsWith": "a"}}, {"name": "abc"}, True),
        ({"data.name": {"$endsWith": "a"}}, {"name": "abc"}, False),
        ({"data.name": {"$contains": "b"}}, {"name": "abc"}, True),
        ({"$or": [{"data.a": 1}, {"data.b": 1}]}, {"b": 1}, True),
        ({"$and": [{"data.a": 1}, {"data.b": 1}]}, {"b": 1}, False),
        ({"$not": {"data.a": 1}}, {"a": 2}, True),
        ({"data.a": {"$ne": 1}}, {"a": 1}, False),
        ({"data.a": {"$neq": 1}}, {"a": 2}, True),
        ({"subject": "s"}, {}, True),
        ({"source": {"$startsWith": "/shop"}}, {}, True),
    ],
    ids=str,
)
def test_filters(program: Program, receiver: Receiver, name: str, filter_: object, data: object, matches: bool):
    """An event goes to an endpoint only if its filter matches; the 202 says to how many it goes."""
    program.endpoint(receiver.url(), event_types=[name], filter=filter_)
    assert program.publish(name, data, subject="s", source="/shop/1")["deliveries"] == int(matches)


@pytest.mark.parametrize(
    "filter_",
    [{"data.a": {"$regex": "a+"}}, {"$nope": []}, {"data": {"$gte": {"a": 1}}}, {"$or": []}, {"$not": 1}],
    ids=str,
)
def test_a_wrong_filter_is_refused(program: Program, receiver: Receiver, filter_: object):
    """A filter that is wrong is 422 at creation, with the position of the fault."""
    answer = program.post("/v1/endpoints", {"url": receiver.url(), "filter": filter_}, status=422).json()
    assert answer["code"] == "invalid_filter"
    assert answer["pointer"].startswith("/filter")


@pytest.mark.parametrize(
    ("patterns", "matched"),
    [(["order.created"], 1), (["order.*"], 3), (["*"], 4), (["order.*", "*"], 4), (["order"], 1), (["hookline.*"], 0)],
    ids=str,
)
def test_patterns(program: Program, receiver: Receiver, patterns: list[str], matched: int):
    """A pattern is a name, a prefix with a trailing `.*` of any depth, or `*` for all but our own."""
    tenant = "p-" + "-".join(patterns).replace("*", "any")
    headers = {"hookline_tenant": tenant}
    program.post("/v1/endpoints", {"url": receiver.url(), "event_types": patterns}, status=201, **headers)
    types = ["order", "order.created", "order.item.added", "order.x"]
    counts = [program.post("/v1/events", {"type": t, "data": 1}, status=202, **headers).json() for t in types]
    assert sum(answer["deliveries"] for answer in counts) == matched


def test_lanes_keep_order_across_failures(program: Program, receiver: Receiver, name: str):
    """With order by key, events of one key arrive one after the other, also when some fail; keys do not wait."""

    def script(hit, before):
        return Answer(500 if before % 3 == 0 else 200, wait_s=0.01)

    url = receiver.url(script)
    program.endpoint(url, event_types=[name], order="key", retry={"schedule_s": [0] * 20})
    made = [program.publish(name, n, ordering_key=f"k{n % 3}") for n in range(30)]
    for m in made:
        program.delivered(m["id"], wait_s=60)
    taken: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for before, hit in enumerate(receiver.hits(url)):
        if before % 3:
            n = json.loads(hit.body)["data"]
            taken[n % 3].append(n)
    assert taken == {key: list(range(key, 30, 3)) for key in range(3)}


@pytest.mark.parametrize("when_failed", ["wait", "skip"])
def test_a_failed_head(program: Program, receiver: Receiver, name: str, when_failed: str):
    """When the head of a lane fails, `wait` holds the others until it is settled; `skip` lets them pass."""
    url = receiver.url([500, 200])
    program.endpoint(url, event_types=[name], order={"by": "key", "when_failed": when_failed}, retry=ONCE)
    first, second = (program.publish(name, n, ordering_key="k") for n in range(2))
    head = program.delivered(first["id"], "failed")
    if when_failed == "skip":
        program.delivered(second["id"])
        return
    time.sleep(0.2)
    assert program.delivery(second["id"])["state"] == "held"
    assert program.post(f"/v1/deliveries/{head['id']}/retry").status_code < 300
    program.delivered(first["id"])
    program.delivered(second["id"])
    assert [json.loads(hit.body)["data"] for hit in receiver.hits(url)] == [0, 0, 1]


def test_a_rate_spreads_deliveries(program: Program, receiver: Receiver, name: str):
    """Over its rate an endpoint's deliveries wait as pending, use no try, and delay nobody else."""
    slow, quick = receiver.url(), receiver.url()
    program.endpoint(slow, event_types=[name], rate={"n": 5, "per_s": 1, "burst": 1})
    program.endpoint(quick, event_types=[name])
    made = [program.publish(name, n) for n in range(8)]
    receiver.came(quick, 8, wait_s=2)
    hits = receiver.came(slow, 8)
    assert hits[-1].at_s - hits[0].at_s > 1.1
    until(lambda: all(r["state"] == "delivered" for m in made for r in program.deliveries(event=m["id"])))
    assert {r["attempts"] for m in made for r in program.deliveries(event=m["id"])} == {1}


def test_a_slow_endpoint_does_not_slow_others(program: Program, receiver: Receiver, name: str):
    """While one endpoint hangs on every request, another gets its deliveries as if it were alone."""
    hanging = receiver.url(lambda _hit, _n: Answer(wait_s=3))
    healthy = receiver.url()
    stuck = program.endpoint(hanging, event_types=[name], timeout_s=2, retry=NEVER)
    program.endpoint(healthy, event_types=[name])
    began = time.monotonic()
    for n in range(50):
        program.publish(name, n)
    receiver.came(healthy, 50, wait_s=5)
    assert time.monotonic() - began < 5
    program.client.delete(f"/v1/endpoints/{stuck['id']}")


# --------------------------------------------------------------------------------- operational events and credentials


def test_operational_events(program: Program, receiver: Receiver, name: str):
    """A failed delivery is announced to who subscribes to `hookline.*`, and its own failing announces nothing."""
    headers = {"hookline_tenant": "operational"}
    failing, listening = receiver.url([500]), receiver.url([500, 200])
    spec = {"url": failing, "event_types": [name], "retry": ONCE}
    endpoint = program.post("/v1/endpoints", spec, status=201, **headers).json()
    spec = {"url": listening, "event_types": ["hookline.*"], "retry": {"schedule_s": [0]}}
    program.post("/v1/endpoints", spec, status=201, **headers)
    made = program.post("/v1/events", {"type": name, "data": 1}, status=202, **headers).json()
    hits = receiver.came(listening, 2)
    told = json.loads(hits[1].body)
    assert told["type"] == "hookline.delivery.failed"
    assert told["data"]["event_id"] == made["id"]
    assert told["data"]["endpoint_id"] == endpoint["id"]
    assert told["data"]["reason"] == "server_error"
    time.sleep(0.3)
    assert len(receiver.hits(listening)) == 2


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "bearer", "token": "canary-bearer"}, "authorization", "Bearer canary-bearer"),
        (
            {"kind": "basic", "username": "me", "password": "canary-basic"},
            "authorization",
            "Basic " + base64.b64encode(b"me:canary-basic").decode(),
        ),
        ({"kind": "api_key", "header": "X-Api-Key", "value": "canary-api-key"}, "x-api-key", "canary-api-key"),
    ],
    ids=["bearer", "basic", "api_key"],
)
def test_credentials_are_sent_and_never_shown(
    program: Program, receiver: Receiver, name: str, auth: dict[str, str], header: str, value: str
):
    """Credentials reach the receiver, and are in no answer, no attempt, no log and no file in the clear."""
    url = receiver.url()
    made = program.endpoint(url, event_types=[name], auth=auth)
    event = program.publish(name, 1)
    (hit,) = receiver.came(url)
    assert hit.headers[header] == value
    row = program.delivered(event["id"])
    secret = program.get(f"/v1/endpoints/{made['id']}/secret")["secret"]
    shown = json.dumps([made, program.get(f"/v1/endpoints/{made['id']}"), program.attempts(row["id"])])
    stored = b"".join(path.read_bytes() for path in program.folder.iterdir() if path.name.startswith("hookline.db"))
    canaries = [auth.get("token") or auth.get("password") or auth["value"], secret.removeprefix("whsec_")]
    canaries.append(value.removeprefix("Basic "))
    for canary in canaries:
        assert canary not in shown
        assert canary not in program.log_path.read_text()
        assert canary.encode() not in stored


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"Host": "x"},
        {"Content-Length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"webhook-id": "x"},
        {"Webhook-Signature": "x"},
        {"a b": "x"},
        {"": "x"},
        {"TE": "trailers"},
        {"Upgrade": "x"},
        {"X\u00e4": "x"},
        {f"x-{n}": "y" for n in range(1000)},
    ],
    ids=lambda headers: ascii(next(iter(headers)))[:20],
)
def test_bad_headers_are_refused(program: Program, receiver: Receiver, headers: dict[str, str]):
    """Custom headers that break framing, name a host, or belong to signing are 422 at creation."""
    program.post("/v1/endpoints", {"url": receiver.url(), "headers": headers}, status=422)


@pytest.mark.parametrize(
    "spec",
    [
        {"unknown": 1},
        {"timeout_s": 0},
        {"timeout_s": 61},
        {"concurrency_max": 0},
        {"method": "GET"},
        {"format": "xml"},
        {"event_types": []},
        {"event_types": ["a b"]},
        {"retry": {"schedule_s": []}},
        {"retry": {"schedule_s": [0] * 101}},
        {"retry": {"schedule_s": [604_801]}},
        {"retry": {"schedule_s": [-1]}},
        {"retry": {"attempts": 0, "first_s": 1}},
        {"secret": "whsec_"},
        {"secret": "plain"},
        {"rate": {"n": 0}},
        {"order": "time"},
        {"auth": {"kind": "bearer"}},
        {"auth": {"kind": "magic", "token": "x"}},
        {"verify": "hope"},
        {"confirm": {"within_s": 0}},
        {"dead_letter": "nobody"},
        {"confirm": {}},
        {"dead_letter": "ep_1"},
        {"url": None},
        {"kind": "carrier-pigeon"},
        {"uid": "a b"},
        {"response_bytes_max": 2 * 1024 * 1024},
    ],
    ids=str,
)
def test_a_bad_endpoint_is_refused(program: Program, receiver: Receiver, spec: dict[str, object]):
    """Whatever an endpoint cannot be is 422 with a pointer to the member at fault."""
    answer = program.post("/v1/endpoints", {"url": receiver.url(), **spec}, status=422).json()
    assert answer["pointer"].startswith("/" + next(iter(spec)))
