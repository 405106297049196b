"""Publishing, from outside: every form in, the payload's bytes out, duplicates, schemas, limits."""

from __future__ import annotations

import base64
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from standardwebhooks.webhooks import Webhook
from tests.acceptance.program import Program, running
from tests.acceptance.receiver import Receiver

AWKWARD = [
    b'{"b":1,"a":2}',
    b'{ "spaced" :\t[1 , 2],\n "end" : true }',
    b'{"number":1.0,"big":12345678901234567890123,"small":1e-7,"zero":-0.0,"exponent":1E+2}',
    b'{"slash":"\\/","escape":"\\u00e9","raw":"\xc3\xa9","quote":"\\"","nul":"\\u0000","pair":"\\ud83d\\ude00"}',
    b'{"a":1,"a":2}',
    b"[]",
    b"null",
    b"false",
    b"0",
    b'""',
    b'"\xe2\x98\x95"',
    b"[" * 100 + b"]" * 100,
]
NOT_JSON = [
    ("application/xml", b'<?xml version="1.0"?>\n<order id="1"/>\n'),
    ("application/x-www-form-urlencoded", b"a=1&b=%20&c=+"),
    ("text/plain; charset=utf-8", "Grüße\r\n".encode()),
    ("application/octet-stream", bytes(range(256))),
    ("application/json", b'{ "kept" : 1.0 }'),
]


def ce(**attributes: str) -> dict[str, str]:
    """Headers of a CloudEvent in binary mode."""
    base = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests"}
    return {f"ce-{name}": value for name, value in (base | attributes).items()}


# -------------------------------------------------------------------------------------------------------- forms


def test_json_event_is_delivered_and_signed(program: Program, receiver: Receiver, name: str):
    """An event published as JSON arrives as the Standard Webhooks body, and the official library accepts it."""
    url = receiver.url()
    endpoint = program.endpoint(url, event_types=[name])
    answer = program.publish(name, {"id": 1}, subject="order/1")
    assert answer["deliveries"] == 1
    assert answer["duplicate"] is False
    (hit,) = receiver.came(url)
    assert hit.id == answer["id"]
    assert answer["id"].startswith("evt_")
    secret = program.get(f"/v1/endpoints/{endpoint['id']}/secret")["secret"]
    body = Webhook(secret).verify(hit.body, hit.headers)
    assert body["type"] == name
    assert body["data"] == {"id": 1}
    assert set(body) == {"type", "timestamp", "data"}
    assert program.delivered(answer["id"])["attempts"] == 1


@pytest.mark.parametrize("data", AWKWARD, ids=range(len(AWKWARD)))
def test_data_keeps_its_bytes(program: Program, receiver: Receiver, name: str, data: bytes):
    """Whitespace, key order, spelling of numbers and escapes of `data` reach every format byte for byte."""
    standard, raw, structured = receiver.url(), receiver.url(), receiver.url()
    program.endpoint(standard, event_types=[name])
    program.endpoint(raw, event_types=[name], format="raw")
    program.endpoint(structured, event_types=[name], format="cloudevents")
    body = b'{"data": ' + data + b', "type": "' + name.encode() + b'"}'
    assert program.raw("/v1/events", body, "application/json").status_code == 202
    assert receiver.came(raw)[0].body == data
    assert receiver.came(raw)[0].headers["content-type"] == "application/json"
    assert b'"data":' + data in receiver.came(standard)[0].body
    assert b'"data":' + data in receiver.came(structured)[0].body


def test_array_answers_per_item(program: Program, receiver: Receiver, name: str):
    """A JSON array is one request whose items are accepted, duplicate or invalid each by itself, in order."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    repeated = {"type": name, "data": 0, "id": str(uuid.uuid4())}
    items = [repeated, {"type": name, "data": 1}, {"type": "no spaces", "data": 2}, repeated, {"typ": name}]
    answer = program.post("/v1/events", items, status=202).json()["data"]
    assert [row["status"] for row in answer] == ["accepted", "accepted", "invalid", "duplicate", "invalid"]
    assert answer[3]["id"] == answer[0]["id"]
    assert answer[2]["problem"]["code"] == "invalid_event_type"
    assert len(receiver.came(url, 2)) == 2
    assert len(program.rows("/v1/events", type=name)) == 2


@pytest.mark.parametrize("items", [[], [{"type": ""}], [{"type": "a b"}, 1, None]], ids=["empty", "one", "three"])
def test_array_with_nothing_acceptable_is_refused(program: Program, items: list[object]):
    """An empty array, and one in which no item is acceptable, is 422."""
    answer = program.post("/v1/events", items, status=422).json()
    assert answer["code"] in ("empty_batch", "nothing_acceptable")


def test_cloudevent_structured(program: Program, receiver: Receiver, name: str):
    """A structured CloudEvent keeps id, source, subject, time and extensions, and its data's bytes."""
    url = receiver.url()
    program.endpoint(url, event_types=[name], format="cloudevents")
    identifier = str(uuid.uuid4())
    attributes = {"specversion": "1.0", "id": identifier, "source": "/tests", "type": name, "subject": "s"}
    attributes |= {"time": "2026-01-02T03:04:05.678+02:00", "myext": "value"}
    body = json.dumps(attributes)[:-1].encode() + b', "data": {"a" : 1.00}}'
    answer = program.raw("/v1/events", body, "application/cloudevents+json; charset=utf-8")
    assert answer.status_code == 202
    (hit,) = receiver.came(url)
    assert hit.headers["content-type"].startswith("application/cloudevents+json")
    sent = json.loads(hit.body)
    assert {key: sent[key] for key in attributes} == attributes
    assert b'{"a" : 1.00}' in hit.body
    (event,) = program.rows("/v1/events", type=name, source="/tests", source_id=identifier)
    assert event["id"] == answer.json()["id"]


def test_cloudevent_structured_with_base64(program: Program, receiver: Receiver, name: str):
    """`data_base64` is the payload decoded, under its own content type."""
    url = receiver.url()
    program.endpoint(url, event_types=[name], format="raw")
    payload = bytes(range(256))
    event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests", "type": name}
    event |= {"datacontenttype": "image/png", "data_base64": base64.b64encode(payload).decode()}
    answer = program.raw("/v1/events", json.dumps(event).encode(), "application/cloudevents+json")
    assert answer.status_code == 202
    (hit,) = receiver.came(url)
    assert (hit.body, hit.headers["content-type"]) == (payload, "image/png")


def test_cloudevents_batch(program: Program, receiver: Receiver, name: str):
    """A CloudEvents batch is accepted item by item."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    items = [
        {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests", "type": name, "data": n} for n in range(3)
    ]
    items.append({"specversion": "0.3", "id": "x", "source": "/tests", "type": name})
    answer = program.raw("/v1/events", json.dumps(items).encode(), "application/cloudevents-batch+json")
    assert answer.status_code == 202
    assert [row["status"] for row in answer.json()["data"]] == ["accepted"] * 3 + ["invalid"]
    receiver.came(url, 3)


@pytest.mark.parametrize(("content_type", "payload"), NOT_JSON, ids=[kind for kind, _ in NOT_JSON])
def test_cloudevent_binary(program: Program, receiver: Receiver, name: str, content_type: str, payload: bytes):
    """In binary mode any payload keeps its bytes and its content type, and comes out binary or raw the same."""
    raw, binary = receiver.url(), receiver.url()
    program.endpoint(raw, event_types=[name], format="raw")
    program.endpoint(binary, event_types=[name], format="cloudevents-binary")
    subject = "größe 100 %"
    headers = ce(type=name, subject=quote(subject, safe=""), myext="42")
    answer = program.raw("/v1/events", payload, content_type, **headers)
    assert answer.status_code == 202, answer.text
    for url in (raw, binary):
        (hit,) = receiver.came(url)
        assert hit.body == payload
        assert hit.headers["content-type"] == content_type
    sent = receiver.came(binary)[0].headers
    assert sent["ce-specversion"] == "1.0"
    assert sent["ce-id"] == headers["ce-id"]
    assert sent["ce-type"] == name
    assert sent["ce-myext"] == "42"
    assert "%C3%B6" in sent["ce-subject"].upper()
    assert "ce-datacontenttype" not in sent


def test_a_json_payload_that_is_not_json_is_refused(program: Program, name: str):
    """A binary CloudEvent that says it is JSON and is not is refused, not delivered broken."""
    answer = program.raw("/v1/events", b"{not json", "application/json", **ce(type=name))
    assert 400 <= answer.status_code < 500


def test_deliver_at_waits(program: Program, receiver: Receiver, name: str):
    """`deliver_at` holds the delivery back until then; until then it is pending with that time."""
    from datetime import UTC, datetime, timedelta

    url = receiver.url()
    program.endpoint(url, event_types=[name])
    at = datetime.now(UTC) + timedelta(seconds=1.5)
    answer = program.publish(name, 1, deliver_at=at.isoformat())
    row = program.delivery(answer["id"])
    assert (row["state"], row["attempts"]) == ("pending", 0)
    assert row["next_at"][:19] in {at.isoformat()[:19], (at + timedelta(seconds=1)).isoformat()[:19]}
    receiver.came(url)
    assert datetime.now(UTC) >= at - timedelta(milliseconds=50)


@pytest.mark.parametrize("days", [-1, 31], ids=["past", "too far"])
def test_deliver_at_has_bounds(program: Program, receiver: Receiver, name: str, days: int):
    """A time in the past is delivered at once or refused; one more than 30 days ahead is refused."""
    from datetime import UTC, datetime, timedelta

    at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    answer = program.post("/v1/events", {"type": name, "data": 1, "deliver_at": at})
    assert answer.status_code in ((202, 422) if days < 0 else (422,))


def test_an_event_can_be_looked_at(program: Program, name: str):
    """An event is found by its id with what it was published with, its data whole."""
    made = program.publish(name, {"a": [1, 2]}, subject="s", source="/shop", correlation_id="c-1")
    event = program.get(f"/v1/events/{made['id']}")
    assert event["id"] == made["id"]
    assert (event["type"], event["subject"], event["source"]) == (name, "s", "/shop")
    assert event["data"] == {"a": [1, 2]}
    assert event["correlation_id"] == "c-1"


def test_traceparent_is_passed_on(program: Program, receiver: Receiver, name: str):
    """A valid traceparent reaches the receiver with the same trace id; a bad one is not passed on."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    trace = "0af7651916cd43dd8448eb211c80319c"
    body = json.dumps({"type": name, "data": 1}).encode()
    program.raw("/v1/events", body, "application/json", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    program.raw("/v1/events", body, "application/json", traceparent="00-" + "0" * 32 + "-b7ad6b7169203331-01")
    hits = receiver.came(url, 2)
    traces = [hit.headers.get("traceparent", "") for hit in hits]
    assert sum(trace in text for text in traces) == 1
    assert not any("0" * 32 in text for text in traces)


# --------------------------------------------------------------------------------------------------- duplicates


def test_a_repeated_id_is_a_duplicate(program: Program, receiver: Receiver, name: str):
    """The same id from the same source makes one event; from another source, or for another tenant, its own."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    event = {"type": name, "data": 1, "id": str(uuid.uuid4()), "source": "/a"}
    first = program.post("/v1/events", event, status=202).json()
    again = program.post("/v1/events", event, status=202).json()
    assert again == {"id": first["id"], "deliveries": 1, "duplicate": True}
    other = program.post("/v1/events", event | {"source": "/b"}, status=202).json()
    assert other["duplicate"] is False
    elsewhere = program.post("/v1/events", event, status=202, hookline_tenant="other").json()
    assert (elsewhere["duplicate"], elsewhere["deliveries"]) == (False, 0)
    assert len(program.rows("/v1/events", type=name)) == 2
    assert len(receiver.came(url, 2)) == 2


def test_idempotency_key_gets_the_first_answer(program: Program, name: str):
    """A repeat with the same key and body gets the first answer byte for byte; another body is 422."""
    key = str(uuid.uuid4())
    body = json.dumps([{"type": name, "data": 1}, {"type": "no good", "data": 2}]).encode()
    first = program.raw("/v1/events", body, "application/json", idempotency_key=key)
    again = program.raw("/v1/events", body, "application/json", idempotency_key=f'"{key}"')
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    other = program.raw("/v1/events", body + b" ", "application/json", idempotency_key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = program.raw("/v1/events", body, "application/json", idempotency_key=key, hookline_tenant="other")
    assert elsewhere.json()["data"][0]["id"] != first.json()["data"][0]["id"]


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_hundred_at_once_make_one_event(program: Program, receiver: Receiver, name: str, by: str):
    """100 parallel requests with one id, or one Idempotency-Key, make one event and get one answer."""
    url = receiver.url()
    program.endpoint(url, event_types=[name])
    key = str(uuid.uuid4())
    body = json.dumps({"type": name, "data": 1} | ({"id": key} if by == "id" else {})).encode()
    headers = {"idempotency_key": key} if by == "key" else {}
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: program.raw("/v1/events", body, "application/json", **headers), range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    if by == "key":
        assert len({answer.content for answer in answers}) == 1
    else:
        assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert len(program.rows("/v1/events", type=name)) == 1
    receiver.came(url)
    program.quiet()
    assert len(receiver.hits(url)) == 1


# -------------------------------------------------------------------------------------------------- event types

SCHEMA = {
    "type": "object",
    "required": ["total", "at"],
    "properties": {"total": {"type": "number", "minimum": 0}, "at": {"type": "string", "format": "date-time"}},
}


def test_an_enforced_schema_refuses(program: Program, name: str):
    """A payload that breaks an enforced schema is 422 with pointer, expected and found; formats are asserted."""
    program.post("/v1/event-types", {"name": name, "schema": SCHEMA}, status=201)
    good = {"total": 1, "at": "2026-01-02T03:04:05Z"}
    program.publish(name, good)
    answer = program.post("/v1/events", {"type": name, "data": good | {"total": -1}}, status=422).json()
    assert answer["code"] == "schema_violation"
    assert answer["pointer"].endswith("/total")
    assert "expected" in answer
    assert answer["found"] in (-1, "-1")
    wrong = program.post("/v1/events", {"type": name, "data": good | {"at": "yesterday"}}, status=422).json()
    assert wrong["pointer"].endswith("/at")
    assert len(program.rows("/v1/events", type=name)) == 1


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_schema_that_is_not_enforced_lets_pass(program: Program, name: str, mode: str):
    """In mode `warn` or `off` what breaks the schema is accepted."""
    program.post("/v1/event-types", {"name": name, "schema": SCHEMA, "mode": mode}, status=201)
    program.publish(name, {})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "https://example.com/x"}}},
        {"minLength": -1},
        [],
    ],
    ids=["type", "http", "file", "deep", "negative", "array"],
)
def test_a_bad_schema_is_refused(program: Program, name: str, schema: object):
    """A schema that is wrong, or that refers to something elsewhere, is 422 at creation."""
    program.post("/v1/event-types", {"name": name, "schema": schema}, status=422)


def test_an_event_type_name_is_taken_once(program: Program, name: str):
    """A second event type of the same name is 409; the catalogue lists it once."""
    program.post("/v1/event-types", {"name": name, "description": "d"}, status=201)
    program.post("/v1/event-types", {"name": name}, status=409)
    assert [row["name"] for row in program.rows("/v1/event-types") if row["name"] == name] == [name]


def test_strict_catalogue_refuses_unknown_types(tmp_path):
    """With HOOKLINE_EVENT_TYPES=strict a type that is not in the catalogue is 422, and accepted once it is."""
    with running(tmp_path, event_types="strict") as program:
        answer = program.post("/v1/events", {"type": "order.created", "data": 1}, status=422).json()
        assert answer["code"] == "unknown_event_type"
        program.post("/v1/event-types", {"name": "order.created"}, status=201)
        program.publish("order.created", 1)


# ------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("type_", ["", "a b", "-a", ".a", "a\n", "ä", "a" * 256, "hookline.x", 5, None, ["a"]])
def test_a_bad_type_is_refused(program: Program, type_: object):
    """A type that is empty, too long, reserved, or has characters that are not allowed is 422."""
    assert program.post("/v1/events", {"type": type_, "data": 1}).status_code == 422


@pytest.mark.parametrize("type_", ["a", "A.b_C:d/e-f", "0", "a" * 255])
def test_a_good_type_is_accepted(program: Program, type_: str):
    """1 to 255 of the allowed characters, beginning with a letter or digit, are a type."""
    program.publish(type_, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"id": "x" * 256},
        {"id": ""},
        {"id": "a\u0000b"},
        {"id": "a\u007f"},
        {"id": 7},
        {"source": "s" * 2049},
        {"source": "a\nb"},
        {"subject": "x" * 256},
        {"subject": "\u0001"},
        {"ordering_key": "x" * 256},
        {"ordering_key": ""},
        {"correlation_id": "x" * 256},
        {"time": "yesterday"},
        {"time": "2026-13-01T00:00:00Z"},
        {"deliver_at": "soon"},
        {"unknown": 1},
        {"tenant": "x"},
        {"hops": 0},
        {"specversion": "1.0"},
    ],
    ids=str,
)
def test_a_bad_member_is_refused(program: Program, name: str, more: dict[str, object]):
    """A member that is unknown, too long, or has control characters is 422 with its place."""
    answer = program.post("/v1/events", {"type": name, "data": 1, **more}, status=422).json()
    assert answer["pointer"] == "/" + next(iter(more))


def test_sizes_have_limits(program: Program, name: str):
    """An event just below 1 MiB is accepted; one above it, 1,001 of them, and 17 MiB are 413."""
    program.publish(name, "x" * (1024 * 1024 - 2048))
    assert program.post("/v1/events", {"type": name, "data": "x" * (1024 * 1024)}).status_code == 413
    many = program.post("/v1/events", [{"type": name, "data": n} for n in range(1001)])
    assert (many.status_code, many.json()["code"]) == (413, "batch_too_large")
    program.post("/v1/events", [{"type": name, "data": n} for n in range(1000)], status=202)
    huge = program.raw("/v1/events", b" " * (17 * 1024 * 1024), "application/json")
    assert huge.status_code == 413
