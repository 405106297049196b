"""The receiver kit in plain ASGI: an application, and a middleware in front of one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post, raising
from tests.sdk.signed import SECRET, Sent, sent

from hookline.sdk import Receiver
from hookline.sdk.asgi import WebhookMiddleware, url_of, webhook
from hookline.sdk.replay_guard import MemoryReplayGuard

pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*")


def scope(method: str, headers: dict[str, str], path: str = "/hooks") -> dict[str, Any]:
    """A request, as a server begins it."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
    }


async def exchanged(application: Any, head: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What is sent in answer to a request that comes in these messages."""
    coming = [*messages, {"type": "http.disconnect"}]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await application(head, receive, send)
    return said


def called(application: Any, path: str = "/hooks") -> Call:
    """How a server calls it; the body comes in pieces."""

    def call(method: str, headers: dict[str, str], body: bytes) -> Got:
        pieces = [body[at : at + 100] for at in range(0, len(body), 100)] or [b""]
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces[:-1]]
        messages.append({"type": "http.request", "body": pieces[-1]})
        start, *rest = asyncio.run(exchanged(application, scope(method, headers, path), *messages))
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        return Got(start["status"], named, b"".join(message["body"] for message in rest))

    return call


class TestAsgi(FrameworkContract):
    """An application with a handler that runs in a thread."""

    @pytest.fixture
    def make(self) -> Make:
        """A handler as an application."""
        return lambda receiver, handler: called(webhook(receiver)(handler))


class TestAsgiAwaited(FrameworkContract):
    """An application with a handler that is awaited."""

    @pytest.fixture
    def make(self) -> Make:
        """A coroutine function as an application."""

        def made(receiver: Receiver, handler: Any) -> Call:
            @webhook(receiver)
            async def hook(event: Any) -> Any:
                await asyncio.sleep(0)
                return handler(event)

            return called(hook)

        return made


class TestAsgiMiddleware(FrameworkContract):
    """A middleware in front of Starlette, which finds the events in its scope."""

    @pytest.fixture
    def make(self) -> Make:
        """The application of Starlette calls the handler and says what it returned."""

        def made(receiver: Receiver, handler: Any) -> Call:
            async def hook(request: Request) -> Response:
                [event] = request.scope["hookline.events"]
                assert await request.body() == event.body
                answer = handler(event)
                if answer is None:
                    return JSONResponse({"status": "success", "message": "received", "event_id": event.id})
                if isinstance(answer, dict):
                    return JSONResponse(answer)
                return Response(answer.body, answer.status, dict(answer.headers))

            app = Starlette(routes=[Route("/hooks", hook, methods=["POST", "PUT"])])
            return called(WebhookMiddleware(app.router, receiver))

        return made

    def test_a_provider_hears_what_it_wants_to(self, make: Make):
        """Here the application answers, so it is the application that must say it."""


def test_a_middleware_of_starlette():
    """It is added as any middleware is, and lets other paths pass by."""

    async def hook(request: Request) -> Response:
        return JSONResponse([event.id for event in request.scope.get("hookline.events", ())])

    app = Starlette(
        routes=[Route("/hooks", hook, methods=["POST"]), Route("/", hook)],
        middleware=[Middleware(WebhookMiddleware, receiver=Receiver(SECRET), path="/hooks")],
    )
    request = sent()
    with TestClient(app) as client:
        assert client.get("/").json() == []
        assert client.post("/hooks").status_code == 401
        assert client.post("/hooks", content=request.body, headers=request.headers).json() == ["msg_1"]


def test_a_sender_that_goes_away_is_not_answered():
    """A request that is broken off runs nothing, and nothing is sent."""
    handler = Handler()
    request = sent()
    for application in (webhook(Receiver(SECRET))(handler), WebhookMiddleware(raising(ValueError()), Receiver(SECRET))):  # type: ignore[arg-type]
        half = {"type": "http.request", "body": request.body[:10], "more_body": True}
        assert asyncio.run(exchanged(application, scope("POST", request.headers), half)) == []
    assert handler.events == []


def test_a_body_without_a_length_has_a_limit():
    """It is read no further than is allowed."""
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    application = webhook(Receiver(SECRET, body_bytes_max=1000))(Handler())
    asyncio.run(application(scope("POST", {}), receive, send))
    assert (said[0]["status"], read) == (413, 11)


def test_a_length_that_is_too_large_is_refused_unread():
    """The body is not asked for."""

    async def receive() -> Any:
        raise AssertionError

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    application = webhook(Receiver(SECRET))(Handler())
    asyncio.run(application(scope("POST", {"content-length": "99999999"}), receive, send))
    assert said[0]["status"] == 413


def test_a_repeated_header_is_refused():
    """Two signatures in two headers are no proof, whichever of them is good."""
    request = sent()
    head = scope("POST", request.headers)
    head["headers"].append((b"Webhook-Signature", b"v1,AAAA"))
    said = asyncio.run(
        exchanged(webhook(Receiver(SECRET))(Handler()), head, {"type": "http.request", "body": request.body})
    )
    assert said[0]["status"] == 401


async def test_a_handler_that_is_cancelled_releases_the_guard():
    """When the server ends the request the claim is free, in the application and in the middleware."""
    request = sent()
    guard = MemoryReplayGuard()
    receiver = Receiver(SECRET, replay_guard=guard)

    async def hang(*_: Any) -> None:
        await asyncio.sleep(60)

    for application in (webhook(receiver)(hang), WebhookMiddleware(hang, receiver)):
        whole = {"type": "http.request", "body": request.body}
        task = asyncio.create_task(exchanged(application, scope("POST", request.headers), whole))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        claim = guard.begin("standard_webhooks:msg_1")
        assert claim.state == "first"
        guard.release(claim)


def test_an_application_that_says_nothing_is_500():
    """What answers nothing has not handled anything."""

    async def silent(*_: Any) -> None: ...

    counted = Counted()
    request = sent()
    middleware = WebhookMiddleware(silent, Receiver(SECRET, on_outcome=counted))
    said = asyncio.run(
        exchanged(middleware, scope("POST", request.headers), {"type": "http.request", "body": request.body})
    )
    assert said[0]["status"] == 500
    assert counted.kinds == ["failed"]


def test_what_is_no_request_is_answered_as_asgi_wants_it():
    """Lifespan begins and ends, a web socket is refused, and anything else is an error."""
    application = webhook(Receiver(SECRET))(Handler())

    async def spoken(kind: str, *types: str) -> list[str]:
        coming = [{"type": one} for one in types]
        said: list[str] = []

        async def receive() -> Any:
            return coming.pop(0)

        async def send(message: Any) -> None:
            said.append(message["type"])

        await application({"type": kind}, receive, send)
        return said

    lifespan = asyncio.run(spoken("lifespan", "lifespan.startup", "lifespan.shutdown"))
    assert lifespan == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asyncio.run(spoken("websocket", "websocket.connect")) == ["websocket.close"]
    with pytest.raises(RuntimeError):
        asyncio.run(spoken("mail"))


@pytest.mark.parametrize(
    ("head", "url"),
    [
        ({"path": "/é", "headers": []}, "http://localhost/%C3%A9"),
        ({"path": "/a", "raw_path": b"/a%2Fb", "headers": [(b"host", b"h:1")], "scheme": "https"}, "https://h:1/a%2Fb"),
        ({"path": "/", "query_string": b"x=%zz", "headers": [], "server": ("h", 80)}, "http://h:80/?x=%zz"),
        ({"path": "", "headers": [], "server": ("/run/s", None)}, "http:///run/s/"),
    ],
)
def test_urls_of_scopes(head: dict[str, Any], url: str):
    """The path counts as it was spelled."""
    assert url_of(head) == url


def test_a_path_may_be_another_applications():
    """Webhooks of other paths are none."""

    async def plain(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = WebhookMiddleware(plain, Receiver(SECRET), path="/hooks")
    assert post(called(middleware, "/other"), Sent({}, b"")).status == 204
