"""`/v1/endpoints`: subscribing, changing, pausing, secrets, and what is refused."""

from __future__ import annotations

import asyncio
import re

import pytest

from hookline.core.delivery import State
from hookline.core.errors import Refusal

URL = "https://receiver.example/hook"


async def test_create_gives_all_fields_and_no_secret(api):
    """A new endpoint is answered with every field, its defaults, its state and times, and without secrets."""
    api.sender.warnings = ("receiver.example does not resolve now.",)
    answer = await api.client.post(
        "/v1/endpoints",
        json={
            "url": URL,
            "uid": "shop-1",
            "event_types": ["order.*"],
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "auth": {"kind": "bearer", "token": "canary-token"},
            "metadata": {"team": "a"},
        },
    )
    assert answer.status_code == 201
    document = answer.json()
    assert answer.headers["location"] == f"/v1/endpoints/{document['id']}"
    assert re.fullmatch("ep_[0-9a-f]{24}", document["id"])
    assert (document["state"], document["uid"], document["event_types"]) == ("active", "shop-1", ["order.*"])
    assert document["warnings"] == ["receiver.example does not resolve now."]
    assert (document["method"], document["format"], document["timeout_s"]) == ("POST", "standard", 15.0)
    assert document["auth"] == {"kind": "bearer", "token": "***", "username": None, "password": None,
                                "header": None, "value": None}  # fmt: skip
    assert document["created_at"] == document["updated_at"]
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z", document["created_at"])
    assert "secret" not in document
    for path in ("/v1/endpoints", "/v1/endpoints/shop-1", f"/v1/endpoints/{document['id']}"):
        text = (await api.client.get(path)).text
        assert "canary" not in text
        assert "whsec_" not in text
    assert await api.call("GET", "/v1/endpoints/shop-1", 200) == document


async def test_created_is_in_the_registry(api):
    """Once its creation is answered, an endpoint is routed to, with its secrets."""
    document = await api.endpoint(auth={"kind": "basic", "username": "u", "password": "p"})
    (endpoint,) = api.registry.candidates("default", "anything")
    assert endpoint.public_id == document["id"]
    assert endpoint.auth_headers == ((b"authorization", b"Basic dTpw"),)
    assert endpoint.signing[0].secret.startswith("whsec_")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "malformed_json", None),
        (b"{", "malformed_json", None),
        (b'{"url": "\xff"}', "malformed_json", None),
        (b'{"url": "https://a.example", "url": "https://b.example"}', "malformed_json", None),
        (b"[]", "invalid_endpoint", ""),
        (b"{}", "invalid_endpoint", None),
        (b'{"url": 1}', "invalid_endpoint", "/url"),
        (b'{"url": "https://a.example", "colour": 1}', "unknown_field", "/colour"),
        (b'{"url": "ftp://a.example"}', "address_refused", "/url"),
        (b'{"url": "https://a.example", "kind": "pigeon"}', "invalid_endpoint", "/kind"),
        (b'{"url": "https://a.example", "uid": "ep_0123456789abcdef01234567"}', "invalid_endpoint", "/uid"),
        (b'{"url": "https://a.example", "secret": "x"}', "invalid_secret", "/secret"),
        (b'{"url": "https://a.example", "verify": "telepathy"}', "invalid_endpoint", "/verify"),
    ],
)
async def test_create_refuses(api, body, code, pointer):
    """What cannot be an endpoint is refused with a code and the place of the fault."""
    problem = await api.refused("POST", "/v1/endpoints", code, content=body)
    if pointer is not None:
        assert problem.get("pointer", "") == pointer
    assert await api.call("GET", "/v1/endpoints", 200) == {"data": [], "next": None}


async def test_the_sender_judges_the_address(api):
    """What the sender of the kind refuses is refused, at creation and at a change."""
    document = await api.endpoint()
    api.sender.refusal = Refusal("address_refused", "That address is not public.", pointer="/url")
    await api.refused("POST", "/v1/endpoints", "address_refused", {"url": URL})
    await api.refused("PATCH", f"/v1/endpoints/{document['id']}", "address_refused", {"url": URL})


async def test_uid_is_unique_within_a_tenant(api):
    """A taken uid is 409; another tenant may have the same; after a delete it is free."""
    first = await api.endpoint(uid="a")
    await api.refused("POST", "/v1/endpoints", "uid_taken", {"url": URL, "uid": "a"})
    other = await api.call("POST", "/v1/endpoints", 201, {"url": URL, "uid": "a"}, headers={"Hookline-Tenant": "acme"})
    assert other["id"] != first["id"]
    await api.call("DELETE", "/v1/endpoints/a", 204)
    await api.call("GET", f"/v1/endpoints/{first['id']}", 404)
    assert (await api.endpoint(uid="a"))["id"] != first["id"]
    second = await api.endpoint(uid="b")
    await api.refused("PATCH", f"/v1/endpoints/{second['id']}", "uid_taken", {"uid": "a"})


async def test_list_pages(api):
    """The list is newest first, and its cursor leads through all of it exactly once."""
    made = [(await api.endpoint())["id"] for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = await api.call(
            "GET", "/v1/endpoints", 200, params={"limit": 3, **({"cursor": cursor} if cursor else {})}
        )
        assert len(page["data"]) <= 3
        seen += [row["id"] for row in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]


async def test_patch_changes_what_is_named(api):
    """A merge patch changes what it names, keeps the rest with its credentials, and takes away what is null."""
    document = await api.endpoint(
        uid="a", description="d", metadata={"a": "1", "b": "2"}, auth={"kind": "bearer", "token": "t"}
    )
    path = f"/v1/endpoints/{document['id']}"
    changed = await api.call(
        "PATCH", path, 200, {"timeout_s": 5, "metadata": {"a": None, "c": "3"}, "uid": "b", "event_types": ["x.*"]}
    )
    assert (changed["timeout_s"], changed["metadata"], changed["description"]) == (5, {"b": "2", "c": "3"}, "d")
    assert changed["auth"]["token"] == "***"
    assert changed["created_at"] == document["created_at"]
    endpoint = api.registry.endpoint(bytes.fromhex(document["id"].removeprefix("ep_")))
    assert endpoint.uid == "b"
    assert endpoint.auth_headers == ((b"authorization", b"Bearer t"),)
    assert endpoint.timeout_s == 5
    await api.call("PATCH", path, 200, {"auth": {"kind": "bearer", "token": "new"}})
    assert api.registry.endpoint(endpoint.id).auth_headers == ((b"authorization", b"Bearer new"),)
    await api.call("PATCH", path, 200, {"auth": None})
    assert api.registry.endpoint(endpoint.id).auth_headers == ()
    await api.refused("PATCH", path, "invalid_secret", {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    await api.refused("PATCH", path, "unknown_field", {"id": "x"})


async def test_changes_at_once_all_count(api):
    """Patches that come together are all applied, one on top of the other."""
    path = f"/v1/endpoints/{(await api.endpoint())['id']}"
    patches = [api.call("PATCH", path, 200, {"metadata": {str(n): "x"}}) for n in range(4)]
    await asyncio.gather(*patches)
    assert (await api.call("GET", path, 200))["metadata"] == {str(n): "x" for n in range(4)}


async def test_pause_and_resume(api):
    """Pausing holds, resuming tells the flow; both say the state, and again changes nothing."""
    document = await api.endpoint()
    path = f"/v1/endpoints/{document['id']}"
    for _ in range(2):
        assert (await api.call("POST", f"{path}/pause", 200))["state"] == "paused"
    assert (await api.call("GET", path, 200))["state"] == "paused"
    assert api.notified == {}
    for _ in range(2):
        assert (await api.call("POST", f"{path}/resume", 200))["state"] == "active"
    assert api.notified == {bytes.fromhex(document["id"][3:]): 0.0}


async def test_failing_is_reported_on_top_of_active(api):
    """An active endpoint whose health is bad is `failing`; a paused one is paused."""
    document = await api.endpoint()
    path = f"/v1/endpoints/{document['id']}"
    api.registry.set_failing(bytes.fromhex(document["id"][3:]), failing=True)
    assert (await api.call("GET", path, 200))["state"] == "failing"
    assert (await api.call("POST", f"{path}/pause", 200))["state"] == "paused"


async def test_secret_and_rotation(api):
    """The secret is shown on its own route; after a rotation both sign until the overlap ends."""
    document = await api.endpoint(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    path = f"/v1/endpoints/{document['id']}/secret"
    assert await api.call("GET", path, 200) == {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    rotated = await api.call("POST", f"{path}/rotate", 200)
    assert rotated == await api.call("GET", path, 200)
    assert rotated["secret"] != "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    endpoint_id = bytes.fromhex(document["id"][3:])
    now_ms = api.clock.wall_ms()
    assert [(key.secret, key.expires_at_ms) for key in api.registry.endpoint(endpoint_id).signing] == [
        (rotated["secret"], None),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now_ms + 86_400_000),
    ]
    own = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    answer = await api.client.post(f"{path}/rotate", json={"secret": own, "overlap_s": 0})
    assert (answer.status_code, answer.json()["secret"]) == (200, own)
    assert answer.json()["public_key"].startswith("whpk_")
    assert [key.secret for key in api.registry.endpoint(endpoint_id).signing] == [own]


async def test_rotations_are_bounded(api):
    """At most five secrets sign at once; a shorter overlap lets older ones go, never longer."""
    document = await api.endpoint()
    path = f"/v1/endpoints/{document['id']}/secret/rotate"
    for _ in range(4):
        await api.call("POST", path, 200, {"overlap_s": 3600})
    await api.refused("POST", path, "conflict", {})
    api.clock.advance(3601)
    await api.call("POST", path, 200, {})
    endpoint = api.registry.endpoint(bytes.fromhex(document["id"][3:]))
    assert len(endpoint.signing) == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"overlap_s": -1}', "invalid_parameter"),
        (b'{"overlap_s": 1e9}', "invalid_parameter"),
        (b'{"secret": "whsec_"}', "invalid_secret"),
        (b'{"secret": ""}', "invalid_secret"),
        (b'{"other": 1}', "unknown_field"),
        (b"[]", "invalid_parameter"),
        (b"{", "malformed_json"),
    ],
)
async def test_rotation_refuses(api, body, code):
    """A rotation that is none changes nothing."""
    document = await api.endpoint()
    path = f"/v1/endpoints/{document['id']}/secret"
    before = await api.call("GET", path, 200)
    await api.refused("POST", f"{path}/rotate", code, content=body)
    assert await api.call("GET", path, 200) == before


async def test_stats_of_an_endpoint(api):
    """An endpoint's books add up."""
    document = await api.endpoint()
    event = await api.event([document])
    await api.event([document])
    await api.attempt(event, document, State.DELIVERED)
    assert await api.call("GET", f"/v1/endpoints/{document['id']}/stats", 200) == {
        "deliveries": 2,
        "delivered": 1,
        "failed": 0,
        "discarded": 0,
        "open": {"pending": 1, "leased": 0, "held": 0, "unconfirmed": 0},
    }


async def test_unknown_is_404_everywhere(api):
    """An unknown, a deleted and another tenant's endpoint are the same 404, byte for byte, on every route."""
    deleted = await api.endpoint()
    await api.call("DELETE", f"/v1/endpoints/{deleted['id']}", 204)
    other = await api.call(
        "POST", "/v1/endpoints", 201, {"url": URL, "uid": "theirs"}, headers={"Hookline-Tenant": "acme"}
    )
    bodies = set()
    for reference in ("ep_" + "0" * 24, "nobody", "ep_x", deleted["id"], other["id"], "theirs"):
        for method, tail in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/pause"),
            ("POST", "/resume"),
            ("GET", "/secret"),
            ("POST", "/secret/rotate"),
            ("GET", "/stats"),
        ):
            answer = await api.client.request(method, f"/v1/endpoints/{reference}{tail}", content=b"{}")
            assert answer.status_code == 404, (method, reference, tail)
            bodies.add(answer.content)
    assert len(bodies) == 1
    assert (await api.call("GET", "/v1/endpoints/theirs", 200, headers={"Hookline-Tenant": "acme"}))[
        "state"
    ] == "active"
