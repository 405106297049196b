"""The one verifier by public key: ECDSA on P-256, Ed25519, RSA. The algorithm belongs to the key's place in the
configuration, never to the message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.encoded import from_hex, key_from_base64
from hookline.core.verifiers.request_parts import Parts, Unproven
from hookline.core.verifiers.signed_message import Claim, SignedMessage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS: Final = ("ecdsa-p256-sha256", "ed25519", "rsa-sha256", "rsa-sha512", "rsa-sha1", "rsa-pss-sha256")
RSA_BITS_MIN: Final = 1024
ED25519_BYTES: Final = 32

Check = Callable[[bytes, bytes], bool]
"""(signature, message) → whether it is one of this key's."""


@dataclass(frozen=True, slots=True)
class PublicKeyScheme:
    """How the message is signed with a private key. `prove` is a `Prove` of `request_parts`."""

    message: SignedMessage
    algorithm: str
    key: str = "public_key"
    """The key of the configuration that has the public key, or several."""

    def prove(self, parts: Parts, config: Config, now_s: float) -> str:
        """The configured public key whose owner signed every message. Raises `Unproven` or `ConfigError`."""
        return self.prove_by(config.texts(self.key), parts, config, now_s)

    def prove_by(self, written: Sequence[str], parts: Parts, config: Config, now_s: float) -> str:
        """The same, by one of these keys."""
        checks = [(one, self._check_of(one)) for one in written]
        proven = written[0]
        for claim in self.message.claims(parts, config):
            proven = _key_of(claim, checks)
            self.message.check_age(claim, config, now_s)
        return proven

    def check(self, config: Config) -> None:
        """Raise `ConfigError` where what is configured cannot be used; what is not configured is not missed."""
        config.seconds("tolerance_s", 0)
        for written in config.texts(self.key) if config.has(self.key) else ():
            self._check_of(written)

    def _check_of(self, written: str) -> Check:
        found = _check(self.algorithm, written)
        if found is None:
            raise ConfigError(self.key, f"is no public key for {self.algorithm}")
        return found


def _key_of(claim: Claim, checks: Sequence[tuple[str, Check]]) -> str:
    for written, check in checks:
        if any(check(signature, claim.message) for signature in claim.signatures):
            return written
    raise Unproven("wrong_signature", "no signature is made by the owner of a configured key over these bytes")


@lru_cache(maxsize=256)
def _check(algorithm: str, written: str) -> Check | None:
    """What judges signatures by a key as it is written; None for what is no such key."""
    try:
        if algorithm == "ed25519":
            return _ed25519(_ed25519_key(written))
        key = _spki(written)
    except ValueError:
        return None
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if algorithm == "ecdsa-p256-sha256":
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            return None
        return _ecdsa(key)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < RSA_BITS_MIN:
        return None
    return _rsa(key, algorithm)


def _spki(written: str) -> object:
    """The key of a PEM, or of base64 of its SubjectPublicKeyInfo. Raises `ValueError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    text = written.strip()
    try:
        if text.startswith("-----BEGIN"):
            return load_pem_public_key(text.encode())
        octets = key_from_base64("".join(text.split()))
        if octets is None:
            raise ValueError("not base64")
        return load_der_public_key(octets)
    except UnsupportedAlgorithm as error:
        raise ValueError("an unknown kind of key") from error


def _ed25519_key(written: str) -> Ed25519PublicKey:
    """Of its 32 bytes in hex or base64 (`whpk_…` too), a `whsk_…` secret key, a PEM, or a SubjectPublicKeyInfo. Raises
    `ValueError`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    text = written.strip()
    if text.startswith("whsk_"):
        seed = key_from_base64(text.removeprefix("whsk_")) or b""
        if len(seed) not in (ED25519_BYTES, 2 * ED25519_BYTES):
            raise ValueError("not 32 or 64 bytes")
        return Ed25519PrivateKey.from_private_bytes(seed[:ED25519_BYTES]).public_key()
    octets = from_hex(text) if len(text) == 2 * ED25519_BYTES else None
    octets = octets or key_from_base64(text.removeprefix("whpk_"))
    if octets is not None and len(octets) == ED25519_BYTES:
        return Ed25519PublicKey.from_public_bytes(octets)
    key = _spki(text)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("another kind of key")  # noqa: TRY004 - of a text of the configuration
    return key


def _ed25519(key: Ed25519PublicKey) -> Check:
    from cryptography.exceptions import InvalidSignature

    def check(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check


def _ecdsa(key: EllipticCurvePublicKey) -> Check:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    def check(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    return check


def _rsa(key: RSAPublicKey, algorithm: str) -> Check:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    digests = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}  # noqa: S303
    digest = digests[algorithm.rpartition("-")[2]]
    form: padding.AsymmetricPadding = padding.PKCS1v15()
    if "-pss-" in algorithm:
        form = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.AUTO)

    def check(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message, form, digest)
        except InvalidSignature:
            return False
        return True

    return check
