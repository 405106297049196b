"""`/v1/replays`: asked for, counted, looked at, canceled."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.api import TENANT_ONLY_KEY, Api, is_documented, is_shaped

from hookline.core.delivery import State
from hookline.core.page import format_time
from hookline.flow.replay_steps import Steps
from hookline.flow.replay_worker import IDLE_S, ReplayWorker

MISSING = "rpl_" + "0" * 24


async def run(api: Api) -> None:
    """What the engine's worker does, until nothing is left to do."""
    steps = Steps(api.store, api.registry, lambda _: [], api.ids)
    worker = ReplayWorker(api.store, api.registry, steps, api.notified.update, lambda _: None, api.clock, api.observer)
    while await worker.once() < IDLE_S:
        pass


async def failed(api: Api, endpoint: dict[str, Any], count: int) -> None:
    for _ in range(count):
        event = await api.event([endpoint])
        await api.attempt(event, endpoint, State.FAILED, status=400, reason="client_error", cause="application")
        api.clock.advance(1)


async def test_a_replay_from_beginning_to_end(api: Api) -> None:
    """It is answered as running with its address, shows how far it is, and ends with everything counted."""
    endpoint = await api.endpoint(uid="shop")
    await failed(api, endpoint, 3)
    begun_at = format_time(api.store.now_ms())
    answer = await api.client.post("/v1/replays", json={"filter": {"state": "failed", "endpoint": "shop"}})
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/v1/replays/{document['id']}"
    assert document == {
        "id": document["id"],
        "state": "running",
        "of": "deliveries",
        "filter": {"state": "failed", "endpoint": endpoint["id"]},
        "endpoint_id": None,
        "rate": None,
        "examined": 0,
        "replayed": 0,
        "skipped": 0,
        "progress": 0.0,
        "waits_for": None,
        "detail": None,
        "created_at": begun_at,
        "updated_at": begun_at,
    }
    api.clock.advance(2)
    await run(api)
    ended = await api.call("GET", f"/v1/replays/{document['id']}", 200)
    assert {name: ended[name] for name in ("state", "examined", "replayed", "skipped", "progress")} == {
        "state": "done",
        "examined": 3,
        "replayed": 3,
        "skipped": 0,
        "progress": 1.0,
    }
    assert ended["updated_at"] > ended["created_at"]
    counts = await api.call("GET", "/v1/stats", 200)
    assert (counts["failed"], counts["open"]["pending"]) == (0, 3)


async def test_a_dry_run_only_counts(api: Api) -> None:
    """It answers 200 with what it would do, and there is no replay of it."""
    endpoint = await api.endpoint()
    await failed(api, endpoint, 2)
    await api.event([endpoint])
    wanted = {"filter": {"endpoint": endpoint["id"]}, "dry_run": True}
    counted = await api.call("POST", "/v1/replays", 200, wanted)
    assert counted == {"dry_run": True, "matched": 3, "would_replay": 2, "complete": True}
    short = await api.call("POST", f"/v1/endpoints/{endpoint['id']}/replay", 200, {"dry_run": True})
    assert short == {"dry_run": True, "matched": 2, "would_replay": 2, "complete": True}
    assert (await api.call("GET", "/v1/replays", 200))["data"] == []


async def test_the_short_form_for_an_endpoint(api: Api) -> None:
    """Without a body all that failed there goes again; an endpoint that is not there is 404."""
    endpoint = await api.endpoint(uid="shop")
    other = await api.endpoint(uid="other")
    await failed(api, endpoint, 2)
    await failed(api, other, 2)
    document = await api.call("POST", "/v1/endpoints/shop/replay", 202)
    assert document["filter"] == {"state": "failed", "endpoint": endpoint["id"]}
    await run(api)
    assert (await api.call("GET", f"/v1/replays/{document['id']}", 200))["replayed"] == 2
    assert (await api.call("GET", "/v1/endpoints/other/stats", 200))["failed"] == 2
    await api.refused("POST", "/v1/endpoints/nobody/replay", "not_found")


async def test_to_another_endpoint_with_a_rate(api: Api) -> None:
    """The target and the rate are shown as they hold."""
    endpoint, other = await api.endpoint(), await api.endpoint(uid="other")
    await failed(api, endpoint, 1)
    wanted = {"filter": {"state": "failed"}, "endpoint_id": "other", "rate": {"n": 100, "per_s": 2}}
    document = await api.call("POST", "/v1/replays", 202, wanted)
    assert (document["endpoint_id"], document["rate"]) == (other["id"], {"n": 100, "per_s": 2.0, "burst": None})
    await run(api)
    rows = (await api.call("GET", "/v1/deliveries", 200, params={"endpoint": "other"}))["data"]
    assert [row["replay_of"] for row in rows] == [rows[0]["event_id"]]


async def test_lists_and_pages(api: Api) -> None:
    """Replays are listed newest first, page by page."""
    made = []
    for n in range(5):
        made.append((await api.call("POST", "/v1/replays", 202, {"filter": {"type": f"t{n}"}}))["id"])
        api.clock.advance(1)
    first = await api.call("GET", "/v1/replays", 200, params={"limit": 3})
    rest = await api.call("GET", "/v1/replays", 200, params={"limit": 3, "cursor": first["next"]})
    assert [row["id"] for row in first["data"] + rest["data"]] == made[::-1]
    assert rest["next"] is None
    await api.refused("GET", "/v1/replays?state=running", "invalid_parameter")


async def test_cancel(api: Api) -> None:
    """A running one is canceled; what has ended stays as it is, and says so."""
    document = await api.call("POST", "/v1/replays", 202, {"filter": {"type": "x"}})
    path = f"/v1/replays/{document['id']}"
    assert (await api.call("POST", path + "/cancel", 200))["state"] == "canceled"
    assert (await api.refused("POST", path + "/cancel", "wrong_state"))["status"] == 409
    await run(api)
    assert (await api.call("GET", path, 200))["state"] == "canceled"


async def test_too_many_at_once(api: Api) -> None:
    """The eleventh that would run is refused."""
    for _ in range(10):
        await api.call("POST", "/v1/replays", 202, {"filter": {"type": "x"}})
    assert (await api.refused("POST", "/v1/replays", "limit_reached", {"filter": {"type": "x"}}))["status"] == 409


@pytest.mark.parametrize(
    ("document", "code", "pointer"),
    [
        ({}, "invalid_replay", "/filter"),
        ({"filter": {}}, "invalid_replay", "/filter"),
        ({"filter": {"state": "held"}}, "invalid_replay", "/filter/state"),
        ({"filter": {"endpoint": "nobody"}}, "invalid_replay", "/filter/endpoint"),
        ({"filter": {"type": "x"}, "endpoint_id": "nobody"}, "not_found", None),
        ({"filter": {"colour": "x"}}, "unknown_field", "/filter/colour"),
        ({"filter": {"subject": "x"}}, "unknown_field", "/filter/subject"),
    ],
)
async def test_what_is_refused(api: Api, document, code, pointer) -> None:
    """Every fault has its code, and a pointer where there is one."""
    problem = await api.refused("POST", "/v1/replays", code, document)
    assert problem.get("pointer") == pointer


@pytest.mark.parametrize("body", [b"", b"null", b"[1", b'"x"', b'{"filter": "x"}', b'{"filter":{"type":"\\ud800"}}'])
async def test_bodies_that_are_no_replay(api: Api, body) -> None:
    """Whatever is sent, it is a refusal that the document knows, and never a fault of ours."""
    spec = (await api.client.get("/openapi.json")).json()
    for path in ("/v1/replays", "/v1/endpoints/shop/replay"):
        answer = await api.client.post(path, content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500
        assert is_documented(spec, "POST", path, answer.status_code)


async def test_who_may(api: Api) -> None:
    """A key that only reads looks at its own tenant's replays and begins none; others' are not there."""
    document = await api.call("POST", "/v1/replays", 202, {"filter": {"type": "x"}})
    reader = {"authorization": f"Bearer {TENANT_ONLY_KEY}"}
    for method, path in (
        ("POST", "/v1/replays"),
        ("POST", f"/v1/replays/{document['id']}/cancel"),
        ("POST", "/v1/endpoints/shop/replay"),
    ):
        answer = await api.client.request(method, path, headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    other = await api.client.get(f"/v1/replays/{document['id']}", headers=reader)
    unknown = await api.client.get(f"/v1/replays/{MISSING}", headers=reader)
    assert (other.status_code, other.content) == (404, unknown.content)
    assert (await api.client.get("/v1/replays", headers=reader)).json() == {"data": [], "next": None}
    await api.refused("GET", "/v1/replays/rpl_1", "not_found")


async def test_answers_are_as_documented(api: Api) -> None:
    """A replay, a page of them and a dry run have the forms that the OpenAPI document gives them."""
    spec = (await api.client.get("/openapi.json")).json()
    wanted = {"filter": {"state": "failed", "since": "2026-01-01T00:00:00Z"}, "rate": {"n": 1}}
    document = await api.call("POST", "/v1/replays", 202, wanted)
    is_shaped(spec, "ReplayDocument", document)
    is_shaped(spec, "ReplaySpec", wanted)
    is_shaped(spec, "ReplayPage", await api.call("GET", "/v1/replays", 200))
    is_shaped(spec, "DryRun", await api.call("POST", "/v1/replays", 200, {**wanted, "dry_run": True}))
    for path, statuses in (
        ("/v1/replays", (200, 202, 404, 409, 422, 429)),
        ("/v1/endpoints/shop/replay", (200, 202, 404, 409, 422, 429)),
        (f"/v1/replays/{MISSING}/cancel", (200, 404, 409)),
    ):
        assert [is_documented(spec, "POST", path, status) for status in statuses] == [True] * len(statuses)
