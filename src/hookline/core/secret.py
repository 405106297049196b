"""Secrets: signing keys made of their text forms (`core.signing_key`), and how secrets are sealed for the store."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookline.core.confirm import Tokens
from hookline.core.errors import Refusal
from hookline.core.signing_key import (
    HMAC_PREFIX,
    PUBLIC_PREFIX,
    SIGNING_PREFIX,
    hmac_key,
    signing_bytes,
    verifying_bytes,
)

RANDOM_BYTES: Final = 32
MASK: Final = "***"

# ---------------------------------------------------------------------------------------------- signing keys


def make_signing_secret(random: bytes) -> str:
    """A new `whsec_…` of 24 to 64 random bytes (`RANDOM_BYTES` is usual)."""
    assert 24 <= len(random) <= 64
    return HMAC_PREFIX + _base64(random)


def check_signing_secret(text: str, *, pointer: str = "/secret") -> None:
    """Raise `Refusal` (`invalid_secret`) unless `text` is a `whsec_…` or `whsk_…` that can sign."""
    try:
        if text.startswith(SIGNING_PREFIX):
            signing_key(text)
        else:
            hmac_key(text)
    except ValueError as error:
        raise Refusal("invalid_secret", str(error), pointer=pointer) from None


def signing_key(text: str) -> Ed25519PrivateKey:
    """The key of a `whsk_…`. Raises `ValueError` with a sentence that does not repeat the secret."""
    key = signing_bytes(text)
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if len(key) == 64 and private.public_key().public_bytes_raw() != key[32:]:
        raise ValueError("The two halves of this whsk_ secret do not belong together.")
    return private


def verifying_key(text: str) -> Ed25519PublicKey:
    """The key of a `whpk_…`. Raises `ValueError`."""
    return Ed25519PublicKey.from_public_bytes(verifying_bytes(text))


def public_key(text: str) -> str | None:
    """The `whpk_…` that belongs to a `whsk_…`; None for a `whsec_…`. Raises `ValueError` for a broken key."""
    if not text.startswith(SIGNING_PREFIX):
        return None
    return PUBLIC_PREFIX + _base64(signing_key(text).public_key().public_bytes_raw())


def mask(text: str) -> str:
    """What may be shown of a secret: its kind."""
    prefix = next((prefix for prefix in (HMAC_PREFIX, SIGNING_PREFIX) if text.startswith(prefix)), "")
    return prefix + MASK


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


# --------------------------------------------------------------------------------------------------- at rest

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
NONCE_BYTES: Final = 12
_HEAD_BYTES = 1 + _KEY_ID_BYTES
_TAG_BYTES = 16


class Keyring:
    """Seals what is stored, by AES-256-GCM. The first key seals, all of them open: so keys are rotated.

    A sealed value is a version byte, 4 bytes that name the key (of its SHA-256), 12 of nonce, then the ciphertext
    with its tag; the first five bytes are authenticated too. Raises `ValueError` for keys that are not 32 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys):
            raise ValueError("A keyring needs at least one key, of 32 bytes each.")
        self._ciphers = {_VERSION + hashlib.sha256(key).digest()[:_KEY_ID_BYTES]: AESGCM(key) for key in reversed(keys)}
        self._sealing = _VERSION + hashlib.sha256(keys[0]).digest()[:_KEY_ID_BYTES]
        self._keys = tuple(keys)

    def seal(self, plain: bytes, nonce: bytes) -> bytes:
        """Encrypt `plain`. `nonce` is 12 random bytes, never used twice."""
        assert len(nonce) == NONCE_BYTES
        return self._sealing + nonce + self._ciphers[self._sealing].encrypt(nonce, plain, self._sealing)

    def tokens(self, purpose: bytes) -> Tokens:
        """Tokens of one kind, made with the first key and read with all of them."""
        return Tokens(self._keys, purpose)

    def derived(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for one purpose, made of the key that seals now."""
        return hmac.digest(self._keys[0], purpose, hashlib.sha256)

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was sealed with the key that seals now."""
        return sealed[:_HEAD_BYTES] == self._sealing

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises `ValueError` when no key of ours fits, or when it was changed."""
        head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES : _HEAD_BYTES + NONCE_BYTES]
        if len(sealed) < _HEAD_BYTES + NONCE_BYTES + _TAG_BYTES:
            raise ValueError("This is not a sealed secret: it is too short.")
        cipher = self._ciphers.get(head)
        if cipher is None:
            raise ValueError("The secret was sealed with a key that is not in HOOKLINE_SECRET_KEY.")
        try:
            return cipher.decrypt(nonce, sealed[_HEAD_BYTES + NONCE_BYTES :], head)
        except InvalidTag:
            raise ValueError("The sealed secret was changed, or its key is another one with the same name.") from None
