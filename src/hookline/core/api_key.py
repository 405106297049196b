"""API keys: what they may, how they are written and known. They are stored as SHA-256 only and shown once."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hookline.core.endpoint import RateSpec
from hookline.core.tenant import TENANT_CHARS_MAX

PREFIX: Final = "hl_"
RANDOM_BYTES: Final = 32
HINT_CHARS: Final = 4

Scope = Literal["publish", "read", "manage", "operator"]


class KeySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `POST /v1/keys` takes."""

    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=4)]
    tenant: Annotated[str, Meta(min_length=1, max_length=TENANT_CHARS_MAX, pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    """For whom; None only with the scope `operator`, which may act for any."""
    description: Annotated[str, Meta(max_length=255)] = ""
    event_types: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=100)] | None = None
    """Patterns of the types that it may publish (as `order.*`); None: all."""
    expires_at: str | None = None
    """RFC 3339; from then on it is unknown. None: never."""
    rate: RateSpec | None = None
    """Requests with this key; beyond it 429 with Retry-After."""
    address_rate: RateSpec | None = None
    """The same, for each client address by itself."""


def make_key(random: bytes) -> str:
    """A new key of `RANDOM_BYTES` random bytes."""
    assert len(random) == RANDOM_BYTES
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def digest(key: str) -> bytes:
    """How a key is known. Spaces around it do not survive a header, so they do not count."""
    return hashlib.sha256(key.strip(" ").encode("ascii")).digest()


def hint(key: str) -> str:
    """The last characters: enough to tell which key it is, not enough to use it."""
    return key[-HINT_CHARS:]
