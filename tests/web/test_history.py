"""`/v1/events`, `/v1/deliveries`, `/v1/stats`: looking, and again."""

from __future__ import annotations

import base64

import pytest

from hookline.core import ids
from hookline.core.delivery import State

MISSING = {"evt": "evt_" + "0" * 24, "dlv": "dlv_" + "0" * 32}


async def test_event_with_its_payload(api):
    """An event shows its attributes, and its JSON payload byte for byte."""
    event = await api.event(source="/s", source_id="1", subject="x", extensions={"a": 1}, deliver_at_ms=0)
    answer = await api.client.get(f"/v1/events/{event.public_id}")
    assert b'"data":{ "total": 1.50 }' in answer.content
    document = answer.json()
    assert document["id"] == event.public_id
    assert (document["source"], document["source_id"], document["subject"]) == ("/s", "1", "x")
    assert (document["type"], document["content_type"], document["hops"]) == ("order.created", "application/json", 0)
    assert (document["deliver_at"], document["extensions"]) == ("1970-01-01T00:00:00.000Z", {"a": 1})
    assert document["data_bytes"] == 17
    assert "data_base64" not in document


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/xml", b"<a/>"),
        ("application/json", b"{not json"),
        ("application/json", b'"\xff"'),
        ("application/json; charset=utf-16", b"\xff\xfe1\x00"),
        ("application/octet-stream", bytes(range(256))),
    ],
)
async def test_event_that_is_not_json(api, content_type, data):
    """A payload that is no JSON is shown in base64, never as broken JSON."""
    event = await api.event(data=data, content_type=content_type)
    document = await api.call("GET", f"/v1/events/{event.public_id}", 200)
    assert base64.b64decode(document["data_base64"]) == data
    assert "data" not in document


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/json", b' {"a": 1.50}\r\n'),
        ("text/html", b"<script>alert(1)</script>"),
        ("application/octet-stream", bytes(range(256))),
        ("text/plain; charset=latin-1", b""),
    ],
)
async def test_the_payload_alone(api, content_type, data):
    """The payload's route gives its very bytes with its own content type, as a file that no browser runs."""
    event = await api.event(data=data, content_type=content_type)
    answer = await api.client.get(f"/v1/events/{event.public_id}/payload")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, content_type)
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["content-length"] == str(len(data))


async def test_no_payload(api):
    """An event that is not there, is another tenant's, or was erased has no payload: 404."""
    event = await api.event(data=b"x", content_type="text/plain")
    await api.refused("GET", f"/v1/events/{MISSING['evt']}/payload", "not_found")
    other = {"Hookline-Tenant": "other"}
    await api.refused("GET", f"/v1/events/{event.public_id}/payload", "not_found", headers=other)
    await api.call("DELETE", f"/v1/events/{event.public_id}/payload", 200)
    await api.refused("GET", f"/v1/events/{event.public_id}/payload", "not_found")


async def test_list_events(api):
    """Events are listed newest first, without payloads, by every filter, page by page."""
    made = []
    for n in range(5):
        made.append(await api.event(type=f"t.{n % 2}", source=f"/{n}", source_id=str(n), subject=f"s{n}"))
        api.clock.advance(1)

    async def listed(**params):
        page = await api.call("GET", "/v1/events", 200, params=params)
        return [row["id"] for row in page["data"]]

    newest = [event.public_id for event in made[::-1]]
    assert await listed() == newest
    assert await listed(type="t.1") == [newest[1], newest[3]]
    assert await listed(source="/3", source_id="3") == [newest[1]]
    assert await listed(subject="s0") == [newest[4]]
    rows = (await api.call("GET", "/v1/events", 200))["data"]
    times = [row["accepted_at"] for row in rows]
    assert await listed(since=times[2], until=times[0]) == newest[1:3]
    first = await api.call("GET", "/v1/events", 200, params={"limit": 3})
    rest = await api.call("GET", "/v1/events", 200, params={"limit": 3, "cursor": first["next"]})
    assert [row["id"] for row in first["data"] + rest["data"]] == newest
    assert rest["next"] is None
    assert "data" not in rows[0]


async def test_deliveries_and_attempts(api):
    """A delivery and its attempts are shown as they were: request, response, timing, reason, next time."""
    endpoint = await api.endpoint(uid="shop")
    event = await api.event([endpoint])
    at_ms = api.store.now_ms()
    delivery = await api.attempt(
        event, endpoint, State.PENDING, status=500, reason="server_error", cause="application", detail="HTTP 500",
        next_wait_s=5.0,
    )  # fmt: skip
    api.clock.advance(5)
    await api.attempt(event, endpoint, State.DELIVERED, status=200)
    row = await api.call("GET", f"/v1/deliveries/{delivery}", 200)
    assert row == {
        "id": delivery,
        "event_id": event.public_id,
        "endpoint_id": endpoint["id"],
        "type": "order.created",
        "state": "delivered",
        "attempts": 2,
        "next_at": None,
        "reason": None,
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "ordering_key": None,
        "replay_of": None,
    }
    for params in ({}, {"endpoint": "shop"}, {"endpoint": endpoint["id"]}, {"event": event.public_id},
                   {"state": "delivered"}, {"type": "order.created"}):  # fmt: skip
        page = await api.call("GET", "/v1/deliveries", 200, params=params)
        assert page == {"data": [row], "next": None}, params
    for params in ({"endpoint": "nobody"}, {"endpoint": "ep_" + "0" * 24}, {"event": MISSING["evt"]},
                   {"state": "pending"}, {"reason": "gone"}, {"type": "x"}):  # fmt: skip
        assert (await api.call("GET", "/v1/deliveries", 200, params=params))["data"] == []
    first, second = (await api.call("GET", f"/v1/deliveries/{delivery}/attempts", 200))["data"]
    assert first == {
        "id": "att_" + delivery[4:] + "00000001",
        "number": 1,
        "at": first["at"],
        "outcome": "retry",
        "status": 500,
        "reason": "server_error",
        "cause": "application",
        "detail": "HTTP 500",
        "duration_ms": 12.345,
        "timing": {"dns_ms": 1.0, "connect_ms": 2.0, "tls_ms": None, "first_byte_ms": 9.0, "total_ms": 12.345},
        "next_at": first["next_at"],
        "method": "POST",
        "url": "https://receiver.example/hook",
        "request_headers": {"webhook-id": event.public_id, "x": "1, 2"},
        "request_body": '{"data":{ "total": 1.50 }}',
        "response_headers": {"content-type": "text/plain", "x-odd": "\xff"},
        "response_body": "no",
    }
    assert first["next_at"] > first["at"]
    assert (second["number"], second["status"], second["next_at"]) == (2, 200, None)
    assert ids.time_ms(event.id) <= at_ms


async def test_attempt_with_bytes(api):
    """A body that is no text is shown in base64; an attempt without an exchange has none."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint], data=b"\xff\x00", content_type="application/octet-stream")
    delivery = await api.attempt(event, endpoint, State.PENDING, reason="dns", exchange=None)
    api.clock.advance(5)
    await api.attempt(event, endpoint, State.FAILED, status=400, reason="client_error")
    first, second = (await api.call("GET", f"/v1/deliveries/{delivery}/attempts", 200))["data"]
    assert (first["method"], first["request_body"], first["request_headers"]) == (None, None, {})
    assert (second["request_body"], second["request_body_base64"]) == (
        None, base64.b64encode(b'{"data":\xff\x00}').decode(),
    )  # fmt: skip


async def test_retry(api):
    """A failed delivery is opened again and the flow is told; one that is delivered is 409."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    delivery = await api.attempt(event, endpoint, State.FAILED, status=400, reason="client_error")
    api.notified.clear()
    row = await api.call("POST", f"/v1/deliveries/{delivery}/retry", 202)
    assert (row["id"], row["state"], row["finished_at"]) == (delivery, "pending", None)
    assert api.notified == {bytes.fromhex(endpoint["id"][3:]): 0.0}
    await api.attempt(event, endpoint, State.DELIVERED, status=200)
    await api.refused("POST", f"/v1/deliveries/{delivery}/retry", "wrong_state")


async def test_discard(api):
    """A person's decision closes a delivery; closed as delivered it is 409."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    delivery = ids.text(ids.DELIVERY, ids.delivery_id(event.id, 1))
    assert (await api.call("POST", f"/v1/deliveries/{delivery}/discard", 200))["state"] == "discarded"
    done = await api.event([endpoint])
    delivered = await api.attempt(done, endpoint, State.DELIVERED, status=200)
    await api.refused("POST", f"/v1/deliveries/{delivered}/discard", "wrong_state")


async def test_replay_to_all_that_match_now(api):
    """A replay makes a new delivery for every endpoint that matches now, known by the event that it replays."""
    gone, wants = await api.endpoint(event_types=["order.*"]), await api.endpoint(event_types=["order.*"])
    await api.endpoint(event_types=["user.*"])
    event = await api.event([gone])
    await api.call("DELETE", f"/v1/endpoints/{gone['id']}", 204)
    made = await api.call("POST", f"/v1/events/{event.public_id}/replay", 202)
    assert made["deliveries"] == len(made["ids"]) == 1
    row = await api.call("GET", f"/v1/deliveries/{made['ids'][0]}", 200)
    assert (row["endpoint_id"], row["event_id"], row["replay_of"]) == (wants["id"], event.public_id, event.public_id)
    assert bytes.fromhex(wants["id"][3:]) in api.notified
    listed = await api.call("GET", "/v1/deliveries", 200, params={"event": event.public_id})
    assert {r["id"] for r in listed["data"]} >= set(made["ids"])


async def test_replay_to_one(api):
    """A replay to a named endpoint goes there whatever it subscribes to; to nobody it makes nothing."""
    event = await api.event()
    assert await api.call("POST", f"/v1/events/{event.public_id}/replay", 202, {}) == {"deliveries": 0, "ids": []}
    other = await api.endpoint(uid="other", event_types=["user.*"], order="key")
    for reference in ("other", other["id"]):
        made = await api.call("POST", f"/v1/events/{event.public_id}/replay", 202, {"endpoint_id": reference})
        assert made["deliveries"] == 1
    path = f"/v1/events/{event.public_id}/replay"
    await api.refused("POST", path, "not_found", {"endpoint_id": "nobody"})
    await api.refused("POST", path, "invalid_parameter", {"endpoint_id": 1})
    await api.refused("POST", path, "unknown_field", {"endpoint": "other"})


async def test_replay_to_many(api):
    """A replay to more endpoints than one commit takes reaches all of them, once each."""
    from hookline.flow import deliveries

    before, deliveries.REPLAY_ROWS_MAX = deliveries.REPLAY_ROWS_MAX, 2
    try:
        made = [await api.endpoint() for _ in range(5)]
        event = await api.event()
        replayed = await api.call("POST", f"/v1/events/{event.public_id}/replay", 202)
    finally:
        deliveries.REPLAY_ROWS_MAX = before
    assert replayed["deliveries"] == len(set(replayed["ids"])) == 5
    rows = (await api.call("GET", "/v1/deliveries", 200))["data"]
    assert {row["endpoint_id"] for row in rows} == {endpoint["id"] for endpoint in made}


async def test_stats(api):
    """The books are those of the tenant named, or of all for an operator who names none."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    await api.event([endpoint])
    await api.event(tenant="acme")
    await api.attempt(event, endpoint, State.DELIVERED, status=200)
    mine = await api.call("GET", "/v1/stats", 200, headers={"Hookline-Tenant": "default"})
    assert mine == {
        "events": 2,
        "deliveries": 2,
        "delivered": 1,
        "failed": 0,
        "discarded": 0,
        "open": {"pending": 1, "leased": 0, "held": 0, "unconfirmed": 0},
    }
    assert (await api.call("GET", "/v1/stats", 200))["events"] == 3
    theirs = await api.call("GET", "/v1/stats", 200, headers={"Hookline-Tenant": "acme"})
    assert (theirs["events"], theirs["deliveries"]) == (1, 0)


async def test_unknown_is_404_everywhere(api):
    """What is unknown, malformed or another tenant's is the same 404, byte for byte, on every route."""
    endpoint = await api.endpoint()
    event = await api.event([endpoint])
    delivery = ids.text(ids.DELIVERY, ids.delivery_id(event.id, 1))
    other = {"Hookline-Tenant": "acme"}
    bodies = set()
    for path, headers in (
        *((f"/v1/events/{reference}", {}) for reference in (MISSING["evt"], "evt_", "x", delivery, "evt_" + "G" * 24)),
        *((f"/v1/deliveries/{reference}", {}) for reference in (MISSING["dlv"], "dlv_", event.public_id)),
        (f"/v1/events/{event.public_id}", other),
        (f"/v1/deliveries/{delivery}", other),
    ):
        tails = [("GET", "")]
        if "deliveries" in path:
            tails += [("GET", "/attempts"), ("POST", "/retry"), ("POST", "/discard")]
        else:
            tails += [("POST", "/replay")]
        for method, tail in tails:
            answer = await api.client.request(method, path + tail, headers=headers)
            assert answer.status_code == 404, (method, path, tail)
            bodies.add(answer.content)
    bodies.add((await api.client.get("/v1/nothing")).content)
    assert len(bodies) == 1


@pytest.mark.parametrize("path", ["/v1/events", "/v1/deliveries", "/v1/endpoints", "/v1/event-types"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=251", "limit=-1", "limit=x", "limit=1e2", "limit=", "limit=%C2%B2", "limit=1&limit=1",
     "cursor=x", "cursor=" + "A" * 5000, "cursor=%00", "other=1", "limit=9999999999999999999999"],
)  # fmt: skip
async def test_wrong_parameters(api, path, query):
    """A parameter that is unknown, repeated or out of bounds is refused, never ignored."""
    problem = await api.refused("GET", f"{path}?{query}", "invalid_parameter")
    assert problem["status"] == 422


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "until=2026-13-40T00:00:00Z", "since=99999999999999999999", "state=nonsense", "state=",
     "event=evt_zz", "event=dlv_" + "0" * 32, "reason=nonsense", "endpoint=a%00", "type=%0a", "type=" + "x" * 3000],
)  # fmt: skip
async def test_wrong_filters(api, query):
    """A filter that can match nothing because it is malformed is refused."""
    await api.refused("GET", f"/v1/deliveries?{query}", "invalid_parameter")


async def test_filters_that_match_nothing(api):
    """A filter that is well formed and matches nothing gives an empty list."""
    await api.event()
    for query in ("type=%FF", "type=a%20b", "source=x", "until=1970-01-01T00:00:00Z", "since=9999-01-01T00:00:00Z"):
        assert (await api.call("GET", f"/v1/events?{query}", 200))["data"] == []
