"""What holds for every route: keys, tenants, methods, headers, errors, health, and the document of it all."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from openapi_spec_validator import validate
from tests.web.api import TENANT_ONLY_KEY, is_documented, is_shaped

from hookline.core.delivery import State
from hookline.core.errors import STATUS_BY_CODE, StoreUnavailable
from hookline.flow.report import OPERATIONAL

READS = ["/v1/events", "/v1/deliveries", "/v1/endpoints", "/v1/event-types", "/v1/stats"]
WRITES = ["/v1/endpoints", "/v1/event-types"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer", b"Bearer wrong-horse-battery", b"Basic x", b"Bearer \xff\xfe"]
)
async def test_no_key_no_answer(api, path, authorization):
    """Without a right key every route is 401 and says how to authenticate."""
    request = api.client.build_request("GET", path)
    del request.headers["authorization"]
    if authorization is not None:
        request = httpx2.Request("GET", request.url, headers=[(b"authorization", authorization)])
    answer = await api.client.send(request)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_two_keys_are_none(api):
    """Two Authorization headers are 401, even when both are right."""
    key = api.client.headers["authorization"]
    request = httpx2.Request(
        "GET", api.client.base_url.join("/v1/stats"), headers=[("authorization", key), ("authorization", key)]
    )
    assert (await api.client.send(request)).status_code == 401


async def test_scopes_and_tenants(api):
    """A tenant's key acts for its tenant alone, and only within its scopes."""
    await api.call("POST", "/v1/endpoints", 201, {"url": "https://a.example"}, headers={"Hookline-Tenant": "acme"})
    await api.endpoint()
    own = {"Authorization": f"Bearer {TENANT_ONLY_KEY}"}
    assert len((await api.call("GET", "/v1/endpoints", 200, headers=own))["data"]) == 1
    assert (await api.call("GET", "/v1/stats", 200, headers={**own, "Hookline-Tenant": "acme"}))["events"] == 0
    await api.refused("GET", "/v1/endpoints", "forbidden", headers={**own, "Hookline-Tenant": "default"})
    await api.refused("POST", "/v1/endpoints", "forbidden", {}, headers=own)
    await api.refused("POST", "/v1/events", "forbidden", {}, headers=own)


@pytest.mark.parametrize("path", WRITES)
async def test_bodies_are_bounded_and_json(api, path):
    """A body beyond 1 MiB is 413 however it comes, one that is not JSON or encoded is 415."""
    big = b" " * (1024 * 1024 + 1)

    async def pieces():
        for at in range(0, len(big), 65536):
            yield big[at : at + 65536]

    await api.refused("POST", path, "payload_too_large", content=big)
    await api.refused("POST", path, "payload_too_large", content=pieces())
    await api.refused("POST", path, "unsupported_media_type", content=b"{}", headers={"content-type": "text/plain"})
    await api.refused("POST", path, "unsupported_media_type", content=b"{}", headers={"content-encoding": "gzip"})
    problem = await api.refused("POST", path, "too_deep", content=b'{"name":' + b"[" * 5000 + b"]" * 5000 + b"}")
    assert problem["status"] == 422


async def test_publish_as_an_ordinary_route(api):
    """A publish whose target is written otherwise gets the same answer from the application, with the same limits."""
    first = await api.client.post("/v1/events", json={"type": "a", "data": 1})
    second = await api.client.post("/v1/%65vents", json={"type": "a", "data": 1})
    assert (first.status_code, second.status_code) == (202, 202)
    assert api.publisher.got[0] == api.publisher.got[1]
    await api.refused("POST", "/v1/events?x=1", "invalid_parameter", {})
    await api.refused("POST", "/v1/%65vents", "unsupported_media_type", content=b"", headers={"content-encoding": "br"})
    body = b"x" * (16 * 1024 * 1024 + 1)
    await api.refused("POST", "/v1/%65vents", "payload_too_large", content=body)
    answer = await api.client.post("/v1/%65vents", headers={"authorization": "Bearer x"})
    assert answer.status_code == 401
    assert len(api.publisher.got) == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/v1/events", 405, "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/v1/endpoints", 405, "GET, HEAD, OPTIONS, POST"),
        ("POST", "/v1/stats", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/v1/endpoints/x/pause", 405, "OPTIONS, POST"),
        ("PUT", "/v1/endpoints/x", 405, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("TRACE", "/healthz", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1/events/", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/v1/sources/nothing", 404, None),
        ("OPTIONS", "/v1/events", 204, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", "/v1/endpoints/x/secret/rotate", 204, "OPTIONS, POST"),
        ("OPTIONS", "/nothing", 404, None),
        ("HEAD", "/nothing", 404, None),
    ],
)
async def test_methods_and_paths(api, method, path, status, allow):
    """What a path does not have is 405 with what it has; what is not there is 404; OPTIONS tells."""
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


async def test_head_is_get_without_a_body(api):
    """HEAD has the status and headers of GET, and nothing after them."""
    for path in ("/v1/stats", "/healthz", "/v1/endpoints/nobody"):
        get, head = await api.client.get(path), await api.client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize("path", ["/v1/stats", "/nothing", "/healthz", "/docs", "/v1/events"])
async def test_every_answer_is_guarded(api, path):
    """No answer may be sniffed or framed, none says which server it is, each has its date."""
    for method in ("GET", "POST", "OPTIONS"):
        headers = (await api.client.request(method, path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert len(headers.get_list("date")) == 1


async def test_store_that_cannot_answer(api, monkeypatch):
    """What the store cannot do now is 503 with Retry-After, and logged."""

    async def down(*_: object) -> None:
        raise StoreUnavailable("The disk is full.", code="disk_full", retry_after_s=7)

    monkeypatch.setattr(api.store, "counts", down)
    answer = await api.client.get("/v1/stats")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "disk_full", "7")
    assert api.observer.warnings[0][0] == "request_failed"


async def test_our_own_fault(api, monkeypatch):
    """What nobody expected is 500 without details, logged with its place and without its text."""

    async def broken(*_: object) -> None:
        raise RuntimeError("secret payload")

    monkeypatch.setattr(api.store, "counts", broken)
    answer = await api.client.get("/v1/stats")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "payload" not in answer.text
    ((name, fields),) = api.observer.warnings
    assert (name, fields["error"], fields["method"]) == ("request_crashed", "RuntimeError", "GET")
    assert "test_app.py" in str(fields["at"])
    assert "payload" not in str(fields)
    assert (await api.client.get("/healthz")).status_code == 200


async def test_health(api):
    """A process that answers is alive; it is ready until it says why not; neither needs a key."""
    async with httpx2.AsyncClient(base_url=api.client.base_url) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/readyz?for=in")).status_code == 200
        assert (await client.get("/readyz?for=out")).status_code == 422
        api.ready[0] = "The process drains."
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "The process drains.")
        assert (await client.get("/healthz")).status_code == 200
        metrics = await client.get("/metrics", headers={"accept": "text/plain"})
        assert (metrics.text, metrics.headers["content-type"]) == ("accept text/plain", "text/plain; version=1.0.0")


async def test_docs_page_is_our_own(api):
    """The page and all it loads come from this process, and its policy allows nothing else."""
    page = await api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "//" not in page.text
    assert "<script>" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"):
        assert f"docs/{name}" in page.text
        answer = await api.client.get(f"/docs/{name}")
        assert answer.status_code == 200
        assert len(answer.content) > 100


async def test_openapi_document(api):
    """The document is valid OpenAPI 3.1, describes every route of ours, and every operational event as a webhook."""
    document = (await api.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    assert set(document["webhooks"]) == set(OPERATIONAL)
    operations = [(m, p) for p, item in document["paths"].items() for m in item]
    assert len(operations) > 40
    for method, path in operations:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert "500" in operation["responses"]
        assert ("404" in operation["responses"]) == ("{" in path or operation.get("security") != [])


async def test_every_code_has_a_documented_status(api):
    """Whatever a route refuses with, the status of its code is in the document."""
    document = (await api.client.get("/openapi.json")).json()
    everywhere = {s for item in document["paths"].values() for op in item.values() for s in op["responses"]}
    assert {str(status) for status in STATUS_BY_CODE.values()} - everywhere == {"405", "406", "411"}


async def test_answers_are_as_documented(api):
    """Real answers have the documented statuses and shapes."""
    document = (await api.client.get("/openapi.json")).json()
    endpoint = await api.endpoint(uid="a", auth={"kind": "bearer", "token": "t"}, rate={"n": 5, "per_s": 1})
    event = await api.event([endpoint])
    delivery = await api.attempt(event, endpoint, State.FAILED, status=400, reason="client_error")
    await api.call("POST", "/v1/event-types", 201, {"name": "a.b", "schema": {"type": "object"}})
    for method, path, name in (
        ("GET", "/v1/endpoints", "EndpointPage"),
        ("GET", "/v1/endpoints/a", "Endpoint"),
        ("POST", "/v1/endpoints/a/pause", "Endpoint"),
        ("POST", "/v1/endpoints/a/resume", "Endpoint"),
        ("GET", "/v1/endpoints/a/secret", "SecretView"),
        ("POST", "/v1/endpoints/a/secret/rotate", "SecretView"),
        ("GET", "/v1/endpoints/a/stats", "EndpointStatsDocument"),
        ("GET", "/v1/event-types", "EventTypePage"),
        ("GET", "/v1/event-types/a.b", "EventTypeHistoryDocument"),
        ("GET", "/v1/events", "EventPage"),
        ("GET", f"/v1/events/{event.public_id}", "EventDocument"),
        ("POST", f"/v1/events/{event.public_id}/replay", "Replayed"),
        ("GET", "/v1/deliveries", "DeliveryPage"),
        ("GET", f"/v1/deliveries/{delivery}", "DeliveryDocument"),
        ("GET", f"/v1/deliveries/{delivery}/attempts", "AttemptPage"),
        ("POST", f"/v1/deliveries/{delivery}/retry", "DeliveryDocument"),
        ("POST", f"/v1/deliveries/{delivery}/discard", "DeliveryDocument"),
        ("GET", "/v1/stats", "StatsDocument"),
        ("GET", "/healthz", "ReadyDocument"),
        ("DELETE", "/v1/event-types/a.b", None),
        ("DELETE", "/v1/endpoints/a", None),
        ("POST", f"/v1/deliveries/{delivery}/retry", "Problem"),
        ("GET", "/v1/endpoints/a", "Problem"),
        ("GET", "/v1/events?limit=0", "Problem"),
    ):
        answer = await api.client.request(method, path)
        assert is_documented(document, method, path.partition("?")[0], answer.status_code), (method, path, answer.text)
        if name is not None:
            is_shaped(document, name, answer.json())


async def test_requests_at_once(api):
    """Many requests of all kinds at once are all answered."""
    endpoint = await api.endpoint()
    calls = [api.client.get(f"/v1/endpoints/{endpoint['id']}") for _ in range(30)]
    calls += [api.client.get("/v1/deliveries") for _ in range(30)]
    calls += [api.client.post("/v1/events", json={"type": "a", "data": n}) for n in range(30)]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200, 202}


async def test_application_runs_on_any_server(api):
    """Without our front the application answers the same, publishing included."""
    app = api.front._config.app
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://h", headers=api.client.headers) as client:
        publish = await client.post("/v1/events", json={"type": "a", "data": 1}, headers={"Idempotency-Key": "k"})
        assert (publish.status_code, api.publisher.got[0][1]) == (202, {"idempotency-key": "k"})
        assert (await client.post("/v1/events", headers={"authorization": "Bearer x"})).status_code == 401
        assert (await client.get("/v1/stats")).json() == (await api.client.get("/v1/stats")).json()
