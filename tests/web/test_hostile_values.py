"""No value in any body or query makes our fault of a client's: each is taken or refused, never a 5xx."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.api import Api

from hookline.core.page import make_cursor

RATE = {"n": 3, "per_s": 1.0, "burst": 3}
ENDPOINT = {
    "url": "https://receiver.example/x",
    "uid": "hostile",
    "description": "d",
    "event_types": ["order.*"],
    "filter": {"data": {"total": [{"numeric": [">", 1]}]}},
    "headers": {"x-a": "b"},
    "timeout_s": 5,
    "rate": RATE,
    "order": "key",
    "retry": {"schedule_s": [1, 2], "jitter": 0.1, "on": {"timeout": "fail"}},
    "confirm": {"within_s": 5},
    "dead_letter": "other",
    "verify": "none",
    "metadata": {"a": "b"},
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "auth": {"kind": "basic", "username": "u", "password": "p"},
}
TENANT = {
    "id": "hostile",
    "name": "n",
    "endpoints_max": 3,
    "events_rate": RATE,
    "retention_s": 100.0,
    "dead_letter": "other",
    "metadata": {"a": "b"},
}
KEY = {
    "scopes": ["publish"],
    "tenant": "acme",
    "description": "d",
    "event_types": ["order.*"],
    "expires_at": "2030-01-01T00:00:00Z",
    "rate": RATE,
    "address_rate": RATE,
}
REPLAY = {
    "filter": {
        "state": "failed",
        "endpoint": "other",
        "event": "evt_" + "00" * 12,
        "reason": "timeout",
        "type": "order.created",
        "since": "2020-01-01T00:00:00Z",
        "until": "2030-01-01T00:00:00Z",
    },
    "of": "deliveries",
    "endpoint_id": "other",
    "rate": RATE,
    "dry_run": True,
}
OF_EVENTS = {
    "of": "events",
    "filter": {"source": "s", "source_id": "i", "subject": "s", "type": "order.created"},
    "rate": RATE,
}
TYPE = {"name": "order.created", "schema": {"type": "object"}, "mode": "warn", "example": {"a": 1}, "description": "d"}
BODIES = [
    ("POST", "/v1/endpoints", ENDPOINT),
    ("PATCH", "/v1/endpoints/other", {k: v for k, v in ENDPOINT.items() if k not in ("uid", "dead_letter")}),
    ("POST", "/v1/endpoints/other/rotate-secret", {"secret": ENDPOINT["secret"], "overlap_s": 1.0}),
    ("POST", "/v1/endpoints/other/test", {"type": "order.created", "data": {"a": 1}}),
    ("POST", "/v1/endpoints/other/replay", {"since": "2020-01-01T00:00:00Z", "rate": RATE, "dry_run": True}),
    ("POST", "/v1/tenants", TENANT),
    ("PATCH", "/v1/tenants/acme", {k: v for k, v in TENANT.items() if k != "id"}),
    ("POST", "/v1/keys", KEY),
    ("POST", "/v1/replays", REPLAY),
    ("POST", "/v1/replays", OF_EVENTS),
    ("POST", "/v1/event-types", TYPE),
]
VALUES = [
    "null",
    "true",
    "0",
    "-0.0",
    "-1",
    "5e-324",
    "1e-303",
    "1e308",
    "1e400",
    "18446744073709551616",
    "9" * 400,
    '""',
    r'"\u0000"',
    r'"\ud800"',
    r'"\ud83d\ude00"',
    '"\u202e"',
    json.dumps("x" * 3000),
    '"0000-00-00T00:00:00Z"',
    '"9999-12-31T23:59:60-23:59"',
    '"ep_"',
    "[]",
    "{}",
    '{"\\u0000":"x"}',
    "[" * 200 + "]" * 200,
]


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be put."""
    if at:
        yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*at, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*at, number))


def with_value(body: Any, at: tuple[Any, ...], raw: str) -> bytes:
    """The body as JSON, with `raw` at this place."""
    changed = copy.deepcopy(body)
    inner = changed
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = "here it comes"
    return json.dumps(changed).replace('"here it comes"', raw).encode()


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=lambda value: value if isinstance(value, str) else "")
async def test_no_value_of_a_body_is_our_fault(api: Api, method: str, path: str, body: dict[str, Any]) -> None:
    """Each member of each body, with each of many unlikely values: an answer below 500."""
    await api.endpoint(uid="other")
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    for at in leaves(body):
        for raw in VALUES:
            answer = await api.client.request(
                method, path, content=with_value(body, at, raw), headers={"content-type": "application/json"}
            )
            assert answer.status_code < 500, (at, raw, answer.text)
            if method == "POST" and answer.status_code == 201 and path in ("/v1/endpoints", "/v1/tenants"):
                made = answer.json()["id"]
                await api.call("DELETE", f"{path}/{made}", 204)


@pytest.mark.parametrize("per_s", ["5e-324", "1e-303", "0.0009"])
async def test_a_rate_that_cannot_be_reckoned_with_is_refused(api: Api, per_s: str) -> None:
    """A rate in next to no time is refused wherever there is one: dividing by it would fail when it is used."""
    for method, path, body, code in [
        ("POST", "/v1/endpoints", {"url": "https://receiver.example/x", "rate": RATE}, "invalid_endpoint"),
        ("POST", "/v1/tenants", {"id": "hostile", "events_rate": RATE}, "invalid_tenant"),
        ("POST", "/v1/keys", {"scopes": ["read"], "tenant": "acme", "rate": RATE}, "invalid_key"),
        ("POST", "/v1/keys", {"scopes": ["read"], "tenant": "acme", "address_rate": RATE}, "invalid_key"),
        ("POST", "/v1/replays", {"filter": {"state": "failed"}, "rate": RATE}, "invalid_replay"),
    ]:
        member = list(body)[-1]
        content = with_value(body, (member, "per_s"), per_s)
        answer = await api.client.request(method, path, content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["pointer"] == f"/{member}/per_s"


PATHS = [
    ("GET", "/v1/endpoints/{}"),
    ("PATCH", "/v1/endpoints/{}"),
    ("POST", "/v1/endpoints/{}/pause"),
    ("POST", "/v1/endpoints/{}/verify"),
    ("POST", "/v1/endpoints/{}/test"),
    ("POST", "/v1/endpoints/{}/replay"),
    ("GET", "/v1/tenants/{}"),
    ("PATCH", "/v1/tenants/{}"),
    ("DELETE", "/v1/tenants/{}"),
    ("GET", "/v1/keys/{}"),
    ("DELETE", "/v1/event-types/{}"),
    ("GET", "/v1/replays/{}"),
    ("POST", "/v1/replays/{}/cancel"),
    ("POST", "/v1/confirm/{}"),
    ("POST", "/v1/endpoint-consent/{}"),
    ("DELETE", "/v1/events/{}/payload"),
    ("GET", "/v1/events?source={}"),
    ("GET", "/v1/events?since={}"),
    ("GET", "/v1/deliveries?endpoint={}"),
    ("GET", "/v1/deliveries?reason={}"),
    ("GET", "/v1/keys?cursor={}"),
    ("GET", "/v1/tenants?cursor={}"),
    ("GET", "/v1/replays?limit={}"),
]
SEGMENTS = [
    "%00",
    "%ED%A0%80",
    "%FF",
    "%C3%BC",
    "ep_" + "f" * 24,
    "rpl_" + "0" * 24,
    "x" * 1500,
    "9" * 400,
    "%2e%2e",
    "%0a",
]


async def test_no_text_in_an_address_is_our_fault(api: Api) -> None:
    """Whatever stands where an id, a name or a filter is to stand: an answer below 500."""
    for method, path in PATHS:
        for segment in SEGMENTS:
            body = b"{}" if method in ("POST", "PATCH") else None
            headers = {"content-type": "application/json"} if body else {}
            answer = await api.client.request(method, path.format(segment), content=body, headers=headers)
            assert answer.status_code < 500, (method, path, segment, answer.text)


@pytest.mark.parametrize(
    "key", [b"\xff", b"\x00", b"\xed\xa0\x80", bytes(12), b"\xff" * 512], ids=lambda key: key[:4].hex()
)
async def test_a_cursor_of_another_list_is_no_fault_of_ours(api: Api, key: bytes) -> None:
    """A cursor that is well made, of another list or forged: an answer below 500."""
    await api.call("POST", "/v1/tenants", 201, {"id": "acme"})
    await api.event([await api.endpoint()])
    for path in ("tenants", "keys", "replays", "endpoints", "event-types", "events", "deliveries"):
        answer = await api.client.request("GET", f"/v1/{path}?cursor={make_cursor(key)}")
        assert answer.status_code < 500, (path, answer.text)
