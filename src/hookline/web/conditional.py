"""Entity tags: who has an answer already is told that it still holds (RFC 9110, 8.8.3 and 13.1.2).

The tag is made of the answer's bytes, so it is strong, needs nothing to be remembered, and is the same on every node.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_TAG_BYTES: Final = 16
REVALIDATED: Final = {"cache-control": "private, no-cache", "vary": "authorization, hookline-tenant"}
"""Whoever keeps such an answer keeps it for himself, and asks each time whether it holds."""
_JSON: Final = "application/json"
_encode = msgspec.json.Encoder().encode


def entity_tag(body: bytes, content_type: str = _JSON) -> str:
    """The strong entity tag of a representation, with its quotes."""
    digest = hashlib.blake2b(body, digest_size=_TAG_BYTES, key=content_type.encode("latin-1", "replace")[:64])
    return '"' + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii") + '"'


def matches(header: str, tag: str) -> bool:
    """Whether an If-None-Match names this tag; compared weakly, as RFC 9110 has it for this header."""
    if header.strip() == "*":
        return True
    return any(given.strip().removeprefix("W/") == tag for given in header.split(","))


def conditional(request: Request, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """200 with this body and its tag, or 304 where the client has it. `headers` win, and may name another content
    type than JSON's."""
    said = {"content-type": _JSON, **REVALIDATED, **(headers or {})}
    tag = said["etag"] = entity_tag(body, said["content-type"])
    if any(matches(header, tag) for header in request.headers.getlist("if-none-match")):
        del said["content-type"]
        return Response(status_code=304, headers=said)
    return Response(body, headers=said)


def encoded(document: Any) -> bytes:
    """A document as `conditional` takes it."""
    return _encode(document)
