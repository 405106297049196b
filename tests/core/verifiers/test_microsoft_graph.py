"""Microsoft Graph: the question about the address, clientState of every item, tokens of rich notifications."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from tests.core.verifiers.made_certificates import NOW_S, key, public_pem
from tests.core.verifiers.made_tokens import token
from tests.core.verifiers.recorded import Recorded, read, reason, said, settled

from hookline.core.verifiers import microsoft_graph
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Fetch, Fetched, Handshake, Refused, Verified

REAL = Recorded("microsoft_graph")
STATE = "SecretClientState"
APP = "925bff9f-f6e2-4a69-b858-f71ea2b9b6d0"
TENANT = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
ITEM = {
    "id": "lsgTZMr9KwAAA",
    "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
    "clientState": STATE,
    "changeType": "created",
    "resource": "users/x/messages/AAMk",
}
URL = "https://h.example/in/g"


def notification(*items, url=URL, **more):
    return Inbound.of("POST", url, {"content-type": "application/json"}, json.dumps({"value": items, **more}).encode())


def judged(request, now_s=NOW_S, **config):
    merged = {"client_state": STATE, **config}
    return said("microsoft_graph", request, {name: one for name, one in merged.items() if one is not None}, now_s)


def test_recorded_question():
    """The question about the address is answered with its decoded text, as plain text, which no browser runs."""
    answer = REAL.judged()
    assert isinstance(answer, Handshake)
    assert (answer.status, answer.body.decode()) == (200, REAL.expected["expected_response"]["body"])
    assert dict(answer.headers) == {"content-type": "text/plain", "x-content-type-options": "nosniff"}


def test_questions_that_are_none():
    """A question twice, or too long, is refused; with a body it is a notification, and judged as such."""
    assert isinstance(judged(Inbound.of("POST", f"{URL}?validationToken=a&validationToken=b", {}, b"")), Refused)
    assert isinstance(judged(Inbound.of("POST", f"{URL}?validationToken={'a' * 5000}", {}, b"")), Refused)
    with_question = f"{URL}?validationToken=x"
    assert isinstance(judged(notification(ITEM, url=with_question)), Verified)
    assert reason(judged(notification({**ITEM, "clientState": "x"}, url=with_question))) == "wrong_credential"


WITHOUT = {name: value for name, value in ITEM.items() if name != "clientState"}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (notification(ITEM), ""),
        (notification(ITEM, ITEM), ""),
        (notification({**ITEM, "clientState": "other"}), "wrong_credential"),
        (notification({**ITEM, "clientState": STATE.lower()}), "wrong_credential"),
        (notification({**ITEM, "clientState": STATE + " "}), "wrong_credential"),
        (notification({**ITEM, "clientState": ""}), "wrong_credential"),
        (notification(WITHOUT), "missing_signature"),
        (notification({**ITEM, "clientState": None}), "missing_signature"),
        (notification({**ITEM, "clientState": [STATE]}), "missing_signature"),
        (notification(ITEM, WITHOUT), "missing_signature"),
        (notification(ITEM, {**ITEM, "clientState": "other"}), "wrong_credential"),
        (notification({**ITEM, "clientState": "other"}, ITEM), "wrong_credential"),
        (notification("text"), "missing_signature"),
        (notification(), "malformed_body"),
        (Inbound.of("POST", URL, {}, b'{"value":{"clientState":"SecretClientState"}}'), "malformed_body"),
        (Inbound.of("POST", URL, {}, b'{"clientState":"SecretClientState"}'), "malformed_body"),
        (Inbound.of("POST", URL, {}, b"[]"), "malformed_body"),
        (Inbound.of("POST", URL, {}, b""), "malformed_body"),
        (Inbound.of("POST", URL, {}, b"\xff"), "malformed_body"),
    ],
)
def test_state_of_every_item(request_, why):
    """Every item must have the configured state; one that has not refuses the whole request."""
    assert reason(judged(request_)) == why


def test_configuration():
    """The state is needed; of several any counts, for each item its own."""
    assert reason(judged(notification(ITEM), client_state=None)) == "not_configured"
    both = notification(ITEM, {**ITEM, "clientState": "two"})
    assert isinstance(judged(both, client_state=[STATE, "two"]), Verified)


# --------------------------------------------------------------------------------------------------------- tokens

HEADER = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
CLAIMS = {
    "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "tid": TENANT,
    "aud": APP,
    "azp": microsoft_graph.GRAPH,
    "iat": NOW_S - 60,
    "nbf": NOW_S - 60,
    "exp": NOW_S + 3600,
}
RICH = {**ITEM, "encryptedContent": {"data": "AAAA", "dataKey": "AAAA", "dataSignature": "AAAA"}}
CERTS = {"k1": public_pem("microsoft")}


def claims(header=HEADER, by="microsoft", drop=(), **changes):
    return token(header, {name: one for name, one in {**CLAIMS, **changes}.items() if name not in drop}, by)


VERSION_1 = claims(iss=f"https://sts.windows.net/{TENANT}/", drop=["azp"], appid=microsoft_graph.GRAPH)


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ([claims()], ""),
        ([VERSION_1], ""),
        ([claims(), VERSION_1], ""),
        ([], "missing_signature"),
        (None, "missing_signature"),
        ("text", "missing_signature"),
        ([None], "malformed_signature"),
        ([""], "malformed_signature"),
        ([claims(aud="another")], "wrong_recipient"),
        ([claims(), claims(aud="another")], "wrong_recipient"),
        ([claims(azp="another")], "wrong_recipient"),
        ([claims(drop=["azp"])], "wrong_recipient"),
        ([claims(appid="another")], "wrong_recipient"),
        ([claims(iss="https://login.microsoftonline.com/common/v2.0")], "wrong_recipient"),
        ([claims(iss=f"https://login.microsoftonline.com.evil.com/{TENANT}/v2.0")], "wrong_recipient"),
        ([claims(iss=f"https://evil.com/https://login.microsoftonline.com/{TENANT}/v2.0")], "wrong_recipient"),
        ([claims(iss=None)], "wrong_recipient"),
        ([claims(tid="00000000-0000-0000-0000-000000000000")], "wrong_recipient"),
        ([claims(exp=NOW_S)], "stale"),
        ([claims(drop=["exp"])], "stale"),
        ([claims(nbf=NOW_S + 120)], "stale"),
        ([claims(by="stranger")], "wrong_signature"),
        ([claims(header={**HEADER, "kid": "k2"})], "untrusted_key"),
        ([claims(header={**HEADER, "alg": "HS256"}, by=public_pem("microsoft").encode())], "wrong_signature"),
    ],
)
def test_tokens_of_rich_notifications(tokens, why):
    """Where `audience` is configured, resource data must come with tokens that Graph made for this app, all good."""
    assert reason(judged(notification(RICH, validationTokens=tokens), audience=APP, certs=CERTS)) == why


def test_tokens_are_asked_for_only_where_the_app_is_configured():
    """Without `audience` the state is the proof; with it, basic notifications need no token, but a bad one refuses."""
    assert isinstance(judged(notification(RICH)), Verified)
    assert isinstance(judged(notification(RICH, validationTokens=["bad"])), Verified)
    assert isinstance(judged(notification(ITEM), audience=APP), Verified)
    assert isinstance(judged(notification(ITEM, validationTokens=["bad"]), audience=APP), Refused)
    assert reason(judged(notification({**RICH, "clientState": "x"}, validationTokens=[claims()]), audience=APP)) == (
        "wrong_credential"
    )


def test_keys_are_fetched():
    """Microsoft's keys are fetched from where they are, once for all tokens."""
    jwk = {**json.loads(RSAAlgorithm.to_jwk(key("microsoft").public_key())), "kid": "k1", "use": "sig"}
    web = {microsoft_graph.KEYS_URL: Fetched(200, json.dumps({"keys": [jwk]}).encode())}
    request = notification(RICH, validationTokens=[claims(), VERSION_1])
    verdict, asked = settled("microsoft_graph", request, {"client_state": STATE, "audience": APP}, NOW_S, web)
    assert isinstance(verdict, Verified)
    assert asked == [Fetch(microsoft_graph.KEYS, microsoft_graph.KEYS_URL, keep_s=3600.0)]


def test_reading():
    """Each item is an event: its change or lifecycle event, its id where it has one; the answer is 202."""
    life = {"subscriptionId": "s", "clientState": STATE, "lifecycleEvent": "missed"}
    one, two = read("microsoft_graph", notification(ITEM, life))
    assert (one.type, one.id, one.subject) == ("created", ITEM["id"], ITEM["resource"])
    assert (two.type, two.id) == ("missed", "")
    assert json.loads(one.data) == ITEM
    assert preset("microsoft_graph").reply.status == 202


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(STATE),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["value", "clientState", "validationTokens", "encryptedContent"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_json(value):
    """Whatever JSON comes, there is a verdict, and a good one only with the state in every item."""
    request = Inbound.of("POST", URL, {"content-type": "application/json"}, json.dumps(value).encode())
    if isinstance(judged(request, audience=APP, certs=CERTS), Verified):
        assert all(item["clientState"] == STATE for item in value["value"])
