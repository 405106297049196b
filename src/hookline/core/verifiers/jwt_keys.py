"""Keys that tokens are signed with: a JSON Web Key Set, PEM texts by their names; fetched, kept, and fetched again for
a name that is new.

A token that names an unknown key may come of a key that was changed just now, or of a forger. So the set is asked for
again, but the answer to that is kept for a minute for everybody: however many such tokens come, the provider is asked
once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.encoded import from_base64url
from hookline.core.verifiers.json_body import BodyError, parse_object
from hookline.core.verifiers.jwt import ALGORITHMS, Key
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched

KEYS_MAX: Final = 100
KEEP_S: Final = 3600.0
AGAIN_S: Final = 60.0
DISCOVERY: Final = "openid-configuration"

_EC_CURVES: Final = {"P-256": ("SECP256R1", 32), "P-384": ("SECP384R1", 48), "P-521": ("SECP521R1", 66)}

Keys = tuple[Key, ...]


class KeysError(Exception):
    """A text holds no set of keys; the text says why."""


@lru_cache(maxsize=64)
def keys_of_set(body: bytes) -> Keys:
    """The public signing keys of a JSON Web Key Set (RFC 7517); others in it are passed over. Raises `KeysError`."""
    try:
        listed = parse_object(body).get("keys")
    except BodyError as error:
        raise KeysError(str(error)) from None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise KeysError(f"not a JSON Web Key Set of at most {KEYS_MAX} keys")
    return tuple(key for one in listed if isinstance(one, dict) for key in _of_jwk(one))


@lru_cache(maxsize=64)
def keys_of_pem_map(body: bytes) -> Keys:
    """The keys of a JSON object of names and PEM texts, as Google publishes them. Raises `KeysError`."""
    try:
        listed = parse_object(body)
    except BodyError as error:
        raise KeysError(str(error)) from None
    if len(listed) > KEYS_MAX or not all(isinstance(pem, str) for pem in listed.values()):
        raise KeysError(f"not an object of at most {KEYS_MAX} PEM texts")
    return tuple(Key(key_of_pem(pem), kid) for kid, pem in listed.items())


def keys_of_pem(body: bytes) -> Keys:
    """The one key of a PEM text that is asked for by its name. Raises `KeysError`."""
    return (Key(key_of_pem(body.decode("latin-1"))),)


@lru_cache(maxsize=64)
def key_of_pem(pem: str) -> Any:
    """The public key of a PEM text: that of a certificate, or a key alone. Raises `KeysError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    data = pem.encode("utf-8", "replace")
    try:
        if "-----BEGIN CERTIFICATE-----" in pem:
            return load_pem_x509_certificate(data).public_key()
        return load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeysError("not a public key or a certificate in PEM") from None


def configured(key: str, pems: Mapping[str, str]) -> Keys:
    """The keys of an object of names and PEM texts that stands in the configuration. Raises `ConfigError`."""
    try:
        return tuple(Key(key_of_pem(pem), kid) for kid, pem in pems.items())
    except KeysError as error:
        raise ConfigError(key, f"has {error}") from None


def check_certs(config: Config) -> None:
    """Raise `ConfigError` for a text of `certs` that holds no key."""
    configured("certs", config.table("certs"))


def fetched_keys(
    fetched: Mapping[str, Fetched], name: str, url: str, kid: str | None, read: Callable[[bytes], Keys]
) -> Keys | Fetch:
    """The keys behind `url`, or what is to be fetched first; once more where `kid` is not among them. Raises
    `Unproven` where they cannot be had."""
    first = _answer(fetched, name, url, KEEP_S, read)
    if not isinstance(first, tuple) or any(key.kid is None or key.kid == kid for key in first):
        return first
    return _answer(fetched, f"{name}-again", url, AGAIN_S, read)


def discovered(fetched: Mapping[str, Fetched], issuer: str) -> str | Fetch:
    """Where an OpenID issuer has its keys. The issuer comes from the configuration, never from a token. Raises
    `Unproven` where that cannot be had."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    found = fetched.get(DISCOVERY)
    if found is None:
        return Fetch(DISCOVERY, url, keep_s=KEEP_S)
    try:
        document = parse_object(found.body) if found.status == 200 else {}
    except BodyError:
        document = {}
    keys_url = document.get("jwks_uri")
    # OpenID Connect Discovery, 4.3: the issuer it names must be the very one that was asked.
    if document.get("issuer") != issuer or not isinstance(keys_url, str) or not is_https(keys_url):
        raise Unproven("key_unavailable", "the issuer's openid-configuration could not be used", status=503)
    return keys_url


def is_https(url: str) -> bool:
    """Whether it is an https URL with a host and without a user."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _answer(
    fetched: Mapping[str, Fetched], name: str, url: str, keep_s: float, read: Callable[[bytes], Keys]
) -> Keys | Fetch:
    found = fetched.get(name)
    if found is None:
        return Fetch(name, url, keep_s=keep_s)
    why = f"status {found.status}"
    if found.status == 200:
        try:
            return read(found.body)
        except KeysError as error:
            why = str(error)
    # Not the sender's fault: let him come again.
    raise Unproven("key_unavailable", f"the keys could not be had: {why}"[:300], status=503)


def _of_jwk(jwk: Mapping[str, Any]) -> list[Key]:
    kid, algorithm, uses = jwk.get("kid"), jwk.get("alg"), jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (isinstance(uses, list) and "verify" not in uses):
        return []
    # A secret (`oct`) has no place in a set that is published.
    if not (kid is None or isinstance(kid, str)) or algorithm not in (None, *ALGORITHMS):
        return []
    try:
        material = _material(jwk)
    except ValueError:
        return []
    return [] if material is None else [Key(material, kid, algorithm)]


def _material(jwk: Mapping[str, Any]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    kind = jwk.get("kty")
    if kind == "RSA":
        n, e = _bytes(jwk, "n"), _bytes(jwk, "e")
        if not 256 <= len(n) <= 1024 or not 0 < len(e) <= 8:
            return None
        return rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()
    if kind == "EC":
        curve, size = _EC_CURVES.get(str(jwk.get("crv")), ("", 0))
        x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
        if not curve or not len(x) == len(y) == size:
            return None
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), getattr(ec, curve)()
        )
        return numbers.public_key()
    if kind == "OKP" and jwk.get("crv") == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x"))
    return None


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    found = from_base64url(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(name)
    return found
