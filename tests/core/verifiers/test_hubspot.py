"""HubSpot: the three versions of its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.verifiers.recorded import Recorded, read, reason, said

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Verified

REAL = Recorded("hubspot")
SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
URL = "https://www.example.com/webhook_uri"
NOW_S = 1_760_000_000
BODY = json.dumps(
    [
        {"eventId": 1, "subscriptionId": 12345, "subscriptionType": "contact.creation", "occurredAt": 1462216307945},
        {"eventId": 1, "subscriptionId": 12346, "subscriptionType": "contact.deletion", "objectId": 123},
    ]
).encode()


def v3(body=BODY, url=URL, signed_url=None, method="POST", secret=SECRET, at_ms=str(NOW_S * 1000), **headers):
    signed = f"{method}{signed_url or url}".encode() + body + at_ms.encode("latin-1")
    given = {
        "x-hubspot-signature-v3": base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode(),
        "x-hubspot-request-timestamp": at_ms,
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Inbound.of(method, url, {name: value for name, value in given.items() if value is not None}, body)


def digest(version, body=BODY, url=URL, method="POST", secret=SECRET, named=None):
    head = b"" if version == "v1" else f"{method}{url}".encode()
    found = hashlib.sha256(secret.encode() + head + body).hexdigest()
    headers = {"x-hubspot-signature": found, "content-type": "application/json"}
    if named != "":
        headers["x-hubspot-signature-version"] = named or version
    return Inbound.of(method, url, headers, body)


def judged(request, now_s=NOW_S, **config):
    merged = {"secret": SECRET, **config}
    return said("hubspot", request, {key: value for key, value in merged.items() if value is not None}, now_s)


def test_published_delivery():
    """The published example of version 3 is verified."""
    assert isinstance(REAL.judged(), Verified)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (v3(), ""),
        (v3(method="GET", body=b""), ""),
        (v3(secret="another"), "wrong_signature"),
        (v3(signed_url=URL + "/x"), "wrong_signature"),
        (v3(x_hubspot_signature_v3=None), "missing_signature"),
        (v3(x_hubspot_request_timestamp=None), "missing_signature"),
        (v3(x_hubspot_signature_v3="?"), "malformed_signature"),
        (v3(x_hubspot_request_timestamp=str(NOW_S * 1000 + 1)), "wrong_signature"),
        (v3(at_ms=str(NOW_S)), "malformed_timestamp"),
        (v3(at_ms=str(NOW_S * 1000) + ".5"), "malformed_timestamp"),
        (v3(at_ms=f"+{NOW_S * 100}"), "malformed_timestamp"),
        (v3(at_ms="1" * 14), "malformed_timestamp"),
        (digest("v1"), "missing_signature"),
        (digest("v2"), "missing_signature"),
    ],
)
def test_version_3(request_, why):
    """Method, URL, body and time are covered; the older signatures never do instead."""
    assert reason(judged(request_)) == why


@pytest.mark.parametrize(("late_s", "fine"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_tolerance(late_s, fine):
    """A signature is good for five minutes, both ways, or as long as is configured."""
    assert isinstance(judged(v3(), NOW_S + late_s), Verified) is fine
    assert reason(judged(v3(), NOW_S + late_s, tolerance_s=0)) == "stale"
    assert isinstance(judged(v3(), NOW_S + late_s, tolerance_s=400), Verified)


@pytest.mark.parametrize(
    ("called", "signed", "fine"),
    [
        (f"{URL}?a=b%3Ac%2Fd", f"{URL}?a=b:c/d", True),
        (f"{URL}?a=b%3ac%2fd", f"{URL}?a=b:c/d", True),
        (f"{URL}?a=%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B", f"{URL}?a=:/?@!$'()*,;", True),
        (f"{URL}?a=b%3Fc%3A", f"{URL}?a=b%3Fc:", True),
        (f"{URL}?a=b%20c", f"{URL}?a=b c", True),
        (f"{URL}?a=b%20c", f"{URL}?a=b%20c", True),
        (f"{URL}?a=b", f"{URL}?a=c", False),
        (f"{URL}?a=b%3Ac", f"{URL}?a=bc", False),
    ],
)
def test_escapes_in_the_url(called, signed, fine):
    """Of a URL with escapes also the forms count that HubSpot signs."""
    assert isinstance(judged(v3(url=called, signed_url=signed)), Verified) is fine


def test_address_as_it_is_registered():
    """Behind a proxy that rewrites addresses the registered one counts, with the query of the request."""
    request = v3(url="http://10.0.0.1:8400/in/h?x=1", signed_url=f"{URL}?x=1")
    assert reason(judged(request)) == "wrong_signature"
    assert isinstance(judged(request, notification_url=URL), Verified)
    assert reason(judged(v3(url="https://[::1"), notification_url=URL)) == "wrong_recipient"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_older_versions(version):
    """Where an older version is configured, it is held against the body (and method and URL), and no other version."""
    assert isinstance(judged(digest(version), signature_version=version), Verified)
    assert isinstance(judged(digest(version, named=""), signature_version=version), Verified)
    good = digest(version)
    changed = Inbound(good.method, good.url, good.headers, good.body + b" ")
    assert reason(judged(changed, signature_version=version)) == "wrong_signature"
    assert reason(judged(digest(version, secret="x"), signature_version=version)) == "wrong_signature"
    assert reason(judged(digest(version, named="v3"), signature_version=version)) == "unsupported"
    assert reason(judged(v3(), signature_version=version)) == "missing_signature"
    other = "v2" if version == "v1" else "v1"
    assert reason(judged(digest(version, named=""), signature_version=other)) == "wrong_signature"
    assert reason(judged(digest(version), signature_version="v4")) == "not_configured"


def lengthened(known: str, length: int, more: bytes) -> tuple[str, bytes]:
    """The digest of something unknown with its padding and `more`: what a length extension makes of a known one."""
    padding = b"\x80" + b"\0" * ((55 - length) % 64) + (length * 8).to_bytes(8, "big")
    state = [int(known[at : at + 8], 16) for at in range(0, 64, 8)]
    whole = length + len(padding) + len(more)
    tail = more + b"\x80" + b"\0" * ((55 - whole) % 64) + (whole * 8).to_bytes(8, "big")
    for at in range(0, len(tail), 64):
        state = compressed(state, tail[at : at + 64])
    return "".join(f"{one:08x}" for one in state), padding + more


def roots_of_primes(power: float, count: int) -> list[int]:
    primes = [n for n in range(2, 400) if all(n % d for d in range(2, n))][:count]
    return [int((prime**power % 1) * 2**32) for prime in primes]


def compressed(state: list[int], block: bytes) -> list[int]:
    """SHA-256's compression function (FIPS 180-4, 6.2.2)."""

    def right(x, n):
        return (x >> n | x << (32 - n)) & 0xFFFFFFFF

    w = [int.from_bytes(block[at : at + 4], "big") for at in range(0, 64, 4)]
    for t in range(16, 64):
        low = right(w[t - 15], 7) ^ right(w[t - 15], 18) ^ w[t - 15] >> 3
        high = right(w[t - 2], 17) ^ right(w[t - 2], 19) ^ w[t - 2] >> 10
        w.append((w[t - 16] + low + w[t - 7] + high) & 0xFFFFFFFF)
    a, b, c, d, e, f, g, h = state
    for t, k in enumerate(roots_of_primes(1 / 3, 64)):
        one = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + (e & f ^ ~e & g) + k + w[t]
        two = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (one + two) & 0xFFFFFFFF, a, b, c, (d + one) & 0xFFFFFFFF, e, f, g
    return [(x + y) & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def test_length_extension_is_refused():
    """A plain digest, made longer by whoever has seen one, matches; the zero bytes that this takes are refused."""
    good = digest("v1")
    forged, added = lengthened(dict(good.headers)["x-hubspot-signature"], len(SECRET) + len(BODY), b'[{"evil":1}]')
    assert hashlib.sha256(SECRET.encode() + BODY + added).hexdigest() == forged
    request = Inbound.of("POST", URL, {"x-hubspot-signature": forged}, BODY + added)
    assert reason(judged(request, signature_version="v1")) == "malformed_body"


def test_secrets():
    """A secret is needed; of several any counts."""
    assert reason(judged(v3(), secret=None)) == "not_configured"
    assert isinstance(judged(v3(), secret=["new", SECRET]), Verified)


def test_reading():
    """Each item of the array is an event, known by its id, its subscription and its time."""
    one, two = read("hubspot", v3())
    assert (one.type, one.id, one.time) == ("contact.creation", "1.12345.1462216307945", "2016-05-02T19:11:47.945Z")
    assert (two.type, two.id, two.subject) == ("contact.deletion", "1.12346", "123")
    assert one.data in BODY
    (single,) = read("hubspot", v3(b'{"objectId":5,"eventType":"x"}'))
    assert (single.type, single.id, single.subject) == ("x", "", "5")


@given(st.binary(max_size=40))
def test_other_body_is_refused(body):
    """No other body passes with the signature of one, in whichever version."""
    for request, version in ((v3(), "v3"), (digest("v1"), "v1"), (digest("v2"), "v2")):
        changed = Inbound(request.method, request.url, request.headers, body)
        if body != BODY:
            assert reason(judged(changed, signature_version=version)) in ("wrong_signature", "malformed_body")
