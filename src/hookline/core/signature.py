"""Making signatures as in Standard Webhooks 1.0: `v1` (HMAC-SHA256) and `v1a` (Ed25519).

Signed is `{webhook-id}.{webhook-timestamp}.{body}`, the body as the bytes that travel. The header holds one item
`version,base64` per key, separated by spaces, so that a receiver can change its secret while both are valid. How they
are verified is in `core.verification`.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Final

from hookline.core.endpoint import SigningKey
from hookline.core.secret import signing_key
from hookline.core.signing_key import SIGNING_PREFIX, hmac_key

_BLOCK_BYTES: Final = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))

_Part = Callable[[bytes, bytes], str]


class Signer:
    """Makes the `webhook-signature` header of one endpoint. Keys are decoded once; newest first.

    Raises `ValueError` for a key that cannot sign.
    """

    def __init__(self, signing: Sequence[SigningKey]) -> None:
        assert signing
        self._parts = [(_part(key.secret), key.expires_at_ms) for key in signing]
        self._only = self._parts[0][0] if len(self._parts) == 1 and self._parts[0][1] is None else None

    def header(self, webhook_id: str, timestamp_s: int, body: bytes, now_ms: int) -> str:
        """The header's value: an item for each key that has not expired at `now_ms`."""
        head = f"{webhook_id}.{timestamp_s}.".encode()
        if self._only is not None:
            return self._only(head, body)
        return " ".join(
            part(head, body) for part, expires_at_ms in self._parts if expires_at_ms is None or expires_at_ms > now_ms
        )


def _part(secret: str) -> _Part:
    return _v1a_part(secret) if secret.startswith(SIGNING_PREFIX) else _v1_part(hmac_key(secret))


def _v1a_part(secret: str) -> _Part:
    private = signing_key(secret)

    def part(head: bytes, body: bytes) -> str:
        return (b"v1a," + b2a_base64(private.sign(head + body), newline=False)).decode()

    return part


def _v1_part(key: bytes) -> _Part:
    # HMAC as RFC 2104 writes it, with both halves of the key hashed once: 2 us per message instead of 4 by
    # hmac.digest, which sets the key up each time. The tests hold it against hmac.digest.
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(block.translate(_INNER_PAD))
    outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def part(head: bytes, body: bytes) -> str:
        message = inner.copy()
        message.update(head)
        message.update(body)
        keyed = outer.copy()
        keyed.update(message.digest())
        return (b"v1," + b2a_base64(keyed.digest(), newline=False)).decode()

    return part
