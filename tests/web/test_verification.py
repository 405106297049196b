"""Testing and verifying endpoints over HTTP, and the callback without a key."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.web.api import PUBLIC_URL, Api

from hookline.core.attempt import Kind, Outcome
from hookline.ports.sender import Consent

NO = Consent(given=False, outcome=Outcome(Kind.RETRY, "answer_rejected", detail="It said no.", status=200))
OTHER = {"hookline-tenant": "other"}


async def test_a_test_is_answered_with_the_attempt(api: Api) -> None:
    """A test answers 200 with the attempt as the list of attempts has it, and whether it was a success."""
    endpoint = await api.endpoint(uid="mine")
    answer = await api.call("POST", "/v1/endpoints/mine/test", 200)
    event = api.sender.sent[0].items[0].event
    assert answer["success"] is True
    assert (answer["number"], answer["outcome"], answer["status"]) == (1, "delivered", 200)
    assert answer["id"].startswith("att_" + event.id.hex())
    assert answer["request_headers"] == {"webhook-id": event.public_id, "authorization": "***"}
    assert msgspec.json.decode(answer["request_body"])["type"] == "hookline.test"
    assert (answer["response_headers"], answer["response_body"]) == ({"x": "y"}, "taken")
    assert answer["next_at"] is None
    assert (await api.call("GET", "/v1/stats", 200))["deliveries"] == 0
    assert (await api.call("GET", f"/v1/endpoints/{endpoint['id']}", 200))["state"] == "active"


async def test_a_failed_test_is_an_answer_too(api: Api) -> None:
    """A receiver that fails is no error of the call."""
    endpoint = await api.endpoint()
    api.sender.outcome = Outcome(Kind.RETRY, "server_error", detail="", status=500)
    answer = await api.call("POST", f"/v1/endpoints/{endpoint['id']}/test", 200, {"type": "a.b", "data": {"n": 1}})
    assert (answer["success"], answer["status"], answer["reason"]) == (False, 500, "server_error")
    assert answer["cause"] == "application"


async def test_the_example_of_the_catalogue(api: Api) -> None:
    """A type of the catalogue is sent with its example; without one it is 422, with a pointer."""
    endpoint = await api.endpoint()
    path = f"/v1/endpoints/{endpoint['id']}/test"
    await api.call("POST", "/v1/event-types", 201, {"name": "with.example", "example": {"a": [1]}})
    await api.call("POST", "/v1/event-types", 201, {"name": "without"})
    await api.call("POST", path, 200, {"type": "with.example"})
    assert msgspec.json.decode(api.sender.sent[0].items[0].event.data) == {"a": [1]}
    problem = await api.refused("POST", path, "invalid_parameter", {"type": "without"})
    assert problem["pointer"] == "/data"
    assert "example" in problem["detail"]
    await api.refused("POST", path, "unknown_event_type", {"type": "unknown"})
    await api.refused("POST", path, "unknown_field", {"typ": "x"})
    await api.refused("POST", path, "malformed_json", content=b"{", headers={"content-type": "application/json"})


async def test_no_room(api: Api) -> None:
    """Where nothing can be sent now the answer is 503 with Retry-After."""
    endpoint = await api.endpoint()
    api.sender.outcome = Outcome(Kind.RETRY, "connect", detail="No room.", started=False)
    answer = await api.client.post(f"/v1/endpoints/{endpoint['id']}/test")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "2", "overloaded")


@pytest.mark.parametrize("what", ["test", "verify"])
async def test_who_may(api: Api, what: str) -> None:
    """Testing and verifying need a key that may manage, and the endpoint of one's own tenant."""
    endpoint = await api.endpoint(verify="challenge")
    path = f"/v1/endpoints/{endpoint['id']}/{what}"
    await api.refused("POST", path, "unauthorized", headers={"authorization": "Bearer wrong-key-entirely"})
    unknown = await api.client.post(f"/v1/endpoints/ep_{'0' * 24}/{what}")
    foreign = await api.client.post(path, headers=OTHER)
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert api.sender.sent == []


async def test_sealed_with_another_key(api: Api) -> None:
    """Secrets that cannot be opened are 409 for a test, a verification, the secret and its rotation: never a 500."""
    endpoint = await api.endpoint(verify="challenge")
    (row,) = (await api.store.changes(0)).endpoints
    await api.store.put_endpoint(msgspec.structs.replace(row, sealed=b"\x01" + bytes(60)), row.version)
    path = f"/v1/endpoints/{endpoint['id']}"
    for method, tail in (("POST", "/test"), ("POST", "/verify"), ("GET", "/secret"), ("POST", "/secret/rotate")):
        problem = await api.refused(method, path + tail, "wrong_state")
        assert "HOOKLINE_SECRET_KEY" in problem["detail"]
    assert len(api.sender.asked) == 1


async def test_created_and_verified(api: Api) -> None:
    """The answer to a creation shows what became of the verification: the state, and what was missing."""
    assert (await api.endpoint(verify="challenge"))["state"] == "active"
    api.sender.consent = NO
    made = await api.endpoint(verify="challenge", uid="later")
    assert (made["state"], made["warnings"]) == ("unverified", ["Not verified: It said no."])
    await api.refused("POST", "/v1/endpoints/later/resume", "wrong_state")
    assert (await api.call("POST", "/v1/endpoints/later/verify", 200))["state"] == "unverified"
    api.sender.consent = None
    verified = await api.call("POST", "/v1/endpoints/later/verify", 200)
    assert (verified["state"], verified["warnings"], verified["verify"]) == ("active", [], "challenge")
    changed = await api.call("PATCH", "/v1/endpoints/later", 200, {"url": "https://other.example/"})
    assert changed["state"] == "active"
    assert api.sender.asked[-1].endpoint.url == "https://other.example/"


async def test_nothing_to_verify(api: Api) -> None:
    """An endpoint with verify none has nothing to verify."""
    endpoint = await api.endpoint()
    await api.refused("POST", f"/v1/endpoints/{endpoint['id']}/verify", "wrong_state")


def token(api: Api) -> str:
    """Of the callback that the sender was told last."""
    callback = api.sender.asked[-1].callback_url
    assert callback is not None
    base, _, text = callback.rpartition("/")
    assert base == f"{PUBLIC_URL}/v1/endpoint-consent"
    return text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_callback_needs_no_key(api: Api, method: str) -> None:
    """Who has the callback's address consents by GET or POST, without a key, and may name a rate."""
    api.sender.consent = NO
    endpoint = await api.endpoint(verify="cloudevents")
    path = f"/v1/endpoint-consent/{token(api)}"
    bare: dict[str, Any] = {"authorization": ""}
    await api.refused(method, path, "invalid_parameter", headers={**bare, "webhook-allowed-rate": "lots"})
    answer = await api.call(method, path, 200, headers={**bare, "webhook-allowed-rate": "90"})
    assert answer == {"state": "active"}
    shown = await api.call("GET", f"/v1/endpoints/{endpoint['id']}", 200)
    assert (shown["state"], shown["rate"]) == ("active", {"n": 90, "per_s": 60.0, "burst": 1})
    await api.refused(method, path, "not_found", headers=bare)


@pytest.mark.parametrize("escaped", ["endpoint-consent", "endpoint%2Dconsent"])
async def test_head_is_no_consent(api: Api, escaped: str) -> None:
    """HEAD, with which previews and link checkers ask, is 405 and changes nothing, whatever the token."""
    api.sender.consent = NO
    endpoint = await api.endpoint(verify="cloudevents")
    for text in (token(api), "x"):
        answer = await api.client.head(f"/v1/{escaped}/{text}", headers={"authorization": ""})
        assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "GET, OPTIONS, POST", b"")
        asked = await api.client.options(f"/v1/{escaped}/{text}")
        assert (asked.status_code, asked.headers["allow"]) == (204, "GET, OPTIONS, POST")
    assert (await api.call("GET", f"/v1/endpoints/{endpoint['id']}", 200))["state"] == "unverified"
    assert (await api.client.get(f"/v1/endpoint-consent/{token(api)}")).status_code == 200


async def test_tokens_that_are_none(api: Api) -> None:
    """Whatever else is asked for is the same 404, byte for byte."""
    api.sender.consent = NO
    await api.endpoint(verify="cloudevents")
    good = token(api)
    answers = [
        await api.client.get(f"/v1/endpoint-consent/{text}")
        for text in ("x", good[:-1], good[:-1] + ("A" if good[-1] != "A" else "Q"), "%C3%A9" * 43, good.swapcase())
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert (await api.client.get(f"/v1/endpoint-consent/{good}?a=1")).status_code == 422
    assert (await api.client.put(f"/v1/endpoint-consent/{good}")).status_code == 405


async def test_they_are_documented(api: Api) -> None:
    """The OpenAPI document describes the routes, with and without a key."""
    document = (await api.client.get("/openapi.json")).json()
    tested = document["paths"]["/v1/endpoints/{endpoint}/test"]["post"]
    assert tested["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/TestedDocument")
    schema = document["components"]["schemas"]["TestedDocument"]
    assert {"success", "request_headers", "response_body", "timing"} <= set(schema["properties"])
    for method in ("get", "post"):
        assert document["paths"]["/v1/endpoint-consent/{token}"][method]["security"] == []
