"""A client certificate that a trusted proxy checked, and names in a header of the request.

rfc9440    `Client-Cert: :base64 of the certificate:`
pem        the certificate as PEM, percent-encoded (nginx, Apache), or its base64 alone (Traefik)
xfcc       Envoy's `x-forwarded-client-cert`, of one element: its Hash
subject    the subject's name as the proxy writes it, compared as a text

Known by `fingerprint` (SHA-256 of the certificate), or by `subject`. The proxy has checked chain and possession; here
it is only asked which certificate it was, and, where it is there, that it is valid now.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import unquote

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.encoded import any_same, from_base64, from_hex, header_bytes
from hookline.core.verifiers.request_parts import Parts, Unproven

FORMS: Final = ("rfc9440", "pem", "xfcc", "subject")
HEADER_CHARS_MAX: Final = 65_536
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_HASH: Final = re.compile(r"(?:^|;)\s*Hash=([0-9A-Fa-f]{64})(?:;|$)", re.IGNORECASE)


def prove(parts: Parts, config: Config, now_s: float, *, header: str, form: str) -> str:
    """The certificate's fingerprint, or its subject. Raises `Unproven` or `ConfigError`."""
    found = parts.request.all(header)
    if len(found) != 1 or not found[0]:
        raise Unproven("missing_signature", f"header:{header} is missing, or there more than once")
    if len(found[0]) > HEADER_CHARS_MAX:
        raise Unproven("malformed_signature", f"header:{header} is longer than {HEADER_CHARS_MAX} characters")
    if form == "subject":
        subjects = config.texts("subject")
        if not any_same([header_bytes(found[0])], [one.encode() for one in subjects]):
            raise Unproven("wrong_credential", "the certificate's subject is not a configured one")
        return found[0]
    digest = _digest(found[0], form, now_s)
    if not any_same([digest], fingerprints(config)):
        raise Unproven("wrong_credential", "the certificate's fingerprint is not a configured one")
    return digest.hex()


def fingerprints(config: Config) -> list[bytes]:
    """Those configured. Raises `ConfigError`."""
    found = [from_hex(one.replace(":", "")) for one in config.texts("fingerprint")]
    digests = [one for one in found if one is not None and len(one) == hashlib.sha256().digest_size]
    if len(digests) != len(found):
        raise ConfigError("fingerprint", "must be SHA-256 in hexadecimal digits")
    return digests


def _digest(value: str, form: str, now_s: float) -> bytes:
    if form == "xfcc":
        hashes = _HASH.findall(value)
        if len(hashes) != 1 or re.search(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', value):
            raise Unproven("malformed_signature", "not one element with one Hash")
        return bytes.fromhex(hashes[0])
    if form == "rfc9440":
        text = value[1:-1] if len(value) > 2 and value[0] == value[-1] == ":" else ""
    else:
        text = unquote(value) if "%" in value else value
        pem = _PEM.fullmatch(text)
        text = "".join((text if pem is None else pem[1]).split())
    octets = from_base64(text)
    if octets is None:
        raise Unproven("malformed_signature", "the certificate cannot be read")
    _check_valid(octets, now_s)
    return hashlib.sha256(octets).digest()


def _check_valid(octets: bytes, now_s: float) -> None:
    from cryptography.x509 import load_der_x509_certificate

    try:
        certificate = load_der_x509_certificate(octets)
        begin_s = certificate.not_valid_before_utc.timestamp()
        end_s = certificate.not_valid_after_utc.timestamp()
    except (ValueError, OverflowError):
        raise Unproven("malformed_signature", "the certificate cannot be read") from None
    if not begin_s <= now_s <= end_s:
        raise Unproven("untrusted_key", "the certificate is not valid now")
