"""`/v1/sources`: made, shown, changed, deleted, with secrets that never come back; quarantine and rejections."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.arch.reference import openapi_document
from tests.web.api import PUBLIC_URL, Api, is_shaped

from hookline.core import ids
from hookline.core.event import Event, Origin
from hookline.core.rejection import rejection
from hookline.core.verifiers import presets
from hookline.ports.store import AcceptRequest, NewEvent, NewQuarantine, RejectionRow

SECRET = "whsec_5QJ3vK9mXtR2pLwZ8nYbC4dFgHsA1eUo"
DOCUMENT = openapi_document()


async def make(api: Api, **spec: Any) -> dict[str, Any]:
    """A new source."""
    body = {"name": "stripe", "verifier": "stripe", "config": {"secret": SECRET}, **spec}
    return await api.call("POST", "/v1/sources", 201, body)


async def secrets_of(api: Api, source: dict[str, Any]) -> Any:
    """What the hot path has for a source's configuration."""
    await api.registry.refresh()
    compiled = api.registry.source_of("default", source["id"])
    assert compiled is not None
    return compiled.config


async def test_a_source_is_made_and_shown(api: Api):
    """The answer has every field, the address for the provider, secrets masked; the list and the look show the same."""
    source = await make(api, description="payments", metadata={"team": "a"}, uid="pay")
    is_shaped(DOCUMENT, "Source", source)
    assert source["config"] == {"secret": "***"}
    assert source["url"] == f"{PUBLIC_URL}/in/stripe"
    assert source["warnings"] == []
    for reference in (source["id"], "stripe", "pay"):
        assert await api.call("GET", f"/v1/sources/{reference}", 200) == source
    page = await api.call("GET", "/v1/sources", 200)
    assert page == {"data": [source], "next": None}
    is_shaped(DOCUMENT, "SourcePage", page)
    assert SECRET not in json.dumps([source, page])
    assert await secrets_of(api, source) == {"secret": SECRET}


async def test_location_is_where_it_is(api: Api):
    """The answer to a creation names the new source's place."""
    answer = await api.client.post("/v1/sources", json={"name": "in", "verifier": "none"})
    assert answer.headers["location"] == f"/v1/sources/{answer.json()['id']}"


async def test_a_tenant_has_an_address_by_id(api: Api):
    """A name is an address in the tenant default only; another tenant's source is at its id."""
    body = {"name": "stripe", "verifier": "stripe"}
    source = await api.call("POST", "/v1/sources", 201, body, headers={"hookline-tenant": "acme"})
    assert source["url"] == f"{PUBLIC_URL}/in/{source['id']}"
    assert api.registry.source_at("stripe") is None
    assert api.registry.source_at(source["id"]).tenant == "acme"


async def test_an_unguessable_address(api: Api):
    """With a token the address is that and nothing else; it stays over changes, and goes when it is not wanted."""
    source = await make(api, token=True)
    address = source["url"].removeprefix(f"{PUBLIC_URL}/in/")
    assert address.startswith("tok_")
    assert len(address) == 36
    assert api.registry.source_at(address) is not None
    assert [api.registry.source_at(other) for other in ("stripe", source["id"])] == [None, None]
    changed = await api.call("PATCH", "/v1/sources/stripe", 200, {"description": "new"})
    assert changed["url"] == source["url"]
    plain = await api.call("PATCH", "/v1/sources/stripe", 200, {"token": False})
    assert plain["url"] == f"{PUBLIC_URL}/in/stripe"
    assert api.registry.source_at(address) is None
    again = await api.call("PATCH", "/v1/sources/stripe", 200, {"token": True})
    assert again["url"] not in (source["url"], plain["url"])


@pytest.mark.parametrize("name", presets.NAMES)
async def test_every_preset_makes_a_source(api: Api, name: str):
    """Each provider is made by its name alone; what it needs may come later."""
    source = await make(api, name=name, verifier=name, config={})
    assert (source["verifier"], source["config"]) == (name, {})


async def test_ones_own_scheme(api: Api):
    """An object describes one's own verifier, and is shown as it was given."""
    scheme = {"scheme": "hmac", "signature": "header:x-signature", "encoding": "base64", "prefix": "v1="}
    source = await make(api, verifier=scheme)
    assert (source["verifier"], source["config"]) == (scheme, {"secret": "***"})


async def test_warnings(api: Api):
    """What is open to anybody says so, as does an address without TLS and a verifier without its configuration."""
    anybody = await make(api, name="open", verifier="none", config={})
    assert "Nothing proves who sends" in anybody["warnings"][0]
    own = await make(api, name="open2", verifier={"scheme": "none"}, config={})
    assert own["warnings"] == anybody["warnings"]
    empty = await make(api, name="empty", config={})
    assert "No secret is configured" in empty["warnings"][0]


@pytest.mark.parametrize(
    ("spec", "code", "pointer"),
    [
        ({"verifier": None}, "invalid_source", "/verifier"),
        ({"verifier": "nobody"}, "invalid_source", "/verifier"),
        ({"verifier": {"scheme": "magic"}}, "invalid_source", "/verifier/scheme"),
        ({"verifier": {"scheme": "hmac"}}, "invalid_source", "/verifier/signature"),
        ({"config": {"nothing": "x"}}, "invalid_source", "/config/nothing"),
        ({"config": {"tolerance_s": "x"}}, "invalid_source", "/config/tolerance_s"),
        ({"config": {"secret": ""}}, "invalid_source", "/config/secret"),
        ({"config": {"secret": "***"}}, "invalid_source", "/config/secret"),
        ({"config": {"secret": ["new", "***"]}}, "invalid_source", "/config/secret"),
        ({"config": {"tolerance_s": "***"}}, "invalid_source", "/config/tolerance_s"),
        ({"config": {"secret": {"a": 1}}}, "invalid_source", "/config/secret"),
        ({"config": []}, "invalid_source", "/config"),
        ({"name": "a b"}, "invalid_source", "/name"),
        ({"name": "a\n"}, "invalid_source", "/name"),
        ({"name": ""}, "invalid_source", "/name"),
        ({"name": ".."}, "invalid_source", "/name"),
        ({"name": "src_" + "0" * 24}, "invalid_source", "/name"),
        ({"name": "tok_" + "0" * 32}, "invalid_source", "/name"),
        ({"uid": "src_" + "0" * 24}, "invalid_source", "/uid"),
        ({"kind": "carrier_pigeon"}, "invalid_source", "/kind"),
        ({"methods": []}, "invalid_source", "/methods"),
        ({"methods": ["post"]}, "invalid_source", "/methods/0"),
        ({"content_types": ["json"]}, "invalid_source", "/content_types/0"),
        ({"content_types": ["a/b", "a/b; charset=x"]}, "invalid_source", "/content_types/1"),
        ({"ip_ranges": ["192.0.2.1/24"]}, "invalid_source", "/ip_ranges/0"),
        ({"ip_ranges": ["192.0.2.0/24", "host"]}, "invalid_source", "/ip_ranges/1"),
        ({"rate": {"n": 0}}, "invalid_source", "/rate/n"),
        ({"address_rate": {"n": 1, "per_s": 0}}, "invalid_source", "/address_rate/per_s"),
        ({"body_bytes_max": 0}, "invalid_source", "/body_bytes_max"),
        ({"reading": {"type": "headr:x"}}, "invalid_source", "/reading/type"),
        ({"reading": {"split": "nowhere"}}, "invalid_source", "/reading/split"),
        ({"reading": {"default_type": "a b"}}, "invalid_source", "/reading/default_type"),
        ({"reading": {"default_type": "hookline.a"}}, "invalid_source", "/reading/default_type"),
        ({"reading": {"tipe": "x"}}, "unknown_field", "/reading/tipe"),
        ({"headers": ["x y"]}, "invalid_header", "/headers/0"),
        ({"headers": ["x-a", "Authorization"]}, "invalid_header", "/headers/1"),
        ({"headers": ["host"]}, "invalid_header", "/headers/0"),
        ({"dedupe_window_s": 60}, "invalid_source", "/dedupe_window_s"),
        ({"answer": {"status": 302}}, "invalid_source", "/answer/status"),
        ({"answer": {"body": "{body:a.}"}}, "invalid_source", "/answer/body"),
        ({"answer": {"status": 204, "body": "x"}}, "invalid_source", "/answer/body"),
        ({"answer": {"content_type": "a\nb"}}, "invalid_source", "/answer/content_type"),
        ({"answer": {"after": "delivered"}}, "invalid_source", "/answer/endpoint"),
        ({"answer": {"endpoint": "x"}}, "invalid_source", "/answer/endpoint"),
        ({"answer": {"after": "delivered", "endpoint": "x"}}, "invalid_source", "/answer/endpoint"),
        ({"schemas": {"a b": {}}}, "invalid_event_type", "/schemas/a b"),
        ({"schemas": {"a": {"type": "objekt"}}}, "invalid_schema", "/schemas/a/type"),
        ({"schemas": {"a/b": 1}}, "invalid_schema", "/schemas/a~1b"),
        ({"on_invalid": "shrug"}, "invalid_source", "/on_invalid"),
        ({"metadata": {"": "x"}}, "invalid_source", "/metadata"),
        ({"secret": "x"}, "unknown_field", "/secret"),
    ],
)
async def test_what_is_wrong_is_said_where(api: Api, spec: dict[str, Any], code: str, pointer: str):
    """Each fault is a 422 with its code and a pointer to it, and nothing is made."""
    body = {"name": "stripe", "verifier": "stripe", "config": {"secret": SECRET}, **spec}
    body = {name: value for name, value in body.items() if value is not None}
    problem = await api.refused("POST", "/v1/sources", code, body)
    assert (problem["status"], problem.get("pointer")) == (422, pointer), problem
    assert SECRET not in json.dumps(problem)
    assert (await api.call("GET", "/v1/sources", 200))["data"] == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"name":"a","name":"b","verifier":"none"}', b"\xff", b"[]", b"null"])
async def test_what_is_no_document(api: Api, body: bytes):
    """What is not one strict JSON object is refused, never a 5xx."""
    answer = await api.client.post("/v1/sources", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_names_and_uids_are_taken_once(api: Api):
    """A name or uid that another source of the tenant has is 409."""
    await make(api, uid="one")
    await api.refused("POST", "/v1/sources", "name_taken", {"name": "stripe", "verifier": "none"})
    await api.refused("POST", "/v1/sources", "name_taken", {"name": "one", "verifier": "none"})
    await api.refused("POST", "/v1/sources", "uid_taken", {"name": "b", "uid": "stripe", "verifier": "none"})
    await make(api, name="b")
    await api.refused("PATCH", "/v1/sources/b", "uid_taken", {"uid": "one"})


class TestPatch:
    """`PATCH /v1/sources/{source}`."""

    async def test_what_is_not_named_stays(self, api: Api):
        """A patch changes what it names; the secrets stay, also where they come back as they were shown."""
        source = await make(api, reading={"subject": "body:id"})
        for patch in ({"description": "a"}, {"config": {"secret": "***"}}, {"reading": {"time": "body:created"}}):
            await api.call("PATCH", f"/v1/sources/{source['id']}", 200, patch)
        shown = await api.call("GET", "/v1/sources/stripe", 200)
        assert (shown["description"], shown["reading"]["subject"]) == ("a", "body:id")
        assert shown["reading"]["time"] == "body:created"
        assert await secrets_of(api, source) == {"secret": SECRET}

    async def test_what_was_shown_can_be_sent_back(self, api: Api):
        """The members of an answer, sent as a patch, change nothing."""
        source = await make(api, rate={"n": 5}, schemas={"a": {"type": "object"}}, answer={"status": 202})
        own = ("id", "url", "warnings", "created_at", "updated_at")
        patch = {name: value for name, value in source.items() if name not in own and value is not None}
        after = await api.call("PATCH", "/v1/sources/stripe", 200, patch)
        assert {**after, "updated_at": ""} == {**source, "updated_at": ""}
        assert await secrets_of(api, source) == {"secret": SECRET}

    async def test_rotating_a_secret(self, api: Api):
        """`["new", "***"]` adds a secret to those that are there; both are valid until a patch names one alone."""
        source = await make(api)
        shown = await api.call("PATCH", "/v1/sources/stripe", 200, {"config": {"secret": ["new", "***"]}})
        assert shown["config"] == {"secret": "***"}
        assert await secrets_of(api, source) == {"secret": ["new", SECRET]}
        await api.call("PATCH", "/v1/sources/stripe", 200, {"config": {"secret": ["newest", "***", "new"]}})
        assert await secrets_of(api, source) == {"secret": ["newest", "new", SECRET]}
        await api.call("PATCH", "/v1/sources/stripe", 200, {"config": {"secret": "newest"}})
        assert await secrets_of(api, source) == {"secret": "newest"}
        await api.call("PATCH", "/v1/sources/stripe", 200, {"config": {"secret": None}})
        assert await secrets_of(api, source) == {}

    async def test_a_schema_is_replaced_as_a_whole(self, api: Api):
        """A patched schema is the new one, not both merged; null takes it away; the others stay."""
        await make(api, schemas={"a": {"type": "object", "required": ["x"]}, "b": {}})
        shown = await api.call("PATCH", "/v1/sources/stripe", 200, {"schemas": {"a": {"type": "array"}, "c": True}})
        assert shown["schemas"] == {"a": {"type": "array"}, "b": {}, "c": True}
        shown = await api.call("PATCH", "/v1/sources/stripe", 200, {"schemas": {"a": None}})
        assert shown["schemas"] == {"b": {}, "c": True}

    async def test_another_verifier(self, api: Api):
        """A verifier is replaced as a whole, an object too; a configuration that it cannot use is refused."""
        source = await make(api, verifier={"scheme": "static", "header": "x-key"})
        await api.call("PATCH", "/v1/sources/stripe", 200, {"verifier": {"scheme": "static", "query": "key"}})
        assert (await api.call("GET", "/v1/sources/stripe", 200))["verifier"] == {"scheme": "static", "query": "key"}
        await api.call("PATCH", "/v1/sources/stripe", 200, {"verifier": "github"})
        assert await secrets_of(api, source) == {"secret": SECRET}

    async def test_a_name_stays(self, api: Api):
        """Renaming is refused, because the provider has the address; the same name is no change."""
        await make(api)
        problem = await api.refused("PATCH", "/v1/sources/stripe", "invalid_source", {"name": "other"})
        assert problem["pointer"] == "/name"
        await api.call("PATCH", "/v1/sources/stripe", 200, {"name": "stripe"})

    async def test_an_endpoint_that_is_gone_may_stay(self, api: Api):
        """Who changes something else need not care that the endpoint whose answer was passed on is gone."""
        endpoint = await api.endpoint(uid="crm")
        await make(api, answer={"after": "delivered", "endpoint": "crm"})
        await api.call("DELETE", f"/v1/endpoints/{endpoint['id']}", 204)
        await api.call("PATCH", "/v1/sources/stripe", 200, {"description": "new"})
        body = {"answer": {"endpoint": "other"}}
        await api.refused("PATCH", "/v1/sources/stripe", "invalid_source", body)

    async def test_a_disabled_one_is_not_there(self, api: Api):
        """A disabled source's address is unknown, until it is enabled again."""
        await make(api)
        assert api.registry.source_at("stripe") is not None
        await api.call("PATCH", "/v1/sources/stripe", 200, {"enabled": False})
        assert api.registry.source_at("stripe") is None
        await api.call("PATCH", "/v1/sources/stripe", 200, {"enabled": True})
        assert api.registry.source_at("stripe") is not None


async def test_deleting(api: Api):
    """A deleted source is gone, its address too, and its name is free."""
    source = await make(api)
    await api.call("DELETE", "/v1/sources/stripe", 204)
    for reference in ("stripe", source["id"]):
        await api.refused("GET", f"/v1/sources/{reference}", "not_found")
    assert api.registry.source_at("stripe") is None
    await make(api)


async def test_presets_are_listed(api: Api):
    """Each provider with the keys of its configuration, and which of them are secret."""
    found = await api.call("GET", "/v1/source-presets", 200)
    is_shaped(DOCUMENT, "PresetsDocument", found)
    assert [preset["name"] for preset in found["data"]] == list(presets.NAMES)
    stripe = found["data"][0]
    assert stripe["config"] == [{"key": "secret", "secret": True}, {"key": "tolerance_s", "secret": False}]
    assert (stripe["title"], stripe["methods"]) == ("Stripe", ["POST"])


# ------------------------------------------------------------------------------------- quarantine and rejections


async def put_aside(api: Api, source: dict[str, Any], data: bytes = b'{"amount":1}', **fields: Any) -> str:
    """Put a request into a source's quarantine; its id there."""
    source_id = ids.parse(ids.SOURCE, source["id"])
    event = Event(
        api.ids.make(api.store.now_ms()), "default", "payment.made", data, source="/in/stripe",
        inbound=Origin("stripe", "req_1", "POST", (("x-a", "b"),)), **fields,
    )  # fmt: skip
    problem = b'{"code":"schema_violation","pointer":"/data/amount"}'
    await api.store.accept(
        [AcceptRequest("default", [NewEvent(event, quarantine=NewQuarantine(source_id, problem))])],
        api.registry.version,
    )
    return ids.text(ids.QUARANTINED, event.id)


class TestQuarantine:
    """`/v1/sources/{source}/quarantine`."""

    async def test_it_is_listed_and_shown(self, api: Api):
        """A list says what is wrong without payloads, one alone has its payload, and the books count it."""
        source = await make(api)
        assert "quarantined" not in await api.call("GET", "/v1/stats", 200)
        quarantined_id = await put_aside(api, source, source_id="evt_1")
        page = await api.call("GET", "/v1/sources/stripe/quarantine", 200)
        is_shaped(DOCUMENT, "QuarantinedPage", page)
        (row,) = page["data"]
        assert (row["id"], row["type"], row["source_id"]) == (quarantined_id, "payment.made", "evt_1")
        assert row["problem"]["code"] == "schema_violation"
        assert row["inbound"] == {
            "source": "stripe",
            "request_id": "req_1",
            "method": "POST",
            "headers": [["x-a", "b"]],
        }
        assert "data" not in row
        assert row["data_bytes"] == 12
        one = await api.call("GET", f"/v1/sources/stripe/quarantine/{quarantined_id}", 200)
        assert one == {**row, "data": {"amount": 1}}
        assert (await api.call("GET", "/v1/stats", 200))["quarantined"] == 1

    async def test_what_is_no_json_is_shown(self, api: Api):
        """A payload that is not the JSON it says is shown as base64, and can be dropped but not released."""
        source = await make(api)
        quarantined_id = await put_aside(api, source, b"{no")
        path = f"/v1/sources/stripe/quarantine/{quarantined_id}"
        assert (await api.call("GET", path, 200))["data_base64"] == "e25v"
        await api.refused("POST", path + "/release", "malformed_json")
        await api.call("DELETE", path, 204)

    async def test_releasing(self, api: Api):
        """A released one is an event with deliveries, byte for byte, and in quarantine no more; once."""
        source = await make(api)
        endpoint = await api.endpoint()
        quarantined_id = await put_aside(api, source)
        path = f"/v1/sources/{source['id']}/quarantine/{quarantined_id}"
        released = await api.call("POST", path + "/release", 202)
        assert released["deliveries"] == 1
        event = await api.call("GET", f"/v1/events/{released['id']}", 200)
        assert (event["type"], event["data"], event["source"]) == ("payment.made", {"amount": 1}, "/in/stripe")
        assert event["inbound"]["request_id"] == "req_1"
        (delivery,) = (await api.call("GET", "/v1/deliveries", 200))["data"]
        assert (delivery["endpoint_id"], delivery["state"]) == (endpoint["id"], "pending")
        assert api.notified == {ids.parse(ids.ENDPOINT, endpoint["id"]): 0.0}
        await api.refused("POST", path + "/release", "not_found")
        assert (await api.call("GET", "/v1/sources/stripe/quarantine", 200))["data"] == []

    async def test_dropping(self, api: Api):
        """A dropped one is gone, once."""
        source = await make(api)
        quarantined_id = await put_aside(api, source)
        await api.refused("DELETE", "/v1/sources/stripe", "wrong_state")
        path = f"/v1/sources/stripe/quarantine/{quarantined_id}"
        await api.call("DELETE", path, 204)
        for method, place in (("DELETE", path), ("GET", path), ("POST", path + "/release")):
            await api.refused(method, place, "not_found")
        await api.call("DELETE", "/v1/sources/stripe", 204)

    async def test_pages(self, api: Api):
        """Newest first, in pages."""
        source = await make(api)
        put = [await put_aside(api, source) for _ in range(3)]
        first = await api.call("GET", "/v1/sources/stripe/quarantine?limit=2", 200)
        second = await api.call("GET", f"/v1/sources/stripe/quarantine?limit=2&cursor={first['next']}", 200)
        assert [row["id"] for row in first["data"] + second["data"]] == put[::-1]
        assert second["next"] is None


async def test_rejections_are_listed(api: Api):
    """What was refused of late, newest first, with why, and without its credentials."""
    source = await make(api)
    for number in range(3):
        refused = rejection(
            request_id=f"req_{number}", status=401, reason="wrong_signature", detail="not with this key",
            method="POST", target="/in/stripe?token=abc", client="192.0.2.1", size_bytes=7,
            headers=[("authorization", "Bearer abc"), ("user-agent", "x")],
        )  # fmt: skip
        row = RejectionRow(api.ids.make(api.store.now_ms()), ids.parse(ids.SOURCE, source["id"]), refused.pack())
        await api.store.add_rejections([row])
    page = await api.call("GET", "/v1/sources/stripe/rejections?limit=2", 200)
    is_shaped(DOCUMENT, "RejectionPage", page)
    assert [row["request_id"] for row in page["data"]] == ["req_2", "req_1"]
    row = page["data"][0]
    assert (row["status"], row["reason"], row["size_bytes"]) == (401, "wrong_signature", 7)
    assert row["headers"] == [["authorization", "***"], ["user-agent", "x"]]
    assert row["target"] == "/in/stripe?token=***"
    rest = await api.call("GET", f"/v1/sources/stripe/rejections?cursor={page['next']}", 200)
    assert [row["request_id"] for row in rest["data"]] == ["req_0"]


async def test_scopes(api: Api):
    """A key that may read looks and changes nothing."""
    source = await make(api)
    quarantined_id = await put_aside(api, source)
    key = await api.call("POST", "/v1/keys", 201, {"scopes": ["read"], "tenant": "default"})
    reads = {"authorization": f"Bearer {key['key']}"}
    base = "/v1/sources/stripe"
    one = f"{base}/quarantine/{quarantined_id}"
    for path in ("/v1/sources", base, f"{base}/rejections", f"{base}/quarantine", one, "/v1/source-presets"):
        await api.call("GET", path, 200, headers=reads)
    for method, path in (("POST", "/v1/sources"), ("PATCH", base), ("DELETE", base), ("POST", one + "/release"),
                         ("DELETE", one)):  # fmt: skip
        answer = await api.client.request(method, path, json={}, headers=reads)
        assert answer.status_code == 403, path
