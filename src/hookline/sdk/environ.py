"""A request as WSGI has it (PEP 3333): what Flask, Django and plain WSGI applications share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final
from urllib.parse import quote

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.parts import Pairs
from hookline.sdk.receiver import Receiver

_PATH_SAFE: Final = "/:@!$&'()*+,;=~"
_PIECE_BYTES: Final = 64 * 1024


def headers_of(environ: Mapping[str, Any]) -> Pairs:
    """The request's headers. What was there twice the server has joined by a comma."""
    found = [
        (name[5:].lower().replace("_", "-"), value.strip(" \t"))
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    ]
    plain = [(name, environ.get(name)) for name in ("CONTENT_TYPE", "CONTENT_LENGTH")]
    found += [(name.lower().replace("_", "-"), str(value)) for name, value in plain if value]
    return tuple(found)


def url_of(environ: Mapping[str, Any], scheme: str | None = None) -> str:
    """The whole URL as it was called, as far as the server tells: its own spelling where it is kept."""
    scheme = scheme or environ.get("wsgi.url_scheme", "http")
    host = environ.get("HTTP_HOST")
    if not host:
        port = str(environ.get("SERVER_PORT", ""))
        usual = port in ("", "443" if scheme == "https" else "80")
        host = environ.get("SERVER_NAME", "localhost") + ("" if usual else f":{port}")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if isinstance(raw, str) and raw.startswith("/"):
        return f"{scheme}://{host}{raw}"
    path = quote(
        (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace"), _PATH_SAFE
    )
    query = environ.get("QUERY_STRING", "")
    return f"{scheme}://{host}{path or '/'}" + (f"?{query}" if query else "")


def read(environ: Mapping[str, Any], receiver: Receiver) -> Inbound | Answer:
    """The request with its whole body, or the answer that needs none of it."""
    method = str(environ.get("REQUEST_METHOD", "GET"))
    length = environ.get("CONTENT_LENGTH") or None
    early = receiver.early(method, length)
    if early is not None:
        return early
    if length is None and not environ.get("wsgi.input_terminated"):
        body = b""
    else:
        wanted = receiver.body_bytes_max + 1 if length is None else int(length)
        try:
            body = _exactly(environ["wsgi.input"], wanted)
        except OSError as error:
            return receiver.malformed(f"the body could not be read: {type(error).__name__}")
        if length is None and len(body) > receiver.body_bytes_max:
            return receiver.too_large()
        if length is not None and len(body) < wanted:
            return receiver.malformed("the body ended before its length")
    return Inbound(method.upper(), url_of(environ), headers_of(environ), body)


def _exactly(stream: IO[bytes], wanted: int) -> bytes:
    """So many bytes, or fewer where it ends. A single `read` of a socket may give less."""
    pieces: list[bytes] = []
    left = wanted
    while left > 0 and (piece := stream.read(min(left, _PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
