"""Signatures as in Standard Webhooks 1.0: `v1` (HMAC-SHA256) and `v1a` (Ed25519).

Signed is `{webhook-id}.{webhook-timestamp}.{body}`, the body as the bytes that travel. The header holds one item
`version,base64` per key, separated by spaces, so that a receiver can change its secret while both are valid.

The algorithm belongs to the key, never to the message: `v1` is only tried with `whsec_` keys and `v1a` only with
`whpk_` (or `whsk_`). The verifier is a strict parser of our own: whatever arrives, it passes or raises
`VerificationError`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.core.endpoint import SigningKey
from hookline.core.errors import HooklineError
from hookline.core.secret import PUBLIC_PREFIX, SIGNING_PREFIX, hmac_key, signing_key, verifying_key

TOLERANCE_S: Final = 300.0
SIGNATURES_MAX: Final = 16
HEADER_CHARS_MAX: Final = 4096

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP = re.compile(r"[0-9]{10}")
_V1 = re.compile(r"[A-Za-z0-9+/]{43}=")
_V1A = re.compile(r"[A-Za-z0-9+/]{86}==")

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


# -------------------------------------------------------------------------------------------------- verifying


class VerificationError(HooklineError):
    """A message is not proven to come from whoever holds the secret.

    `reason` is stable: `missing_header`, `repeated_header`, `invalid_id`, `invalid_timestamp`, `too_old`, `too_new`,
    `invalid_signature_header`, `too_many_signatures`, `no_matching_signature`, `invalid_secret`. A receiver answers
    401 to all but the last, which is its own fault.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def verify(
    body: bytes, headers: Mapping[str, str], secrets: Sequence[str], *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> None:
    """Return if `body` was signed by one of `secrets` within `tolerance_s` of `now_s`, or raise `VerificationError`.

    `headers` are matched without regard to case; `svix-id`, `svix-timestamp` and `svix-signature` do as well.
    `secrets` are `whsec_…`, `whpk_…` or `whsk_…`. Ids are `[A-Za-z0-9_-]{1,64}` and timestamps ten digits, so that
    nothing can be shifted between the three signed parts. Of at most 16 signatures, those of an unknown version or
    form are passed over. A comparison takes the same time wherever a signature differs.
    """
    webhook_id, timestamp, signatures = _three(headers)
    if not _ID.fullmatch(webhook_id):
        raise VerificationError("invalid_id", "webhook-id is not 1 to 64 letters, digits, _ or -.")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise VerificationError("invalid_timestamp", "webhook-timestamp is not Unix seconds, in ten digits.")
    age_s = now_s - int(timestamp)
    if age_s > tolerance_s:
        raise VerificationError("too_old", f"The message is more than {tolerance_s:g} s old.")
    if age_s < -tolerance_s:
        raise VerificationError("too_new", f"The message comes from more than {tolerance_s:g} s in the future.")
    v1, v1a = _signatures(signatures)
    signed = b"%b.%b.%b" % (webhook_id.encode("ascii"), timestamp.encode("ascii"), body)
    if not any(_matches(secret, signed, v1, v1a) for secret in secrets):
        raise VerificationError("no_matching_signature", "No signature fits the body and any of the secrets.")


def _three(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(("webhook-", "svix-")):
            if lower in found:
                raise VerificationError("repeated_header", f"The header {lower} is there more than once.")
            found[lower] = value
    prefix = "svix-" if "svix-signature" in found and "webhook-signature" not in found else "webhook-"
    values = [found.get(prefix + part) for part in ("id", "timestamp", "signature")]
    webhook_id, timestamp, signature = values
    if webhook_id is None or timestamp is None or signature is None:
        raise VerificationError("missing_header", "webhook-id, webhook-timestamp and webhook-signature are needed.")
    return webhook_id, timestamp, signature


def _signatures(header: str) -> tuple[list[bytes], list[bytes]]:
    """The digests of `v1` and the signatures of `v1a`; items of another version or form are left out."""
    if len(header) > HEADER_CHARS_MAX or not header.isascii():
        raise VerificationError("invalid_signature_header", "webhook-signature is too long, or is not ASCII.")
    items = header.split(" ")
    if len(items) > SIGNATURES_MAX:
        raise VerificationError("too_many_signatures", f"More than {SIGNATURES_MAX} signatures.")
    v1: list[bytes] = []
    v1a: list[bytes] = []
    for item in items:
        version, _, text = item.partition(",")
        if version == "v1" and _V1.fullmatch(text):
            v1.append(a2b_base64(text))
        elif version == "v1a" and _V1A.fullmatch(text):
            v1a.append(a2b_base64(text))
    return v1, v1a


def _matches(secret: str, signed: bytes, v1: Sequence[bytes], v1a: Sequence[bytes]) -> bool:
    try:
        if secret.startswith(SIGNING_PREFIX):
            return _signed_by(signing_key(secret).public_key(), signed, v1a)
        if secret.startswith(PUBLIC_PREFIX):
            return _signed_by(verifying_key(secret), signed, v1a)
        expected = hmac.digest(hmac_key(secret), signed, "sha256")
    except ValueError as error:
        raise VerificationError("invalid_secret", str(error)) from None
    return any(hmac.compare_digest(expected, digest) for digest in v1)


def _signed_by(key: Ed25519PublicKey, signed: bytes, signatures: Sequence[bytes]) -> bool:
    for signature in signatures:
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False
