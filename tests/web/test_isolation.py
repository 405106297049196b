"""Another tenant's things are not there: every route of the OpenAPI document, tried with what is not one's own.

The routes are read from the document, so a new one is tried as it comes. One with a parameter, or a body that refers to
something, that this file cannot make fails here: then it has to be told how.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.arch.reference import openapi_document
from tests.web.api import Api

from hookline.core import ids
from hookline.core.delivery import State
from hookline.core.event import Event
from hookline.core.rejection import rejection
from hookline.ports.store import AcceptRequest, Keep, NewEvent, NewQuarantine, RejectionRow

DOCUMENT = openapi_document()
OPERATIONS = [(method.upper(), path, op) for path, item in DOCUMENT["paths"].items() for method, op in item.items()]

KINDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("events", "id"): ("event",),
    ("deliveries", "id"): ("delivery",),
    ("replays", "id"): ("replay",),
    ("endpoints", "endpoint"): ("endpoint", "uid"),
    ("event-types", "name"): ("event_type",),
    ("tenants", "tenant"): ("tenant",),
    ("keys", "id"): ("key",),
    ("sources", "source"): ("source", "source_name", "source_uid"),
    ("sources", "id"): ("quarantined",),
    ("confirm", "token"): ("token",),
    ("endpoint-consent", "token"): ("token",),
}
"""What the path parameters of a collection stand for."""
OF_PARAMETERS: Mapping[str, tuple[str, ...]] = {"endpoint": ("endpoint", "uid"), "event": ("event",)}
"""What query parameters stand for; others are no references."""
OF_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("endpoint", "uid"), "endpoint_id": ("endpoint", "uid"), "dead_letter": ("endpoint", "uid"),
    "event": ("event",), "event_id": ("event",),
}  # fmt: skip
"""What members of bodies stand for; others are no references."""
OPERATOR_ONLY = ("/v1/tenants", "/v1/keys", "/v1/backup")
BODIES: Mapping[str, dict[str, Any]] = {
    "POST /v1/confirm/{token}": {"status": "success"},
    "POST /v1/endpoints": {"url": "https://a.example/"},
    "POST /v1/replays": {"filter": {"state": "failed"}, "dry_run": True},
    "POST /v1/sources": {"name": "new", "verifier": "none", "answer": {"after": "delivered"}},
    "PATCH /v1/sources/{source}": {"answer": {"after": "delivered"}},
}
"""What a body needs at least; others need nothing."""
NOT_LISTS = ("/v1/stats", "/v1/stream", "/v1/source-presets")
"""Counts; a stream has no end: what it shows to whom is tested in `test_stream`; providers are nobody's."""
REFERRING = 5
"""At least so many members of bodies refer to something: else they are not found any more."""


@dataclass
class Things:
    """One of each kind, of one tenant."""

    tenant: str
    marker: str
    key: str = ""
    made: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Of a caller with this tenant's key, which has all scopes that a tenant's can have."""
        return {"authorization": f"Bearer {self.key}"}


async def fill(api: Api, tenant: str, marker: str) -> Things:
    """Make one of each kind; all that can bear a name bears the marker."""
    things = Things(tenant, marker)
    acting = {"hookline-tenant": tenant}

    async def make(path: str, status: int, **body: Any) -> dict[str, Any]:
        return await api.call("POST", path, status, body, headers=acting)

    key = await make("/v1/keys", 201, scopes=["publish", "read", "manage"], description=marker)
    endpoint = await make(
        "/v1/endpoints", 201, url=f"https://{marker}.example/", uid=f"{marker}-uid", description=marker,
        event_types=[f"{marker}.*"],
    )  # fmt: skip
    event_type = await make("/v1/event-types", 201, name=f"{marker}.created", description=marker)
    event = await api.event([endpoint], tenant=tenant, type=f"{marker}.created", source=marker, subject=marker)
    delivery_id = await api.attempt(event, endpoint, State.DELIVERED)
    source = await make(
        "/v1/sources", 201, name=f"{marker}-in", uid=f"{marker}-source", verifier="none", description=marker
    )
    quarantined_id = await put_aside(api, tenant, source, marker)
    replay = await make("/v1/replays", 202, filter={"type": f"{marker}.created", "state": "failed"})
    things.key = key["key"]
    things.made = {
        "key": key["id"], "endpoint": endpoint["id"], "uid": endpoint["uid"], "event_type": event_type["name"],
        "event": event.public_id, "delivery": delivery_id, "replay": replay["id"], "tenant": tenant,
        "source": source["id"], "source_name": source["name"], "source_uid": source["uid"],
        "quarantined": quarantined_id,
    }  # fmt: skip
    return things


async def put_aside(api: Api, tenant: str, source: Mapping[str, Any], marker: str) -> str:
    """Put a request into the source's quarantine, and another one into its log; the id of the first."""
    source_id = ids.parse(ids.SOURCE, source["id"])
    assert source_id is not None
    refused = rejection(
        request_id=marker, status=401, reason="wrong_signature", detail=marker, method="POST", target="/in/x",
        client="192.0.2.1", size_bytes=1, headers=[],
    )  # fmt: skip
    await api.store.add_rejections([RejectionRow(api.ids.make(api.store.now_ms()), source_id, refused.pack())])
    event = Event(api.ids.make(api.store.now_ms()), tenant, f"{marker}.bad", b"{}")
    item = NewEvent(event, quarantine=NewQuarantine(source_id, b"{}"))
    await api.store.accept([AcceptRequest(tenant, [item])], api.registry.version)
    return ids.text(ids.QUARANTINED, event.id)


async def remove(api: Api, things: Things) -> None:
    """Delete all that was made, each as its kind is deleted: on request, or by retention."""
    acting = {"hookline-tenant": things.tenant}
    source = "sources/" + things.made["source"]
    of_source = (f"{source}/quarantine/{things.made['quarantined']}", source)
    for path in (*of_source, "endpoints/" + things.made["endpoint"], "event-types/" + things.made["event_type"],
                 "keys/" + things.made["key"]):  # fmt: skip
        await api.call("DELETE", f"/v1/{path}", 204, headers=acting)
    await api.call("POST", f"/v1/replays/{things.made['replay']}/cancel", 200, headers=acting)
    api.clock.advance(10.0)
    while (await api.store.purge(Keep(1e9, {things.tenant: 1.0}))).examined:
        pass


@dataclass
class World:
    """Mine, what was mine, and another's."""

    api: Api
    mine: Things
    theirs: Things
    gone: Things

    def strangers(self, kind: str) -> list[str]:
        """Of this kind: another tenant's, a deleted one, one that never was, and what is not even one."""
        never = {
            "event": ids.text(ids.EVENT, b"\x01" * 12), "delivery": ids.text(ids.DELIVERY, b"\x01" * 16),
            "endpoint": ids.text(ids.ENDPOINT, b"\x01" * 12), "key": ids.text(ids.KEY, b"\x01" * 12),
            "replay": ids.text(ids.REPLAY, b"\x01" * 12), "token": "A" * 43,
            "source": ids.text(ids.SOURCE, b"\x01" * 12), "quarantined": ids.text(ids.QUARANTINED, b"\x01" * 12),
        }  # fmt: skip
        found = [things.made[kind] for things in (self.theirs, self.gone) if kind in things.made]
        return [*found, never.get(kind, "never-was"), "nonsense"]

    async def ask(self, things: Things, method: str, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """Status, headers without the date, and body (of a stream: nothing of it)."""
        request = self.api.client.build_request(method, path, headers=things.headers, **more)
        answer = await self.api.client.send(request, stream=True)
        try:
            endless = answer.headers.get("content-type", "").startswith("text/event-stream")
            body = b"" if endless else await answer.aread()
            headers = {name: value for name, value in answer.headers.items() if name != "date"}
            return answer.status_code, headers, body
        finally:
            await answer.aclose()


@pytest.fixture
async def world(api: Api) -> World:
    """Two tenants with one of each kind, and what was deleted."""
    gone = await fill(api, "acme", "gone")
    theirs = await fill(api, "otherland", "otherland")
    await remove(api, gone)
    world = World(api, await fill(api, "acme", "mine"), theirs, gone)
    gone.made["tenant"] = "gone"
    for tenant in ("otherland", "gone"):
        await api.call("POST", "/v1/tenants", 201, {"id": tenant})
    await api.call("DELETE", "/v1/tenants/gone", 204)
    return world


def title(method: str, path: str) -> str:
    """How an operation is called here."""
    return f"{method} {path}"


def body_of(method: str, path: str, op: Mapping[str, Any]) -> dict[str, Any] | None:
    """A body that is good enough to be looked at."""
    return BODIES.get(title(method, path), {}) if "requestBody" in op else None


def parameters(op: Mapping[str, Any], place: str) -> list[str]:
    """The names of an operation's parameters in the path or the query."""
    return [p["name"] for p in op["parameters"] if p.get("in") == place]


def kinds(path: str, name: str) -> tuple[str, ...]:
    """What a path parameter stands for. Fails for one that is not known here."""
    collection = path.removeprefix("/v1/").partition("/")[0]
    if (collection, name) not in KINDS:
        pytest.fail(f"{path}: tell tests/web/test_isolation.py how {{{name}}} of /v1/{collection} is made")
    return KINDS[collection, name]


def with_own(world: World, path: str) -> str:
    """The path with one's own in the place of every parameter that is left."""
    for name in [part.strip("{}") for part in path.split("/") if part.startswith("{")]:
        kind = kinds(path, name)[0]
        path = path.replace(f"{{{name}}}", world.mine.made.get(kind, "never-was"))
    return path


WITH_PATH = [(m, p, op) for m, p, op in OPERATIONS if parameters(op, "path")]
WITH_QUERY = [(m, p, name) for m, p, op in OPERATIONS for name in parameters(op, "query") if name in OF_PARAMETERS]
LISTS = [(m, p) for m, p, op in OPERATIONS if m == "GET" and not parameters(op, "path") and op.get("security") != []]


def members(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member of a body's schema, by its path, that may refer to something."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from members(alternative, at)
    for name, inner in schema.get("properties", {}).items():
        if name in OF_MEMBERS:
            yield (*at, name)
        elif len(at) < 3:
            yield from members(inner, (*at, name))


def referring() -> list[tuple[str, str, tuple[str, ...]]]:
    """Every member of a body that refers to something."""
    found: dict[tuple[str, str, tuple[str, ...]], None] = {}
    for method, path, op in OPERATIONS:
        for content in op.get("requestBody", {}).get("content", {}).values():
            if not path.startswith(OPERATOR_ONLY):
                found.update(((method, path, at), None) for at in members(content["schema"]))
    return list(found)


def with_member(body: dict[str, Any], at: tuple[str, ...], value: str) -> dict[str, Any]:
    """The body with one member set."""
    copy = json.loads(json.dumps(body))
    inner = copy
    for name in at[:-1]:
        inner = inner.setdefault(name, {})
    inner[at[-1]] = value
    return copy


async def test_what_is_in_the_path(world: World):
    """Another's, a deleted, an unknown id and what is none are 404 on every route, the same byte for byte."""
    wrong: dict[str, Any] = {}
    for method, path, op in WITH_PATH:
        answers = {}
        for name in parameters(op, "path"):
            for kind in kinds(path, name):
                for value in world.strangers(kind):
                    asked = with_own(world, path.replace(f"{{{name}}}", value))
                    answers[name, value] = await world.ask(world.mine, method, asked, json=body_of(method, path, op))
        statuses = {answer[0] for answer in answers.values()}
        if statuses != {403 if path.startswith(OPERATOR_ONLY) else 404} or len(set(map(str, answers.values()))) > 1:
            wrong[title(method, path)] = answers
    assert not wrong, wrong
    # Whatever was asked for, what is another's is still there, as it was.
    (row,) = (await world.api.call("GET", "/v1/endpoints", 200, headers=world.theirs.headers))["data"]
    assert (row["id"], row["state"]) == (world.theirs.made["endpoint"], "active")


async def test_what_is_ones_own_is_found(world: World):
    """The same requests with one's own ids find something on every route: so the 404 of the others says something."""
    wrong: dict[str, Any] = {}
    for method, path, op in sorted(WITH_PATH, key=lambda operation: operation[0] == "DELETE"):
        name = parameters(op, "path")[0]
        once = method == "DELETE" or path.endswith("/release")  # what is gone has no second name
        for kind in kinds(path, name)[: 1 if once else None]:
            if kind not in world.mine.made or path.startswith(OPERATOR_ONLY):
                continue
            asked = with_own(world, path.replace(f"{{{name}}}", world.mine.made[kind]))
            status, _, text = await world.ask(world.mine, method, asked, json=body_of(method, path, op))
            if status in (401, 403, 404) or status >= 500:
                wrong[title(method, path)] = (status, text)
            if path.endswith("/release"):  # there is to be one that can be dropped
                mine = world.mine
                source = {"id": mine.made["source"]}
                mine.made["quarantined"] = await put_aside(world.api, mine.tenant, source, mine.marker)
    assert not wrong, wrong


async def test_what_is_in_the_query(world: World):
    """A filter by another's, a deleted or an unknown one finds the same nothing, byte for byte."""
    wrong: dict[str, Any] = {}
    for method, path, name in WITH_QUERY:
        for kind in OF_PARAMETERS[name]:
            answers = [
                await world.ask(world.mine, method, path, params={name: value}) for value in world.strangers(kind)[:3]
            ]
            status, _, body = answers[0]
            nothing = status == 404 or (status == 200 and body in (b"", b'{"data":[],"next":null}'))
            if not nothing or len(set(map(str, answers))) > 1:
                wrong[f"{method} {path}?{name}: {kind}"] = answers
    assert not wrong, wrong


async def test_what_is_in_the_body(world: World):
    """A body that names another's, a deleted or an unknown one is answered the same, and changes nothing there."""
    wrong: dict[str, Any] = {}
    for method, path, at in referring():
        asked = with_own(world, path)
        for kind in OF_MEMBERS[at[-1]]:
            answers = set()
            for value in world.strangers(kind)[:3]:
                body = with_member(BODIES.get(title(method, path), {}), at, value)
                status, _, text = await world.ask(world.mine, method, asked, json=body)
                answers.add((status, text.replace(value.encode(), b"") if status >= 400 else b""))
            if len(answers) > 1:
                wrong[f"{method} {path} {'/'.join(at)}: {kind}"] = answers
    assert not wrong, wrong


def test_references_in_bodies_are_found():
    """The walk through the document finds what bodies refer to."""
    assert len(referring()) >= REFERRING


async def test_lists_show_ones_own(world: World):
    """Each list has what is one's own and nothing of another's, nor of what is deleted."""
    mine = set(world.mine.made.values())
    others = ({"otherland", *world.theirs.made.values()} | {"gone", *world.gone.made.values()}) - mine
    for method, path in LISTS:
        status, _, body = await world.ask(world.mine, method, path)
        assert status == (403 if path.startswith(OPERATOR_ONLY) else 200), path
        assert [shown for shown in others if b'"%b"' % shown.encode() in body] == [], path
        assert b"otherland" not in body
        if status == 200 and path not in NOT_LISTS:
            _, _, theirs = await world.ask(world.theirs, method, path)
            assert b"otherland" in theirs, f"{path}: the world has nothing in it: tell this file how to fill it"


async def test_counts_are_ones_own(world: World):
    """`/v1/stats` counts one's own: what others have changes nothing."""
    before = await world.api.call("GET", "/v1/stats", 200, headers=world.mine.headers)
    await world.api.event(tenant="otherland")
    assert await world.api.call("GET", "/v1/stats", 200, headers=world.mine.headers) == before


async def test_naming_a_tenant_tells_nothing(world: World):
    """A tenant's key that names another gets one answer, whether he is there, was deleted, or never was."""
    answers = []
    for tenant in ("otherland", "gone", "never-was"):
        headers = {**world.mine.headers, "hookline-tenant": tenant}
        answer = await world.api.client.get("/v1/events", headers=headers)
        answers.append((answer.status_code, answer.content))
    assert set(answers) == {(403, answers[0][1])}


async def test_one_uid_in_two_tenants(world: World):
    """Two tenants may use the same uid and the same event type; each finds his own by it."""
    for things in (world.mine, world.theirs):
        await world.api.call(
            "POST", "/v1/endpoints", 201, {"url": f"https://{things.marker}2.example/", "uid": "same"},
            headers=things.headers,
        )  # fmt: skip
        await world.api.call(
            "POST", "/v1/event-types", 201, {"name": "same", "description": things.marker}, headers=things.headers
        )
    for things in (world.mine, world.theirs):
        assert things.marker in (await world.api.call("GET", "/v1/endpoints/same", 200, headers=things.headers))["url"]
        found = await world.api.call("GET", "/v1/event-types/same", 200, headers=things.headers)
        assert found["description"] == things.marker
