"""Tokens made for tests, by hand: also those that no library would make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.core.verifiers.made_certificates import key


def part(value: Any) -> str:
    """base64url without padding; of what is no bytes, of its JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: Any, claims: Any, secret: bytes | str | None) -> str:
    """A token with this header and these claims; signed with HMAC-SHA-256 by a secret, with RS256 by the key of a name,
    not at all by None."""
    signed = f"{part(header)}.{part(claims)}"
    if secret is None:
        return f"{signed}."
    if isinstance(secret, bytes):
        return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
    return f"{signed}.{part(key(secret).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
