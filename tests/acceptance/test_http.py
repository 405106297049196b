"""HTTP, from outside: statuses, problem documents, limits, and a corpus of hostile requests. Never a 5xx."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance import hostile
from tests.acceptance.program import KEY, Program
from tests.arch.tree import ROOT

ANSWER_S_MAX = 10.0


def exchange(program: Program, request: bytes, *, wait_s: float = ANSWER_S_MAX) -> bytes:
    """Send these bytes and read until the program closes, or has answered and is silent for a moment."""
    answer = b""
    end = time.monotonic() + wait_s
    with socket.create_connection(("127.0.0.1", program.port), timeout=wait_s) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        while time.monotonic() < end:
            connection.settimeout(0.15 if answer else max(0.01, end - time.monotonic()))
            try:
                piece = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not piece:
                break
            answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    """The statuses in what came back."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) [A-Z]", answer)]


def problem(answer: bytes) -> dict[str, object]:
    """The last problem document in what came back."""
    found: dict[str, object] = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    return found


def test_good_requests_pass(program: Program):
    """The two requests that the corpus bends are themselves accepted."""
    assert statuses(exchange(program, hostile.GOOD)) == [202]
    assert statuses(exchange(program, hostile.CHUNKED_GOOD)) == [202]


@pytest.mark.parametrize("name_", hostile.REQUESTS)
def test_hostile_request(program: Program, name_: str):
    """Each hostile request is answered once, with a 4xx and nothing accepted, within ten seconds."""
    before = program.stats()["events"]
    answer = exchange(program, hostile.REQUESTS[name_])
    codes = statuses(answer)
    assert codes, f"no answer: {answer[:200]!r}"
    assert 400 <= codes[0] < 500, answer[:600]
    assert all(code < 500 for code in codes)
    assert program.stats()["events"] == before
    began = time.monotonic()
    program.publish("hostile", 1)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("name_", hostile.BODIES)
def test_hostile_body(program: Program, name_: str):
    """Each hostile body is refused with a 4xx problem document, and nothing is accepted."""
    before = program.stats()["events"]
    answer = program.raw("/v1/events", hostile.BODIES[name_], "application/json")
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["code"]
    assert found["detail"]
    assert program.stats()["events"] == before


@pytest.mark.parametrize("path", ["/v1/endpoints", "/v1/event-types", "/v1/events"])
@pytest.mark.parametrize("name_", hostile.BODIES)
def test_hostile_body_elsewhere(program: Program, path: str, name_: str):
    """The same bodies, as whatever content type, get no 5xx anywhere."""
    for content_type in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "x"):
        answer = program.raw(path, hostile.BODIES[name_], content_type)
        assert 400 <= answer.status_code < 500, (content_type, answer.text)


def test_pipelined_after_an_error_is_not_read(program: Program):
    """What follows a refused request on its connection is never taken for a request."""
    before = program.stats()["events"]
    smuggled = hostile.REQUESTS["length and chunked"] + hostile.GOOD
    assert [code for code in statuses(exchange(program, smuggled)) if code < 400] == []
    assert program.stats()["events"] == before


def test_pipelined_requests_are_answered_in_order(program: Program):
    """Requests that come together are answered one after the other, each by its own answer."""
    bad = hostile.sized(b'{"type":"a b","data":1}')
    answer = exchange(program, hostile.GOOD + bad + hostile.GOOD + hostile.head(b"GET /v1/stats HTTP/1.1"))
    assert statuses(answer) == [202, 422, 202, 200]


@pytest.mark.parametrize(
    "key",
    [None, "wrong-key-0000", KEY[:-1], KEY + "x", KEY.upper(), "\xe9" * 12, "x" * 10_000, "Basic " + KEY],
    ids=["none", "wrong", "short", "long", "upper", "not ASCII", "huge", "other scheme"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/events"), ("GET", "/v1/stats"), ("POST", "/v1/endpoints")])
def test_without_the_key_nothing(program: Program, key: str | None, method: str, path: str):
    """Without the right key every route answers 401 with how to authenticate, and nothing more."""
    headers = {}
    if key is not None:
        value = key if key.startswith("Basic ") else f"Bearer {key}"
        headers["authorization"] = value.encode("latin-1")
    request = program.client.build_request(method, path, headers=headers, content=b"{}")
    if key is None:
        del request.headers["authorization"]
    answer = program.client.send(request)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_key_is_asked_for_before_the_body(program: Program):
    """A large body without a key is refused before it is read, and the connection ends."""
    request = hostile.head(b"POST /v1/events HTTP/1.1", b"content-length: 15000000", auth=b"")
    assert statuses(exchange(program, request)) == [401]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/events/evt_0", 404),
        ("GET", "/v1/events/evt_" + "0" * 24, 404),
        ("GET", "/v1/endpoints/nobody", 404),
        ("GET", "/v1/endpoints/ep_" + "0" * 24, 404),
        ("GET", "/v1/deliveries/dlv_" + "0" * 32, 404),
        ("GET", "/v1/deliveries/dlv_" + "0" * 32 + "/attempts", 404),
        ("POST", "/v1/deliveries/dlv_" + "0" * 32 + "/retry", 404),
        ("POST", "/v1/deliveries/dlv_" + "0" * 32 + "/discard", 404),
        ("POST", "/v1/events/evt_" + "0" * 24 + "/replay", 404),
        ("POST", "/v1/endpoints/nobody/pause", 404),
        ("DELETE", "/v1/endpoints/nobody", 404),
        ("GET", "/v1/event-types/nothing", 404),
        ("PUT", "/v1/events", 405),
        ("DELETE", "/v1/events", 405),
        ("PUT", "/v1/endpoints", 405),
        ("POST", "/v1/stats", 405),
        ("GET", "/v1/endpoints/nobody/pause", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_paths_and_methods(program: Program, method: str, path: str, status: int):
    """What is not there is 404; what is there with another method is 405 and says which it has."""
    answer = program.client.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert "allow" in answer.headers or status != 405


def test_another_tenants_things_are_not_there(program: Program, name: str):
    """What belongs to another tenant is 404, byte for byte like what never was."""
    made = program.publish(name, 1)
    endpoint = program.endpoint("http://127.0.0.1:9/", event_types=[name + ".x"])
    other = {"hookline-tenant": "somebody-else"}
    nothing = program.client.get("/v1/events/evt_" + "0" * 24, headers=other)
    for path in (f"/v1/events/{made['id']}", f"/v1/endpoints/{endpoint['id']}"):
        answer = program.client.get(path, headers=other)
        assert (answer.status_code, answer.content) == (404, nothing.content)
    assert program.client.get("/v1/events", headers=other, params={"type": name}).json()["data"] == []


def test_content_types(program: Program):
    """Publishing takes JSON and CloudEvents; something else that is no binary CloudEvent is 415."""
    body = hostile.EVENT
    assert program.raw("/v1/events", body, "application/json; charset=utf-8").status_code == 202
    assert program.raw("/v1/events", body, "text/plain").status_code == 415
    assert program.raw("/v1/events", body, "application/xml").status_code == 415


def test_slow_senders_are_cut_off(program: Program):
    """A client that sends its headers byte by byte is answered 408 or cut off; others are served meanwhile."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nhost: x\r\n")
        began = time.monotonic()
        connection.settimeout(0.5)
        answer = None
        while answer is None and time.monotonic() - began < 25:
            with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
                connection.sendall(b"x")
                answer = connection.recv(4096)
            program.publish("hostile", 1)
        assert answer is not None
        assert statuses(answer) in ([408], [])
    assert time.monotonic() - began < 20


def test_many_idle_connections_do_no_harm(program: Program):
    """With 500 connections that send half a request, a publish is answered at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=10))
            connection.sendall(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-le")
        began = time.monotonic()
        program.publish("hostile", 1)
        assert time.monotonic() - began < 2


def test_health_needs_no_key(program: Program):
    """`/healthz` and `/readyz` answer 200 without a key."""
    for path in ("/healthz", "/readyz"):
        request = program.client.build_request("GET", path)
        del request.headers["authorization"]
        assert program.client.send(request).status_code == 200


def test_metrics_are_documented(program: Program, name: str):
    """Every metric of ours that the running program exports is on the reference page."""
    program.publish(name, 1)
    answer = program.client.get("/metrics")
    assert answer.status_code == 200
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    families = [family.name for family in text_string_to_metric_families(answer.text)]
    own = [family for family in families if family.startswith("hookline")]
    assert {"hookline_accepted_events", "hookline_open_deliveries", "hookline_runnable_oldest_seconds"} <= set(own)
    assert [family for family in own if f"`{family}" not in page] == []


def test_openapi_describes_every_route(program: Program):
    """`/openapi.json` is a valid OpenAPI 3.1 document that names the routes of the design."""
    from openapi_spec_validator import validate

    document = program.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    named = {"/v1/events", "/v1/endpoints", "/v1/deliveries", "/v1/stats", "/v1/event-types"}
    assert named <= set(document["paths"])


def test_the_docs_page_loads_nothing_from_elsewhere(program: Program):
    """`/docs` is a page whose scripts and styles come from the program itself."""
    page = program.client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"(?:src|href)=[\"'](?:https?:)?//", page.text) == []


def test_answers_are_guarded(program: Program):
    """Every answer says that it is not to be sniffed, cached or framed."""
    for path in ("/v1/stats", "/nothing", "/healthz"):
        headers = program.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
