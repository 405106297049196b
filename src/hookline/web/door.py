"""How a request enters a management route: authorized first, then its parameters, then its body, all bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hookline.core import ids
from hookline.core.errors import NotFound, Refusal
from hookline.core.json_text import is_json
from hookline.core.page import LIMIT_DEFAULT, LIMIT_MAX, parse_cursor, parse_time
from hookline.web.auth import Authority, Principal
from hookline.web.publish import longer, once, too_large

PARAMETER_CHARS_MAX: Final = 2048
_SINGLE: Final = frozenset({b"content-type", b"content-encoding"})
_encode = msgspec.json.Encoder().encode


class Visit(msgspec.Struct, frozen=True):
    """A request that may come in: who calls, and his query parameters."""

    principal: Principal
    given: Mapping[str, str]

    @property
    def tenant(self) -> str:
        """For whom."""
        return self.principal.tenant

    def limit(self) -> int:
        """`limit`, from 1 to 250. Raises `Refusal`."""
        text = self.given.get("limit")
        if text is None:
            return LIMIT_DEFAULT
        if not (text.isascii() and text.isdigit()) or len(text) > 4 or not 1 <= int(text) <= LIMIT_MAX:
            raise _wrong(f"limit is a whole number from 1 to {LIMIT_MAX}.", "limit")
        return int(text)

    def cursor(self) -> bytes | None:
        """`cursor`, read. Raises `Refusal`."""
        text = self.given.get("cursor")
        return None if text is None else parse_cursor(text, parameter="cursor")

    def time_ms(self, name: str) -> int | None:
        """A time in ms since 1970. Raises `Refusal`."""
        text = self.given.get(name)
        return None if text is None else parse_time(text, parameter=name)

    def one_of(self, name: str, known: frozenset[str]) -> str | None:
        """A word out of a list. Raises `Refusal`."""
        text = self.given.get(name)
        if text is not None and text not in known:
            raise _wrong(f"{name} is one of {', '.join(sorted(known))}.", name)
        return text

    def identifier(self, name: str, prefix: str) -> bytes | None:
        """An id. Raises `Refusal`."""
        text = self.given.get(name)
        if text is None:
            return None
        identifier = ids.parse(prefix, text)
        if identifier is None:
            raise _wrong(f"{name} is an id, as {prefix}….", name)
        return identifier


def _wrong(detail: str, name: str) -> Refusal:
    return Refusal("invalid_parameter", detail, extra={"parameter": name})


class Door:
    """Lets requests in."""

    def __init__(self, authority: Authority, body_bytes_max: int) -> None:
        self._authority = authority
        self._body_bytes_max = body_bytes_max

    def enter(self, request: Request, scope: str, *parameters: str) -> Visit:
        """Authorize, and read the query parameters that the route knows. Raises `Refusal`."""
        principal = self._authority.authorize(request.scope["headers"], scope, client_of(request))
        return Visit(principal, read_parameters(request, parameters))

    async def body(self, request: Request) -> bytes:
        """The JSON body; empty where there is none. Raises `Refusal`: `payload_too_large`, `unsupported_media_type`."""
        return await read_json(request, self._body_bytes_max)


async def read_json(request: Request, bytes_max: int) -> bytes:
    """The body of a request that says it is JSON, or does not say what it is. Raises `Refusal`: `payload_too_large`,
    `unsupported_media_type`."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    once(headers, _SINGLE)
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        raise Refusal("unsupported_media_type", "The body is JSON: Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise Refusal("unsupported_media_type", "Content-Encoding other than identity is not accepted.")
    return await read_body(request, bytes_max)


def client_of(request: Request) -> str:
    """The client's address; empty where the server knows none."""
    return request.client.host if request.client is not None else ""


def read_parameters(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    """The query parameters. What is unknown, repeated, too long or not text is refused, never ignored."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            allowed = f"Known here: {', '.join(known)}." if known else "There are none here."
            raise Refusal("invalid_parameter", f"There is no such query parameter. {allowed}")
        if name in given:
            raise _wrong(f"{name} is there twice.", name)
        if len(value) > PARAMETER_CHARS_MAX or not value.isprintable():
            raise _wrong(f"{name} is longer than {PARAMETER_CHARS_MAX} characters, or has one that is none.", name)
        given[name] = value
    return given


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, counted while it comes. Raises `Refusal` `payload_too_large`."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and longer(length.encode("ascii"), bytes_max):
        raise too_large(bytes_max)
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in request.stream():
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            raise too_large(bytes_max)
        pieces.append(piece)
    return b"".join(pieces)


def identifier_in_path(request: Request, prefix: str) -> bytes:
    """The path's id. Raises `NotFound`: what is not even an id is as unknown as one that nobody has."""
    identifier = ids.parse(prefix, request.path_params["id"])
    if identifier is None:
        raise NotFound("no such id")
    return identifier


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(_encode(document), status, headers, media_type="application/json")


def no_content() -> Response:
    """A 204."""
    return Response(status_code=204)
