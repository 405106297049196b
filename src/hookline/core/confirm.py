"""Confirmation tokens: which delivery a receiver speaks of, and that he was told so by us.

A token is base64url of the delivery's 16 bytes and the first 16 of an HMAC-SHA256 over them; the key is derived from
HOOKLINE_SECRET_KEY, so that nothing is stored and every node knows every token. One delivery has one token, for all
its attempts. 128 bits cannot be guessed; comparing takes constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from hookline.core.ids import DELIVERY_BYTES

_MAC_BYTES: Final = 16
PURPOSE: Final = b"hookline confirm 1"
"""Confirmations of deliveries. Tokens of one purpose are none of another."""
TOKEN_CHARS: Final = 43
"""32 bytes, without padding."""


class Tokens:
    """Makes and reads tokens of one kind. `keys` are those of the keyring, the first makes, all of them read."""

    def __init__(self, keys: Sequence[bytes], purpose: bytes) -> None:
        assert keys
        self._keys = [hmac.digest(key, purpose, hashlib.sha256) for key in keys]

    def make(self, identifier: bytes) -> str:
        """The token of a delivery (or of anything else that has 16 bytes)."""
        assert len(identifier) == DELIVERY_BYTES
        token = identifier + hmac.digest(self._keys[0], identifier, hashlib.sha256)[:_MAC_BYTES]
        return base64.urlsafe_b64encode(token).rstrip(b"=").decode("ascii")

    def read(self, token: str) -> bytes | None:
        """The 16 bytes it was made for; None when it is none of ours."""
        if len(token) != TOKEN_CHARS or not token.isascii():
            return None
        try:
            raw = binascii.a2b_base64(token.replace("-", "+").replace("_", "/") + "=", strict_mode=True)
        except binascii.Error:
            return None
        identifier, mac = raw[:DELIVERY_BYTES], raw[DELIVERY_BYTES:]
        good = False
        for key in self._keys:
            good |= hmac.compare_digest(hmac.digest(key, identifier, hashlib.sha256)[:_MAC_BYTES], mac)
        # The last character holds bits that do not count; only the spelling that we make is one.
        canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == token
        return identifier if good and canonical else None
