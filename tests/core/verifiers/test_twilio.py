"""Twilio: URL, sorted form, digests of other bodies, shared keys; against its own RequestValidator, both ways."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.verifiers.recorded import Recorded, read, reason, said
from twilio.request_validator import RequestValidator

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.twilio import SETTINGS, form_text
from hookline.core.verifiers.verdict import Refused, Verified

REAL = Recorded("twilio")
TOKEN = "12345"
URL = "https://h.example/in/t?a=1&b=2"
FORM = "application/x-www-form-urlencoded"
CONFIG = {"auth_token": TOKEN}


class Fields(dict):
    """A form as their validator wants it, with every value of a name."""

    def getall(self, name):
        return self[name]


def fields(pairs):
    found = Fields()
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def sent(pairs=(("CallSid", "CA1"), ("From", "+1415")), url=URL, signed_url=None, token=TOKEN, settings_header=None):
    """A form, signed by Twilio's own code."""
    algorithm = "HMAC_SHA256" if settings_header and "SHA256" in settings_header else None
    signature = RequestValidator(token).compute_signature(signed_url or url, fields(pairs), algorithm)
    headers = {"content-type": f"{FORM}; charset=UTF-8", "x-twilio-signature": signature}
    if settings_header is not None:
        headers[SETTINGS] = settings_header
    return Inbound.of("POST", url, headers, urlencode(pairs).encode())


def judged(request, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("twilio", request, merged, 0)


def test_published_delivery():
    """The published example is verified and read."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("twilio", REAL.request())
    assert (event.id, event.subject) == ("b6d0d9a1-9c7e-4c0a-9a37-6a3f7f6d3b1e", "CA1234567890ABCDE")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"body": REAL.body.replace(b"1234&", b"1235&")}, "wrong_signature"),
        ({"body": REAL.body + b"&More=1"}, "wrong_signature"),
        ({"body": REAL.body.partition(b"&")[2]}, "wrong_signature"),
        ({"body": b""}, "wrong_signature"),
        ({"url": "https://mycompany.com/myapp.php?foo=1&bar=3"}, "wrong_signature"),
        ({"url": "https://mycompany.com/myapp.php"}, "wrong_signature"),
        ({"url": "http://mycompany.com/myapp.php?foo=1&bar=2"}, "wrong_signature"),
        ({"url": "https://other.com/myapp.php?foo=1&bar=2"}, "wrong_signature"),
        ({"url": "https://mycompany.com:8080/myapp.php?foo=1&bar=2"}, ""),  # signed without its port
        ({"headers": {"X-Twilio-Signature": None}}, "missing_signature"),
        ({"headers": {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B9="}}, "malformed_signature"),
        ({"headers": {"X-Twilio-Signature": ""}}, "malformed_signature"),
        ({"headers": {"X-Twilio-Signature": "é"}}, "malformed_signature"),
        ({"headers": {"Content-Type": "text/plain"}}, "missing_signature"),
        ({"headers": {"Content-Type": None}}, "missing_signature"),
        ({"headers": {SETTINGS: "key=k,algorithm=HMAC_SHA256"}}, "wrong_signature"),
        ({"headers": {SETTINGS: "key=k,algorithm=NONE"}}, "unsupported"),
        ({"headers": {SETTINGS: "key=k,algorithm=HMAC_SHA1"}}, ""),
        ({"headers": {SETTINGS: "key=k"}}, ""),
    ],
)
def test_changed_delivery(changes, why):
    """Whatever of the example is changed or missing, it is refused, for a reason that says so."""
    assert reason(REAL.judged(REAL.request(**changes))) == why


def test_configuration():
    """The token must be configured; of several any counts."""
    assert reason(judged(sent(), auth_token=None)) == "not_configured"
    assert reason(judged(sent(), auth_token="54321")) == "wrong_signature"
    assert isinstance(judged(sent(), auth_token=["54321", TOKEN]), Verified)


@pytest.mark.parametrize(
    ("called", "signed", "fine"),
    [
        ("https://h.example/in/t", "https://h.example/in/t", True),
        ("https://h.example/in/t", "https://h.example:443/in/t", True),
        ("https://h.example:443/in/t", "https://h.example/in/t", True),
        ("https://h.example:8443/in/t", "https://h.example:8443/in/t", True),
        ("https://h.example:8443/in/t", "https://h.example/in/t", True),
        ("http://h.example/in/t", "http://h.example:80/in/t", True),
        ("http://h.example/in/t", "http://h.example:443/in/t", False),
        ("https://h.example/in/t", "https://h.example:8443/in/t", False),
        ("https://h.example/in/t", "http://h.example/in/t", False),
        ("https://h.example/in/t?", "https://h.example/in/t?", True),
        ("https://[2001:db8::1]:8443/t", "https://[2001:db8::1]/t", True),
        ("https://h.example/in/t?q=it's", "https://h.example/in/t?q=it's", True),
        ("https://h.example/in/t?q=it%27s%20so", "https://h.example/in/t?q=it's%20so", True),  # as Node writes it
        ("https://h.example/in/t?q=it%27s+so", "https://h.example/in/t?q=it's%20so", True),
    ],
)
def test_forms_of_the_url(called, signed, fine):
    """With and without a port, and as Twilio's Node library writes a query: but never another host, scheme or port."""
    assert isinstance(judged(sent(url=called, signed_url=signed)), Verified) is fine


def test_address_as_it_is_registered():
    """Behind a proxy that rewrites addresses the registered one counts, with the query of the request."""
    public = "https://public.example/twilio"
    request = sent(url="http://10.0.0.1:8400/in/t?a=1", signed_url=f"{public}?a=1")
    assert reason(judged(request)) == "wrong_signature"
    assert isinstance(judged(request, notification_url=public), Verified)
    assert isinstance(judged(sent(url="http://10.0.0.1/in/t", signed_url=public), notification_url=public), Verified)
    assert reason(judged(sent(), notification_url="https://[::1")) == "wrong_recipient"
    assert reason(judged(sent(url="https://[::1"))) == "wrong_recipient"


SHARED = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"


def test_shared_keys():
    """What says that it is signed with a shared key is held against SHA-256, with the key that is configured for it."""
    request = sent(token="shared", settings_header=SHARED)
    assert isinstance(judged(request, auth_token="shared"), Verified)
    assert isinstance(judged(request, shared_secret="shared"), Verified)
    assert reason(judged(request, auth_token="shared", shared_secret="other")) == "wrong_signature"
    assert reason(judged(request)) == "wrong_signature"
    without = Inbound(request.method, request.url, request.headers[:2], request.body)
    assert reason(judged(without, auth_token="shared")) == "wrong_signature"
    twice = Inbound(request.method, request.url, (*request.headers, (SETTINGS, SHARED)), request.body)
    assert reason(judged(twice, auth_token="shared")) == "malformed_signature"


JSON = b'{"type":"com.twilio.x","data":"\xe2\x98\x83"}'


def with_digest(body=JSON, digest=None, url="https://h.example/in/t?bodySHA256=", content_type="application/json"):
    url += hashlib.sha256(body).hexdigest() if digest is None else digest
    signature = RequestValidator(TOKEN).compute_signature(url, {})
    return Inbound.of("POST", url, {"content-type": content_type, "x-twilio-signature": signature}, body)


def test_digest_of_other_bodies():
    """A body that is no form is covered by the digest in the URL, and refused without one."""
    good = with_digest()
    assert isinstance(judged(good), Verified)
    assert isinstance(judged(with_digest(content_type="application/cloudevents+json")), Verified)
    assert isinstance(judged(with_digest(digest=hashlib.sha256(JSON).hexdigest().upper())), Verified)
    changed = Inbound(good.method, good.url, good.headers, JSON + b" ")
    assert reason(judged(changed)) == "wrong_signature"
    for digest in ("", "00", "xyz", hashlib.sha256(b"").hexdigest()):
        assert reason(judged(with_digest(digest=digest))) == "wrong_signature"
    twice = with_digest(url="https://h.example/in/t?bodySHA256=00&bodySHA256=")
    assert reason(judged(twice)) == "missing_signature"
    assert reason(judged(with_digest(url="https://h.example/in/t?x="))) == "missing_signature"
    # The body of one that had none: nothing covers it.
    empty = sent(pairs=())
    added = Inbound(empty.method, empty.url, (("content-type", "application/json"), empty.headers[1]), JSON)
    assert isinstance(judged(empty), Verified)
    assert reason(judged(added)) == "missing_signature"


def test_body_that_was_taken_away():
    """The URL's digest is held against an empty body too, whatever the body is said to be."""
    good = with_digest()
    for content_type in ("application/json", FORM, "text/plain"):
        headers = (("content-type", content_type), good.headers[1])
        assert isinstance(judged(Inbound("POST", good.url, headers, b"")), Refused)
        assert isinstance(judged(Inbound("POST", good.url, headers, b"&")), Refused)
    assert isinstance(judged(with_digest(body=b"")), Verified)


def test_form_with_a_digest():
    """A form whose URL has a digest may be covered by its fields, or by the digest alone, as Twilio's libraries have
    it."""
    url = f"https://h.example/in/t?bodySHA256={hashlib.sha256(b'A=1').hexdigest()}"
    assert isinstance(judged(sent((("A", "1"),), url=url)), Verified)
    assert isinstance(judged(with_digest(b"A=1", content_type=FORM)), Verified)
    changed = with_digest(b"A=1", content_type=FORM)
    assert isinstance(judged(Inbound("POST", changed.url, changed.headers, b"A=2")), Refused)


def test_get_requests():
    """A GET is covered by its URL."""
    signature = RequestValidator(TOKEN).compute_signature(URL, {})
    request = Inbound.of("GET", URL, {"x-twilio-signature": signature}, b"")
    assert isinstance(judged(request), Verified)
    assert reason(judged(Inbound.of("GET", URL + "&c=3", {"x-twilio-signature": signature}, b""))) == "wrong_signature"


texts = st.text(st.characters(codec="utf-8"), max_size=5)
pairs_of_texts = st.lists(st.tuples(texts.filter(bool), texts), max_size=6)


@settings(max_examples=200)
@given(pairs_of_texts)
def test_their_validator_agrees_on_forms(pairs):
    """For any form, in any order, with repeated names and blank values, we accept what Twilio's own code signs; and it
    accepts what we do."""
    request = sent(pairs)
    signature = dict(request.headers)["x-twilio-signature"]
    assert isinstance(judged(request), Verified)
    assert RequestValidator(TOKEN).validate(URL, fields(pairs), signature)
    shuffled = Inbound(request.method, request.url, request.headers, urlencode(pairs[::-1]).encode())
    assert isinstance(judged(shuffled), Verified)


@settings(max_examples=200)
@given(pairs_of_texts, pairs_of_texts)
def test_other_form_is_refused(pairs, other):
    """A form whose names and values one after the other differ is refused with another's signature."""
    request = sent(pairs)
    changed = Inbound(request.method, request.url, request.headers, urlencode(other).encode())
    same = form_text(urlencode(pairs).encode()) == form_text(urlencode(other).encode())
    assert isinstance(judged(changed), Verified) is same
    signature = dict(request.headers)["x-twilio-signature"]
    assert RequestValidator(TOKEN).validate(URL, fields(other), signature) is same


@given(st.binary(max_size=60))
def test_any_bytes_are_a_form(body):
    """Whatever bytes stand in a form, there is a verdict."""
    request = sent()
    if form_text(body) != form_text(request.body):
        assert isinstance(judged(Inbound(request.method, request.url, request.headers, body)), Refused)


def test_too_many_fields():
    """A form of more than 1,000 fields is refused before it is sorted."""
    request = sent()
    assert reason(judged(Inbound(request.method, request.url, request.headers, b"a&" * 1001))) == "malformed_body"


def test_reading():
    """The status is the type; Event Streams' array gives an event for each CloudEvent; the answer is an empty TwiML."""
    from hookline.core.verifiers.presets import preset

    (event,) = read("twilio", sent((("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("SmsStatus", "sent"))))
    assert (event.type, event.subject) == ("delivered", "SM1")
    stream = b'[{"specversion":"1.0","type":"com.twilio.a","id":"EZ1"}, {"type":"com.twilio.b","id":"EZ2"}]'
    events = read("twilio", with_digest(stream))
    assert [(one.type, one.id) for one in events] == [("com.twilio.a", "EZ1"), ("com.twilio.b", "EZ2")]
    reply = preset("twilio").reply
    assert reply.content_type == "text/xml"
    assert (reply.body or "").endswith("<Response></Response>")
