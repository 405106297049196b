"""Verifying signatures as in Standard Webhooks 1.0, with the standard library alone (Ed25519 needs cryptography).

The algorithm belongs to the key, never to the message: `v1` is only tried with `whsec_` keys and `v1a` only with
`whpk_` (or `whsk_`). This is a strict parser of our own: whatever arrives, it passes or raises `VerificationError`.
How signatures are made is in `core.signature`.
"""

from __future__ import annotations

import hmac
import re
from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from hookline.core.errors import HooklineError
from hookline.core.signing_key import PUBLIC_PREFIX, SIGNING_PREFIX, hmac_key

TOLERANCE_S: Final = 300.0
SIGNATURES_MAX: Final = 16
HEADER_CHARS_MAX: Final = 4096

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP = re.compile(r"[0-9]{10}")
_V1 = re.compile(r"[A-Za-z0-9+/]{43}=")
_V1A = re.compile(r"[A-Za-z0-9+/]{86}==")


class VerificationError(HooklineError):
    """A message is not proven to come from whoever holds the secret.

    `reason` is stable: `missing_header`, `repeated_header`, `invalid_id`, `invalid_timestamp`, `too_old`, `too_new`,
    `invalid_signature_header`, `too_many_signatures`, `no_matching_signature`, `invalid_secret`, `unsupported_key`. A
    receiver answers 401 to all but the last two, which are its own fault.
    """

    status = 401
    """The HTTP status that tells the sender."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Proven(NamedTuple):
    """What is signed beside the body."""

    webhook_id: str
    timestamp_s: int


def verify(
    body: bytes,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    secrets: Sequence[str],
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> Proven:
    """Return if `body` was signed by one of `secrets` within `tolerance_s` of `now_s`, or raise `VerificationError`.

    `headers` are matched without regard to case; `svix-id`, `svix-timestamp` and `svix-signature` do as well.
    `secrets` are `whsec_…`, `whpk_…` or `whsk_…`. Ids are `[A-Za-z0-9_-]{1,64}` and timestamps ten digits, so that
    nothing can be shifted between the three signed parts. Of at most 16 signatures, those of an unknown version or
    form are passed over. A comparison takes the same time wherever a signature differs.
    """
    webhook_id, timestamp, signatures = _three(headers.items() if isinstance(headers, Mapping) else headers)
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
    return Proven(webhook_id, int(timestamp))


def _three(headers: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
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
        if secret.startswith((SIGNING_PREFIX, PUBLIC_PREFIX)):
            return _signed_by(secret, signed, v1a)
        expected = hmac.digest(hmac_key(secret), signed, "sha256")
    except ValueError as error:
        raise VerificationError("invalid_secret", str(error)) from None
    return any(hmac.compare_digest(expected, digest) for digest in v1)


def _signed_by(secret: str, signed: bytes, signatures: Sequence[bytes]) -> bool:
    # Here and not above: whoever verifies HMAC needs no package, and starts without loading one.
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415

        from hookline.core.secret import signing_key, verifying_key  # noqa: PLC0415
    except ImportError:
        raise VerificationError("unsupported_key", "whpk_ and whsk_ keys need the package cryptography.") from None
    try:
        key = signing_key(secret).public_key() if secret.startswith(SIGNING_PREFIX) else verifying_key(secret)
        for signature in signatures:
            try:
                key.verify(signature, signed)
            except InvalidSignature:
                continue
            return True
    except UnsupportedAlgorithm:
        raise VerificationError("unsupported_key", "This cryptography has no Ed25519.") from None
    return False
