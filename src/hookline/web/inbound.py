"""`ANY /in/{source}`: the head of an inbound request as the flow sees it. Pure, shared by the front (`web.protocol`)
and by the route for servers without it.

What stands below a source's address belongs to it too (`/in/jira/installed`). The URL as the provider called it is
HOOKLINE_PUBLIC_URL and the target; without that setting it is what the request says: its Host, or what a trusted proxy
says of it in X-Forwarded-Proto and X-Forwarded-Host.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Sequence
from typing import Final, Protocol

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hookline.core.errors import Refusal
from hookline.core.source import PATH, Source
from hookline.flow.admission import Call, Turned
from hookline.flow.answers import Answer, Done
from hookline.web.client_address import Proxies
from hookline.web.door import client_of, read_body
from hookline.web.errors import response_of
from hookline.web.publish import longer

PREFIX: Final = PATH.encode("ascii")
_ADDRESS_END: Final = re.compile("[/?]")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Of the route; the front passes on whatever a parser knows."""
_FAR_TOO_LONG: Final = 2**62


class Gateway(Protocol):
    """Lets requests in by their heads: `flow.admission.Admission`."""

    def admit(self, call: Call, size_bytes: int) -> Source:
        """The source. Raises `Turned`."""
        ...

    def refuse(self, source: Source, call: Call, refusal: Refusal, size_bytes: int) -> Answer:
        """What a request is answered whose body turned out to be too much."""
        ...


class Receiver(Protocol):
    """Takes inbound requests: `flow.receive.Receive`."""

    @property
    def admission(self) -> Gateway:
        """Who is let in."""
        ...

    def receive(self, source: Source, call: Call, body: bytes, done: Done) -> None:
        """Call `done` exactly once, on the loop, maybe before this returns. Never raises."""
        ...


def call_of(
    method: bytes,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    client: str,
    *,
    proxied: bool,
    scheme: str,
    public_url: str,
) -> Call:
    """The head of a request whose target is in origin form and begins with `/in/`. `proxied`: it came from a trusted
    proxy. `public_url` is empty where none is configured."""
    text = target.decode("latin-1")
    address = _ADDRESS_END.split(text[len(PREFIX) :], 1)[0]
    fields = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    base = public_url or _called(fields, scheme, proxied=proxied)
    return Call(
        urllib.parse.unquote(address) if "%" in address else address,
        method.decode("ascii"),
        base + text,
        text,
        fields,
        client,
        proxied,
    )


def _called(fields: Sequence[tuple[str, str]], scheme: str, *, proxied: bool) -> str:
    host = ""
    for name, value in fields:
        if name == "host" and not host:
            host = value
        elif proxied and name == "x-forwarded-proto":
            # The last is what our own proxy adds: what stands before it is a client's word.
            word = value.rpartition(",")[2].strip().lower()
            scheme = word if word in ("http", "https") else scheme
    if proxied:
        forwarded = [value for name, value in fields if name == "x-forwarded-host"]
        host = forwarded[-1].rpartition(",")[2].strip() if forwarded else host
    return f"{scheme}://{host or 'localhost'}"


def length_of(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The Content-Length, which a parser found to be digits; 0 where there is none."""
    for name, value in headers:
        if name == b"content-length":
            return _FAR_TOO_LONG if longer(value, _FAR_TOO_LONG - 1) else int(value)
    return 0


def inbound_route(router: APIRouter, receiver: Receiver, proxies: Proxies, public_url: str) -> None:
    """`/in/…` as an ordinary route: for servers without our front, and for targets in absolute form. It answers the
    same."""

    @router.api_route(PATH + "{rest:path}", methods=list(METHODS), include_in_schema=False)
    async def receive(request: Request) -> Response:
        """Verified, durable, then answered."""
        scope = request.scope
        query: bytes = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        call = call_of(
            request.method.encode("ascii"),
            target,
            headers,
            client_of(request),
            proxied=proxies.trusts(client_of(request)),
            scheme=scope["scheme"],
            public_url=public_url,
        )
        try:
            source = receiver.admission.admit(call, length_of(headers))
        except Turned as turned:
            return response_of(turned.answer)
        try:
            body = await read_body(request, source.body_bytes_max)
        except Refusal as refusal:
            return response_of(receiver.admission.refuse(source, call, refusal, 0))
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():  # cancelled: the client is gone
                answered.set_result(answer)

        receiver.receive(source, call, body, done)
        return response_of(await answered)
