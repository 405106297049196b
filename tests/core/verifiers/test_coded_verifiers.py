"""The verifiers with code of their own, together: whatever arrives and however they are configured, there is a verdict
and no defect; a recorded delivery that is changed is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.verifiers.made_certificates import issued, pem, public_pem
from tests.core.verifiers.made_tokens import token
from tests.core.verifiers.recorded import Recorded, said, settled

from hookline.core.reading import check
from hookline.core.verifiers.config import Config, ConfigError
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import REASONS, Fetched, Refused

CODED = (
    "paypal",
    "aws_sns",
    "gcp_pubsub",
    "jira_connect",
    "twilio",
    "braintree",
    "salesforce",
    "hubspot",
    "microsoft_graph",
)
SIGNED = ("paypal", "aws_sns", "gcp_pubsub", "jira_connect", "twilio", "hubspot")
"""Those whose recorded delivery has a signature in a header or in its body."""
RECORDED = {name: Recorded(name) for name in CODED}

text = st.text(max_size=12)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.lists(text, max_size=3),
    st.dictionaries(text, text, max_size=2),
    st.sampled_from([pem(issued("x", "leaf")), public_pem("leaf"), "https://h.example/x", "v1", "v2", "live"]),
)
header_values = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=20),
    st.sampled_from(
        [
            token({"alg": "RS256", "kid": "k"}, {"exp": 2e9, "iss": "x", "aud": ["y"], "qsh": 1}, b"secret"),
            "JWT " + token({"alg": "HS256"}, {"exp": 1760000100, "iss": "x", "qsh": "y"}, b"secret"),
            "Bearer a.b.c",
            "SHA256withRSA",
            "https://api.paypal.com/v1/notifications/certs/CERT-1",
            "AAAA",
            "1760000000000",
            "2025-10-09T08:53:20Z",
            "key=x,algorithm=HMAC_SHA256",
            "application/x-www-form-urlencoded",
            "text/xml",
        ]
    ),
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.recursive(st.none() | st.integers() | text, lambda inner: st.lists(inner) | st.dictionaries(text, inner)).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from([one.body for one in RECORDED.values()]),
    st.sampled_from([b"bt_signature=a%7C00&bt_payload=AAAA", b'{"eventType":"installed","clientKey":1}', b"<a/>"]),
)
urls = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "https://h.example/in/x",
            "https://h.example:99999/in/x",
            "https://[::1/in/x",
            "https://h.example/?jwt=a.b.c",
            "https://h.example/?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53",
            "https://h.example/?validationToken=%ff",
            "https://h.example/?bodySHA256=00",
            "//",
            "?&&=&",
        ]
    ),
)


def names_of(provider):
    own = [name.lower() for name in RECORDED[provider].headers]
    return st.sampled_from([*own, "authorization", "content-type", "x-hubspot-signature", "x-amz-sns-rawdelivery"])


@st.composite
def arrivals(draw):
    """A preset, a request, a configuration, a time, and what was fetched."""
    provider = draw(st.sampled_from(CODED))
    one = preset(provider)
    headers = draw(st.lists(st.tuples(names_of(provider), header_values), max_size=8))
    kept = draw(st.booleans())
    if kept:
        headers += [(name.lower(), value) for name, value in RECORDED[provider].headers.items()]
    request = Inbound(draw(st.sampled_from(one.methods)), draw(urls), tuple(headers), draw(bodies))
    config = dict(RECORDED[provider].config) if draw(st.booleans()) else {}
    config.update(draw(st.dictionaries(st.sampled_from(one.keys), values, max_size=4)))
    now_s = draw(st.one_of(st.just(RECORDED[provider].now_s), st.floats(allow_nan=False), st.integers(0, 2**40)))
    names = [
        "paypal-certificate",
        "paypal-token",
        "paypal-judgement",
        "sns-certificate",
        "google-certs",
        "system-roots",
    ]
    answers = st.builds(Fetched, st.sampled_from([0, 200, 401]), st.one_of(bodies, st.just(b'{"access_token":"x"}')))
    return one, request, config, now_s, draw(st.dictionaries(st.sampled_from(names), answers))


@settings(max_examples=200)
@given(arrivals())
def test_always_a_verdict(arrival):
    """No request, configuration, time or answer from elsewhere makes a verifier raise anything but what it may."""
    one, request, config, now_s, fetched = arrival
    wrong_key, verdict = None, None
    try:
        verdict = one.verify(request, Config(config), now_s, fetched)
    except ConfigError as error:
        wrong_key = error.key
    assert wrong_key is None or wrong_key in one.keys
    if isinstance(verdict, Refused):
        assert verdict.reason in REASONS
        assert verdict.detail


@pytest.mark.parametrize("provider", CODED)
def test_recorded_delivery_is_valid_and_its_reading_is_sound(provider):
    """Every recorded delivery or question is valid at its time; the expressions of its reading can be read."""
    one = RECORDED[provider]
    assert not isinstance(one.judged(), Refused)
    check(preset(provider).reading)
    assert set(preset(provider).secrets) <= set(preset(provider).keys)


@pytest.mark.parametrize("provider", CODED)
def test_without_a_configuration_nothing_is_valid(provider):
    """Without a configuration nothing is proven (Graph's question has no secret, and is answered)."""
    one = RECORDED[provider]
    verdict = said(provider, one.request(), {}, one.now_s)
    if provider != "microsoft_graph":
        assert isinstance(verdict, Refused)
        assert verdict.reason == "not_configured"


COVERED = {
    "paypal": ("paypal-transmission-id", "paypal-transmission-time", "paypal-transmission-sig"),
    "aws_sns": (),
    "gcp_pubsub": ("authorization",),
    "jira_connect": ("authorization",),
    "twilio": ("x-twilio-signature",),
    "hubspot": ("x-hubspot-signature-v3", "x-hubspot-request-timestamp"),
}
BODY_COVERED = ("paypal", "hubspot")


@settings(max_examples=300)
@given(st.sampled_from(SIGNED), st.data())
def test_changed_delivery_is_refused(provider, data):
    """A character of a covered header, or a byte of a covered body, put for another: refused."""
    one = RECORDED[provider]
    request = one.request()
    places = [(name, value) for name, value in request.headers if name in COVERED[provider]]
    if places and (provider not in BODY_COVERED or data.draw(st.booleans())):
        name, value = data.draw(st.sampled_from(places))
        at = data.draw(st.integers(0, len(value) - 1))
        character = data.draw(st.characters(max_codepoint=255).filter(lambda one: one != value[at]))
        changed_value = value[:at] + character + value[at + 1 :]
        if (changed_value.lower() == value.lower() and at < 6) or changed_value.split() == value.split():
            return  # the scheme's name in capitals, a blank for a blank
        request = one.request(headers={name: changed_value})
    else:
        at = data.draw(st.integers(0, len(one.body) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != one.body[at]))
        request = one.request(body=one.body[:at] + bytes([byte]) + one.body[at + 1 :])
        if provider == "aws_sns" and unsigned_change(one.body, request.body):
            return
    assert isinstance(one.judged(request), Refused)


def unsigned_change(before, after):
    """Whether only what SNS does not sign, or how it is written, was changed."""
    try:
        old, new = json.loads(before), json.loads(after)
    except ValueError:
        return False
    names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "Signature", "SigningCertURL")
    return all(old.get(name) == new.get(name) for name in (*names, "SignatureVersion"))


def test_nothing_is_fetched_from_where_a_request_says():
    """Of all fetches that forged requests can cause, each goes to a provider's own host."""
    evil = "https://evil.example/x"
    header = {"alg": "RS256", "kid": evil, "jku": evil, "x5u": evil}
    claims = {"iss": evil, "aud": "a", "exp": 1_760_000_100, "iat": 1_760_000_000, "email": "e", "email_verified": True}
    sent = {
        "paypal": RECORDED["paypal"].request(headers={"PAYPAL-CERT-URL": evil}),
        "aws_sns": RECORDED["aws_sns"].request(
            body=RECORDED["aws_sns"].body.replace(b"https://sns.us-west-2.amazonaws.com", b"https://evil.example")
        ),
        "gcp_pubsub": Inbound.of("POST", evil, {"authorization": f"Bearer {token(header, claims, 'x')}"}, b"{}"),
        "jira_connect": Inbound.of(
            "POST",
            evil,
            {"authorization": f"JWT {token(header, claims, 'x')}"},
            b'{"eventType":"installed","clientKey":"https://evil.example/x"}',
        ),
    }
    for name, request in sent.items():
        config = {key: value for key, value in RECORDED[name].config.items() if key != "certs"}
        config.update({"base_url": "a"} if name == "jira_connect" else {})
        verdict, asked = settled(name, request, config, 1_760_000_000, {})
        assert isinstance(verdict, Refused)
        assert asked == []
