"""Signatures by private keys: every algorithm, every way to write its key, and keys that are none."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.core.verifiers.signed_requests import JSON_BODY, NOW_S, b64, reason

from hookline.core.verifiers.custom import custom
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge

SPKI = PublicFormat.SubjectPublicKeyInfo
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.derive_private_key(7, ec.SECP256R1())
P384 = ec.derive_private_key(7, ec.SECP384R1())
ED = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
SIGNED: dict[str, tuple[Any, bytes]] = {
    "ecdsa-p256-sha256": (P256, P256.sign(JSON_BODY, ec.ECDSA(hashes.SHA256()))),
    "ed25519": (ED, ED.sign(JSON_BODY)),
    "rsa-sha256": (RSA, RSA.sign(JSON_BODY, padding.PKCS1v15(), hashes.SHA256())),
    "rsa-sha512": (RSA, RSA.sign(JSON_BODY, padding.PKCS1v15(), hashes.SHA512())),
    "rsa-sha1": (RSA, RSA.sign(JSON_BODY, padding.PKCS1v15(), hashes.SHA1())),
    "rsa-pss-sha256": (RSA, RSA.sign(JSON_BODY, PSS, hashes.SHA256())),
}


def own(algorithm: str, key: Any, signature: bytes, body: bytes = JSON_BODY) -> str:
    """Why such a request is refused."""
    spec = {"scheme": "public_key", "algorithm": algorithm, "signature": "header:x", "encoding": "base64"}
    request = Inbound.of("POST", "https://h.example/", {"X": b64(signature)}, body)
    return reason(judge(custom(spec), request, {"public_key": key}, NOW_S))


def pem(key: Any) -> str:
    """The public key of a private one, as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, SPKI).decode()


@pytest.mark.parametrize("algorithm", SIGNED)
def test_every_algorithm_proves_its_own_signatures(algorithm):
    """And none of another algorithm, key or body."""
    key, signature = SIGNED[algorithm]
    assert own(algorithm, pem(key), signature) == ""
    assert own(algorithm, pem(key), signature, JSON_BODY + b" ") == "wrong_signature"
    assert own(algorithm, pem(key), signature[:-1]) == "wrong_signature"
    for other, (_, foreign) in SIGNED.items():
        if other != algorithm:
            assert own(algorithm, pem(key), foreign) == "wrong_signature"


@pytest.mark.parametrize("algorithm", SIGNED)
def test_a_key_may_be_written_in_several_ways(algorithm):
    """PEM, and base64 of its SubjectPublicKeyInfo, also over several lines; one of several keys suffices."""
    key, signature = SIGNED[algorithm]
    der = key.public_key().public_bytes(Encoding.DER, SPKI)
    for written in (pem(key), f"\n{pem(key)}\n", b64(der), base64.encodebytes(der).decode(), b64(der).rstrip("=")):
        assert own(algorithm, written, signature) == ""
    assert own(algorithm, [pem(key), pem(key)], signature) == ""


@pytest.mark.parametrize("algorithm", SIGNED)
def test_a_key_of_another_kind_cannot_be_used(algorithm):
    """A configuration with it refuses everything."""
    key, signature = SIGNED[algorithm]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    others = [pem(other) for other in (P256, P384, ED, RSA) if type(other) is not type(key) or other is P384]
    small = rsa.RSAPublicNumbers(65537, (1 << 1000) + 1).public_key().public_bytes(Encoding.PEM, SPKI).decode()
    for written in (
        *others,
        small,
        private,
        "",
        "x",
        "AAAA",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        "é",
    ):
        assert own(algorithm, written, signature) == "not_configured"


def test_an_ed25519_key_may_be_its_32_bytes():
    """In hex, in base64, as `whpk_…`, or as the `whsk_…` it belongs to."""
    raw, seed = ED.public_key().public_bytes_raw(), ED.private_bytes_raw()
    for written in (
        raw.hex(),
        raw.hex().upper(),
        b64(raw),
        f"whpk_{b64(raw)}",
        f"whsk_{b64(seed)}",
        f"whsk_{b64(seed + raw)}",
    ):
        assert own("ed25519", written, SIGNED["ed25519"][1]) == ""
    for written in (raw.hex()[:-2], raw.hex() + "00", f"whsk_{b64(seed[:-1])}", "whpk_", "zz" * 32):
        assert own("ed25519", written, SIGNED["ed25519"][1]) == "not_configured"


def test_a_signature_of_ed25519_has_one_form():
    """Adding the group's order to it gives another text of the same proof, which is refused."""
    order = 2**252 + 27742317777372353535851937790883648493
    good = SIGNED["ed25519"][1]
    other = good[:32] + (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")
    assert own("ed25519", pem(ED), other) == "wrong_signature"
