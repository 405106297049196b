"""JSON Web Tokens, signed and compact, read as strictly as RFC 8725 advises.

What a token says of itself decides nothing: its algorithm must be one that is expected here and fits the kind of the
key, `kid` is a name to look up and nothing else, `jku`, `x5u`, `jwk`, `x5c` are not read, `crit` is refused (no
extension is understood), and it must end, soon.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hookline.core.verifiers.encoded import from_base64url, same
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.request_parts import Unproven

TOKEN_CHARS_MAX: Final = 16_384
KEYS_TRIED_MAX: Final = 16
TTL_S_MAX: Final = 86_400.0
"""A token that ends later is not believed: 1760000000000 is a time in ms, not the year 57743."""
EARLY_S: Final = 60.0
"""How far ahead of ours the clock may be that a token was made by, where no `leeway` is configured."""

_DIGESTS: Final = {"256": "sha256", "384": "sha384", "512": "sha512"}
_CURVES: Final = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}
ALGORITHMS: Final = (
    *(f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in _DIGESTS),
    "EdDSA",
    "Ed25519",
)
"""All that can be expected; `Ed25519` is the new name (RFC 9864) of what `EdDSA` means here."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: bytes are a shared secret and only ever an HMAC's key; else a public key of `cryptography`."""

    material: Any
    kid: str | None = None
    algorithm: str | None = None
    """The only one that it is for, where that is known."""


@dataclass(frozen=True, slots=True)
class Token:
    """One as it was read; nothing of it is proven."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What the claims must say. Without issuers (or audiences) none is asked for."""

    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    leeway_s: float = 0.0
    """By how much it may have ended."""
    early_s: float = EARLY_S
    """By how much it may not have begun."""
    ttl_s_max: float = TTL_S_MAX
    issued: bool = False
    """Whether it must say when it was made."""


def read(text: str) -> Token:
    """A token's parts. Raises `Unproven`."""
    if len(text) > TOKEN_CHARS_MAX:
        raise Unproven("malformed_signature", f"a token of more than {TOKEN_CHARS_MAX} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise Unproven("malformed_signature", "not a signed compact token: three parts and two points")
    header, claims = _object(parts[0], "header"), _object(parts[1], "claims")
    signature = from_base64url(parts[2])
    if signature is None:
        raise Unproven("malformed_signature", "the token's signature is not base64url")
    if "crit" in header or "b64" in header:
        raise Unproven("unsupported", "the token demands an extension (crit) that is not understood")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not (kid is None or isinstance(kid, str)):
        raise Unproven("malformed_signature", "alg or kid of the token is not a text")
    return Token(algorithm, kid, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def check_signature(token: Token, keys: Iterable[Key], algorithms: tuple[str, ...]) -> None:
    """Raises `Unproven` unless one of `keys` signed it, with one of `algorithms`.

    A token that names a key is held against keys of that name and those without one; a token that names none, against
    the only key that there is.
    """
    if token.algorithm not in algorithms:
        raise Unproven("wrong_signature", f"the token's algorithm is not one of {', '.join(algorithms)}")
    known = tuple(keys)
    named = [key for key in known if key.kid is None or key.kid == token.kid][:KEYS_TRIED_MAX]
    if token.kid is None and len(known) == 1:
        named = [known[0]]
    if not named:
        raise Unproven("untrusted_key", "the token names no key that is known")
    if not any(_signed(token, key) for key in named):
        raise Unproven("wrong_signature", "the token is not signed with this key")


def check_claims(claims: Mapping[str, Any], expected: Expected, now_s: float) -> None:
    """Raises `Unproven` unless they say what is expected, at `now_s`."""
    ends_s = _number(claims, "exp")
    if ends_s is None:
        raise Unproven("stale", "the token does not end (exp)")
    # RFC 7519, 4.1.4: on or after that time it must not be accepted.
    if now_s >= ends_s + expected.leeway_s:
        raise Unproven("stale", "the token has ended")
    if ends_s - now_s > expected.ttl_s_max:
        raise Unproven("stale", f"the token ends more than {expected.ttl_s_max:.0f} s from now")
    for name in ("nbf", "iat"):
        begins_s = _number(claims, name)
        if begins_s is not None and begins_s > now_s + expected.early_s:
            raise Unproven("stale", f"the token has not begun ({name})")
    if expected.issued and claims.get("iat") is None:
        raise Unproven("stale", "the token does not say when it was made (iat)")
    if expected.issuers and claims.get("iss") not in expected.issuers:
        raise Unproven("wrong_recipient", "the token was issued by somebody else (iss)")
    if expected.audiences and not _audiences(claims) & set(expected.audiences):
        raise Unproven("wrong_recipient", "the token is for somebody else (aud)")


def _audiences(claims: Mapping[str, Any]) -> set[str]:
    found = claims.get("aud")
    listed = found if isinstance(found, list) else [found]
    return {one for one in listed if isinstance(one, str)}


def _object(part: str, what: str) -> Mapping[str, Any]:
    data = from_base64url(part)
    if data is None:
        raise Unproven("malformed_signature", f"the token's {what} is not base64url")
    try:
        return parse_object(data)
    except BodyError:
        raise Unproven("malformed_signature", f"the token's {what} is not a JSON object") from None


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unproven("malformed_timestamp", f"{name} of the token is not a number")
    # An integer may be too long for a float, which must not be an error.
    seconds = float(value) if abs(value) < 1e15 else math.inf
    if not math.isfinite(seconds):
        raise Unproven("malformed_timestamp", f"{name} of the token is no time")
    return seconds


def _signed(token: Token, key: Key) -> bool:
    algorithm = "EdDSA" if token.algorithm == "Ed25519" else token.algorithm
    if key.algorithm is not None and key.algorithm not in (token.algorithm, algorithm):
        return False
    if algorithm.startswith("HS"):
        # The kind of the key decides: a public key is never a secret, however it is written.
        if not isinstance(key.material, bytes):
            return False
        return same(hmac.digest(key.material, token.signed, _DIGESTS[algorithm[2:]]), token.signature)
    return not isinstance(key.material, bytes) and _signed_public(token, key.material, algorithm)


def _signed_public(token: Token, public_key: Any, algorithm: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(algorithm[2:])
    family, signature = algorithm[:2], token.signature
    try:
        if digest is None:
            if not isinstance(public_key, ed25519.Ed25519PublicKey):
                return False
            public_key.verify(signature, token.signed)
        elif family == "ES":
            curve, half = _CURVES[algorithm]
            if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != curve:
                return False
            if len(signature) != 2 * half:
                return False
            r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            public_key.verify(utils.encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))
        else:
            if not isinstance(public_key, rsa.RSAPublicKey) or not 2048 <= public_key.key_size <= 8192:
                return False
            probabilistic = padding.PSS(padding.MGF1(digest), digest.digest_size)
            scheme = probabilistic if family == "PS" else padding.PKCS1v15()
            public_key.verify(signature, token.signed, scheme, digest)
    except InvalidSignature:
        return False
    return True
