"""Keys of tokens: sets, PEM texts, what is fetched and when again."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from tests.core.verifiers.made_certificates import issued, key, pem, public_pem

from hookline.core.verifiers import jwt_keys
from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched

RSA_JWK = {**json.loads(RSAAlgorithm.to_jwk(key("google").public_key())), "kid": "k1", "use": "sig"}
URL = "https://id.example/keys"


def set_of(*jwks):
    return json.dumps({"keys": jwks}).encode()


def test_keys_of_every_kind():
    """RSA, the three curves and Ed25519 are read as PyJWT writes them."""
    privates = [
        key("google"),
        *(ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
        ed25519.Ed25519PrivateKey.generate(),
    ]
    writers = [RSAAlgorithm, ECAlgorithm, ECAlgorithm, ECAlgorithm, OKPAlgorithm]
    for private, writer in zip(privates, writers, strict=True):
        jwk = json.loads(writer.to_jwk(private.public_key()))
        (found,) = jwt_keys.keys_of_set(set_of({**jwk, "kid": "a"}))
        assert found.material == private.public_key()
        assert found.kid == "a"


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": RSA_JWK["n"][:100]},
        {"n": RSA_JWK["n"] + "=="},
        {"n": None},
        {"e": "AA"},
        {"kid": 1},
        {"alg": "none"},
        {"alg": "RSA-OAEP"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": ["RSA"]},
    ],
)
def test_what_is_no_signing_key_is_passed_over(changes):
    """A secret, a key for encryption, one too short or off its curve is not used; the others of the set are."""
    other = {**RSA_JWK, "kid": "k2"}
    found = jwt_keys.keys_of_set(set_of({**RSA_JWK, **changes}, "text", other))
    assert [one.kid for one in found] == ["k2"]


def test_small_rsa_key_is_passed_over():
    """An RSA key of 1024 bits is too short to be believed."""
    small = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    assert jwt_keys.keys_of_set(set_of({**small, "kid": "k"})) == ()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys":{}}', b"\xff", set_of(*[RSA_JWK] * 101)])
def test_what_is_no_set(body):
    """What is no set of at most 100 keys is an error that is known."""
    with pytest.raises(jwt_keys.KeysError):
        jwt_keys.keys_of_set(body)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["keys", "kty", "n", "e", "x", "y", "crv", "kid", "alg", "use", "RSA"]), inner
            )
            | st.lists(inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_set_or_none(value):
    """Whatever JSON a server answers, it is a set of keys or none."""
    try:
        jwt_keys.keys_of_set(json.dumps(value).encode())
    except jwt_keys.KeysError:
        pass


def test_map_of_pem_texts():
    """Google's form: names and certificates; public keys alone do as well."""
    body = json.dumps({"a": pem(issued("x", "google")), "b": public_pem("stranger")}).encode()
    found = jwt_keys.keys_of_pem_map(body)
    assert [one.kid for one in found] == ["a", "b"]
    assert found[0].material == key("google").public_key()
    for wrong in (b"[]", b'{"a":1}', b'{"a":"-----BEGIN CERTIFICATE-----"}', b'{"a":"key"}'):
        with pytest.raises(jwt_keys.KeysError):
            jwt_keys.keys_of_pem_map(wrong)
    with pytest.raises(ConfigError, match="certs has not a public key"):
        jwt_keys.configured("certs", {"a": "no PEM"})


def ask(fetched, kid="k1"):
    return jwt_keys.fetched_keys(fetched, "jwks", URL, kid, jwt_keys.keys_of_set)


def test_set_is_fetched_and_again_for_a_new_name():
    """A set is kept for an hour; a name it has not got is looked for once more, in a copy at most a minute old."""
    assert ask({}) == Fetch("jwks", URL, keep_s=3600.0)
    old = {"jwks": Fetched(200, set_of(RSA_JWK))}
    assert isinstance(ask(old), tuple)
    assert ask(old, "k2") == Fetch("jwks-again", URL, keep_s=60.0)
    new = {**old, "jwks-again": Fetched(200, set_of({**RSA_JWK, "kid": "k2"}))}
    found = ask(new, "k2")
    assert isinstance(found, tuple)
    assert [one.kid for one in found] == ["k2"]
    # A forger's name is not there either: no third fetch.
    assert isinstance(ask(new, "../../etc/passwd"), tuple)


@pytest.mark.parametrize("answer", [Fetched(0, b""), Fetched(500, b"{}"), Fetched(200, b"<html>"), Fetched(302, b"")])
def test_set_that_does_not_come(answer):
    """Keys that cannot be had are not the sender's fault: 503, so that he comes again."""
    with pytest.raises(Unproven) as caught:
        ask({"jwks": answer})
    assert (caught.value.refused.reason, caught.value.refused.status) == ("key_unavailable", 503)


def document(**changes):
    body = {"issuer": "https://id.example", "jwks_uri": "https://keys.example/set", **changes}
    return {jwt_keys.DISCOVERY: Fetched(200, json.dumps(body).encode())}


def test_issuer_says_where_its_keys_are():
    """The keys of an issuer are found by its openid-configuration."""
    found = jwt_keys.discovered({}, "https://id.example")
    assert isinstance(found, Fetch)
    assert found.url == "https://id.example/.well-known/openid-configuration"
    assert jwt_keys.discovered(document(), "https://id.example") == "https://keys.example/set"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://id.example.evil"},
        {"issuer": "https://id.example/"},
        {"jwks_uri": "http://keys.example/set"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user@keys.example/"},
        {"jwks_uri": "https:///x"},
        {"jwks_uri": "https://[::1"},
        {"jwks_uri": 7},
    ],
)
def test_issuer_that_says_wrong_things(changes):
    """A configuration of another issuer, or keys that are not at an https address, are not used."""
    with pytest.raises(Unproven):
        jwt_keys.discovered(document(**changes), "https://id.example")
    with pytest.raises(Unproven):
        jwt_keys.discovered({jwt_keys.DISCOVERY: Fetched(404, base64.b64encode(b"x"))}, "https://id.example")
