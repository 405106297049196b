"""What a case of the independent judge is, and the signing that they share, written from the providers' documentation."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

BASE_URL = "https://hooks.example.com"
VALID, REFUSED, OPEN = "valid", "refused", "open"
"""What must come of a case; `open` where the provider's documentation does not say."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """A request as a provider, or a forger, sends it. `query` and `path` come behind the source's address."""

    headers: Headers = field(default_factory=dict)
    body: bytes = b"{}"
    method: str = "POST"
    query: str = ""
    url: str = ""
    """The whole address, where it is not the source's (offline only)."""


@dataclass(frozen=True)
class Moment:
    """When a case is judged (Unix seconds), and the address of its source."""

    now_s: int
    url: str


@dataclass(frozen=True)
class Case:
    """One request to one preset with one config, and what must come of it."""

    preset: str
    name: str
    expect: str
    config: Mapping[str, Any]
    build: Callable[[Moment], Request]
    exact: bool = False
    """It holds at that very second only, and so is not sent to a running server."""
    offline: bool = False
    """It cannot be sent: the config could not be stored, the client would not write it, or it would fetch."""
    status: int | None = None
    answer: bytes | None = None
    """What a running server answers, where the provider says so."""


CASES: list[Case] = []


def add(preset: str, name: str, expect: str, config: Mapping[str, Any], build: Any, **more: Any) -> None:
    """Another case. `build` is a request, or makes one from a `Moment`."""
    made = build if callable(build) else lambda _: build
    CASES.append(Case(preset, name, expect, config, made, **more))


def digest(secret: str | bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    """HMAC of the content."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, content, algorithm).digest()


def hexed(raw: bytes) -> str:
    """Lower-case hex."""
    return raw.hex()


def b64(raw: bytes) -> str:
    """Base64 with its padding."""
    return base64.b64encode(raw).decode()


def b64url(raw: bytes) -> str:
    """Base64 as in a JWT."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def iso(now_s: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    import datetime as dt

    return dt.datetime.fromtimestamp(now_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def form(pairs: list[tuple[str, str]]) -> bytes:
    """A form's body."""
    from urllib.parse import urlencode

    return urlencode(pairs).encode()


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def flip(text: str) -> str:
    """The text with its middle character another of its kind."""
    at = len(text) // 2
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def sha(content: bytes) -> str:
    """SHA-256 in hex, without a key."""
    return hashlib.sha256(content).hexdigest()
