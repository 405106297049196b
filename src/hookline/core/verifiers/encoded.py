"""Signatures and keys as text: decoded strictly, compared in constant time. What does not decode is None, never an
error: a forger must not choose what a verifier does."""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Iterable
from typing import Final

SIGNATURES_MAX: Final = 16
"""A header may offer several while a secret is changed; nobody offers more."""
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_KEY: Final = re.compile(r"([A-Za-z0-9+/]+)(={0,2})")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def from_hex(text: str) -> bytes | None:
    """The bytes of an even number of hexadecimal digits, in either case."""
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def from_base64(text: str) -> bytes | None:
    """The bytes of canonical padded base64 in the standard alphabet; bits after the end must be zero."""
    if not text or _BASE64.fullmatch(text) is None:
        return None
    found = binascii.a2b_base64(text)
    return found if binascii.b2a_base64(found, newline=False).decode("ascii") == text else None


def from_base64url(text: str) -> bytes | None:
    """The bytes of canonical unpadded base64 in the URL alphabet, as JWTs have it."""
    if "=" in text or "+" in text or "/" in text:
        return None
    standard = text.replace("-", "+").replace("_", "/")
    return from_base64(standard + "=" * (-len(standard) % 4))


def key_from_base64(text: str) -> bytes | None:
    """The bytes of a key, padded or not. Bits after the end may be anything: such keys were made of random letters."""
    found = _KEY.fullmatch(text)
    if found is None or len(found[1]) % 4 == 1 or found[2] not in ("", "=" * (-len(found[1]) % 4)):
        return None
    return binascii.a2b_base64(found[1] + "=" * (-len(found[1]) % 4))


def same(left: bytes, right: bytes) -> bool:
    """Whether two byte strings are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def same_text(left: str, right: str) -> bool:
    """The same for texts, over their UTF-8; a header's latin-1 text must be brought back by `header_bytes` first."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def header_bytes(value: str) -> bytes:
    """The bytes of a header's value as they travelled (`Inbound` has them as latin-1 text)."""
    return value.encode("latin-1", "replace")


def any_same(offered: Iterable[bytes], expected: Iterable[bytes]) -> bool:
    """Whether one of the offered is one of the expected. All are compared, whatever was found before."""
    wanted = list(expected)
    found = False
    for one in offered:
        for other in wanted:
            found |= hmac.compare_digest(one, other)
    return found


def any_same_text(offered: str, expected: Iterable[str]) -> bool:
    """Whether a text is one of the expected, over their UTF-8; all are compared."""
    octets = (one.encode("utf-8", "surrogatepass") for one in expected)
    return any_same([offered.encode("utf-8", "surrogatepass")], octets)
