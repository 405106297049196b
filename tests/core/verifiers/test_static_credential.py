"""Senders that sign nothing: each configured way, and that nothing wrong is passed over for something else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.core.verifiers.signed_requests import NOW_S, is_valid, reason

from hookline.core.verifiers.custom import custom
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Verdict

BASIC = {"username": "user", "password": "pass:word"}


def basic(text: str, scheme: str = "Basic") -> dict[str, str]:
    """A header of HTTP Basic."""
    return {"Authorization": f"{scheme} {base64.b64encode(text.encode()).decode()}"}


def post(name: str, config: dict[str, Any], headers: Any = (), query: str = "", method: str = "POST") -> Verdict:
    """What a preset says of a request."""
    request = Inbound.of(method, f"https://h.example/in/{name}{query}", headers, b"{}")
    return judge(preset(name), request, config, NOW_S)


@pytest.mark.parametrize("name", ["okta", "auth0", "zapier"])
def test_a_header_has_the_secret_verbatim(name):
    """In Authorization, or in the header that is configured."""
    assert is_valid(post(name, {"secret": "Token s3"}, {"Authorization": "Token s3"}))
    assert is_valid(post(name, {"secret": ["old", "s3"], "header": "X-Hook-Key"}, {"x-hook-key": "s3"}))
    for value in ("s4", "S3", "s3 x", "", "s", "s33", "Bearer s4", "é", "\xff"):
        config = {"secret": "s3", "header": "X-Hook-Key"}
        assert reason(post(name, config, {"X-Hook-Key": value})) == "wrong_credential"
    assert reason(post(name, {"secret": "s3", "header": "X-Hook-Key"}, {"Authorization": "s3"})) == "missing_signature"
    twice = [("Authorization", "s3"), ("authorization", "s3")]
    assert reason(post(name, {"secret": "s3"}, twice)) == "missing_signature"


@pytest.mark.parametrize("name", ["okta", "auth0", "zapier", "chargebee"])
def test_basic_credentials_are_compared_whole(name):
    """Username and password, in UTF-8, of which the password may have colons."""
    assert is_valid(post(name, BASIC, basic("user:pass:word")))
    assert is_valid(post(name, BASIC, basic("user:pass:word", "bAsIc")))
    assert is_valid(post(name, {**BASIC, "password": ["old", "pass:word"]}, basic("user:pass:word")))
    assert is_valid(post(name, {"username": "ü", "password": "ß"}, basic("ü:ß")))
    for text in ("user:pass", "user:pass:word ", "User:pass:word", ":pass:word", "user:", "user:pass:wordx"):
        assert reason(post(name, BASIC, basic(text))) == "wrong_credential"
    for header in (
        "",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic dXNlcg==",
        "Bearer x",
        basic("user:pass:word")["Authorization"][:-1],
    ):
        assert reason(post(name, BASIC, {"Authorization": header})) in ("malformed_signature", "wrong_credential")
    assert reason(post(name, BASIC)) == "missing_signature"
    assert reason(post(name, {"username": "user"}, basic("user:pass:word"))) == "not_configured"
    assert reason(post(name, {"password": "pass:word"}, basic("user:pass:word"))) == "not_configured"
    assert reason(post(name, BASIC, [*basic("user:pass:word").items()] * 2)) == "missing_signature"


def test_chargebee_may_have_a_key_in_the_url():
    """Alone or beside Basic; what came must be right, in both places."""
    assert is_valid(post("chargebee", {"secret": "k 1"}, query="?a=b&key=k%201"))
    for query in ("?key=k2", "?key=", "?KEY=k1", "", "?key=k1&key=k1", "?key=%FF"):
        assert reason(post("chargebee", {"secret": "k1"}, query=query))
    both = {**BASIC, "secret": "k1"}
    assert is_valid(post("chargebee", both, query="?key=k1"))
    assert is_valid(post("chargebee", both, basic("user:pass:word")))
    assert is_valid(post("chargebee", both, basic("user:pass:word"), query="?key=k1"))
    assert reason(post("chargebee", both, basic("user:pass:word"), query="?key=k2")) == "wrong_credential"
    assert reason(post("chargebee", both, basic("user:x"), query="?key=k1")) == "wrong_credential"
    assert reason(post("chargebee", both)) == "missing_signature"
    assert reason(post("chargebee", {}, query="?key=k1")) == "not_configured"


def test_ifttt_brings_its_service_key():
    """Also when it asks how the service is; the answers are of its shape."""
    config, good = {"service_key": "sk"}, {"IFTTT-Service-Key": "sk"}
    assert is_valid(post("ifttt", config, good))
    assert post("ifttt", config, good, method="GET") == Handshake(200)
    setup = post("ifttt", config, good, "/ifttt/v1/test/setup")
    assert setup == Handshake(200, b'{"data":{"samples":{}}}', (("content-type", "application/json"),))
    for headers in ({}, {"IFTTT-Service-Key": "SK"}, {"IFTTT-Service-Key": ""}, {"Authorization": "Bearer sk"}):
        for method in ("GET", "POST"):
            assert reason(post("ifttt", config, headers, method=method))
    assert preset("ifttt").refusal is not None
    assert '{"errors":[{"message":' in (preset("ifttt").refusal.body or "")


def test_zapier_may_write_bearer_before_its_token():
    """Or not."""
    for header in ("tok", "Bearer tok", "bearer tok"):
        assert is_valid(post("zapier", {"secret": "tok"}, {"Authorization": header}))
    for header in ("Token tok", "Bearer", "Bearer ", "Bearer tokk", "tok Bearer"):
        assert reason(post("zapier", {"secret": "tok"}, {"Authorization": header}))
    assert is_valid(post("zapier", {"secret": "Bearer tok"}, {"Authorization": "Bearer tok"}))
    for name in ("okta", "auth0"):
        assert reason(post(name, {"secret": "tok"}, {"Authorization": "Bearer tok"})) == "wrong_credential"


def test_cloudevents_bring_a_token_in_the_header_or_in_the_url():
    """A wrong one in either place refuses."""
    config = {"access_token": ["t0", "t1"]}
    good = {"Authorization": "Bearer t1"}
    assert is_valid(post("cloudevents", config, good))
    assert is_valid(post("cloudevents", config, query="?access_token=t1"))
    assert is_valid(post("cloudevents", config, good, "?access_token=t0"))
    assert reason(post("cloudevents", config, good, "?access_token=t2")) == "wrong_credential"
    assert reason(post("cloudevents", config, {"Authorization": "Bearer t2"}, "?access_token=t1")) == "wrong_credential"
    assert reason(post("cloudevents", config, {"Authorization": "t1"})) == "malformed_signature"
    assert reason(post("cloudevents", config, {"Authorization": "Basic t1"})) == "malformed_signature"
    assert reason(post("cloudevents", config)) == "missing_signature"
    assert reason(post("cloudevents", {"allowed_origins": "*"}, good)) == "not_configured"


@pytest.mark.parametrize("secret", ["pässwörd", "日本", "\x7f", "a" * 16_000])
def test_a_credential_may_have_any_characters(secret):
    """It travels in UTF-8 or, from older senders, in latin-1."""
    for encoding in ("utf-8", "latin-1"):
        try:
            value = secret.encode(encoding).decode("latin-1")
        except UnicodeEncodeError:
            continue
        assert is_valid(post("okta", {"secret": secret}, {"Authorization": value}))


# ------------------------------------------------------------------------------------------------ one's own schemes


def own(spec: dict[str, Any], config: dict[str, Any], headers: Any = (), query: str = "") -> str:
    """Why one's own scheme refuses."""
    request = Inbound.of("POST", f"https://h.example/in/own{query}", headers, b"{}")
    return reason(judge(custom(spec), request, config, NOW_S))


def test_a_scheme_of_a_text_in_a_header_or_in_the_url():
    """An API key where it is said to be."""
    header = {"scheme": "static", "header": "X-API-Key"}
    assert own(header, {"secret": "k"}, {"x-api-key": "k"}) == ""
    assert own(header, {"secret": "k"}, {"x-api-key": "K"}) == "wrong_credential"
    assert own(header, {"secret": "k"}, {"authorization": "k"}) == "missing_signature"
    query = {"scheme": "static", "query": "token"}
    assert own(query, {"secret": "k"}, query="?token=k") == ""
    assert own(query, {"secret": "k"}, {"token": "k"}) == "missing_signature"
    either = {**header, "query": "token"}
    assert own(either, {"secret": "k"}, {"x-api-key": "k"}, "?token=x") == "wrong_credential"


def test_schemes_of_bearer_and_basic():
    """By the same code as the presets'."""
    assert own({"scheme": "bearer"}, {"secret": "t"}, {"Authorization": "Bearer t"}) == ""
    assert own({"scheme": "bearer"}, {"secret": "t"}, {"Authorization": "t"}) == "malformed_signature"
    assert own({"scheme": "bearer", "header": "X-Token"}, {"secret": "t"}, {"X-Token": "Bearer t"}) == ""
    assert own({"scheme": "basic"}, BASIC, basic("user:pass:word")) == ""
    assert own({"scheme": "basic"}, BASIC) == "missing_signature"
    assert own({"scheme": "basic"}, {}, basic("user:pass:word")) == "not_configured"


def test_the_scheme_of_no_proof_believes_anybody():
    """It must be said, and needs nothing."""
    assert own({"scheme": "none"}, {}) == ""
    assert custom({"scheme": "none"}).keys == ()
