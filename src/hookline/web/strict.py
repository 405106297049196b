"""What RFC 9112 forbids and the parser lets pass, and the ASGI scope of a request. Pure.

The parser (llhttp, strict) refuses two lengths, length with chunked, folded headers, bare LF, odd characters and
broken chunks itself. What is read differently by different programs is refused here.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Final

import httptools
from uvicorn._types import HTTPScope

from hookline.core.errors import Refusal
from hookline.web.publish import once

_SINGLE: Final = frozenset(
    {b"host", b"content-type", b"content-length", b"transfer-encoding", b"content-encoding", b"expect"}
)


_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def check_head(
    version: str, method: bytes, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
) -> None:
    """Judge a request's head (`fields` is `headers` as a mapping). Raises `Refusal` `malformed_request`."""
    if len(fields) != len(headers):
        once(headers, _SINGLE)
    if version == "1.1":
        # RFC 9112, 3.2: exactly one Host, and a valid one.
        if b"host" not in fields:
            raise _malformed("HTTP/1.1 needs a Host header.")
        if _HOST.fullmatch(fields[b"host"]) is None:
            raise _malformed("The Host header is no host.")
    elif version != "1.0":
        raise _malformed("This server speaks HTTP/1.1.")
    coding = fields.get(b"transfer-encoding")
    # RFC 9112, 6.1: a coding that we do not know, or any in HTTP/1.0, leaves the body's end to guessing.
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        raise _malformed("The only Transfer-Encoding is chunked, in HTTP/1.1.")
    if method == b"CONNECT":
        raise _malformed("This is no proxy.")
    expectation = fields.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise _malformed("The only expectation is 100-continue.")


def check_line(method: bytes, target: bytes, raw: bytes) -> None:
    """Refuse a request line with more than one space between its parts (RFC 9112, 3), which the parser lets pass.
    `raw` is what came in, from before the line to beyond it."""
    if b"%b %b HTTP/1." % (method, target) not in raw:
        raise _malformed("The request line has single spaces.")


def scope_of(target: bytes, method: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> HTTPScope:
    """The ASGI scope, without what the connection knows. Raises `Refusal` `malformed_request`."""
    raw_path, query = _split(target)
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "server": None,
        "client": None,
        "scheme": "http",
        "root_path": "",
        "method": method.decode("ascii"),
        "path": urllib.parse.unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": headers,
        "state": {},
    }


def _split(target: bytes) -> tuple[bytes, bytes]:
    if b"#" in target:
        raise _malformed("A request target has no fragment.")
    if target.startswith(b"/") or target == b"*":
        path, _, query = target.partition(b"?")
        return path, query
    try:  # absolute form (RFC 9112, 3.2.2): to be accepted, its authority is ours
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise _malformed("The request target is no path.") from None
    return url.path or b"/", url.query or b""


def _malformed(detail: str) -> Refusal:
    return Refusal("malformed_request", detail)
