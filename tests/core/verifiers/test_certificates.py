"""Certificates: read, judged at a time, the machine's own authorities."""

from __future__ import annotations

import pytest
from tests.core.verifiers.made_certificates import DAY, NOW, NOW_S, der, issued, key, pem, signed_by

from hookline.core.verifiers import certificates
from hookline.core.verifiers.config import ConfigError
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetch, Fetched

ROOT = issued("Root", "root", authority=True)
LEAF = issued("leaf", "leaf", by=ROOT, by_key="root")


def test_texts_of_several_certificates():
    """Every certificate of a text is read, with what stands between them; what has none is said."""
    text = f"chain:\n{pem(LEAF)}\n# root\n{pem(ROOT)}"
    assert certificates.certificates_of(text.encode()) == (LEAF, ROOT)
    for wrong in (
        b"",
        b"x",
        pem(LEAF)[:-40].encode(),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ):
        with pytest.raises(certificates.CertificateError):
            certificates.certificates_of(wrong)
    with pytest.raises(ConfigError, match="trusted_roots has not certificates in PEM"):
        certificates.configured("trusted_roots", (pem(LEAF), "x"))


def test_what_was_fetched():
    """PEM or DER; anything else, and any other status, is to be sent again."""
    for body in (pem(LEAF).encode(), der(LEAF)):
        assert certificates.fetched_certificates(Fetched(200, body), "X") == (LEAF,)
    for wrong in (Fetched(0, b""), Fetched(404, der(LEAF)), Fetched(200, b""), Fetched(200, b"-----BEGIN")):
        with pytest.raises(Unproven) as caught:
            certificates.fetched_certificates(wrong, "X")
        assert (caught.value.refused.reason, caught.value.refused.status) == ("key_unavailable", 503)


def test_the_machines_authorities():
    """They are asked for by name; those that cannot be read are left out, and without any nothing can be judged."""
    assert certificates.system_roots({}) == Fetch("system-roots", "system:roots", keep_s=86_400.0)
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    bundle = Fetched(200, (pem(ROOT) + broken + pem(LEAF)).encode())
    assert certificates.system_roots({certificates.SYSTEM_ROOTS: bundle}) == (ROOT, LEAF)
    for nothing in (Fetched(0, b""), Fetched(200, b""), Fetched(200, broken.encode())):
        with pytest.raises(Unproven):
            certificates.system_roots({certificates.SYSTEM_ROOTS: nothing})


@pytest.mark.parametrize("now_s", [1e300, -1e300, float("nan"), float("inf"), 10**30])
def test_times_that_are_none(now_s):
    """At a time that no calendar has, no certificate is valid."""
    assert not certificates.valid_at(LEAF, now_s)
    assert certificates.why_untrusted(LEAF, (), (ROOT,), now_s) == "no certificate is valid at such a time"


def test_validity_of_every_link():
    """A path is good while leaf, link and root are valid, and no longer."""
    between = issued("Between", "between", by=ROOT, by_key="root", authority=True, until=NOW + DAY)
    leaf = issued("leaf", "leaf", by=between, by_key="between", until=NOW + 2 * DAY)
    assert certificates.why_untrusted(leaf, (between,), (ROOT,), NOW_S) is None
    assert certificates.why_untrusted(leaf, (between, LEAF, ROOT), (ROOT,), NOW_S) is None
    assert certificates.why_untrusted(leaf, (between,), (ROOT,), NOW_S + 86_401) is not None
    assert certificates.why_untrusted(leaf, (), (ROOT,), NOW_S) is not None
    assert certificates.why_untrusted(leaf, (between,), (), NOW_S) == "no authority is trusted"
    # What comes with the leaf is never an authority by itself.
    assert certificates.why_untrusted(leaf, (between, ROOT), (issued("Other", "x", authority=True),), NOW_S) is not None


def test_signatures():
    """RSA with PKCS#1 v1.5 by a key of 2048 bits or more, and no other key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    signature = signed_by("leaf", b"data")
    public = key("leaf").public_key()
    assert certificates.rsa_signed(public, signature, b"data", "sha256")
    assert not certificates.rsa_signed(public, signature, b"data", "sha1")
    assert not certificates.rsa_signed(public, signature, b"date", "sha256")
    assert not certificates.rsa_signed(public, b"", b"data", "sha256")
    assert not certificates.rsa_signed(key("weak", 1024).public_key(), signature, b"data", "sha256")
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert not certificates.rsa_signed(elliptic, signature, b"data", "sha256")
