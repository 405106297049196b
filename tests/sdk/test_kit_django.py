"""The receiver kit in Django, synchronous and not."""

from __future__ import annotations

import asyncio
import io
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from tests.sdk.framework_contract import Call, Counted, FrameworkContract, Got, Handler, Make, post
from tests.sdk.signed import SECRET, sent

from hookline.sdk import Event, Receiver, Verifier
from hookline.sdk.django import webhook
from hookline.sdk.replay_guard import MemoryReplayGuard, threaded

URLS = types.ModuleType("kit_urls")
sys.modules["kit_urls"] = URLS
if not settings.configured:
    settings.configure(
        ROOT_URLCONF="kit_urls",
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
    )
    django.setup()


def served(view: Any) -> None:
    """Make it what stands at /hooks."""
    from django.urls import clear_url_caches

    URLS.urlpatterns = [path("hooks", view), path("hooks/<str:shop>", view)]  # type: ignore[attr-defined]
    clear_url_caches()


def got(response: Any) -> Got:
    """An answer as the contract has it."""
    return Got(response.status_code, {name.lower(): value for name, value in response.items()}, response.content)


def split(headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The content type, and all other headers."""
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    return kind, {name: value for name, value in headers.items() if name.lower() != "content-type"}


def call(method: str, headers: dict[str, str], body: bytes, target: str = "/hooks", **more: Any) -> Got:
    """Through the test client, which checks CSRF."""
    kind, others = split(headers)
    client = Client(enforce_csrf_checks=True)
    return got(client.generic(method, target, body, kind, headers=others, **more))


def call_async(method: str, headers: dict[str, str], body: bytes, target: str = "/hooks") -> Got:
    """Through Django's ASGI handler."""

    async def ask() -> Any:
        kind, others = split(headers)
        return await AsyncClient(enforce_csrf_checks=True).generic(method, target, body, kind, headers=others)

    return got(asyncio.run(ask()))


def synchronous(receiver: Receiver, handler: Any) -> Any:
    """A view."""

    @webhook(receiver)
    def hook(request: HttpRequest, event: Event) -> Any:
        return handler(event)

    served(hook)
    return hook


def asynchronous(receiver: Receiver, handler: Any) -> Any:
    """A view that is a coroutine function."""

    @webhook(receiver)
    async def hook(request: HttpRequest, event: Event) -> Any:
        await asyncio.sleep(0)
        return handler(event)

    served(hook)
    return hook


def made(view: Any, client: Any) -> Make:
    """How a view of this kind is made and called."""

    def make(receiver: Receiver, handler: Any) -> Call:
        view(receiver, handler)
        kept = URLS.urlpatterns  # type: ignore[attr-defined]

        def again(method: str, headers: dict[str, str], body: bytes) -> Got:
            served(kept[0].callback)
            found: Got = client(method, headers, body)
            return found

        return again

    return make


class TestDjango(FrameworkContract):
    """A view under WSGI."""

    @pytest.fixture
    def make(self) -> Make:
        """A view."""
        return made(synchronous, call)


class TestDjangoAsync(FrameworkContract):
    """A view that is a coroutine function, under ASGI."""

    @pytest.fixture
    def make(self) -> Make:
        """A view."""
        return made(asynchronous, call_async)


class TestDjangoMixed(FrameworkContract):
    """A synchronous view under ASGI."""

    @pytest.fixture
    def make(self) -> Make:
        """A view."""
        return made(synchronous, call_async)


@pytest.mark.parametrize("error", [Http404(), PermissionDenied(), SuspiciousOperation()])
@pytest.mark.parametrize(("view", "client"), [(synchronous, call), (asynchronous, call_async)])
def test_djangos_exceptions_are_its_answers(error: Exception, view: Any, client: Any):
    """They are answered as Django does, and release the guard."""
    status = {"Http404": 404, "PermissionDenied": 403, "SuspiciousOperation": 400}[type(error).__name__]
    errors = iter([error])
    counted = Counted()

    def handle(_: Event) -> None:
        for one in errors:
            raise one

    view(Receiver(SECRET, replay_guard=MemoryReplayGuard(), on_outcome=counted), handle)
    request = sent()
    assert [client("POST", request.headers, request.body).status for _ in range(2)] == [status, 200]
    assert [(one.kind, one.status) for one in counted.outcomes] == [("answered", status), ("handled", 200)]


def test_a_response_and_the_routes_arguments():
    """The view gets the request, the event and what the path says, and may answer as it likes."""

    @webhook(Receiver(SECRET))
    def hook(request: HttpRequest, event: Event, shop: str) -> HttpResponse:
        assert request.body == event.body
        return HttpResponse(f"{shop} {event.id}", status=201)

    served(hook)
    assert hook.__name__ == "hook"
    request = sent()
    found = call("POST", request.headers, request.body, "/hooks/a")
    assert (found.status, found.body) == (201, b"a msg_1")


def test_djangos_own_limit_is_413():
    """DATA_UPLOAD_MAX_MEMORY_SIZE holds as well."""
    from django.test import override_settings

    synchronous(Receiver(SECRET), Handler())
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10):
        assert post(call, sent()).status == 413


def test_a_form_that_was_read_before_is_said_to_be_so():
    """A middleware that reads a multipart form takes the bytes away: that is answered 500, and logged."""
    counted = Counted()
    inner = webhook(Receiver(SECRET, on_outcome=counted))(lambda request, event: None)

    def hook(request: HttpRequest) -> Any:
        _ = request.POST
        return inner(request)

    hook.csrf_exempt = True  # type: ignore[attr-defined]
    served(hook)
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    found = post(call, sent(body=body, content_type="multipart/form-data; boundary=x"))
    assert (found.status, counted.outcomes[0].reason) == (500, "unusable_body")


def test_a_body_that_ends_early_is_400():
    """A sender that goes away within its body is answered, if at all, with 400."""
    synchronous(Receiver(SECRET), Handler())
    response = Client().generic(
        "POST", "/hooks", **{"wsgi.input": io.BytesIO(b"short"), "CONTENT_LENGTH": "100", "CONTENT_TYPE": "a/b"}
    )
    assert response.status_code == 400


@pytest.mark.parametrize(("view", "client"), [(synchronous, call), (asynchronous, call_async)])
def test_the_url_is_the_one_that_was_called(view: Any, client: Any):
    """Providers that sign the URL are verified, with the scheme and host of `public_url`."""
    import base64
    import hashlib
    import hmac

    target = "/hooks?a=%C3%A9&b=1"
    url = "https://hooks.example.com" + target
    signature = base64.b64encode(hmac.digest(b"token", (url + "From+1").encode(), hashlib.sha1)).decode()
    view(Receiver(verifier=Verifier("twilio", auth_token="token"), public_url="https://hooks.example.com"), Handler())
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    assert client("POST", headers, b"From=%2B1", target).status == 200


def test_a_guard_for_loops_is_for_coroutines_alone():
    """A synchronous view with one is refused when it is made."""
    receiver = Receiver(SECRET, replay_guard=threaded(MemoryReplayGuard()))
    with pytest.raises(TypeError):
        webhook(receiver)(lambda request, event: None)
    handler = Handler()
    asynchronous(receiver, handler)
    request = sent()
    assert [call_async("POST", request.headers, request.body).status for _ in range(2)] == [200, 200]
    assert len(handler.events) == 1


# ---------------------------------------------------------------------------------------------- one transaction


@pytest.fixture
def atomic(tmp_path: Path) -> Iterator[Any]:
    """A database whose requests are transactions, with a table."""
    connection = connections["default"]
    connection.close()
    before = dict(connection.settings_dict)
    connection.settings_dict.update(NAME=str(tmp_path / "app.db"), ATOMIC_REQUESTS=True)
    connection.connection = None
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (id TEXT)")
    yield connection
    connection.close()
    connection.settings_dict.clear()
    connection.settings_dict.update(before)


def orders(connection: Any) -> int:
    """How many are stored."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        return int(cursor.fetchone()[0])


def test_a_failed_handler_rolls_back(atomic: Any):
    """What it has written is not there, although the decorated view returns an answer; the retry writes it once."""
    fails = iter([ValueError(), HttpResponse(status=503)])
    guard = MemoryReplayGuard()
    stored: list[bool] = []

    def handle(_: Event) -> Any:
        with atomic.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES ('A-1')")
        stored.append(guard.begin("standard_webhooks:msg_1").state == "running")
        for one in fails:
            if isinstance(one, Exception):
                raise one
            return one
        return None

    synchronous(Receiver(SECRET, replay_guard=guard), handle)
    counts = []
    for status in (500, 503, 200, 200):
        assert post(call, sent()).status == status
        counts.append(orders(atomic))
    assert counts == [0, 0, 1, 1]
    assert stored == [True] * 3


def test_an_event_is_handled_when_its_transaction_has_committed(atomic: Any):
    """Where the commit fails the claim is not done, so that the event may come again."""
    guard = MemoryReplayGuard()
    done: list[bool] = []

    class Watched(MemoryReplayGuard):
        def done(self, claim: Any) -> None:
            done.append(atomic.in_atomic_block)
            super().done(claim)

    guard = Watched()

    def handle(_: Event) -> None:
        with atomic.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES ('A-1')")

    synchronous(Receiver(SECRET, replay_guard=guard), handle)
    assert post(call, sent()).status == 200
    assert done == [False]
    assert guard.begin("standard_webhooks:msg_1").state == "done"
