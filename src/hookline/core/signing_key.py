"""The text forms of signing keys (Standard Webhooks), read with the standard library alone.

    whsec_ + base64    HMAC-SHA256 key; made by us: 32 random bytes, given to us: 1 to 1,024 bytes
    whsk_  + base64    Ed25519 secret key: the 32-byte seed, or 64 bytes (seed, then public key)
    whpk_  + base64    Ed25519 public key, 32 bytes

base64 is the standard alphabet, with or without padding; nothing else is let through.
"""

from __future__ import annotations

import binascii
from typing import Final

HMAC_PREFIX: Final = "whsec_"
SIGNING_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
HMAC_BYTES_MAX: Final = 1024


def hmac_key(text: str) -> bytes:
    """The key of a `whsec_…`. Raises `ValueError` with a sentence that does not repeat the secret."""
    key = _decode(text, HMAC_PREFIX)
    if not 1 <= len(key) <= HMAC_BYTES_MAX:
        raise ValueError(f"A whsec_ secret has 1 to {HMAC_BYTES_MAX} bytes.")
    return key


def signing_bytes(text: str) -> bytes:
    """The 32 or 64 bytes of a `whsk_…`. Raises `ValueError` with a sentence that does not repeat the secret."""
    key = _decode(text, SIGNING_PREFIX)
    if len(key) not in (32, 64):
        raise ValueError("A whsk_ secret has 32 bytes (the seed) or 64 (seed and public key).")
    return key


def verifying_bytes(text: str) -> bytes:
    """The 32 bytes of a `whpk_…`. Raises `ValueError`."""
    key = _decode(text, PUBLIC_PREFIX)
    if len(key) != 32:
        raise ValueError("A whpk_ key has 32 bytes.")
    return key


def _decode(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise ValueError("A signing secret begins with whsec_ (HMAC-SHA256) or whsk_ (Ed25519).")
    digits = text[len(prefix) :]
    if len(digits) > 2 * HMAC_BYTES_MAX or not digits.isascii():
        raise ValueError(f"The part after {prefix} is not correct base64.")
    unpadded = digits.rstrip("=")
    padded = unpadded + "=" * (-len(unpadded) % 4)
    if digits not in (unpadded, padded):
        raise ValueError(f"The part after {prefix} is not correctly padded.")
    try:
        return binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        raise ValueError(f"The part after {prefix} is not correct base64.") from None
