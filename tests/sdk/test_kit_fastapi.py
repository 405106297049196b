"""The receiver kit in FastAPI."""

from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post
from tests.sdk.signed import SECRET, SLACK_SECRET, Sent, sent, slack

from hookline.core.verifiers import presets
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.verdict import Verified
from hookline.sdk import Delivery, Event, Receiver, Verifier
from hookline.sdk.fastapi import WebhookRoute, delivery, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded

METHODS = ["GET", "POST", "PUT", "PATCH", "OPTIONS"]


def called(app: FastAPI, path: str = "/hooks") -> Call:
    """How it is called."""
    import asyncio

    async def ask(method: str, headers: dict[str, str], body: Any) -> Got:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.example") as client:
            response = await client.request(method, path, headers=headers, content=body)
            return Got(response.status_code, dict(response.headers), response.content)

    return lambda method, headers, body: asyncio.run(ask(method, headers, body))


def answered(answer: Any) -> Any:
    """What a handler of the contract returned, as FastAPI takes it."""
    if answer is None or isinstance(answer, dict):
        return answer
    return Response(answer.body, answer.status, dict(answer.headers))


class TestFastapi(FrameworkContract):
    """A route of the kit's class, with the dependency, included from a router."""

    @pytest.fixture
    def make(self) -> Make:
        """An application of one route."""

        def made(receiver: Receiver, handler: Any) -> Call:
            router = APIRouter(route_class=WebhookRoute)

            @router.api_route("/hooks", methods=METHODS)
            async def hook(event: Annotated[Event, webhook(receiver)]) -> Any:
                return answered(handler(event))

            app = FastAPI()
            app.include_router(router)
            return called(app)

        return made


class TestFastapiThreaded(FrameworkContract):
    """A route whose function runs in a thread, on an application whose routes are all of the kit's class."""

    @pytest.fixture
    def make(self) -> Make:
        """An application of one route."""

        def made(receiver: Receiver, handler: Any) -> Call:
            app = FastAPI()
            app.router.route_class = WebhookRoute

            @app.api_route("/hooks", methods=METHODS)
            def hook(event: Annotated[Event, webhook(receiver)]) -> Any:
                return answered(handler(event))

            return called(app)

        return made


def plain(receiver: Receiver, handler: Any = lambda _: None) -> Call:
    """An application without the kit's route class."""
    app = FastAPI()

    @app.api_route("/hooks", methods=METHODS)
    async def hook(event: Annotated[Event, webhook(receiver)]) -> Any:
        return handler(event)

    return called(app)


def test_the_dependency_works_on_any_route():
    """Without the route class the statuses are the same, and the kit's answers stand in `detail`."""
    guard, counted = MemoryReplayGuard(), Counted()
    failures = iter([ValueError()])

    def handle(_: Event) -> None:
        for error in failures:
            raise error

    call = plain(Receiver(SECRET, replay_guard=guard, on_outcome=counted), handle)
    assert [post(call, sent()).status for _ in range(3)] == [500, 200, 200]
    assert counted.kinds == ["failed", "handled", "duplicate"]
    got = post(call, Sent({}, b""))
    assert (got.status, got.json["detail"]["code"]) == (401, "missing_header")
    assert post(call, sent(), "PUT").headers["allow"] == "POST"
    slacks = plain(Receiver(verifier=Verifier("slack", secret=SLACK_SECRET)))
    assert post(slacks, slack(b'{"type": "url_verification", "challenge": "c"}')).status == 200


def test_an_http_exception_is_the_routes_own_answer():
    """It is passed on as FastAPI makes it, and the retry runs."""
    statuses = iter([404, None])
    guard, counted = MemoryReplayGuard(), Counted()
    receiver = Receiver(SECRET, replay_guard=guard, on_outcome=counted)
    app = FastAPI()
    app.router.route_class = WebhookRoute

    @app.post("/hooks")
    async def hook(event: Annotated[Event, webhook(receiver)]) -> None:
        status = next(statuses)
        if status is not None:
            raise HTTPException(status, "not yet")

    got = post(called(app), sent())
    assert (got.status, got.json) == (404, {"detail": "not yet"})
    assert post(called(app), sent()).json["status"] == "success"
    assert [(one.kind, one.status) for one in counted.outcomes] == [("answered", 404), ("handled", 200)]


def test_other_dependencies_see_what_happens_to_the_route():
    """A session of a database commits on success and rolls back on failure, as without the kit."""
    seen: list[str] = []
    fails = True

    async def session() -> Any:
        try:
            yield
        except Exception:
            seen.append("rollback")
            raise
        seen.append("commit")

    app = FastAPI()
    app.router.route_class = WebhookRoute
    receiver = Receiver(SECRET, replay_guard=MemoryReplayGuard())

    @app.post("/hooks")
    async def hook(session: Annotated[None, Depends(session)], event: Annotated[Event, webhook(receiver)]) -> None:
        if fails:
            raise ValueError

    assert post(called(app), sent()).status == 500
    fails = False
    assert post(called(app), sent()).status == 200
    assert seen == ["rollback", "commit"]


def test_handled_is_kept_before_the_answer_is_sent():
    """When the sender hears of success the guard knows it, and background tasks run after the answer."""
    order: list[str] = []

    class Guard(MemoryReplayGuard):
        def done(self, claim: Any) -> None:
            order.append("done")
            super().done(claim)

    app = FastAPI()
    app.router.route_class = WebhookRoute

    @app.post("/hooks")
    async def hook(
        event: Annotated[Event, webhook(Receiver(SECRET, replay_guard=Guard()))], tasks: BackgroundTasks
    ) -> None:
        tasks.add_task(order.append, "task")

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            order.append(message["type"])
            await send(message)

        await app(scope, receive, told)

    watching: Any = watched
    assert post(called(watching), sent()).status == 200
    assert order == ["done", "http.response.start", "http.response.body", "task"]


def test_the_route_may_read_the_body_its_own_way():
    """The dependency leaves the body where it was, and the route's arguments are FastAPI's."""
    app = FastAPI()
    app.router.route_class = WebhookRoute

    @app.post("/hooks/{shop}")
    async def hook(shop: str, request: Request, event: Annotated[Event, webhook(Receiver(SECRET))], x: int = 1) -> Any:
        return {"shop": shop, "x": x, "type": (await request.json())["type"]}

    got = post(called(app, "/hooks/a?x=2"), sent())
    assert got.json == {"shop": "a", "x": 2, "type": "order.created"}


@pytest.mark.parametrize(("limit", "status"), [(10_000, 200), (100, 413)])
def test_a_body_in_pieces(limit: int, status: int):
    """A chunked body is taken whole, or refused when it is more than allowed."""
    request = sent()

    async def pieces() -> Any:
        for at in range(0, len(request.body), 10):
            yield request.body[at : at + 10]

    call = plain(Receiver(SECRET, body_bytes_max=limit))
    assert call("POST", request.headers, pieces()).status == status


def test_a_body_that_was_read_before_is_said_to_be_so():
    """Where something has taken the stream the bytes are gone, which is said in the log and answered 500."""
    counted = Counted()
    receiver = Receiver(SECRET, on_outcome=counted)

    async def early(request: Request) -> None:
        async for _ in request.stream():
            pass

    app = FastAPI(dependencies=[Depends(early)])

    @app.post("/hooks")
    async def hook(event: Annotated[Event, webhook(receiver)]) -> None: ...

    got = post(called(app), sent())
    assert (got.status, counted.outcomes[0].reason) == (500, "unusable_body")


def test_all_events_of_a_request_together(monkeypatch: pytest.MonkeyPatch):
    """`delivery` gives what is new of a request; `webhook` is refused for a sender of several."""
    preset = Preset("several", "Several", lambda *_: Verified(), (), Reading(type="item:t", id="item:i", split="body:"))
    monkeypatch.setattr(presets, "preset", lambda _: preset)
    receiver = Receiver(verifier=Verifier("several"), replay_guard=MemoryReplayGuard())
    with pytest.raises(ValueError):
        webhook(receiver)
    app = FastAPI()
    app.router.route_class = WebhookRoute
    seen: list[list[str]] = []

    @app.post("/hooks")
    async def hook(found: Annotated[Delivery, delivery(receiver)]) -> None:
        seen.append([event.id for event in found])

    for ids in (["a", "b"], ["b", "c"], ["a"]):
        body = b"[" + b",".join(b'{"i": "%b", "t": "x"}' % one.encode() for one in ids) + b"]"
        got = called(app)("POST", {"content-type": "application/json"}, body)
        assert (got.status, got.json["event_id"]) == (200, ids[0])
    assert seen == [["a", "b"], ["c"]]


def test_a_guard_of_coroutines_is_awaited():
    """FastAPI has a loop, so any guard will do."""
    handler = Handler()
    call = plain(Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard())), handler)
    assert [post(call, sent()).status for _ in range(2)] == [200, 200]
    assert len(handler.events) == 1


def test_the_dependency_stays_out_of_the_document():
    """The OpenAPI document can be made of such routes."""
    app = FastAPI()
    app.router.route_class = WebhookRoute

    @app.post("/hooks")
    async def hook(event: Annotated[Event, webhook(Receiver(SECRET))]) -> None:
        """Takes webhooks."""

    operation = app.openapi()["paths"]["/hooks"]["post"]
    assert operation["description"] == "Takes webhooks."
    assert "parameters" not in operation
