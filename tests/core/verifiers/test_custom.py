"""One's own scheme: the table's parameters in the API, and what is said of a scheme or configuration that is faulty."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import urllib.parse
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.core.verifiers.signed_requests import (
    JSON_BODY,
    NOW_S,
    b64,
    digest,
    ed25519_key,
    is_valid,
    reason,
)

from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.custom import SCHEMES, custom, needs
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import NAMES, preset

HMAC: dict[str, Any] = {"scheme": "hmac", "signature": "header:x-signature"}


def own(spec: dict[str, Any], headers: Any, body: bytes = JSON_BODY, now_s: float = NOW_S, **config: Any) -> str:
    """Why one's own scheme refuses."""
    request = Inbound.of("POST", "https://h.example/in/own?q=1", headers, body)
    return reason(judge(custom(spec), request, config, now_s))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize(
    ("encoding", "write"),
    [
        ("hex", bytes.hex),
        ("base64", b64),
        ("base64url", lambda made: b64(made).translate({43: "-", 47: "_", 61: None})),
    ],
)
def test_algorithm_and_encoding_are_parameters(algorithm, encoding, write):
    """Every pair of them, and no other for it."""
    spec = {**HMAC, "algorithm": algorithm, "encoding": encoding, "prefix": "mac="}
    made = write(digest(b"s", JSON_BODY, algorithm))
    assert own(spec, {"X-Signature": f"mac={made}"}, secret="s") == ""
    assert own(spec, {"X-Signature": made}, secret="s") == "malformed_signature"
    assert own(spec, {"X-Signature": f"mac={made}"}, JSON_BODY + b" ", secret="s") == "wrong_signature"
    other = {**spec, "algorithm": "sha512" if algorithm != "sha512" else "sha256"}
    assert own(other, {"X-Signature": f"mac={made}"}, secret="s") == "wrong_signature"


def test_stripe_s_scheme_can_be_described():
    """Fields in the signature's header, one of which is the time."""
    spec = {
        **HMAC,
        "item_separator": ",",
        "field": "v1",
        "timestamp": "field:t",
        "content": "{timestamp}.{body}",
    }
    made = digest(b"s", f"{NOW_S}.".encode() + JSON_BODY).hex()
    header = {"X-Signature": f"t={NOW_S},v1=00,v1={made}"}
    assert own(spec, header, secret="s") == ""
    assert own(spec, header, now_s=NOW_S + 301, secret="s") == "stale"
    assert own({**spec, "tolerance_s": 600}, header, now_s=NOW_S + 301, secret="s") == ""
    assert own({**spec, "tolerance_s": None}, header, now_s=0, secret="s") == ""
    assert own(spec, header, now_s=NOW_S + 301, secret="s", tolerance_s=301) == ""


def test_every_part_of_a_request_can_be_signed():
    """Method, URL, headers, form, query, the configuration's own texts."""
    content = "{method} {url} {header:x-a} {query:q} {config:tenant}|{body}"
    spec = {**HMAC, "content": content}
    made = digest(b"s", b"POST https://h.example/in/own?q=1 a b 1 me|" + JSON_BODY).hex()
    headers = {"X-Signature": made, "X-A": "a b"}
    assert own(spec, headers, secret="s", tenant="me") == ""
    assert own(spec, {**headers, "X-A": "a"}, secret="s", tenant="me") == "wrong_signature"
    assert own(spec, {"X-Signature": made}, secret="s", tenant="me") == "malformed_body"
    assert own(spec, [*headers.items(), ("x-a", "a b")], secret="s", tenant="me") == "malformed_body"
    assert own(spec, headers, secret="s") == "not_configured"
    assert "tenant" in custom(spec).keys


def test_signatures_may_stand_in_the_body_of_each_item():
    """Each is verified alone, with paths into the item."""
    spec = {"scheme": "hmac", "signature": "body:mac", "content": "{body:id}:{body:n?}", "each": "items.*"}
    items = [{"id": "a", "n": 7}, {"id": "b"}]
    for item in items:
        item["mac"] = digest(b"s", f"{item['id']}:{item.get('n', '')}".encode()).hex()
    assert own(spec, {}, json.dumps({"items": items}).encode(), secret="s") == ""
    items[1]["n"] = 0
    assert own(spec, {}, json.dumps({"items": items}).encode(), secret="s") == "wrong_signature"
    assert own(spec, {}, b'{"items":[]}', secret="s") == "malformed_body"


def test_keys_may_be_written_in_hex_or_base64():
    """With a prefix that is taken off."""
    for key, written in (("hex", "00ff"), ("base64", "AP8="), ("base64", "k_AP8")):
        spec = {**HMAC, "key": key, "key_prefix": "k_"}
        assert own(spec, {"X-Signature": digest(b"\x00\xff", JSON_BODY).hex()}, secret=written) == ""
    assert own({**HMAC, "key": "hex"}, {"X-Signature": "00"}, secret="xyz") == "not_configured"


def test_a_time_without_a_separator_has_a_fixed_length():
    """Otherwise digits could be moved between it and the body."""
    spec = {**HMAC, "timestamp": "header:x-time", "content": "{timestamp}{body}", "tolerance_s": None}
    for stamp, expected in (
        ("1760000000", ""),
        ("176000000", "malformed_timestamp"),
        ("17600000001", "malformed_timestamp"),
    ):
        made = digest(b"s", stamp.encode() + b"7").hex()
        assert own(spec, {"X-Signature": made, "X-Time": stamp}, b"7", secret="s") == expected
    spec["content"] = "{timestamp}.{body}"
    made = digest(b"s", b"1.7").hex()
    assert own(spec, {"X-Signature": made, "X-Time": "1"}, b"7", secret="s") == ""


def test_a_public_key_scheme():
    """Ed25519, in the same parameters."""
    key = ed25519_key("x")
    public = key.public_key().public_bytes_raw().hex()
    spec = {"scheme": "public_key", "algorithm": "ed25519", "signature": "header:x-signature", "encoding": "base64"}
    assert own(spec, {"X-Signature": b64(key.sign(JSON_BODY))}, public_key=public) == ""
    assert own(spec, {"X-Signature": b64(key.sign(b"x"))}, public_key=public) == "wrong_signature"
    assert (
        own(spec, {"X-Signature": b64(digest(bytes.fromhex(public), JSON_BODY))}, public_key=public)
        == "wrong_signature"
    )
    assert own(spec, {"X-Signature": "AAAA"}, public_key="nonsense") == "not_configured"


# --------------------------------------------------------------------------------------------- faulty descriptions


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({}, "scheme"),
        ({"scheme": "magic"}, "scheme"),
        ({"scheme": ["hmac"]}, "scheme"),
        ({"scheme": "hmac"}, "signature"),
        ({**HMAC, "sig_re": "(a+)+$"}, "sig_re"),
        ({**HMAC, "signature": "x-signature"}, "signature"),
        ({**HMAC, "signature": "header:"}, "signature"),
        ({**HMAC, "signature": "header:a b"}, "signature"),
        ({**HMAC, "signature": "url:x"}, "signature"),
        ({**HMAC, "signature": 7}, "signature"),
        ({**HMAC, "algorithm": "md5"}, "algorithm"),
        ({**HMAC, "encoding": "base32"}, "encoding"),
        ({**HMAC, "content": "{body"}, "content"),
        ({**HMAC, "content": "body}"}, "content"),
        ({**HMAC, "content": "{nonsense}"}, "content"),
        ({**HMAC, "content": "{body:}"}, "content"),
        ({**HMAC, "content": "x" * 1025}, "content"),
        ({**HMAC, "content": "{timestamp}.{body}"}, "timestamp"),
        ({**HMAC, "timestamp": "header:x-time"}, "timestamp"),
        ({**HMAC, "timestamp": "field:t", "content": "{timestamp}.{body}"}, "timestamp"),
        ({**HMAC, "timestamp": "header:x", "timestamp_unit": "min", "content": "{timestamp}.{body}"}, "timestamp_unit"),
        ({**HMAC, "tolerance_s": -1}, "tolerance_s"),
        ({**HMAC, "tolerance_s": "300"}, "tolerance_s"),
        ({**HMAC, "field": "v1"}, "item_separator"),
        ({**HMAC, "item_separator": ","}, "field"),
        ({**HMAC, "item_separator": "=", "field": "v1"}, "field_separator"),
        ({**HMAC, "key_prefix": "whsec_"}, "key_prefix"),
        ({**HMAC, "key": "raw"}, "key"),
        ({**HMAC, "each": "a..b"}, "each"),
        ({"scheme": "public_key", "signature": "header:x"}, "algorithm"),
        ({"scheme": "public_key", "signature": "header:x", "algorithm": "sha256"}, "algorithm"),
        ({"scheme": "static"}, "header"),
        ({"scheme": "static", "header": "a:b"}, "header"),
        ({"scheme": "basic", "header": "x"}, "header"),
        ({"scheme": "none", "secret": "x"}, "secret"),
        ({"scheme": "client_certificate", "form": "pem"}, "header"),
        ({"scheme": "client_certificate", "form": "der"}, "form"),
    ],
)
def test_a_faulty_scheme_says_which_parameter(spec, key):
    """At creation, not at the first request."""
    with pytest.raises(ConfigError) as raised:
        custom(spec)
    assert raised.value.key == key


def test_a_scheme_of_a_token_is_checked_when_it_is_made():
    """Its parameters stand in the scheme, its secret in the configuration."""
    made = custom({"scheme": "jwt", "issuer": "https://i.example", "audience": "us", "algorithms": "HS256"})
    assert needs(made, {"secret": "s"}) == []
    assert [key for key, _ in needs(custom({"scheme": "jwt", "issuer": "i", "audience": "us"}), {})] == ["jwks_url"]
    request = Inbound.of("POST", "https://h.example/", {"Authorization": "Bearer a.b.c"}, b"")
    assert reason(judge(made, request, {"secret": "s"}, NOW_S)) == "malformed_signature"


def test_every_scheme_is_documented_where_it_is_made():
    """The module says what each takes."""
    from hookline.core.verifiers import custom as module

    assert all(f"\n{scheme} " in (module.__doc__ or "") for scheme in SCHEMES)


# ----------------------------------------------------------------------------------------------- client certificates


def certificate() -> x509.Certificate:
    """One that is valid at `NOW_S`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    key = ed25519_key("certificate")
    now = dt.datetime.fromtimestamp(NOW_S, dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + dt.timedelta(days=1))
    return builder.sign(key, None)


DER = certificate().public_bytes(Encoding.DER)
PEM = certificate().public_bytes(Encoding.PEM).decode()
FINGERPRINT = certificate().fingerprint(hashes.SHA256()).hex()
HASH = hashlib.sha256(DER).hexdigest()


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("rfc9440", "client-cert", f":{b64(DER)}:"),
        ("pem", "x-ssl-cert", urllib.parse.quote(PEM)),
        ("pem", "x-forwarded-tls-client-cert", b64(DER)),
        ("xfcc", "x-forwarded-client-cert", f'By=spiffe://x;Hash={HASH};Subject="CN=a,b"'),
    ],
)
def test_a_certificate_is_known_by_its_fingerprint(form, header, value):
    """However the proxy writes it, while it is valid, and only from a trusted proxy."""
    spec = {"scheme": "client_certificate", "form": form, "header": header}
    colons = ":".join(FINGERPRINT[place : place + 2] for place in range(0, 64, 2)).upper()
    for written in (FINGERPRINT, colons):
        assert own(spec, {header: value}, fingerprint=written) == ""
    assert own(spec, {header: value}, fingerprint="0" * 64) == "wrong_credential"
    assert own(spec, {header: value}, fingerprint="0" * 40) == "not_configured"
    assert own(spec, [(header, value)] * 2, fingerprint=FINGERPRINT) == "missing_signature"
    assert own(spec, {}, fingerprint=FINGERPRINT) == "missing_signature"
    for garbage in ("x", ":x:", "%", "-----BEGIN CERTIFICATE-----", f"{value},{value}", b64(b"x"), "Hash=00"):
        assert own(spec, {header: garbage}, fingerprint=FINGERPRINT) == "malformed_signature"
    if form != "xfcc":
        assert own(spec, {header: value}, now_s=NOW_S + 86_401, fingerprint=FINGERPRINT) == "untrusted_key"
    assert custom(spec).proxy_headers == (header,)


def test_a_certificate_may_be_known_by_its_subject():
    """As the proxy writes it."""
    spec = {"scheme": "client_certificate", "form": "subject", "header": "x-client-dn"}
    assert own(spec, {"X-Client-DN": "CN=a,O=b"}, subject=["CN=x", "CN=a,O=b"]) == ""
    assert own(spec, {"X-Client-DN": "CN=a,O=c"}, subject="CN=a,O=b") == "wrong_credential"


# ---------------------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("name", "config", "keys"),
    [
        ("github", {}, []),
        ("github", {"secret": "s"}, []),
        ("github", {"secret": ["a", "b"]}, []),
        ("github", {"secret": None}, []),
        ("github", {"secret": "s", "tolerance_s": 300}, []),
        ("github", {"secrets": "s"}, ["secrets"]),
        ("github", {"secret": ""}, ["secret"]),
        ("github", {"secret": 7, "typo": 1}, ["secret", "typo"]),
        ("stripe", {"tolerance_s": "300"}, ["tolerance_s"]),
        ("stripe", {"tolerance_s": 0}, []),
        ("standard_webhooks", {"secret": "not base64!"}, ["secret"]),
        ("standard_webhooks", {"secret": "whpk_AAAA"}, ["secret"]),
        ("standard_webhooks", {"public_key": "whpk_AAAA"}, ["public_key"]),
        ("discord", {"public_key": "00"}, ["public_key"]),
        ("discord", {"mode": "other"}, ["mode"]),
        ("sendgrid", {"public_key": "AAAA"}, ["public_key"]),
        ("adyen", {"hmac_key": "xyz"}, ["hmac_key"]),
        ("adyen", {"mode": "header"}, []),
        ("gitlab", {"mode": "signing_token", "secret": "plain text"}, ["secret"]),
        ("gitlab", {"mode": "token", "secret": "plain text"}, []),
        ("cloudevents", {"allowed_rate": 120, "allowed_origins": ["a"]}, []),
        ("cloudevents", {"allowed_rate": "fast"}, ["allowed_rate"]),
        ("paypal", {"certs": []}, ["certs"]),
        ("hubspot", {"signature_version": "v4"}, ["signature_version"]),
    ],
)
def test_a_configuration_is_judged_when_it_is_made(name, config, keys):
    """What is not known or cannot be used is said by key, without its value; nothing is missed."""
    found = needs(preset(name), config)
    assert [key for key, _ in found] == keys
    assert all(str(value) not in why for (_, why), value in zip(found, config.values(), strict=False) if value == "xyz")


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_configuration_is_no_fault(name):
    """Every key is optional until a request needs it."""
    assert needs(preset(name), {}) == []


def test_headers_that_only_a_proxy_may_set_are_named():
    """No preset has one."""
    assert all(preset(name).proxy_headers == () for name in NAMES)
    assert is_valid(judge(custom({"scheme": "none"}), Inbound.of("POST", "", {}, b""), {}, 0))
