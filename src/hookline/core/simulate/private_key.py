"""Private keys of pretended providers, and what their receivers must know of them.

A key is a PEM (PKCS #8). Everything public is made of it and nothing else, so that the same key gives the same
certificate today and tomorrow. Keys made here come from dice, which must have been thrown well.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hookline.core.simulate.dice import Dice
from hookline.core.simulate.draft import KeyKind, SimulationError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

RSA_BITS: Final = 2048
RSA_EXPONENT: Final = 65_537
ROUNDS: Final = 40
"""Of Miller and Rabin's test: a composite number passes one with a probability below 1/4."""
VALID_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
VALID_UNTIL: Final = datetime(2049, 12, 31, tzinfo=UTC)
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_SMALL_PRIMES: Final = tuple(n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def new_key(kind: KeyKind, dice: Dice) -> bytes:
    """A new private key as PEM. An RSA key takes about a second."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        key = _new_rsa(dice)
    elif kind == "p256":
        key = ec.derive_private_key(1 + dice.below(P256_ORDER - 1), ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.from_private_bytes(dice.bytes(32))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_rsa(pem: bytes) -> rsa.RSAPrivateKey:
    """An RSA key of its PEM. Raises `SimulationError`."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = _read(pem)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SimulationError("this provider signs with an RSA key, and the one given is another kind")
    return key


def read_p256(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """An elliptic-curve key of its PEM. Raises `SimulationError`."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = _read(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SimulationError("this provider signs with a P-256 key, and the one given is another kind")
    return key


def read_ed25519(pem: bytes) -> ed25519.Ed25519PrivateKey:
    """An Ed25519 key of its PEM. Raises `SimulationError`."""
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = _read(pem)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SimulationError("this provider signs with an Ed25519 key, and the one given is another kind")
    return key


def rsa_signature(pem: bytes, content: bytes, digest: str = "sha256") -> bytes:
    """The signature by RSASSA-PKCS1-v1_5 with `sha256` or `sha1`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    algorithm = hashes.SHA1() if digest == "sha1" else hashes.SHA256()  # noqa: S303 (what SNS version 1 is)
    return read_rsa(pem).sign(content, padding.PKCS1v15(), algorithm)


def p256_signature(pem: bytes, content: bytes) -> bytes:
    """The signature by ECDSA with SHA-256, as DER; of the same content always the same (RFC 6979)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return read_p256(pem).sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def spki_base64(pem: bytes) -> str:
    """The public half as base64 of its SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = _read(pem).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode("ascii")


def key_id(pem: bytes) -> str:
    """40 hexadecimal digits that stand for the key."""
    return hashlib.sha1(base64.b64decode(spki_base64(pem)), usedforsecurity=False).hexdigest()


def raw_public(pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key."""
    return read_ed25519(pem).public_key().public_bytes_raw()


@functools.lru_cache(maxsize=8)
def self_signed(pem: bytes, common_name: str) -> str:
    """A certificate of this RSA key for this name, signed by itself, as PEM."""
    from cryptography.hazmat.primitives import hashes

    key = read_rsa(pem)
    name = _name(common_name)
    builder = _certificate(name, name, key.public_key(), key.public_key(), pem).add_extension(
        _names(common_name), critical=False
    )
    return _pem(builder.sign(key, hashes.SHA256()))


@functools.lru_cache(maxsize=8)
def chain(pem: bytes, common_name: str) -> tuple[str, str]:
    """A certificate of this RSA key for this name, and that of the authority that signed it, which has a key of its
    own made of this one."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = read_rsa(pem)
    secret = hashlib.sha256(key.private_numbers().d.to_bytes(1024, "big")).digest()
    root_key = ec.derive_private_key(1 + int.from_bytes(secret, "big") % (P256_ORDER - 1), ec.SECP256R1())
    root_name = _name("Hookline simulated authority")
    usage = _usage("key_cert_sign", "crl_sign")
    root = (
        _certificate(root_name, root_name, root_key.public_key(), root_key.public_key(), pem + b"root", authority=True)
        .add_extension(usage, critical=True)
        .sign(root_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    leaf = (
        _certificate(_name(common_name), root_name, key.public_key(), root_key.public_key(), pem)
        .add_extension(_names(common_name), critical=False)
        .sign(root_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return _pem(leaf), _pem(root)


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: Any, signer: Any, seed: bytes, authority: bool = False
) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(hashlib.sha256(seed).digest()[:16], "big") >> 1 | 1)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    if authority:
        return builder
    usage = _usage("digital_signature", "key_encipherment")
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return builder.add_extension(usage, critical=True).add_extension(purposes, critical=False)


def _usage(*allowed: str) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(**{name: name in allowed for name in _USAGES})


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _names(host: str) -> x509.SubjectAlternativeName:
    from cryptography import x509

    return x509.SubjectAlternativeName([x509.DNSName(host)])


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode("ascii")


@functools.lru_cache(maxsize=8)  # an RSA key is checked when it is read, which takes longer than to sign
def _read(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SimulationError("the key is not a private key as PEM without a password") from None


def _new_rsa(dice: Dice) -> rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    p, q = sorted((_new_prime(dice), _new_prime(dice)), reverse=True)
    d = pow(RSA_EXPONENT, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(RSA_EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _new_prime(dice: Dice) -> int:
    """A prime of half an RSA key's bits, its two highest bits 1, that the public exponent fits."""
    size = RSA_BITS // 2
    while True:
        number = int.from_bytes(dice.bytes(size // 8), "big") | 3 << (size - 2) | 1
        if any(number % prime == 0 for prime in _SMALL_PRIMES) or number % RSA_EXPONENT == 1:
            continue
        if _is_prime(number, dice):
            return number


def _is_prime(number: int, dice: Dice) -> bool:
    """Miller and Rabin's test."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(ROUNDS):
        power = pow(dice.between(2, number - 2), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
