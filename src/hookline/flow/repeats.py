"""What makes a repeat: the digests by which a publisher's `id` and an `Idempotency-Key` are known.

Every digest begins with the tenant, so that tenants never meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from hookline.core.errors import Refusal
from hookline.core.event import Event
from hookline.ports.store import IdempotencyKey

KEY_CHARS_MAX: Final = 255


def _digest(*parts: str) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(4, "big") + raw)
    return hashed.digest()


def dedupe_key(event: Event) -> bytes:
    """What a second publish of the same `id` from the same source has in common with the first: 16 bytes."""
    return _digest("id", event.tenant, event.source, event.source_id or "")


def own_key(event: Event) -> bytes:
    """The same for an event that names no `id`: what its own second coming is known by."""
    return _digest("own", event.tenant, event.public_id)


def idempotency_key(
    tenant: str, headers: Mapping[str, str], content_type: str, body: bytes, keep_s: float
) -> IdempotencyKey | None:
    """The request's Idempotency-Key: a quoted string of structured fields, or bare as most clients send it.

    The hash covers body, content type and ce-* headers: what must be equal for a repeat to be the same request.
    Raises `Refusal` `invalid_parameter`.
    """
    value = headers.get("idempotency-key")
    if value is None:
        return None
    key = value[1:-1].replace('\\"', '"').replace("\\\\", "\\") if _quoted(value) else value
    if not key or len(key) > KEY_CHARS_MAX or not all(" " <= c <= "~" for c in key):
        raise Refusal("invalid_parameter", "Idempotency-Key must be 1 to 255 printable ASCII characters.")
    hashed = hashlib.blake2b(body, digest_size=16)
    hashed.update(b"\0" + content_type.encode())
    for name in sorted(headers):
        if name.startswith("ce-"):
            hashed.update(f"\0{name}:{headers[name]}".encode())
    return IdempotencyKey(_digest("key", tenant, key), hashed.digest(), keep_s)


def _quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] == '"'
