"""Headers that a client may add to what his endpoint receives: tokens and VCHAR (RFC 9110, 5.1 and 5.5), and none
that belongs to the connection, to the format or to us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hookline.core.errors import Refusal
from hookline.core.json_text import pointer as step

HEADERS_MAX: Final = 50
HEADERS_BYTES_MAX: Final = 8 * 1024

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}")
_CONNECTION: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "http2-settings",
    }
)
_OURS: Final = frozenset(
    {"content-type", "content-encoding", "accept-encoding", "user-agent", "traceparent", "tracestate"}
)
_CREDENTIALS: Final = frozenset({"authorization", "cookie"})
_OUR_PREFIXES: Final = ("webhook-", "svix-", "hookline-")


def is_text(value: str, *, spaces: bool = False) -> bool:
    """Whether `value` is printable ASCII, with spaces and tabs inside it only if `spaces`."""
    if not value.isascii() or value != value.strip(" \t"):
        return False
    return all("!" <= char <= "~" or (spaces and char in " \t") for char in value)


def check_headers(headers: Mapping[str, str], *, body_format: str, pointer: str = "/headers") -> None:
    """Judge an endpoint's own headers; raises `Refusal` (`invalid_header`) with a pointer.

    At most 50, and 8 KiB in all. Refused are names that belong to the connection (`Host`, `Content-Length`, hop by
    hop), to us or to the body's format, `ce-*` where the format sets them, credentials (they belong to `auth`, where
    they are kept encrypted), and the same name twice in different spelling.
    """
    if len(headers) > HEADERS_MAX:
        raise Refusal("invalid_header", f"At most {HEADERS_MAX} headers are allowed.", pointer=pointer)
    if sum(len(name) + len(value) + 4 for name, value in headers.items()) > HEADERS_BYTES_MAX:
        raise Refusal(
            "invalid_header", f"The headers are larger than {HEADERS_BYTES_MAX // 1024} KiB.", pointer=pointer
        )
    seen: set[str] = set()
    for name, value in headers.items():
        at = pointer + step(name)
        lower = _check_name(name, at)
        if lower in _CREDENTIALS:
            detail = 'Credentials belong in auth, as {"kind": "api_key", "header": …, "value": …}.'
            raise Refusal("invalid_header", detail, pointer=at)
        if body_format == "cloudevents-binary" and lower.startswith("ce-"):
            raise Refusal("invalid_header", "The format cloudevents-binary sets the ce- headers.", pointer=at)
        if lower in seen:
            raise Refusal("invalid_header", "This header is given twice.", pointer=at)
        seen.add(lower)
        if not is_text(value, spaces=True):
            detail = "A header's value is printable ASCII, without spaces around it."
            raise Refusal("invalid_header", detail, pointer=at)


def check_credential_header(name: str, *, pointer: str) -> None:
    """Judge the name of a header that carries a credential; raises `Refusal` (`invalid_header`)."""
    _check_name(name, pointer)


def _check_name(name: str, pointer: str) -> str:
    lower = name.lower()
    if not _NAME.fullmatch(name):
        raise Refusal("invalid_header", "This is not a correct name of a header.", pointer=pointer)
    if lower in _CONNECTION or lower.startswith("proxy-"):
        raise Refusal("invalid_header", "This header belongs to the connection.", pointer=pointer)
    if lower in _OURS or lower.startswith(_OUR_PREFIXES):
        raise Refusal("invalid_header", "This header is set by Hookline.", pointer=pointer)
    return lower
