"""`dead_letter` of an endpoint: another endpoint of the same tenant, or the request is refused."""

from __future__ import annotations

import pytest
from tests.web.api import Api

URL = {"url": "https://receiver.example/hook"}


@pytest.mark.parametrize("member", ["id", "uid"])
async def test_an_endpoint_of_the_tenant_is_taken(api: Api, member: str) -> None:
    """An id or a uid is kept and shown as it was written."""
    target = await api.endpoint(uid="morgue")
    made = await api.endpoint(dead_letter=target[member])
    assert made["dead_letter"] == target[member]
    changed = await api.call("PATCH", f"/v1/endpoints/{made['id']}", 200, {"dead_letter": None})
    assert changed["dead_letter"] is None


@pytest.mark.parametrize("name", ["unknown", "ep_000000000000000000000000", "ep_x", "*", "é"])
async def test_what_is_not_there_is_refused(api: Api, name: str) -> None:
    """An unknown id or uid is 422 and points to itself, at creation and at a change."""
    problem = await api.refused("POST", "/v1/endpoints", "invalid_endpoint", {**URL, "dead_letter": name})
    assert problem["pointer"] == "/dead_letter"
    made = await api.endpoint()
    path = f"/v1/endpoints/{made['id']}"
    problem = await api.refused("PATCH", path, "invalid_endpoint", {"dead_letter": name})
    assert problem["pointer"] == "/dead_letter"


async def test_another_tenants_endpoint_is_as_unknown_as_none(api: Api) -> None:
    """The answer for another tenant's endpoint is that for one that is not there, byte for byte."""
    other = await api.call("POST", "/v1/endpoints", 201, {**URL, "uid": "theirs"}, headers={"hookline-tenant": "acme"})
    answers = {
        (await api.client.post("/v1/endpoints", json={**URL, "dead_letter": name})).content
        for name in (other["id"], "theirs", "nobodys")
    }
    assert len(answers) == 1


async def test_a_deleted_endpoint_is_refused(api: Api) -> None:
    """What was deleted cannot be named any more."""
    target = await api.endpoint(uid="gone")
    await api.call("DELETE", f"/v1/endpoints/{target['id']}", 204)
    for name in (target["id"], "gone"):
        await api.refused("POST", "/v1/endpoints", "invalid_endpoint", {**URL, "dead_letter": name})


async def test_not_to_itself(api: Api) -> None:
    """Neither by its id nor by a uid that it has or gets can an endpoint name itself."""
    await api.refused("POST", "/v1/endpoints", "invalid_endpoint", {**URL, "uid": "me", "dead_letter": "me"})
    made = await api.endpoint(uid="me")
    path = f"/v1/endpoints/{made['id']}"
    for name in (made["id"], "me"):
        problem = await api.refused("PATCH", path, "invalid_endpoint", {"dead_letter": name})
        assert problem["pointer"] == "/dead_letter"
    await api.refused("PATCH", path, "invalid_endpoint", {"uid": "new", "dead_letter": "new"})
    other = await api.endpoint(uid="other")
    await api.call("PATCH", path, 200, {"dead_letter": "other"})
    await api.call("DELETE", f"/v1/endpoints/{other['id']}", 204)
    await api.refused("PATCH", path, "invalid_endpoint", {"uid": "other"})


async def test_a_change_of_something_else_does_not_ask(api: Api) -> None:
    """After the other was deleted an endpoint can still be changed, and named anew only by one that is there."""
    target = await api.endpoint(uid="target")
    made = await api.endpoint(dead_letter="target")
    await api.call("DELETE", f"/v1/endpoints/{target['id']}", 204)
    path = f"/v1/endpoints/{made['id']}"
    changed = await api.call("PATCH", path, 200, {"description": "changed", "dead_letter": "target"})
    assert (changed["description"], changed["dead_letter"]) == ("changed", "target")
    await api.refused("PATCH", path, "invalid_endpoint", {"dead_letter": target["id"]})
