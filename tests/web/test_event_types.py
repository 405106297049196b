"""`/v1/event-types`: the catalogue with its versions."""

from __future__ import annotations

import pytest

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}


async def test_create_and_look(api):
    """A new event type is version 1, and is there with its schema and example as they were written."""
    raw = b'{"name": "order.created", "schema": {"type":  "object"}, "example": {"a": 1.0}, "description": "d"}'
    answer = await api.client.post("/v1/event-types", content=raw)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/event-types/order.created")
    assert b'"schema":{"type":  "object"},"example":{"a": 1.0}' in answer.content
    document = answer.json()
    assert (document["name"], document["version"], document["mode"]) == ("order.created", 1, "enforce")
    found = await api.call("GET", "/v1/event-types/order.created", 200)
    assert found.pop("versions") == [document]
    assert found == document
    assert api.registry.event_type("default", "order.created").schema is not None


async def test_versions(api):
    """A changed schema is a new version; other changes are made in place; a null schema is none."""
    path = "/v1/event-types/a"
    await api.call("POST", "/v1/event-types", 201, {"name": "a"})
    assert (await api.call("PATCH", path, 200, {"schema": SCHEMA}))["version"] == 2
    changed = await api.call("PATCH", path, 200, {"mode": "warn", "description": "x", "example": {"total": 1}})
    assert (changed["version"], changed["mode"], changed["schema"]) == (2, "warn", SCHEMA)
    assert (await api.call("PATCH", path, 200, {"schema": None}))["version"] == 3
    found = await api.call("GET", path, 200)
    assert [(row["version"], row["schema"]) for row in found["versions"]] == [(3, None), (2, SCHEMA), (1, None)]
    assert (found["mode"], found["example"]) == ("warn", {"total": 1})
    assert api.registry.event_type("default", "a").mode == "warn"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"{}", "invalid_event_type", "/name"),
        (b'{"name": ""}', "invalid_event_type", "/name"),
        (b'{"name": "a b"}', "invalid_event_type", "/name"),
        (b'{"name": "hookline.mine"}', "reserved_event_type", "/name"),
        (b'{"name": "a", "mode": "maybe"}', "invalid_event_type", "/mode"),
        (b'{"name": "a", "colour": 1}', "unknown_field", "/colour"),
        (b'{"name": "a", "name": "b"}', "malformed_json", None),
        (b'{"name": "a", "schema": {"type": "thing"}}', "invalid_schema", None),
        (b'{"name": "a", "schema": {"$ref": "https://schemas.example/a"}}', "invalid_schema", None),
        (b'{"name": "a", "example": "' + b"x" * 66_000 + b'"}', "payload_too_large", "/example"),
        (b'{"name": "a", "example": ' + b"[" * 200 + b"]" * 200 + b"}", "too_deep", None),
        (b"x", "malformed_json", None),
    ],
)
async def test_create_refuses(api, body, code, pointer):
    """What cannot be an event type is refused with the place of the fault, and the catalogue stays as it was."""
    problem = await api.refused("POST", "/v1/event-types", code, content=body)
    if pointer is not None:
        assert problem["pointer"] == pointer
    assert (await api.call("GET", "/v1/event-types", 200))["data"] == []


async def test_names_are_unique_until_deleted(api):
    """A taken name is 409 in its tenant only; deleted, it begins again at version 1."""
    await api.call("POST", "/v1/event-types", 201, {"name": "a/b", "schema": SCHEMA})
    await api.refused("POST", "/v1/event-types", "name_taken", {"name": "a/b"})
    await api.call("POST", "/v1/event-types", 201, {"name": "a/b"}, headers={"Hookline-Tenant": "acme"})
    await api.call("DELETE", "/v1/event-types/a/b", 204)
    for method in ("GET", "PATCH", "DELETE"):
        await api.call(method, "/v1/event-types/a/b", 404, {} if method == "PATCH" else None)
    assert api.registry.event_type("default", "a/b") is None
    assert (await api.call("POST", "/v1/event-types", 201, {"name": "a/b"}))["version"] == 1
    assert (await api.call("GET", "/v1/event-types/a%2Fb", 200))["name"] == "a/b"


async def test_list_pages_by_name(api):
    """The list is in the order of names, and its cursor leads through all of it exactly once."""
    names = ["a", "a" * 255, "a" * 254 + "b", "b", "c.d", "c:d"]
    for name in reversed(names):
        await api.call("POST", "/v1/event-types", 201, {"name": name})
    seen, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = await api.call("GET", "/v1/event-types", 200, params=params)
        seen += [row["name"] for row in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(names)
