"""Tokens: what is read, whose signature counts, what the claims must say; against PyJWT, both ways."""

from __future__ import annotations

import hashlib
import hmac
import json

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.verifiers.made_certificates import NOW_S, key, public_pem
from tests.core.verifiers.made_tokens import part, token

from hookline.core.verifiers import jwt
from hookline.core.verifiers.request_parts import Unproven

SECRET = b"a shared secret of some length.."
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"iss": "https://id.example", "aud": "hook", "iat": NOW_S - 10, "exp": NOW_S + 600, "sub": "s"}
EXPECTED = jwt.Expected(("https://id.example",), ("hook",), issued=True)
HMAC_KEYS = (jwt.Key(SECRET),)


def reason_of(text, keys=HMAC_KEYS, algorithms=("HS256",), expected=EXPECTED, now_s=NOW_S):
    """Why a token is refused; empty where it is good."""
    try:
        read = jwt.read(text)
        jwt.check_claims(read.claims, expected, now_s)
        jwt.check_signature(read, keys, algorithms)
    except Unproven as error:
        return error.refused.reason
    return ""


def rsa_keys(kid="k1"):
    return (jwt.Key(key("google").public_key(), kid),)


def test_good_token_passes():
    """A token with the right claims, signed with the right key, is good."""
    assert reason_of(token(HEADER, CLAIMS, SECRET)) == ""
    good = token({"alg": "RS256", "kid": "k1"}, CLAIMS, "google")
    assert reason_of(good, rsa_keys(), ("RS256",)) == ""


def confused(secret: bytes) -> str:
    return token({"alg": "HS256", "kid": "k1"}, CLAIMS, secret)


RS = {"alg": "RS256", "kid": "k1"}
NO_EXP = {name: value for name, value in CLAIMS.items() if name != "exp"}
FORGED = {
    "not signed, none": token({"alg": "none", "kid": "k1"}, CLAIMS, None),
    "not signed, NoNe": token({"alg": "NoNe", "kid": "k1"}, CLAIMS, None),
    "not signed, said to be": token(RS, CLAIMS, None),
    "none with a signature": token({"alg": "none", "kid": "k1"}, CLAIMS, "google"),
    "no alg": token({"kid": "k1"}, CLAIMS, "google"),
    "alg is a list": token({"alg": ["RS256"], "kid": "k1"}, CLAIMS, "google"),
    "alg in lower case": token({"alg": "rs256", "kid": "k1"}, CLAIMS, "google"),
    "another alg of the same key": token({"alg": "RS512", "kid": "k1"}, CLAIMS, "google"),
    "HS256 with the public key": confused(public_pem("google").encode()),
    "HS256 with the public key, trimmed": confused(public_pem("google").strip().encode()),
    "HS256 with an empty key": confused(b""),
    "another key of the same kind": token(RS, CLAIMS, "stranger"),
    "kid of a path": token({"alg": "RS256", "kid": "../../dev/null"}, CLAIMS, "google"),
    "kid of a query": token({"alg": "RS256", "kid": "x' UNION SELECT 'k1"}, CLAIMS, "google"),
    "kid of a URL": token({"alg": "RS256", "kid": "https://evil.example/jwks"}, CLAIMS, "stranger"),
    "kid is an object": token({"alg": "RS256", "kid": {"k1": 1}}, CLAIMS, "google"),
    "kid is a number": token({"alg": "RS256", "kid": 1}, CLAIMS, "google"),
    "jku of a stranger": token({**RS, "jku": "https://evil.example/jwks"}, CLAIMS, "stranger"),
    "x5u of a stranger": token({**RS, "x5u": "https://evil.example/cert"}, CLAIMS, "stranger"),
    "jwk of a stranger": token({**RS, "jwk": {"kty": "oct", "k": "AA"}}, CLAIMS, "stranger"),
    "crit": token({**RS, "crit": ["exp"]}, CLAIMS, "google"),
    "crit, empty": token({**RS, "crit": []}, CLAIMS, "google"),
    "b64": token({**RS, "b64": False}, CLAIMS, "google"),
    "no exp": token(RS, NO_EXP, "google"),
    "exp is null": token(RS, {**CLAIMS, "exp": None}, "google"),
    "exp is a text": token(RS, {**CLAIMS, "exp": str(NOW_S + 600)}, "google"),
    "exp is true": token(RS, {**CLAIMS, "exp": True}, "google"),
    "exp in ms": token(RS, {**CLAIMS, "exp": (NOW_S + 600) * 1000}, "google"),
    "exp past all numbers": token(RS, {**CLAIMS, "exp": 10**400}, "google"),
    "exp now": token(RS, {**CLAIMS, "exp": NOW_S}, "google"),
    "exp past": token(RS, {**CLAIMS, "exp": NOW_S - 1}, "google"),
    "nbf to come": token(RS, {**CLAIMS, "nbf": NOW_S + 300}, "google"),
    "iat to come": token(RS, {**CLAIMS, "iat": NOW_S + 300}, "google"),
    "no iat": token(RS, {name: value for name, value in CLAIMS.items() if name != "iat"}, "google"),
    "another iss": token(RS, {**CLAIMS, "iss": "https://id.example.evil"}, "google"),
    "iss with a slash": token(RS, {**CLAIMS, "iss": "https://id.example/"}, "google"),
    "iss is a list": token(RS, {**CLAIMS, "iss": ["https://id.example"]}, "google"),
    "no aud": token(RS, {name: value for name, value in CLAIMS.items() if name != "aud"}, "google"),
    "another aud": token(RS, {**CLAIMS, "aud": "hook2"}, "google"),
    "aud of others": token(RS, {**CLAIMS, "aud": ["a", "b"]}, "google"),
    "aud is an object": token(RS, {**CLAIMS, "aud": {"hook": 1}}, "google"),
    "two parts": token(RS, CLAIMS, "google").rpartition(".")[0],
    "four parts": token(RS, CLAIMS, "google") + ".AA",
    "five parts, encrypted": ".".join([part({"alg": "dir", "enc": "A128GCM"}), "", "AA", "AA", "AA"]),
    "empty": "",
    "points alone": "..",
    "padded": token(RS, CLAIMS, "google") + "==",
    "with a line": token(RS, CLAIMS, "google").replace(".", ".\n", 1),
    "in the other alphabet": token(RS, {**CLAIMS, "x": "ÿþ?>"}, "google").replace("-", "+").replace("_", "/") + "+",
    "header is a list": token([RS], CLAIMS, "google"),
    "claims are a text": token(RS, "claims", "google"),
    "claims in UTF-16": token(RS, json.dumps(CLAIMS).encode("utf-16"), "google"),
    "claims with NaN": token(RS, json.dumps({**CLAIMS, "x": float("nan")}).encode(), "google"),
    "too long": token(RS, {**CLAIMS, "x": "y" * 20_000}, "google"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_tokens_are_refused(name):
    """None of the known ways to forge a token leads to a good one."""
    assert reason_of(FORGED[name], rsa_keys(), ("RS256",)) != ""


def test_changed_token_is_refused():
    """Whichever character of a good token is changed, it is refused."""
    good = token(RS, CLAIMS, "google")
    for at in range(0, len(good), 7):
        other = "A" if good[at] != "A" else "B"
        assert reason_of(good[:at] + other + good[at + 1 :], rsa_keys(), ("RS256",)) != "", at


def test_secret_is_no_public_key_and_the_other_way():
    """Even where both kinds of algorithms are accepted, bytes check HMACs and public keys check signatures only."""
    both = ("HS256", "RS256")
    assert reason_of(confused(public_pem("google").encode()), rsa_keys(), both) == "wrong_signature"
    assert reason_of(token(RS, CLAIMS, "google"), HMAC_KEYS, both) == "wrong_signature"


def test_key_of_one_algorithm():
    """A key that is for one algorithm (a JWK's `alg`) checks no other."""
    keys = (jwt.Key(key("google").public_key(), "k1", "RS512"),)
    assert reason_of(token(RS, CLAIMS, "google"), keys, ("RS256", "RS512")) == "wrong_signature"


def test_token_without_a_name_may_use_the_only_key():
    """Without `kid` a token is held against the only key there is; of several none is chosen for it."""
    unnamed = token({"alg": "RS256"}, CLAIMS, "google")
    assert reason_of(unnamed, rsa_keys(), ("RS256",)) == ""
    two = (*rsa_keys("k1"), jwt.Key(key("stranger").public_key(), "k2"))
    assert reason_of(unnamed, two, ("RS256",)) == "untrusted_key"
    assert reason_of(token(RS, CLAIMS, "google"), two, ("RS256",)) == ""


@pytest.mark.parametrize(
    ("claims", "leeway_s", "early_s", "good"),
    [
        ({"exp": NOW_S + 1}, 0, 0, True),
        ({"exp": NOW_S}, 0, 0, False),
        ({"exp": NOW_S}, 1, 0, True),
        ({"exp": NOW_S - 1}, 1, 0, False),
        ({"exp": NOW_S + 0.5}, 0, 0, True),
        ({"exp": NOW_S + 86_400}, 0, 0, True),
        ({"exp": NOW_S + 86_401}, 0, 0, False),
        ({"exp": NOW_S + 1, "iat": NOW_S + 1}, 0, 0, False),
        ({"exp": NOW_S + 1, "iat": NOW_S + 1}, 0, 1, True),
        ({"exp": NOW_S + 1, "nbf": NOW_S}, 0, 0, True),
        ({"exp": NOW_S + 1, "nbf": NOW_S + 2}, 0, 1, False),
    ],
)
def test_times_of_a_token(claims, leeway_s, early_s, good):
    """It must have begun and not have ended, each within its leeway, and end within a day."""
    expected = jwt.Expected(leeway_s=leeway_s, early_s=early_s)
    assert (reason_of(token(HEADER, claims, SECRET), expected=expected) == "") is good


PRIVATE = {
    **{f"HS{bits}": SECRET * 2 for bits in (256, 384, 512)},
    **{f"{family}{bits}": key("google") for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def checking(algorithm):
    private = PRIVATE[algorithm]
    return (jwt.Key(private if isinstance(private, bytes) else private.public_key()),)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_pyjwt_signs_and_we_accept(algorithm):
    """What PyJWT signs is good for us with the same key and algorithm, and with no other algorithm."""
    made = pyjwt.encode(CLAIMS, PRIVATE[algorithm], algorithm)
    assert reason_of(made, checking(algorithm), (algorithm,)) == ""
    others = tuple(one for one in PRIVATE if one != algorithm)
    assert reason_of(made, checking(algorithm), others) == "wrong_signature"
    broken = made[:-8] + ("AAAAAAAA" if made[-8:] != "AAAAAAAA" else "BBBBBBBB")
    assert reason_of(broken, checking(algorithm), (algorithm,)) != ""


def test_new_name_of_ed25519():
    """`Ed25519` (RFC 9864) is what `EdDSA` means, where it is expected."""
    signed = f"{part({'alg': 'Ed25519'})}.{part(CLAIMS)}"
    made = f"{signed}.{part(PRIVATE['EdDSA'].sign(signed.encode()))}"
    assert reason_of(made, checking("EdDSA"), ("Ed25519",)) == ""
    assert reason_of(made, checking("EdDSA"), ("EdDSA",)) == "wrong_signature"


def test_example_of_rfc_7515():
    """The HS256 example of RFC 7515 (A.1) has the signature that is published with it."""
    text = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
        "LmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    from hookline.core.verifiers.encoded import from_base64url

    keys = (jwt.Key(from_base64url(secret)),)
    assert reason_of(text, keys, expected=jwt.Expected(("joe",)), now_s=1_300_819_000) == ""
    assert reason_of(text, keys, expected=jwt.Expected(("joe",)), now_s=1_300_819_380) == "stale"


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=200),
        st.builds(lambda a, b, c: f"{part(a)}.{part(b)}.{part(c)}", st.binary(), st.binary(), st.binary()),
        st.builds(
            lambda header, claims: token(header, claims, SECRET),
            st.fixed_dictionaries(
                {"alg": st.sampled_from(["HS256", "none", "RS256", 1])},
                optional={"kid": st.one_of(st.none(), st.text(), st.integers()), "crit": st.just([])},
            ),
            st.dictionaries(
                st.sampled_from(["exp", "nbf", "iat", "iss", "aud"]),
                st.recursive(
                    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
                    lambda inner: st.lists(inner, max_size=3),
                    max_leaves=4,
                ),
            ),
        ),
    )
)
def test_nothing_but_a_refusal(text):
    """Whatever a token is, reading and judging it ends with a verdict."""
    reason_of(text)


def test_hmac_is_held_in_constant_time_over_bytes():
    """A signature of another length than the algorithm's is no match."""
    signed = f"{part(HEADER)}.{part(CLAIMS)}"
    whole = hmac.new(SECRET, signed.encode(), hashlib.sha256).digest()
    assert reason_of(f"{signed}.{part(whole)}") == ""
    for other in (whole[:16], whole + b"\0", b""):
        assert reason_of(f"{signed}.{part(other)}") != ""
