"""The outermost layer of the application: HEAD and OPTIONS for every route, and headers that every answer has.

HEAD is GET without the body of its answer, and so must change as little: where GET does something there is no HEAD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from hookline.core.source import PATH
from hookline.flow.verification import CALLBACK_PATH
from hookline.web.errors import not_found, problem_response
from hookline.web.heads import SECURITY_HEADERS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MethodsOf = Callable[[str], frozenset[str]]
"""The methods that a path has; none where there is no such path."""
_SERVER_WIDE: Final = "*"
ACTING: Final = (CALLBACK_PATH,)
"""Where paths begin whose GET does something. Link checkers and previews ask with HEAD first."""
HEAD_ASKED: Final = "hookline.head"
"""In the scope of a GET whose answer's body goes nowhere: whoever makes an expensive one need not."""


class Gate:
    """An ASGI application around the framework's."""

    def __init__(self, app: ASGIApp, methods_of: MethodsOf) -> None:
        """`methods_of` has HEAD where a path has one."""
        self._app = app
        self._methods_of = methods_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers.extend(pair for pair in SECURITY_HEADERS if pair[0] not in present)
                message = {**message, "headers": headers}
            await send(message)

        method = scope["method"]
        if scope["path"].startswith(PATH):  # HEAD and OPTIONS are the source's own
            await self._app(scope, receive, guarded if method != "HEAD" else _without_body(guarded))
        elif method == "OPTIONS":
            await self._options(scope, receive, guarded)
        elif method == "HEAD":
            headless = _without_body(guarded)
            if scope["path"].startswith(ACTING):
                await self._app(scope, receive, headless)
                return
            await self._app({**scope, "method": "GET", HEAD_ASKED: True}, receive, headless)
        else:
            await self._app(scope, receive, guarded)

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = self._methods_of(scope["path"]) if scope["path"] != _SERVER_WIDE else frozenset({"OPTIONS"})
        response = Response(status_code=204, headers={"allow": allow(methods)}) if methods else None
        await (response or problem_response(not_found()))(scope, receive, send)


def allow(methods: frozenset[str]) -> str:
    """The Allow header of a path with these methods (RFC 9110, 10.2.1)."""
    return ", ".join(sorted(methods | {"OPTIONS"}))


def _without_body(send: Send) -> Send:
    """The answer to GET as that to HEAD: the same head, no body (RFC 9110, 9.3.2)."""

    async def headless(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headless


def methods_by_path(routes: list[Any]) -> MethodsOf:
    """Looks a path up in the framework's routes."""

    def methods_of(path: str) -> frozenset[str]:
        found: set[str] = set()
        for route in routes:
            if route.path_regex.match(path):
                found.update(route.methods or ())
        if "GET" in found and not path.startswith(ACTING):
            found.add("HEAD")
        return frozenset(found)

    return methods_of
