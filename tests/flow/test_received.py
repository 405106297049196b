"""What becomes of a verified request: splits, validation, quarantine, answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from hookline.core.attempt import Kind, Outcome
from hookline.core.event import EVENT_BYTES_MAX
from hookline.ports.store import EventTypeRow
from tests.flow.receiving import JSON, Provider, header, provider, said
from tests.flow.rig import Rig

__all__ = ["provider"]

# ------------------------------------------------------------------------------------------------------ splits


async def test_one_request_is_many_events_in_one_commit_with_one_answer(rig: Rig, provider: Provider) -> None:
    """Each item has its own bytes, type and id, and one request id; a repeat in another batch is known."""
    await rig.endpoint("a")
    reading = {"type": "item:event", "id": "item:sg_event_id", "split": "body:"}
    await provider.source(verifier="none", config={}, **reading)
    items = [b'{"event":"open","sg_event_id":"1"}', b'{"event":"click","sg_event_id":"2", "n":1.0}']
    first = await provider.call(b"[" + b",\r\n".join(items) + b"]\r\n", JSON)
    told = said(first)
    events = await provider.events()
    assert [event.data for event in events] == items
    assert [event.type for event in events] == ["open", "click"]
    assert told == {
        "status": "success",
        "message": "Stored.",
        "event_id": events[0].public_id,
        "event_ids": [event.public_id for event in events],
        "request_id": events[0].inbound.request_id,
    }
    assert {event.inbound.request_id for event in events} == {told["request_id"]}
    again = said(await provider.call(b"[" + items[1] + b',{"event":"drop","sg_event_id":"3"}]', JSON))
    assert again["event_ids"][0] == events[1].public_id
    assert len(await provider.events()) == 3
    await rig.quiet()
    assert len(rig.sender.sent) == 3


async def test_an_empty_list_is_answered_with_success(provider: Provider) -> None:
    """Nothing happened, and nothing is made of it."""
    await provider.source(verifier="none", config={}, type="item:t", split="body:")
    answer = await provider.call(b"[]", JSON)
    assert (answer.status, said(answer)["event_ids"]) == (200, [])
    assert await provider.events() == []


async def test_one_bad_item_does_not_lose_the_others(provider: Provider) -> None:
    """A request that is good in part cannot be refused in part: what is bad waits for a person."""
    schema = {"t": {"required": ["n"]}}
    await provider.source(verifier="none", config={}, type="'t'", id="item:id", split="body:", schemas=schema)
    answer = await provider.call(b'[{"n":1,"id":"a"},{"id":"b"},{"n":3,"id":"c"}]', JSON)
    assert answer.status == 200
    assert len(said(answer)["event_ids"]) == 2
    assert [event.source_id for event in await provider.events()] == ["a", "c"]
    store = provider.rig.store
    source = provider.rig.engine.registry.source_of("default", "src")
    (row,) = (await store.quarantined(source.id, 10, None)).rows
    assert json.loads(row.problem)["pointer"] == "/1/n"


# -------------------------------------------------------------------------------------------------- validation

ORDER = {"order.*": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}
PLAIN = {"verifier": "none", "config": {}, "type": "body:type|body:order.@type", "schemas": ORDER}


@pytest.mark.parametrize(
    ("body", "content_type", "code", "pointer"),
    [
        (b'{"type":"order.new","id":"x"}', "application/json", "invalid_payload", "/id"),
        (b'{"type":"order.new"}', "application/json", "invalid_payload", "/id"),
        (b'{"type":"order.new","id":', "application/json", "malformed_json", ""),
        (b"type=order.new&id=1", "application/x-www-form-urlencoded", "invalid_payload", "/id"),
        (b'<order type="order.new"/>', "text/xml", "invalid_payload", "/id"),
    ],
)
async def test_what_is_invalid_is_400_with_the_pointer(provider, body, content_type, code, pointer) -> None:
    """By the schema of its type, XML and forms in their mapped form."""
    await provider.source(**PLAIN)
    answer = await provider.call(body, {"content-type": content_type})
    problem = said(answer)
    assert (answer.status, problem["code"], problem["pointer"]) == (400, code, pointer)
    assert await provider.events() == []
    assert await provider.rejections() == [(400, code)]


async def test_other_types_and_valid_payloads_pass(provider: Provider) -> None:
    """A schema is for its type alone."""
    await provider.source(**PLAIN)
    for body in (b'{"type":"order.new","id":1}', b'{"type":"user.new"}'):
        assert (await provider.call(body, JSON)).status == 200


async def test_quarantine_keeps_what_is_invalid_until_a_person_decides(rig: Rig, provider: Provider) -> None:
    """It is answered with success, listed, routed when it is released, and a repeat is known all the while."""
    endpoint = await rig.endpoint("a")
    await provider.source(**PLAIN, id="body:key", on_invalid="quarantine")
    body = b'{"type":"order.new","id":"x","key":"k"}'
    first = await provider.call(body, JSON)
    assert (first.status, said(first)["event_id"]) == (200, None)
    again = await provider.call(body, JSON)
    assert again.status == 200
    assert (await rig.counts()).events == 0
    assert rig.observer.outcomes["src", "quarantined"] == 1
    quarantine = rig.engine.quarantine
    (row,) = (await quarantine.page("default", "src", 10, None)).rows
    assert json.loads(row.problem)["code"] == "invalid_payload"
    released = await quarantine.release("default", "src", row.id)
    await rig.quiet()
    assert rig.sender.sent == [(endpoint.url, body, 1)]
    assert released.event.inbound.source == "src"
    after = await provider.call(body, JSON)
    assert said(after)["event_id"] == released.event.public_id


async def test_accept_takes_what_is_invalid(rig: Rig, provider: Provider) -> None:
    """And says so in the log; what says it is JSON and is not, is kept as the bytes that it is."""
    await provider.source(**PLAIN, on_invalid="accept")
    for body in (b'{"type":"order.new"}', b'{"type":'):
        assert (await provider.call(body, JSON)).status == 200
    assert [event.content_type for event in await provider.events()] == ["application/json", "application/octet-stream"]
    assert [name for name, _ in rig.observer.warnings] == ["received_invalid"] * 2


async def test_the_catalogue_judges_where_the_source_has_no_schema(rig: Rig, provider: Provider) -> None:
    """Mode enforce refuses, mode warn says so."""
    await provider.source(verifier="none", config={}, type="body:type")
    for name, mode in (("a", "enforce"), ("b", "warn")):
        row = EventTypeRow("default", name, 0, mode, b'{"required":["n"]}')
        await rig.store.put_event_type(row, create=True)
    await rig.engine.registry.refresh()
    answers = [(await provider.call(json.dumps({"type": name}).encode(), JSON)).status for name in "abc"]
    assert answers == [400, 200, 200]


async def test_a_payload_beyond_the_limit_of_an_event_is_413(provider: Provider) -> None:
    """Also where the source takes larger bodies, because it splits them."""
    await provider.source(verifier="none", config={}, type="'t'", split="body:", body_bytes_max=4 * EVENT_BYTES_MAX)
    large = b'"' + b"x" * EVENT_BYTES_MAX + b'"'
    assert (await provider.call(large, JSON)).status == 413
    assert (await provider.call(b"[1," + large + b"]", JSON)).status == 200
    assert [event.data for event in await provider.events()] == [b"1"]


# ------------------------------------------------------------------------------------------------------ answers


async def test_a_source_answers_as_it_is_told(provider: Provider) -> None:
    """Status, content type and a template that reads the payload: the documented example."""
    template = (
        '{"status":"success","message":"{answer:message}","event_data":{"order_id":"{body:order.id}",'
        '"user_id":"{body:user}","amount":{body:amount}}}'
    )
    await provider.source(verifier="none", config={}, answer={"status": 202, "body": template})
    body = json.dumps({"order": {"id": 7}, "user": 'a"b', "amount": 12.5}).encode()
    answer = await provider.call(body, JSON)
    assert (answer.status, said(answer)) == (
        202,
        {
            "status": "success",
            "message": "Stored.",
            "event_data": {"order_id": "7", "user_id": 'a"b', "amount": 12.5},
        },
    )


async def test_salesforce_is_answered_in_soap(provider: Provider) -> None:
    """The preset's own answer, and an event for each notification, with its exact bytes."""
    await provider.source(verifier="salesforce", config={"organization_id": "00D5g000007XXXXEAW"})
    one = "<Notification><Id>04l5g00000AAAA{}</Id><sObject xsi:type='sf:Lead'><sf:Id>1</sf:Id></sObject></Notification>"
    body = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        "<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/envelope/' "
        "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:sf='urn:sobject.enterprise.soap.sforce.com'>"
        "<soapenv:Body><notifications xmlns='http://soap.sforce.com/2005/09/outbound'>"
        "<OrganizationId>00D5g000007XXXXEAW</OrganizationId><ActionId>04k5g000000XXXXAA0</ActionId>"
        f"{one.format('0AAA')}{one.format('1AAA')}</notifications></soapenv:Body></soapenv:Envelope>"
    )
    answer = await provider.call(body.encode(), {"content-type": "text/xml; charset=utf-8", "soapaction": '""'})
    assert (answer.status, answer.content_type.partition(b";")[0]) == (200, b"text/xml")
    assert b"<Ack>true</Ack>" in answer.body
    events = await provider.events()
    assert [event.data.decode() for event in events] == [one.format("0AAA"), one.format("1AAA")]
    assert len({event.source_id for event in events}) == 2


async def test_a_form_is_kept_raw_and_filtered_by_its_fields(rig: Rig, provider: Provider) -> None:
    """Slack's command: its bytes are delivered, its fields can be asked for."""
    wanted = await rig.endpoint("a", filter={"data": {"command": "/pay", "amount": {"$in": ["5", "6"]}}}, format="raw")
    await rig.endpoint("b", filter={"data": {"command": "/other"}})
    await provider.source(verifier="none", config={}, type="form:command")
    body = b"command=%2Fpay&amount=5"
    assert (await provider.call(body, {"content-type": "application/x-www-form-urlencoded"})).status == 200
    await rig.quiet()
    assert rig.sender.sent == [(wanted.url, body, 1)]
    assert rig.sender.items[0].event.content_type == "application/x-www-form-urlencoded"
    assert rig.sender.items[0].event.type == "pay"


# -------------------------------------------------------------------------------------------- an endpoint's answer

DELIVERED = {"after": "delivered", "endpoint": "answerer", "wait_s": 3}
OPEN = {"verifier": "none", "config": {}, "answer": DELIVERED}


async def test_an_endpoints_answer_is_passed_on(rig: Rig, provider: Provider) -> None:
    """Its status, content type and whole body; only after the event is durable, and never on a page of ours."""
    endpoint = await rig.endpoint("a", uid="answerer")
    rig.sender.default[endpoint.url] = Outcome(Kind.DELIVERED, status=201)
    rig.sender.content_type, rig.sender.body = b"text/html", b"<p>" + b"x" * 5000
    await provider.source(**OPEN)
    answer = await provider.call(b"{}", JSON)
    assert (answer.status, answer.content_type, answer.body) == (201, b"text/html", rig.sender.body)
    assert header(answer, "content-security-policy") == "default-src 'none'; sandbox"
    assert (await rig.counts()).events == 1
    duplicate = await provider.call(b"{}", JSON)
    assert duplicate.status == 201  # nothing tells that it is one


@pytest.mark.parametrize("why", ["slow", "failing", "elsewhere", "gone"])
async def test_without_an_answer_in_time_it_is_the_stored_one(rig: Rig, provider: Provider, why: str) -> None:
    """At the limit, or at once where there is nothing to wait for; the delivery goes on."""
    endpoint = await rig.endpoint("a", uid="answerer", event_types=["other" if why == "elsewhere" else "*"])
    await provider.source(**OPEN)
    if why == "slow":
        rig.sender.gates[endpoint.url] = asyncio.Event()
    elif why == "failing":
        rig.sender.default[endpoint.url] = Outcome(Kind.RETRY, "server_error", status=500)
    elif why == "gone":
        await rig.store.delete_endpoint(endpoint.id)
        await rig.engine.registry.refresh()
    waiting = provider.calling(b"{}", JSON)
    await rig.until(lambda: waiting.done() or rig.engine.receive.busy)
    await rig.clock.run_for(2.9)
    assert waiting.done() is (why in ("elsewhere", "gone"))
    await rig.clock.run_for(0.2)
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status, said(answer)["status"]) == (200, "success")
    assert len(await provider.events()) == 1


async def test_a_drain_does_not_wait_for_endpoints(rig: Rig, provider: Provider) -> None:
    """Who waits for an answer gets the stored one, at once; who comes then is asked to come again."""
    endpoint = await rig.endpoint("a", uid="answerer")
    rig.sender.gates[endpoint.url] = asyncio.Event()
    await provider.source(**OPEN)
    waiting = provider.calling(b"{}", JSON)
    await rig.until(lambda: rig.engine.receive.busy)
    rig.engine.start_drain()
    assert said(await asyncio.wait_for(waiting, 5))["status"] == "success"
    rig.engine.accept.refuse_new()
    late = await provider.call(b"{}", JSON)
    assert (late.status, said(late)["code"]) == (503, "draining")
