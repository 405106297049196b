"""A token of an identity provider, as one's own scheme."""

from __future__ import annotations

import json

import pytest
from jwt.algorithms import RSAAlgorithm
from tests.core.verifiers.made_certificates import NOW_S, key, public_pem
from tests.core.verifiers.made_tokens import token

from hookline.core.verifiers import bearer
from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verified

ISSUER = "https://id.example"
CLAIMS = {"iss": ISSUER, "aud": "hook", "exp": NOW_S + 600, "azp": "caller"}
RS = {"alg": "RS256", "kid": "k1"}
JWK = {**json.loads(RSAAlgorithm.to_jwk(key("google").public_key())), "kid": "k1"}
GOOD = token(RS, CLAIMS, "google")
BASE = {"issuer": ISSUER, "audience": "hook"}
PINNED = {**BASE, "keys": {"k1": public_pem("google")}}


def judged(config, text=GOOD, fetched=None, header="Authorization", scheme="Bearer "):
    request = Inbound.of("POST", "https://h.example/in/x", {header: scheme + text}, b"{}")
    return bearer.verify(request, Config(config), NOW_S, fetched or {})


@pytest.mark.parametrize(
    "config",
    [
        PINNED,
        {**BASE, "keys": {"keys": [JWK]}},
        {**BASE, "keys": {"keys": [JWK]}, "algorithms": ["RS256", "ES256"]},
        {**PINNED, "issuer": ["https://other.example", ISSUER], "audience": ["x", "hook"]},
        {**PINNED, "claims": {"azp": "caller"}},
        {**PINNED, "leeway": 30, "ttl_s_max": 600},
    ],
)
def test_good_token(config):
    """A token of the issuer, for the audience, signed with a configured key, is good."""
    bearer.check(Config(config))
    assert isinstance(judged(config), Verified)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**PINNED, "issuer": "https://other.example"}, "wrong_recipient"),
        ({**PINNED, "audience": "another"}, "wrong_recipient"),
        ({**PINNED, "claims": {"azp": "somebody"}}, "wrong_recipient"),
        ({**PINNED, "claims": {"tenant": "x"}}, "wrong_recipient"),
        ({**PINNED, "algorithms": "ES256"}, "wrong_signature"),
        ({**PINNED, "keys": {"k2": public_pem("google")}}, "untrusted_key"),
        ({**PINNED, "keys": {"k1": public_pem("stranger")}}, "wrong_signature"),
        ({**PINNED, "ttl_s_max": 599}, "stale"),
        ({**BASE, "secret": public_pem("google"), "algorithms": ["HS256"]}, "wrong_signature"),
    ],
)
def test_token_that_is_not_good(config, why):
    """Another issuer, audience, claim, algorithm or key than configured refuses it."""
    verdict = judged(config)
    assert isinstance(verdict, Refused)
    assert verdict.reason == why


def test_secrets():
    """With secrets it is HS256, and any of them counts."""
    config = {**BASE, "secret": ["old", "new"]}
    bearer.check(Config(config))
    assert isinstance(judged(config, token({"alg": "HS256"}, CLAIMS, b"new")), Verified)
    assert isinstance(judged(config, token({"alg": "HS256"}, CLAIMS, b"older")), Refused)


def test_another_header():
    """The token may stand in a header of another name, alone or after its scheme."""
    config = {**PINNED, "header": "X-Goog-IAP-JWT-Assertion"}
    assert isinstance(judged(config, header="x-goog-iap-jwt-assertion", scheme=""), Verified)
    assert isinstance(judged(config, header="x-goog-iap-jwt-assertion"), Verified)
    assert isinstance(judged(config), Refused)
    assert isinstance(judged(PINNED, scheme="Basic "), Refused)
    assert isinstance(judged(PINNED, text="", scheme="Bearer"), Refused)


def test_keys_are_fetched():
    """From the configured set, or from where the issuer says that it is."""
    answer = Fetched(200, json.dumps({"keys": [JWK]}).encode())
    named = {**BASE, "jwks_url": "https://id.example/keys"}
    assert judged(named) == Fetch("jwks", "https://id.example/keys")
    assert isinstance(judged(named, fetched={"jwks": answer}), Verified)
    asked = judged(BASE)
    assert isinstance(asked, Fetch)
    assert asked.url == f"{ISSUER}/.well-known/openid-configuration"
    told = {
        "openid-configuration": Fetched(200, json.dumps({"issuer": ISSUER, "jwks_uri": "https://k.example"}).encode())
    }
    assert judged(BASE, fetched=told) == Fetch("jwks", "https://k.example")
    assert isinstance(judged(BASE, fetched={**told, "jwks": answer}), Verified)


def test_nothing_is_fetched_for_a_token_that_cannot_be_good():
    """A token of another issuer costs no fetch, and its `jku` is never asked."""
    named = {**BASE, "jwks_url": "https://id.example/keys"}
    bad = token({**RS, "jku": "https://evil.example"}, {**CLAIMS, "iss": "https://evil.example"}, "stranger")
    assert isinstance(judged(named, bad), Refused)


@pytest.mark.parametrize(
    ("config", "key_name"),
    [
        ({"audience": "a"}, "issuer"),
        ({"issuer": "https://i.example"}, "audience"),
        ({**BASE, "jwks_url": "http://id.example"}, "jwks_url"),
        ({**BASE, "issuer": "not a URL"}, "jwks_url"),
        ({**BASE, "issuer": [ISSUER, "https://two.example"]}, "jwks_url"),
        ({**BASE, "keys": {"keys": []}}, "keys"),
        ({**BASE, "keys": {"k": "no PEM"}}, "keys"),
        ({**BASE, "keys": "text"}, "keys"),
        ({**PINNED, "algorithms": "none"}, "algorithms"),
        ({**PINNED, "algorithms": ["HS256"]}, "algorithms"),
        ({**BASE, "secret": "s", "algorithms": ["RS256"]}, "algorithms"),
        ({**BASE, "secret": "s", "algorithms": ["HS256", "RS256"]}, "algorithms"),
        ({**PINNED, "claims": {"a": 1}}, "claims"),
        ({**PINNED, "leeway": -1}, "leeway"),
        ({**PINNED, "ttl_s_max": "long"}, "ttl_s_max"),
    ],
)
def test_configuration_that_cannot_be_used(config, key_name):
    """What is wrong with it is said when it is made, with the key."""
    with pytest.raises(ConfigError) as caught:
        bearer.check(Config(config))
    assert caught.value.key == key_name
