"""`/v1/tenants` and `/v1/keys`: what the operator lays down, and that it holds at the next request."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.web.api import is_shaped

from hookline.core.api_key import digest

PUBLISH = {"type": "order.created", "data": 1}


def bearer(key, tenant=None):
    """Headers of somebody with this key."""
    headers = {"authorization": f"Bearer {key}"}
    return headers if tenant is None else {**headers, "hookline-tenant": tenant}


async def issue(api, **members):
    """A new key of acme that may read."""
    return await api.call("POST", "/v1/keys", 201, {"tenant": "acme", "scopes": ["read"], **members})


async def document_of(api):
    """The OpenAPI document."""
    return (await api.client.get("/openapi.json")).json()


async def test_a_tenant_is_made_changed_and_deleted(api):
    """A tenant is shown as he was laid down; a patch changes what it names, and null takes a limit away."""
    document = await document_of(api)
    answer = await api.client.post(
        "/v1/tenants",
        json={
            "id": "acme",
            "name": "Acme",
            "events_rate": {"n": 5},
            "retention_s": 60,
            "metadata": {"a": "1", "b": "2"},
        },
    )
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/tenants/acme")
    made = answer.json()
    is_shaped(document, "TenantDocument", made)
    assert {**made, "created_at": "", "updated_at": ""} == {
        "id": "acme", "name": "Acme", "endpoints_max": None, "events_rate": {"n": 5, "per_s": 1.0, "burst": None},
        "retention_s": 60.0, "dead_letter": None, "metadata": {"a": "1", "b": "2"}, "created_at": "", "updated_at": "",
    }  # fmt: skip
    api.clock.advance(1)
    patch = {"id": "acme", "events_rate": {"burst": 9}, "retention_s": None, "metadata": {"a": None, "c": "3"}}
    changed = await api.call("PATCH", "/v1/tenants/acme", 200, patch)
    assert changed["events_rate"] == {"n": 5, "per_s": 1.0, "burst": 9}
    assert (changed["retention_s"], changed["metadata"], changed["name"]) == (None, {"b": "2", "c": "3"}, "Acme")
    assert changed["created_at"] == made["created_at"] < changed["updated_at"]
    assert await api.call("GET", "/v1/tenants/acme", 200) == changed
    await api.call("DELETE", "/v1/tenants/acme", 204)
    for method in ("GET", "DELETE"):
        await api.refused(method, "/v1/tenants/acme", "not_found")
    await api.refused("PATCH", "/v1/tenants/acme", "not_found", {})


async def test_tenants_are_listed_by_name(api):
    """Pages in the order of names, without the deleted ones, each once."""
    for name in ("c", "a", "d", "b"):
        await api.call("POST", "/v1/tenants", 201, {"id": name})
    await api.call("DELETE", "/v1/tenants/c", 204)
    first = await api.call("GET", "/v1/tenants?limit=2", 200)
    is_shaped(await document_of(api), "TenantPage", first)
    second = await api.call("GET", f"/v1/tenants?limit=2&cursor={first['next']}", 200)
    assert [row["id"] for row in first["data"] + second["data"]] == ["a", "b", "d"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "invalid_tenant", "/id"),
        ({"id": "a b"}, "invalid_tenant", "/id"),
        ({"id": "acme", "nope": 1}, "unknown_field", "/nope"),
        ({"id": "acme", "events_rate": {"n": 0}}, "invalid_tenant", "/events_rate/n"),
        ({"id": "acme", "dead_letter": "nobody"}, "invalid_tenant", "/dead_letter"),
        ([], "invalid_tenant", ""),
        (b"{", "malformed_json", None),
        (b'{"id": "a", "id": "b"}', "malformed_json", None),
        (b'{"id": ' + b"[" * 3000, "too_deep", None),
    ],
)  # fmt: skip
async def test_what_is_no_tenant(api, body, code, pointer):
    """Each fault is refused with its code and where it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    problem = await api.refused("POST", "/v1/tenants", code, content=content, headers=headers)
    assert problem.get("pointer") == pointer


async def test_a_tenant_that_cannot_be_changed_so(api):
    """A taken name, another id, and deleting the tenant of those who name none are refused."""
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    await api.refused("POST", "/v1/tenants", "name_taken", {"id": "acme"})
    assert (await api.refused("PATCH", "/v1/tenants/acme", "invalid_tenant", {"id": "b"}))["pointer"] == "/id"
    assert (await api.refused("PATCH", "/v1/tenants/acme", "invalid_tenant", {"name": 5}))["pointer"] == "/name"
    assert (await api.refused("PATCH", "/v1/tenants/acme", "unknown_field", {"x": 5}))["pointer"] == "/x"
    await api.call("POST", "/v1/tenants", 201, {"id": "default"})
    await api.refused("DELETE", "/v1/tenants/default", "wrong_state")


async def test_a_dead_letter_is_an_endpoint_of_the_tenant(api):
    """An id or uid of his own endpoint will do, another's will not; one that is gone is in no other change's way."""
    mine = await api.call(
        "POST", "/v1/endpoints", 201, {"url": "https://a.example/", "uid": "late"}, headers={"hookline-tenant": "acme"}
    )
    theirs = await api.endpoint(uid="theirs")
    assert (await api.call("POST", "/v1/tenants", 201, {"id": "acme", "dead_letter": "late"}))["dead_letter"] == "late"
    await api.call("PATCH", "/v1/tenants/acme", 200, {"dead_letter": mine["id"]})
    for reference in ("theirs", theirs["id"], "ep_" + "0" * 24):
        problem = await api.refused("PATCH", "/v1/tenants/acme", "invalid_tenant", {"dead_letter": reference})
        assert problem["pointer"] == "/dead_letter"
    await api.call("DELETE", f"/v1/endpoints/{mine['id']}", 204, headers={"hookline-tenant": "acme"})
    await api.call("PATCH", "/v1/tenants/acme", 200, {"name": "x"})


async def test_changes_at_once_are_all_kept(api):
    """Patches of different members at the same time do not undo each other."""
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    key = await issue(api)
    names = [f"m{n}" for n in range(4)]
    patches = [api.call("PATCH", "/v1/tenants/acme", 200, {"metadata": {name: "x"}}) for name in names]
    members = [{"description": "d"}, {"rate": {"n": 5}}, {"scopes": ["manage"]}]
    await asyncio.gather(*patches, *(api.call("PATCH", f"/v1/keys/{key['id']}", 200, member) for member in members))
    assert set((await api.call("GET", "/v1/tenants/acme", 200))["metadata"]) == set(names)
    changed = await api.call("GET", f"/v1/keys/{key['id']}", 200)
    assert (changed["description"], changed["rate"]["n"], changed["scopes"]) == ("d", 5, ["manage"])


async def test_nobody_acts_for_a_deleted_tenant(api):
    """His keys are unknown and the operator gets 404, publishing included, until he is created again."""
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    acme = {"hookline-tenant": "acme"}
    endpoint = await api.call("POST", "/v1/endpoints", 201, {"url": "https://a.example/"}, headers=acme)
    await api.call("POST", "/v1/event-types", 201, {"name": "a"}, headers=acme)
    key = await issue(api)
    await api.call("DELETE", "/v1/tenants/acme", 204)
    await api.refused("GET", "/v1/endpoints", "unauthorized", headers=bearer(key["key"]))
    for method, path in (("GET", "/v1/endpoints"), ("GET", "/v1/stats"), ("GET", f"/v1/endpoints/{endpoint['id']}")):
        await api.refused(method, path, "not_found", headers=acme)
    await api.refused("POST", "/v1/endpoints", "not_found", {"url": "https://a.example/"}, headers=acme)
    await api.refused("POST", "/v1/events", "not_found", PUBLISH, headers=acme)
    assert api.publisher.got == []
    problem = await api.refused("POST", "/v1/keys", "invalid_key", {"tenant": "acme", "scopes": ["read"]})
    assert problem["pointer"] == "/tenant"
    await api.call("GET", "/v1/keys", 200, headers=acme)
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    assert (await api.call("GET", "/v1/endpoints", 200, headers=acme))["data"] == []
    assert (await api.call("GET", "/v1/event-types", 200, headers=acme))["data"] == []
    await api.refused("GET", "/v1/endpoints", "unauthorized", headers=bearer(key["key"]))
    await api.call("POST", "/v1/events", 202, PUBLISH, headers=acme)


async def test_a_tenant_has_no_more_endpoints_than_he_may(api):
    """The limit is exact, also for requests at once; deleting one makes room, and what is there may be changed."""
    await api.call("POST", "/v1/tenants", 201, {"id": "acme", "endpoints_max": 2})
    acme = {"hookline-tenant": "acme"}
    body = {"url": "https://a.example/"}
    answers = await asyncio.gather(
        *(api.client.post("/v1/endpoints", json=body, headers=acme) for _ in range(5))
    )  # fmt: skip
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    problem = await api.refused("POST", "/v1/endpoints", "limit_reached", body, headers=acme)
    assert problem["status"] == 409
    one = next(answer.json() for answer in answers if answer.status_code == 201)
    await api.call("PATCH", f"/v1/endpoints/{one['id']}", 200, {"description": "d"}, headers=acme)
    await api.call("DELETE", f"/v1/endpoints/{one['id']}", 204, headers=acme)
    await api.call("POST", "/v1/endpoints", 201, body, headers=acme)
    await api.endpoint()
    await api.call("PATCH", "/v1/tenants/acme", 200, {"endpoints_max": 0})
    await api.refused("POST", "/v1/endpoints", "limit_reached", body, headers=acme)


# ------------------------------------------------------------------------------------------------------- keys


async def test_a_key_is_shown_once_and_works_at_once(api):
    """Only the answer to its creation has the key; the store has its digest and its last four characters."""
    document = await document_of(api)
    answer = await api.client.post("/v1/keys", json={"tenant": "acme", "scopes": ["read"], "description": "d"})
    made = answer.json()
    is_shaped(document, "IssuedKeyDocument", made)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/keys/{made['id']}")
    assert answer.headers["cache-control"] == "no-store"
    key = made.pop("key")
    assert key.endswith(made["hint"])
    (row,) = (await api.store.changes(0)).keys
    assert row.digest == digest(key)
    assert key.encode() not in row.spec
    await api.call("GET", "/v1/endpoints", 200, headers=bearer(key))
    shown = await api.call("GET", f"/v1/keys/{made['id']}", 200)
    is_shaped(document, "KeyDocument", shown)
    assert {**shown, "last_used_at": None} == made
    assert shown["last_used_at"] is not None
    page = await api.call("GET", "/v1/keys", 200)
    is_shaped(document, "KeyPage", page)
    assert page == {"data": [shown], "next": None}


async def test_scopes_are_held_to(api):
    """A key does what its scopes say, for its tenant; tenants and keys are the operator's alone."""
    await api.event(tenant="acme")
    calls = {
        "publish": ("POST", "/v1/events", 202, PUBLISH),
        "read": ("GET", "/v1/events", 200, None),
        "manage": ("POST", "/v1/event-types", 201, {"name": "a"}),
    }
    for scope in calls:
        key = (await issue(api, scopes=[scope]))["key"]
        for other, (method, path, status, body) in calls.items():
            await api.call(method, path, status if other == scope else 403, body, headers=bearer(key))
    assert [got[0] for got in api.publisher.got] == ["acme"]
    key = (await issue(api, scopes=["publish", "read", "manage"]))["key"]
    document = await document_of(api)
    for template, item in document["paths"].items():
        if not template.startswith(("/v1/tenants", "/v1/keys")):
            continue
        for method in item:
            path = template.replace("{tenant}", "acme").replace("{id}", "key_" + "0" * 24)
            problem = await api.refused(method.upper(), path, "forbidden", headers=bearer(key))
            assert problem["detail"] == "Only the operator's key may do this."


async def test_a_key_acts_for_its_tenant_only(api):
    """It may name its own tenant, and naming another is 403; an issued operator's key may name any."""
    key = (await issue(api))["key"]
    await api.call("GET", "/v1/events", 200, headers=bearer(key, "acme"))
    await api.refused("GET", "/v1/events", "forbidden", headers=bearer(key, "other"))
    operator = await api.call("POST", "/v1/keys", 201, {"scopes": ["operator"]})
    assert operator["tenant"] is None
    for tenant in (None, "acme", "other"):
        await api.call("GET", "/v1/events", 200, headers=bearer(operator["key"], tenant))
    assert (await api.call("GET", "/v1/keys", 200, headers=bearer(operator["key"])))["data"] != []


async def test_keys_are_listed_newest_first_by_tenant(api):
    """Without Hookline-Tenant all are listed, with it one tenant's; another's is not found, however it is asked."""
    made = [await issue(api), await issue(api, tenant="other"), await issue(api)]
    rows = (await api.call("GET", "/v1/keys", 200))["data"]
    assert [row["id"] for row in rows] == [key["id"] for key in reversed(made)]
    first = await api.call("GET", "/v1/keys?limit=1", 200, headers={"hookline-tenant": "acme"})
    rest = await api.call("GET", f"/v1/keys?cursor={first['next']}", 200, headers={"hookline-tenant": "acme"})
    assert [row["id"] for row in first["data"] + rest["data"]] == [made[2]["id"], made[0]["id"]]
    path = f"/v1/keys/{made[1]['id']}"
    for method, of in (("GET", path), ("PATCH", path), ("POST", path + "/rotate"), ("DELETE", path)):
        await api.refused(
            method, of, "not_found", {} if method == "PATCH" else None, headers={"hookline-tenant": "acme"}
        )
    await api.call("DELETE", path, 204, headers={"hookline-tenant": "other"})


async def test_the_tenant_of_the_header_is_the_keys(api):
    """Hookline-Tenant says for whom a key is, unless the body says another: then nothing is done."""
    acme = {"hookline-tenant": "acme"}
    assert (await api.call("POST", "/v1/keys", 201, {"scopes": ["read"]}, headers=acme))["tenant"] == "acme"
    body = {"scopes": ["read"], "tenant": "other"}
    assert (await api.refused("POST", "/v1/keys", "invalid_key", body, headers=acme))["pointer"] == "/tenant"
    assert (await api.refused("POST", "/v1/keys", "invalid_key", {"scopes": ["read"]}))["pointer"] == "/tenant"
    assert (await api.call("POST", "/v1/keys", 201, {"scopes": ["operator"]}, headers=acme))["tenant"] is None


async def test_a_key_is_changed(api):
    """A patch holds from the next request on, and leaves the key itself as it is."""
    made = await issue(api, event_types=None, rate={"n": 5})
    path = f"/v1/keys/{made['id']}"
    await api.refused("POST", "/v1/event-types", "forbidden", {"name": "a"}, headers=bearer(made["key"]))
    changed = await api.call("PATCH", path, 200, {"scopes": ["manage"], "rate": None, "tenant": "acme"})
    assert (changed["scopes"], changed["rate"], changed["created_at"]) == (["manage"], None, made["created_at"])
    await api.call("POST", "/v1/event-types", 201, {"name": "a"}, headers=bearer(made["key"]))
    for patch, code, pointer in (
        ({"tenant": "other"}, "invalid_key", "/tenant"),
        ({"scopes": ["operator"]}, "invalid_key", "/tenant"),
        ({"scopes": None}, "invalid_key", "/scopes"),
        ({"event_types": ["a"]}, "invalid_key", "/event_types"),
        ({"expires_at": "2025-12-31T00:00:00Z"}, "invalid_key", "/expires_at"),
        ({"key": "x"}, "unknown_field", "/key"),
    ):
        assert (await api.refused("PATCH", path, code, patch))["pointer"] == pointer
    assert (await api.call("GET", path, 200))["scopes"] == ["manage"]


async def test_revoked_ended_and_unknown_are_one_answer(api):
    """Whatever is wrong with a key, the answer is the same byte for byte."""
    revoked, ended = await issue(api), await issue(api, expires_at="2026-01-01T00:01:00Z")
    await api.call("GET", "/v1/events", 200, headers=bearer(ended["key"]))
    api.clock.advance(61)
    await api.call("DELETE", f"/v1/keys/{revoked['id']}", 204)
    answers = [
        await api.client.get("/v1/events", headers=headers)
        for headers in (
            bearer(revoked["key"]), bearer(ended["key"]), bearer("hl_" + "x" * 43), {"authorization": "Basic YTpi"},
            {"authorization": "Bearer \xff".encode("latin-1")},
        )
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.content, str(sorted(answer.headers.items()))) for answer in answers}) == 1
    await api.refused("DELETE", f"/v1/keys/{revoked['id']}", "not_found")
    await api.refused("PATCH", f"/v1/keys/{revoked['id']}", "not_found", {})
    assert [row["id"] for row in (await api.call("GET", "/v1/keys", 200))["data"]] == [ended["id"]]
    await api.call("PATCH", f"/v1/keys/{ended['id']}", 200, {"description": "still there"})
    await api.refused("POST", f"/v1/keys/{ended['id']}/rotate", "invalid_key")
    await api.call("PATCH", f"/v1/keys/{ended['id']}", 200, {"expires_at": None})
    await api.call("GET", "/v1/events", 200, headers=bearer(ended["key"]))


async def test_a_key_is_replaced_with_overlap(api):
    """The new key has the old one's rights; the old one ends with the overlap, or when it would have ended."""
    old = await issue(api, scopes=["publish"], event_types=["order.*"], rate={"n": 100}, description="d")
    path = f"/v1/keys/{old['id']}/rotate"
    new = await api.call("POST", path, 201, {"overlap_s": 60})
    same = ("tenant", "scopes", "event_types", "rate", "description", "expires_at")
    assert [new[name] for name in same] == [old[name] for name in same]
    assert new["key"] != old["key"]
    for key in (old, new):
        await api.call("POST", "/v1/events", 202, PUBLISH, headers=bearer(key["key"]))
    shown = await api.call("GET", f"/v1/keys/{old['id']}", 200)
    await api.call("POST", path, 201)
    assert await api.call("GET", f"/v1/keys/{old['id']}", 200) == shown
    api.clock.advance(61)
    await api.refused("POST", "/v1/events", "unauthorized", PUBLISH, headers=bearer(old["key"]))
    await api.call("POST", "/v1/events", 202, PUBLISH, headers=bearer(new["key"]))
    await api.call("POST", f"/v1/keys/{new['id']}/rotate", 201, {"overlap_s": 0})
    await api.refused("POST", "/v1/events", "unauthorized", PUBLISH, headers=bearer(new["key"]))
    problem = await api.refused("POST", path, "invalid_parameter", {"overlap_s": -1})
    assert problem["pointer"] == "/overlap_s"


async def test_rates_are_held_on_every_route(api):
    """Beyond its rate a key gets 429 with Retry-After, on publishing and elsewhere; the operator's own has none."""
    key = (await issue(api, scopes=["publish", "read"], rate={"n": 2, "per_s": 30}))["key"]
    await api.call("POST", "/v1/events", 202, PUBLISH, headers=bearer(key))
    await api.call("GET", "/v1/events", 200, headers=bearer(key))
    for method, path in (("POST", "/v1/events"), ("GET", "/v1/events"), ("GET", "/v1/stats")):
        answer = await api.client.request(method, path, headers=bearer(key), json=PUBLISH if method == "POST" else None)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "15")
        assert answer.json()["code"] == "rate_limited"
    api.clock.advance(15)
    await api.call("GET", "/v1/events", 200, headers=bearer(key))
    for _ in range(5):
        await api.call("GET", "/v1/events", 200)


async def test_rates_of_addresses_are_held(api):
    """A key with a rate for each address is limited at ours."""
    key = (await issue(api, address_rate={"n": 1, "per_s": 60}))["key"]
    await api.call("GET", "/v1/events", 200, headers=bearer(key))
    problem = await api.refused("GET", "/v1/events", "rate_limited", headers=bearer(key))
    assert "from your address" in problem["detail"]


async def test_what_a_key_may_publish_reaches_the_publisher(api):
    """The publisher is told which types the key may publish, on both ways to it; without patterns it is told none."""
    key = (await issue(api, scopes=["publish"], event_types=["order.*"]))["key"]
    for path in ("/v1/events", "/v1/events?"):
        await api.call("POST", path, 202, PUBLISH, headers=bearer(key))
        allowed = api.publisher.allowed[-1]
        assert (allowed("order.created"), allowed("user.created")) == (True, False)
    await api.call("POST", "/v1/events", 202, PUBLISH)
    assert api.publisher.allowed[-1] is None
