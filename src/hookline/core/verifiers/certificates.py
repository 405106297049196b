"""Certificates: PEM read, a chain judged at a time, a signature checked with the key of one.

The path is found and judged by `cryptography` (validity of every link, signatures, key sizes, name constraints). What
a public web server must have besides (a subject alternative name, key identifiers) is not asked of it: these sign
messages, and a private authority's are as good.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.verification import ExtensionPolicy

SYSTEM_ROOTS: Final = "system-roots"
SYSTEM_ROOTS_URL: Final = "system:roots"
"""No address: whoever answers a `Fetch` gives for this one the PEM texts of the authorities that its machine trusts
(docs/decisions/0015-whom-a-verifier-of-certificates-trusts.md)."""
_END: Final = b"-----END CERTIFICATE-----"
CERTIFICATES_MAX: Final = 1000
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192


class CertificateError(Exception):
    """A text holds no certificate, or one that cannot be used; the text says why."""


@lru_cache(maxsize=64)
def certificates_of(pem: bytes) -> tuple[Certificate, ...]:
    """Every certificate of a PEM text, in order; at least one. Raises `CertificateError`."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        found = tuple(load_pem_x509_certificates(pem))
    except ValueError:
        raise CertificateError("not certificates in PEM") from None
    if len(found) > CERTIFICATES_MAX:
        raise CertificateError(f"more than {CERTIFICATES_MAX} certificates")
    if not all(_is_readable(one) for one in found):
        raise CertificateError("a certificate with parts that cannot be read")
    return found


def _is_readable(certificate: Certificate) -> bool:
    """Whether every part of it can be read: `cryptography` reads them, and raises, only when they are asked for."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, UnsupportedGeneralNameType

    try:
        _ = certificate.public_key(), certificate.subject, certificate.issuer, certificate.extensions
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, DuplicateExtension, UnsupportedGeneralNameType):
        return False
    return True


def fetched_certificates(found: Fetched, whose: str) -> tuple[Certificate, ...]:
    """The certificates that came of a `Fetch`, in PEM, or one in DER. Raises `Unproven`: to be sent again, as it is not
    the sender's fault."""
    try:
        return _certificates(found)
    except (CertificateError, ValueError) as error:
        detail = f"the certificate of {whose} could not be had: {error}"[:300]
        raise Unproven("key_unavailable", detail, status=503) from None


def configured(key: str, pems: tuple[str, ...]) -> tuple[Certificate, ...]:
    """The certificates of texts that stand in the configuration under `key`. Raises `ConfigError`."""
    try:
        return tuple(one for pem in pems for one in certificates_of(pem.encode()))
    except CertificateError as error:
        raise ConfigError(key, f"has {error}") from None


def system_roots(fetched: Mapping[str, Fetched]) -> tuple[Certificate, ...] | Fetch:
    """The authorities that the machine trusts, or how to ask for them. Raises `Unproven`."""
    found = fetched.get(SYSTEM_ROOTS)
    if found is None:
        return Fetch(SYSTEM_ROOTS, SYSTEM_ROOTS_URL, keep_s=86_400.0)
    roots = _usable(found.body) if found.status == 200 else ()
    if not roots:
        raise Unproven("key_unavailable", "the machine's own trusted authorities could not be read", status=503)
    return roots


def valid_at(certificate: Certificate, now_s: float) -> bool:
    """Whether it is neither too young nor too old at `now_s`."""
    now = _moment(now_s)
    return now is not None and certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def why_untrusted(
    leaf: Certificate, others: tuple[Certificate, ...], roots: tuple[Certificate, ...], now_s: float
) -> str | None:
    """None if a path leads from `leaf`, over any of `others`, to one of `roots`, valid in every part at `now_s`;
    else what is wrong with the last one tried."""
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

    now = _moment(now_s)
    if now is None:
        return "no certificate is valid at such a time"
    if not roots:
        return "no authority is trusted"
    ca_policy, leaf_policy = _policies()
    builder = PolicyBuilder().store(Store(list(roots))).time(now)
    # That of a client: with it no name is demanded of the leaf; who it names, the caller judges.
    verifier = builder.extension_policies(ca_policy=ca_policy, ee_policy=leaf_policy).build_client_verifier()
    try:
        verifier.verify(leaf, list(others))
    except VerificationError as error:
        return str(error)[:300]
    return None


def common_name(certificate: Certificate) -> str:
    """The one common name of its subject; empty where there is none, or several."""
    from cryptography.x509.oid import NameOID

    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def rsa_signed(public_key: Any, signature: bytes, signed: bytes, digest: str) -> bool:
    """Whether `signature` is RSASSA-PKCS1-v1_5 over `signed`, with `sha256` or (only SNS asks for it) `sha1`; False
    for a key that is not RSA, or not of 2048 to 8192 bits."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if not isinstance(public_key, RSAPublicKey) or not RSA_BITS_MIN <= public_key.key_size <= RSA_BITS_MAX:
        return False
    algorithm = hashes.SHA256() if digest == "sha256" else hashes.SHA1()  # noqa: S303 - SignatureVersion 1 of SNS
    try:
        public_key.verify(signature, signed, PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=2)
def _usable(pem: bytes) -> tuple[Certificate, ...]:
    """The certificates of a bundle that can be read without a doubt: machines trust some old ones that break rules,
    and one of them must not make all others unusable."""
    from cryptography.x509 import load_pem_x509_certificate

    usable: list[Certificate] = []
    for block in pem.split(_END)[:CERTIFICATES_MAX]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                usable.append(load_pem_x509_certificate(block + _END))
            except (ValueError, Warning):
                continue
    return tuple(usable)


def _certificates(found: Fetched) -> tuple[Certificate, ...]:
    from cryptography.x509 import load_der_x509_certificate

    if found.status != 200:
        raise CertificateError(f"status {found.status}")
    if b"-----BEGIN" in found.body:
        return certificates_of(found.body)
    certificate = load_der_x509_certificate(found.body)
    if not _is_readable(certificate):
        raise CertificateError("a certificate with parts that cannot be read")
    return (certificate,)


def _moment(now_s: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(now_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=1)
def _policies() -> tuple[ExtensionPolicy, ExtensionPolicy]:
    from cryptography.x509 import BasicConstraints, KeyUsage
    from cryptography.x509.verification import Criticality, ExtensionPolicy

    authority = (
        ExtensionPolicy.permit_all()
        .require_present(BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        .may_be_present(KeyUsage, Criticality.AGNOSTIC, _may_sign_certificates)
    )
    leaf = ExtensionPolicy.permit_all().may_be_present(KeyUsage, Criticality.AGNOSTIC, _may_sign_messages)
    return authority, leaf


def _is_authority(_policy: Any, _certificate: Any, constraints: Any) -> None:
    if not constraints.ca:
        raise ValueError("not an authority's certificate")


def _may_sign_certificates(_policy: Any, _certificate: Any, usage: Any) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("not for signing certificates")


def _may_sign_messages(_policy: Any, _certificate: Any, usage: Any) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("not for signing messages")
