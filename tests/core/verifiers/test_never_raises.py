"""Whatever arrives, however it is configured, every preset gives a verdict; and nothing changed is ever believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.core.verifiers.signed_requests import JSON_BODY, NOW_S, ROWS, is_valid

from hookline.core.reading import TooManyItems, events_of
from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.custom import SCHEMES, custom, needs
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.known_keys import KNOWN
from hookline.core.verifiers.presets import NAMES, preset
from hookline.core.verifiers.verdict import REASONS, Fetch, Fetched, Handshake, Refused, Verdict, Verified

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text(encoding="utf-8"))
HEADER_NAMES = sorted({name.lower() for vector in VECTORS for name in vector["headers"]} | {"x", ""})
FETCHED = [
    *("paypal-certificate", "paypal-token", "paypal-judgement", "sns-certificate", "system-roots"),
    *("google-certs", "google-certs-again", "microsoft-keys", "atlassian-install-key", "jwks", "openid-configuration"),
]
MANY = settings(max_examples=200, deadline=None)

texts = st.text(max_size=40) | st.sampled_from(
    ["v1=", "t=1760000000,v1=00", "sha256=00", "Bearer a.b.c", "JWT e30.e30.AA", "Basic Og==", "1760000000", "v1,AA=="]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
configs = st.dictionaries(st.sampled_from(sorted(KNOWN)), values, max_size=6) | st.sampled_from(
    [vector["config"] for vector in VECTORS]
)
bodies = (
    st.binary(max_size=200)
    | values.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([vector["body"].encode() for vector in VECTORS])
)
headers = st.lists(
    st.tuples(st.sampled_from(HEADER_NAMES), texts | st.text(st.characters(max_codepoint=255))), max_size=8
)
names = st.sampled_from(NAMES)
methods = st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "PUT", "", "pöst"])
urls = (
    st.sampled_from([vector["url"] for vector in VECTORS]) | st.sampled_from(["", "http://[", "?", "//x\x00"]) | texts
)


def checked(name: str, request: Inbound, config: Any, now_s: float, fetched: Any = None) -> Verdict:
    """The verdict, which is one and says why."""
    verdict = judge(preset(name), request, config, now_s, fetched or {})
    assert isinstance(verdict, Verified | Refused | Handshake | Fetch)
    if isinstance(verdict, Refused):
        assert verdict.reason in REASONS
        assert verdict.reason != "defect", verdict.detail
        assert 400 <= verdict.status < 500 or (verdict.status, verdict.reason) == (503, "key_unavailable")
        assert verdict.detail
    if isinstance(verdict, Handshake):
        assert 200 <= verdict.status < 300
        assert all("\r" not in value and "\n" not in value for _, value in verdict.headers)
    return verdict


@MANY
@given(names, methods, urls, headers, bodies, configs, st.floats() | st.just(float(NOW_S)))
def test_any_request_gets_a_verdict(name, method, url, pairs, body, config, now_s):
    """Random headers, bodies, methods, URLs, clocks and configurations, for any preset."""
    checked(name, Inbound.of(method, url, pairs, body), config, now_s)
    assert all(isinstance(key, str) and why for key, why in needs(preset(name), config))


@MANY
@given(st.data(), st.sampled_from(VECTORS))
def test_a_changed_vector_gets_a_verdict(data, vector):
    """Good requests with something added, taken away or changed, and with anything for what was fetched."""
    request = Inbound.of(vector["method"], vector["url"], vector["headers"], vector["body"].encode())
    pairs = list(request.headers)
    for _ in range(data.draw(st.integers(0, 2)) if pairs else 0):
        place = data.draw(st.integers(0, len(pairs) - 1))
        name, value = pairs[place]
        other = data.draw(
            st.just([]) | st.just([(name, value)] * 2) | texts.map(lambda text, name=name: [(name, text)])
        )
        pairs[place : place + 1] = other or [("x", "")]
    body = data.draw(st.just(request.body) | bodies | st.binary(max_size=3).map(lambda more: request.body + more))
    config = {**vector["config"], **data.draw(st.just({}) | configs)}
    answers = st.builds(Fetched, st.sampled_from([0, 200, 404]), st.sampled_from([b"", b"x", b"{}", b'{"keys":[]}']))
    fetched = data.draw(st.dictionaries(st.sampled_from(FETCHED), answers))
    other = Inbound.of(request.method, request.url, pairs, body)
    checked(vector["provider"], other, config, float(vector["now"]), fetched)


@MANY
@given(st.data(), st.sampled_from(ROWS), st.sampled_from(["body", "signature", "secret"]))
def test_no_changed_body_or_signature_is_believed(data, row, what):
    """Of a request whose whole body is signed, any other body, signature or secret is refused."""
    good = row.headers()
    body, sent, config = JSON_BODY, good, row.config_of()
    if what == "body":
        body = data.draw(st.binary(max_size=100) | st.sampled_from([JSON_BODY[:-1], JSON_BODY + b"\n"]))
    elif what == "signature":
        text = next(text for name, text in good.items() if name.lower() == row.signature)
        at = data.draw(st.integers(0, len(text) - 1))
        made = text[:at] + data.draw(st.characters(max_codepoint=255)) + text[at + 1 :]
        assume(not same_signature(made, text))
        sent = {name: made if name.lower() == row.signature else value for name, value in good.items()}
    else:
        config = row.config_of(row.other)
    assert not is_valid(row.judge(sent, body, config=config))


def same_signature(made: str, text: str) -> bool:
    """Whether a changed text still says the same: the case of hexadecimal digits, a decoy, blanks around."""
    before_decoy = text.partition(",v0")[0]
    return made.strip(" \t").lower() == text.lower() or (before_decoy != text and made.startswith(before_decoy))


PARAMETERS = [
    "header:x",
    "body:a.b",
    "form:a",
    "query:a",
    "field:t",
    "{timestamp}.{body}",
    "{body:a?}",
    "hex",
    "text",
    ",",
]
PARAMETERS += ["base64", "sha256", "ed25519", "rsa-sha256", "s", "ms", "rfc3339", "pem", "xfcc", "x-a"]
specs = st.sampled_from(list(SCHEMES)).flatmap(
    lambda scheme: st.fixed_dictionaries(
        {"scheme": st.just(scheme)}, optional=dict.fromkeys(SCHEMES[scheme][0], st.sampled_from(PARAMETERS) | values)
    )
)


@MANY
@given(specs, headers, bodies, configs)
def test_any_description_of_a_scheme_is_taken_or_said_to_be_faulty(spec, pairs, body, config):
    """And what is taken gives a verdict for any request."""
    try:
        made = custom(spec)
    except ConfigError as error:
        if error.key not in SCHEMES[spec["scheme"]][0]:
            raise
        return
    verdict = judge(made, Inbound.of("POST", "https://h.example/?a=b", pairs, body), config, NOW_S)
    assert not isinstance(verdict, Refused) or verdict.reason != "defect", verdict
    needs(made, config)


@MANY
@given(names, urls, headers, bodies)
def test_any_request_is_read(name, url, pairs, body):
    """Types and ids come out of anything, or are empty."""
    try:
        found = events_of(Inbound.of("POST", url, pairs, body), preset(name).reading)
    except TooManyItems:
        return
    assert all(item.type for item in found)
