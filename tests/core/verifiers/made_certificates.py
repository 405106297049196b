"""Certificates made for tests: an authority, one below it, and what they issue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

NOW_S = 1_760_000_000
NOW = dt.datetime.fromtimestamp(NOW_S, dt.UTC)
DAY = dt.timedelta(days=1)


def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The RSA key of this name: made once, as that takes long."""
    return _key(name, bits)


@cache
def _key(_name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def issued(
    common_name: str | None,
    key_name: str,
    *,
    by: x509.Certificate | None = None,
    by_key: str | None = None,
    authority: bool = False,
    since: dt.datetime = NOW - 30 * DAY,
    until: dt.datetime = NOW + 30 * DAY,
    extensions: Sequence[x509.ExtensionType] = (),
    bits: int = 2048,
) -> x509.Certificate:
    """A certificate for the key `key_name`, signed by the key `by_key`; without `by` it is its own authority."""
    names = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.subject)
        .public_key(key(key_name, bits).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key(by_key or key_name), hashes.SHA256())


def pem(*certificates: x509.Certificate) -> str:
    """Their text."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def der(certificate: x509.Certificate) -> bytes:
    """Its bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def signed_by(key_name: str, data: bytes, digest: Any = hashes.SHA256) -> bytes:
    """PKCS1v15 over `data`."""
    return key(key_name).sign(data, padding.PKCS1v15(), digest())


def public_pem(key_name: str) -> str:
    """The public key alone."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key(key_name).public_key().public_bytes(serialization.Encoding.PEM, form).decode()
