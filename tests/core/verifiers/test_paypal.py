"""PayPal by certificate: the real delivery of 2015, and what of it or of its certificate may not be otherwise."""

from __future__ import annotations

import base64
import datetime as dt
import zlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import AuthorityInformationAccessOID
from hypothesis import given
from hypothesis import strategies as st
from tests.core.verifiers.made_certificates import DAY, NOW, NOW_S, der, issued, key, pem, signed_by
from tests.core.verifiers.recorded import Recorded, read, reason, said, settled

from hookline.adapters.keys import system_roots
from hookline.core.verifiers import certificates, paypal
from hookline.core.verifiers.encoded import from_base64
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verified

REAL = Recorded("paypal")
SIGNER = "messageverificationcerts.paypal.com"
CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-1"
ROOT = issued("Root", "root", authority=True)
BETWEEN = issued("Between", "between", by=ROOT, by_key="root", authority=True)
LEAF = issued(SIGNER, "leaf", by=BETWEEN, by_key="between")
CONFIG = {
    "webhook_id": "WH-1",
    "certs": {CERT_URL: pem(LEAF)},
    "intermediates": [pem(BETWEEN)],
    "trusted_roots": [pem(ROOT)],
}
FOR_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
BODY = b'{"id":"WH-EVENT","event_type":"PAYMENT.SALE.COMPLETED"}'


def sent(body=BODY, cert_url=CERT_URL, webhook_id="WH-1", digest=hashes.SHA256, key_name="leaf", **headers):
    """A request as PayPal makes it, by the test's own authority."""
    signed = f"tid-1|2025-10-09T08:53:20Z|{webhook_id}|{zlib.crc32(body)}".encode()
    given = {
        "paypal-transmission-id": "tid-1",
        "paypal-transmission-time": "2025-10-09T08:53:20Z",
        "paypal-transmission-sig": base64.b64encode(signed_by(key_name, signed, digest)).decode(),
        "paypal-cert-url": cert_url,
        "paypal-auth-algo": "SHA256withRSA",
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Inbound.of("POST", "https://h.example/in/p", {k: v for k, v in given.items() if v is not None}, body)


def judged(request=None, now_s=NOW_S, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("paypal", request or sent(), merged, now_s)


def test_real_delivery():
    """The delivery that PayPal made in 2015 is verified at its time with its real certificates, and read."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("paypal", REAL.request())
    assert (event.type, event.id) == (REAL.expected["event_type"], REAL.expected["dedup_id"])
    assert event.data == REAL.body


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"body": REAL.body + b" "}, "wrong_signature"),
        ({"body": REAL.body.replace(b"20.00", b"99.00")}, "wrong_signature"),
        ({"body": b""}, "wrong_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-ID": "dfb3be50-fd74-11e4-8bf3-77339302725c"}}, "wrong_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-TIME": "2015-05-18T15:45:14Z"}}, "wrong_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-SIG": "AAAA"}}, "wrong_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-SIG": "not base64!"}}, "malformed_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-ID": "a|b"}}, "malformed_signature"),
        ({"headers": {"PAYPAL-TRANSMISSION-TIME": "2015|"}}, "malformed_signature"),
        ({"headers": {"PAYPAL-AUTH-ALGO": "SHA1withRSA"}}, "unsupported"),
        ({"headers": {"PAYPAL-AUTH-ALGO": "none"}}, "unsupported"),
        *(
            ({"headers": {f"PAYPAL-{name}": None}}, "missing_signature")
            for name in ("TRANSMISSION-ID", "TRANSMISSION-TIME", "TRANSMISSION-SIG", "CERT-URL", "AUTH-ALGO")
        ),
    ],
)
def test_changed_delivery(changes, why):
    """Whatever of the real delivery is changed or missing, it is refused, for a reason that says so."""
    assert reason(REAL.judged(REAL.request(**changes))) == why


@pytest.mark.parametrize(
    ("config", "now_s", "why"),
    [
        ({"webhook_id": "4JH86294D6297924H"}, None, "wrong_signature"),
        ({"webhook_id": None}, None, "not_configured"),
        ({"trusted_roots": [pem(ROOT)]}, None, "untrusted_key"),
        ({"intermediates": None}, None, "untrusted_key"),
        ({"certs": {}}, None, "untrusted_key"),
        ({"certs": {next(iter(REAL.config["certs"])): "no PEM"}}, None, "not_configured"),
        ({"trusted_roots": "no PEM"}, None, "not_configured"),
        ({"trusted_roots": []}, None, "not_configured"),
        ({}, 1_420_000_000, "untrusted_key"),  # before the certificate
        ({}, 1_490_270_401, "untrusted_key"),  # after it
        ({}, 1_760_000_000, "untrusted_key"),
        ({}, 1e18, "untrusted_key"),
        ({}, -1e18, "untrusted_key"),
    ],
)
def test_other_configuration_or_time(config, now_s, why):
    """Another webhook, another authority, no path to it, and a time when the certificate is not valid refuse it."""
    assert reason(REAL.judged(now_s=now_s, **config)) == why


EVIL_URLS = [
    "http://api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com.evil.com/v1/notifications/certs/CERT-1",
    "https://evil.com/api.paypal.com/CERT-1",
    "https://evilpaypal.com/CERT-1",
    "https://api-paypal.com/CERT-1",
    "https://apixpaypal.com/CERT-1",
    "https://www.evil-api.paypal.com/CERT-1",
    "https://user@api.paypal.com/CERT-1",
    "https://api.paypal.com@evil.com/CERT-1",
    "https://api.paypal.com:8443/CERT-1",
    "https://api.paypal.com:443@evil.com/CERT-1",
    "https://evil.com#.api.paypal.com/CERT-1",
    "https://evil.com\\.api.paypal.com/CERT-1",
    "https://evil.com/?api.paypal.com/CERT-1",
    "https://api.paypal.com/redirect?to=https://evil.com",
    "https://api.paypal.com",
    "https://api.paypal.com./CERT-1",
    "https://API.PAYPAL.COM/CERT-1",
    "https://api.paypal.com/CERT-1\u00e9",
    "https://xn--api-.paypal.com/CERT-1",
    "//api.paypal.com/CERT-1",
    "file:///etc/passwd",
    "https://127.0.0.1/CERT-1",
    "https://[::1]/CERT-1",
    "",
]


@pytest.mark.parametrize("url", EVIL_URLS)
def test_certificate_of_elsewhere(url):
    """A URL that is not PayPal's is refused before anything is fetched, even if its certificate is at hand."""
    known = {"certs": {url: pem(LEAF)}} if url else {}
    assert reason(judged(sent(cert_url=url), **known)) == "untrusted_key"
    assert isinstance(said("paypal", sent(cert_url=url), {"webhook_id": "WH-1"}, NOW_S), Refused)


@pytest.mark.parametrize("host", ["api.paypal.com", "api.sandbox.paypal.com", "api-m.paypal.com"])
def test_paypals_hosts(host):
    """The hosts of PayPal's API, live and sandbox, serve its certificates."""
    url = f"https://{host}/v1/notifications/certs/CERT-1"
    assert isinstance(judged(sent(cert_url=url), certs={url: pem(LEAF)}), Verified)


def leaf_of(*args, **kwargs):
    return {"certs": {CERT_URL: pem(issued(*args, **kwargs))}}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            leaf_of("messageverificationcerts.paypal.com.evil.com", "leaf", by=BETWEEN, by_key="between"),
            "untrusted_key",
        ),
        (leaf_of("evil-messageverificationcerts.paypal.com", "leaf", by=BETWEEN, by_key="between"), "untrusted_key"),
        (leaf_of("www.paypal.com", "leaf", by=BETWEEN, by_key="between"), "untrusted_key"),
        (leaf_of(None, "leaf", by=BETWEEN, by_key="between"), "untrusted_key"),
        (leaf_of(SIGNER, "leaf"), "untrusted_key"),  # its own authority
        (leaf_of(SIGNER, "leaf", by=BETWEEN, by_key="stranger"), "untrusted_key"),  # signed by another key
        (leaf_of(SIGNER, "leaf", by=BETWEEN, by_key="between", until=NOW - DAY), "untrusted_key"),
        (leaf_of(SIGNER, "leaf", by=BETWEEN, by_key="between", since=NOW + DAY), "untrusted_key"),
        (leaf_of(SIGNER, "other", by=BETWEEN, by_key="between"), "wrong_signature"),
        (
            leaf_of(
                SIGNER,
                "leaf",
                by=BETWEEN,
                by_key="between",
                extensions=[FOR_CERTIFICATES],
            ),
            "untrusted_key",
        ),
        ({"intermediates": [pem(issued("Between", "between", by=ROOT, by_key="root"))]}, "untrusted_key"),  # not a CA
        (
            {
                "intermediates": [
                    pem(issued("Between", "between", by=ROOT, by_key="root", authority=True, until=NOW - DAY))
                ]
            },
            "untrusted_key",
        ),
        ({"trusted_roots": [pem(issued("Root", "stranger", authority=True))]}, "untrusted_key"),
        ({"trusted_roots": [pem(issued("Root", "root", authority=True, until=NOW - DAY))]}, "untrusted_key"),
        ({"trusted_roots": [pem(issued("Root", "root"))]}, "untrusted_key"),  # not a CA
    ],
)
def test_certificate_that_does_not_prove(config, why):
    """Another name, authority or key, a time past, or a link that may not sign: no such certificate proves PayPal."""
    assert isinstance(judged(), Verified)
    assert reason(judged(**config)) == why


def test_leaf_without_a_path_but_trusted_itself():
    """A certificate that is itself among the trusted ones is trusted, while it is valid."""
    own = issued(SIGNER, "leaf")
    config = {"certs": {CERT_URL: pem(own)}, "trusted_roots": [pem(own)], "intermediates": None}
    assert isinstance(judged(**config), Verified)
    assert reason(judged(now_s=NOW_S + 40 * 86_400, **config)) == "untrusted_key"


def test_no_intermediates():
    """An empty list of certificates between is none; a chain without them is as good."""
    direct = {"certs": {CERT_URL: pem(issued(SIGNER, "leaf", by=ROOT, by_key="root"))}}
    assert isinstance(judged(intermediates=[], **direct), Verified)
    assert isinstance(judged(intermediates=None, **direct), Verified)


def test_weak_signatures_and_keys():
    """A signature with SHA-1, or by a key of 1024 bits, is none."""
    assert reason(judged(sent(digest=hashes.SHA1))) == "wrong_signature"
    weak = issued(SIGNER, "weak", by=BETWEEN, by_key="between", bits=1024)
    signed = f"tid-1|2025-10-09T08:53:20Z|WH-1|{zlib.crc32(BODY)}".encode()
    signature = base64.b64encode(key("weak", 1024).sign(signed, padding.PKCS1v15(), hashes.SHA256())).decode()
    request = sent(paypal_transmission_sig=signature)
    assert reason(judged(request, certs={CERT_URL: pem(weak)})) in ("wrong_signature", "untrusted_key")


def test_tolerance_only_where_it_is_configured():
    """Only with tolerance_s is the time of transmission held against now, both ways: PayPal repeats for days."""
    late = NOW_S + 20 * 86_400
    assert isinstance(judged(now_s=late), Verified)
    assert reason(judged(now_s=late, tolerance_s=300)) == "stale"
    assert isinstance(judged(now_s=NOW_S + 300, tolerance_s=300), Verified)
    assert reason(judged(now_s=NOW_S + 301, tolerance_s=300)) == "stale"
    assert reason(judged(now_s=NOW_S - 301, tolerance_s=300)) == "stale"


def test_two_of_a_header():
    """A header that is there twice is refused."""
    twice = REAL.request()
    more = Inbound(twice.method, twice.url, (*twice.headers, ("paypal-transmission-sig", "AAAA")), twice.body)
    assert reason(REAL.judged(more)) == "missing_signature"


# ------------------------------------------------------------------------------------------------------ fetching


def web(leaf=LEAF, **more):
    return {CERT_URL: Fetched(200, pem(leaf).encode()), **more}


FETCHING = {"webhook_id": "WH-1", "trusted_roots": [pem(ROOT)], "intermediates": [pem(BETWEEN)]}


def test_certificate_is_fetched():
    """Without `certs` the certificate is fetched from where the request says, and kept for a day."""
    verdict, asked = settled("paypal", sent(), FETCHING, NOW_S, web())
    assert isinstance(verdict, Verified)
    assert asked == [Fetch(paypal.CERTIFICATE, CERT_URL, keep_s=86_400.0)]


@pytest.mark.parametrize("answer", [Fetched(0, b""), Fetched(404, b"x"), Fetched(200, b"<html>"), Fetched(200, b"")])
def test_certificate_does_not_come(answer):
    """A certificate that cannot be had is not the sender's fault: 503, so that he comes again."""
    verdict, _ = settled("paypal", sent(), FETCHING, NOW_S, {CERT_URL: answer})
    assert verdict == Refused("key_unavailable", verdict.detail, 503)


def test_issuers_are_fetched_from_where_the_certificates_say():
    """PayPal serves its certificate alone: those above come from the address in it, and must end at a trusted one."""

    def above(url):
        where = x509.UniformResourceIdentifier(url)
        return x509.AuthorityInformationAccess(
            [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)]
        )

    url = "http://cacerts.example.com/Between.crt"
    leaf = issued(SIGNER, "leaf", by=BETWEEN, by_key="between", extensions=[above(url)])
    config = {"webhook_id": "WH-1", "trusted_roots": [pem(ROOT)]}
    served = web(leaf, **{url: Fetched(200, der(BETWEEN))})
    verdict, asked = settled("paypal", sent(), config, NOW_S, served)
    assert isinstance(verdict, Verified)
    assert [one.url for one in asked] == [CERT_URL, url]
    stranger = issued("Between", "between", authority=True)
    assert reason(settled("paypal", sent(), config, NOW_S, {**served, url: Fetched(200, der(stranger))})[0]) == (
        "untrusted_key"
    )
    assert reason(settled("paypal", sent(), config, NOW_S, {**served, url: Fetched(200, b"x")})[0]) == "key_unavailable"
    for elsewhere in ("ftp://cacerts.example.com/x", "http://user@x.example.com/x", "http://x.example.com:25/x"):
        odd = issued(SIGNER, "leaf", by=BETWEEN, by_key="between", extensions=[above(elsewhere)])
        verdict, asked = settled("paypal", sent(), config, NOW_S, web(odd))
        assert (reason(verdict), len(asked)) == ("untrusted_key", 1)


def test_machines_own_authorities():
    """Without `trusted_roots` those count that the machine trusts; the test's own is not among them."""
    config = {"webhook_id": "WH-1", "intermediates": [pem(BETWEEN)]}
    verdict, asked = settled("paypal", sent(), config, NOW_S, web(**{system_roots.URL: system_roots.answer()}))
    assert reason(verdict) == "untrusted_key"
    assert [one.name for one in asked] == [paypal.CERTIFICATE, certificates.SYSTEM_ROOTS]
    trusted = Fetched(200, pem(ROOT).encode())
    assert isinstance(settled("paypal", sent(), config, NOW_S, web(**{system_roots.URL: trusted}))[0], Verified)
    nobody = settled("paypal", sent(), config, NOW_S, web(**{system_roots.URL: Fetched(0, b"")}))[0]
    assert reason(nobody) == "key_unavailable"


@given(st.binary(max_size=300), st.integers(0, 2))
def test_mutations(body, where):
    """No other body, signature or certificate text passes; nothing is raised (the CRC-32 leaves one chance in 2³²)."""
    if where == 0 and body != BODY:
        assert reason(judged(Inbound(sent().method, sent().url, sent().headers, body))) == "wrong_signature"
    text = body.decode("latin-1")
    if where == 1 and from_base64(text) is None:
        assert reason(judged(sent(paypal_transmission_sig=text))) == "malformed_signature"
    if where == 2:
        assert isinstance(settled("paypal", sent(), FETCHING, NOW_S, {CERT_URL: Fetched(200, body)})[0], Refused)


def test_certificate_is_judged_at_the_time_that_is_told():
    """Validity is judged at the told time, to the second."""
    last = dt.datetime.fromtimestamp(NOW_S + 100, dt.UTC)
    config = leaf_of(SIGNER, "leaf", by=BETWEEN, by_key="between", until=last)
    assert isinstance(judged(now_s=NOW_S + 100, **config), Verified)
    assert reason(judged(now_s=NOW_S + 101, **config)) == "untrusted_key"
