"""One HTTP request out of the kit, guarded: https unless allowed, no redirect, a limit of time and of bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:  # heavy, and few that verify ever call anybody
    import http.client
    import urllib.request

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 256 * 1024
_PIECE_BYTES: Final = 16 * 1024


class ExchangeError(Exception):
    """Nothing usable came of it. `is_refusal`: the address is not allowed, nothing was sent."""

    def __init__(self, detail: str, *, is_refusal: bool = False) -> None:
        super().__init__(detail)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered."""

    status: int
    body: bytes


def origin_of(url: str) -> str:
    """`https://host` or `https://host:port` of a URL, in lower case; empty for what has none, or has a user in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if not parts.hostname or "@" in parts.netloc or parts.scheme not in ("http", "https"):
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" if port in (None, usual) else f"{parts.scheme}://{host}:{port}"


def check_address(url: str, origins: Sequence[str] = ()) -> None:
    """Raise `ExchangeError` unless `url` may be called: with `origins`, only what is of one of them; without, https."""
    origin = origin_of(url)
    odd = not url.isascii() or any(character <= " " or character == "\x7f" for character in url)
    allowed = origin in {origin_of(one) for one in origins} if origins else origin.startswith("https://")
    if not origin or odd or not allowed:
        raise ExchangeError("the address is neither https nor allowed", is_refusal=True)


def exchange(
    url: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    origins: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
) -> Answered:
    """Ask once. Raises `ExchangeError`, and nothing else. The environment's proxies are used.

    `timeout_s` bounds each step and the whole of the answer's body, which is read up to 256 KiB; a longer one is an
    error. A redirect is an answer like any other.
    """
    import http.client
    import urllib.request

    check_address(url, origins)
    end_s = time.monotonic() + timeout_s
    try:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
            url, data=body if method != "GET" else None, headers=dict(headers), method=method
        )
        with _opener().open(request, timeout=timeout_s) as response:
            return Answered(response.status, _read(response, end_s))
    except (OSError, EOFError, http.client.HTTPException, ValueError) as error:
        raise ExchangeError(f"no answer: {type(error).__name__}") from None


@cache
def _opener() -> urllib.request.OpenerDirector:
    """One that follows no redirect, makes no error of a status, and opens neither files nor FTP."""
    import urllib.request

    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
        opener.add_handler(handler())
    return opener


def _read(response: http.client.HTTPResponse, end_s: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too large")
        if time.monotonic() > end_s:
            raise TimeoutError
    if response.length:
        raise EOFError("the answer ended before its length")
    return b"".join(pieces)
