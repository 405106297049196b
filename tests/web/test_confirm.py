"""`POST /v1/confirm/{token}`: nothing but a token of ours and a POST confirms, and everything else is told why."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.api import Api, encoded

from hookline.core import ids
from hookline.core.confirm import PURPOSE
from hookline.core.delivery import State
from hookline.core.secret import Keyring

TOKENS = Keyring([b"k" * 32]).tokens(PURPOSE)
SUCCESS = {"status": "success"}
ANOTHER = Keyring([b"x" * 32]).tokens(PURPOSE).make(bytes(16))


async def unconfirmed(api: Api) -> tuple[str, str]:
    """An unconfirmed delivery: its id, and the path at which it is confirmed."""
    endpoint = await api.endpoint(confirm={"within_s": 60})
    event = await api.event([endpoint])
    delivery = await api.attempt(event, endpoint, State.UNCONFIRMED, kind="unconfirmed")
    return delivery, path_of(delivery)


def path_of(delivery: str) -> str:
    """Where a delivery is confirmed."""
    return f"/v1/confirm/{TOKENS.make(ids.parse(ids.DELIVERY, delivery) or b'')}"


def raw(body: bytes, content_type: str | None = "application/json") -> dict[str, Any]:
    """These very bytes."""
    return {"content": body, "headers": {} if content_type is None else {"content-type": content_type}}


@pytest.fixture
def nobody(api: Api) -> Api:
    """Calls without an API key, as a receiver does."""
    del api.client.headers["authorization"]
    return api


async def test_the_first_word_counts_and_no_other(api: Api) -> None:
    """A receiver confirms without an API key; saying it again, or otherwise, is answered and changes nothing."""
    delivery, path = await unconfirmed(api)
    key = api.client.headers.pop("authorization")
    assert await api.call("POST", path, 200, SUCCESS) == {"applied": True}
    assert await api.call("POST", path, 200, SUCCESS) == {"applied": False}
    assert await api.call("POST", path, 200, {"status": "error", "message": "after all"}) == {"applied": False}
    (found,) = await api.store.unconfirmed()
    assert (ids.text(ids.DELIVERY, found.ref.delivery_id), found.success, found.message) == (delivery, True, b"")
    api.client.headers["authorization"] = key
    assert (await api.call("GET", f"/v1/deliveries/{delivery}", 200))["state"] == "unconfirmed"
    assert (await api.call("GET", "/v1/stats", 200))["open"]["unconfirmed"] == 1


async def test_it_is_durable_before_it_is_answered(api: Api) -> None:
    """What was answered with `applied` is in the store, message and all, before anything was recorded of it."""
    _, path = await unconfirmed(api)
    assert await api.call("POST", path, 200, {"status": "error", "message": "no \u00fc\u0000"}) == {"applied": True}
    (found,) = await api.store.unconfirmed()
    assert (found.success, found.message) == (False, "no \u00fc\u0000".encode())


@pytest.mark.parametrize("state", [State.DELIVERED, State.FAILED, State.PENDING])
async def test_what_does_not_wait_is_not_changed(api: Api, state: State) -> None:
    """A token of a delivery that is closed or is to be sent again is read, and counts for nothing."""
    endpoint = await api.endpoint(confirm={"within_s": 60})
    event = await api.event([endpoint])
    delivery = await api.attempt(event, endpoint, state)
    assert await api.call("POST", path_of(delivery), 200, SUCCESS) == {"applied": False}


async def test_a_late_word_does_not_count(api: Api) -> None:
    """After the deadline it is answered with `applied: false`."""
    _, path = await unconfirmed(api)
    api.clock.advance(61)
    assert await api.call("POST", path, 200, SUCCESS) == {"applied": False}


@pytest.mark.parametrize("more", [raw(b""), raw(b"{"), raw(encoded(SUCCESS)), raw(b"x" * 5000), raw(b"", "text/plain")])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/confirm/" + ANOTHER,
        "/v1/confirm/" + "A" * 43,
        "/v1/confirm/x",
        "/v1/confirm/%00",
        "/v1/confirm/%C3%A9",
        "/v1/confirm/..%2Fevents",
        "/v1/confirm/" + "A" * 1000,
        "/v1/confirm/" + ANOTHER + "?why=not",
        "/v1/confirm/",
        "/v1/confirm",
        "/v1/confirm/" + ANOTHER + "/more",
    ],
)
async def test_every_forged_token_has_the_same_answer(nobody: Api, path: str, more: dict[str, Any]) -> None:
    """Whatever is made up, and whatever is sent with it, the 404 is the same byte for byte."""
    known = await nobody.client.request("GET", "/nothing/here")
    answer = await nobody.client.request("POST", path, **more)
    assert (answer.status_code, answer.content) == (404, known.content)


async def test_a_token_of_another_purpose_is_forged(nobody: Api) -> None:
    """What our keys made for something else confirms nothing."""
    delivery, _ = await keyed(nobody)
    other = Keyring([b"k" * 32]).tokens(b"hookline verify 1").make(ids.parse(ids.DELIVERY, delivery) or b"")
    await nobody.refused("POST", f"/v1/confirm/{other}", "not_found", SUCCESS)


async def keyed(nobody: Api) -> tuple[str, str]:
    """An unconfirmed delivery, made with the key."""
    nobody.client.headers["authorization"] = "Bearer correct-horse-battery"
    found = await unconfirmed(nobody)
    del nobody.client.headers["authorization"]
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_post_confirms(nobody: Api, method: str) -> None:
    """A scanner that follows the link, a preview, a prefetch: nothing is confirmed by them."""
    _, path = await keyed(nobody)
    answer = await nobody.client.request(method, path)
    assert answer.status_code == (204 if method == "OPTIONS" else 405)
    assert "POST" in answer.headers["allow"]
    assert "GET" not in answer.headers["allow"]
    assert await nobody.store.unconfirmed() == []


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        (raw(b""), 400, "malformed_json"),
        (raw(b"", None), 400, "malformed_json"),
        (raw(b"success"), 400, "malformed_json"),
        (raw(b'{"status":"success","status":"error"}'), 400, "malformed_json"),
        (raw(b'{"status":"\xff"}'), 400, "malformed_json"),
        (raw(b"[" * 5000 + b"]" * 5000), 413, "payload_too_large"),
        (raw(b'"success"'), 422, "invalid_confirmation"),
        (raw(b"{}"), 422, "invalid_confirmation"),
        (raw(b'{"status":"ok"}'), 422, "invalid_confirmation"),
        (raw(b'{"status":"error","message":"%s"}' % (b"x" * 1025)), 422, "invalid_confirmation"),
        (raw(b'{"status":"success","x":1}'), 422, "unknown_field"),
        (raw(b'{"status":"success"}' + b" " * 4096), 413, "payload_too_large"),
        (raw(b"status=success", "application/x-www-form-urlencoded"), 415, "unsupported_media_type"),
        (raw(encoded(SUCCESS), "text/plain"), 415, "unsupported_media_type"),
    ],
)
async def test_a_word_that_is_none_is_refused(nobody: Api, more: dict[str, Any], status: int, code: str) -> None:
    """Each fault has its status and code, and what was waiting goes on waiting."""
    _, path = await keyed(nobody)
    problem = await nobody.refused("POST", path, code, **more)
    assert problem["status"] == status
    assert await nobody.call("POST", path, 200, SUCCESS) == {"applied": True}


async def test_the_largest_word_fits(nobody: Api) -> None:
    """4 KiB of body are taken, so that 1,024 characters fit in whatever alphabet."""
    _, path = await keyed(nobody)
    body = b'{"status":"error","message":"%s"}' % ("\u4e2d" * 1024).encode()
    body += b" " * (4096 - len(body))
    assert await nobody.call("POST", path, 200, **raw(body)) == {"applied": True}


async def test_a_query_is_not_ignored(nobody: Api) -> None:
    """Parameters that nobody knows are refused here as everywhere."""
    _, path = await keyed(nobody)
    await nobody.refused("POST", path + "?utm_source=mail", "invalid_parameter", SUCCESS)


async def test_the_document_has_it(api: Api) -> None:
    """OpenAPI knows the route, without a key, and the dead letter with its schema."""
    document = await api.call("GET", "/openapi.json", 200)
    operation = document["paths"]["/v1/confirm/{token}"]["post"]
    assert operation["security"] == []
    assert {"200", "400", "404", "413", "415", "422", "429", "503"} <= set(operation["responses"])
    letter = document["webhooks"]["hookline.dead_letter"]["post"]["requestBody"]["content"]["application/json"]
    assert letter["schema"]["properties"]["data"] == {"$ref": "#/components/schemas/DeadLetter"}
    assert {"event", "delivery", "attempts"} == set(document["components"]["schemas"]["DeadLetter"]["properties"])
