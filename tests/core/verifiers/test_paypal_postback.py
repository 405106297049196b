"""PayPal asked whether it sent a request: what it is asked, and what its answers mean."""

from __future__ import annotations

import json

import pytest
from tests.core.verifiers.recorded import Recorded, reason, said, settled

from hookline.core.verifiers import paypal
from hookline.core.verifiers.verdict import Fetch, Fetched, Refused, Verified

REAL = Recorded("paypal")
CONFIG = {
    "webhook_id": "4JH86294D6297924G",
    "client_id": "client",
    "client_secret": "s€cret",
    "environment": "sandbox",
}
TOKEN_URL = "https://api-m.sandbox.paypal.com/v1/oauth2/token"
ASK_URL = "https://api-m.sandbox.paypal.com/v1/notifications/verify-webhook-signature"
GRANTED = Fetched(200, b'{"access_token":"A21AA","token_type":"Bearer","expires_in":32400}')
YES = Fetched(200, b'{"verification_status":"SUCCESS"}')
NO = Fetched(200, b'{"verification_status":"FAILURE"}')


def asked(request=None, fetched=None, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("paypal", request or REAL.request(), merged, REAL.now_s, fetched)


def test_what_paypal_is_asked():
    """First a token with the client's credentials, then the question, in which the event's text is as it came."""
    first = asked()
    assert isinstance(first, Fetch)
    assert (first.method, first.url, first.body) == ("POST", TOKEN_URL, b"grant_type=client_credentials")
    assert dict(first.headers)["authorization"] == "Basic Y2xpZW50OnPigqxjcmV0"
    assert first.keep_s > 0
    second = asked(fetched={paypal.TOKEN: GRANTED})
    assert isinstance(second, Fetch)
    assert (second.method, second.url, second.keep_s) == ("POST", ASK_URL, 0.0)
    assert dict(second.headers) == {"authorization": "Bearer A21AA", "content-type": "application/json"}
    assert second.body.endswith(b',"webhook_event":' + REAL.body + b"}")
    told = json.loads(second.body)
    headers = {name.lower(): value for name, value in REAL.headers.items()}
    assert told == {
        "auth_algo": headers["paypal-auth-algo"],
        "cert_url": headers["paypal-cert-url"],
        "transmission_id": headers["paypal-transmission-id"],
        "transmission_sig": headers["paypal-transmission-sig"],
        "transmission_time": headers["paypal-transmission-time"],
        "webhook_id": CONFIG["webhook_id"],
        "webhook_event": json.loads(REAL.body),
    }


@pytest.mark.parametrize("environment", [None, "live"])
def test_live_is_the_default(environment):
    """Without an environment the live API is asked."""
    first = asked(environment=environment)
    assert isinstance(first, Fetch)
    assert first.url == "https://api-m.paypal.com/v1/oauth2/token"


def test_odd_spacing_and_escapes_of_the_event_are_kept():
    """The event is spliced in byte for byte, with its spaces, escapes and numbers."""
    body = b'\r\n { "a" : 1.0 ,"b":"\\u00e9\\/", "c":1e3 }\n'
    second = asked(REAL.request(body=body), {paypal.TOKEN: GRANTED})
    assert isinstance(second, Fetch)
    assert body in second.body


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"a":1}, "webhook_id":"x"', b'{"a":1}}', b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":"\xff"}'],
)
def test_body_that_could_add_to_the_question(body):
    """A body that is not one JSON object is refused before PayPal is asked anything."""
    assert reason(asked(REAL.request(body=body))) == "malformed_body"


@pytest.mark.parametrize(
    ("answer", "why", "status"),
    [
        (YES, "", 0),
        (NO, "wrong_signature", 401),
        (Fetched(0, b""), "key_unavailable", 503),
        (Fetched(500, b""), "key_unavailable", 503),
        (Fetched(400, b'{"verification_status":"SUCCESS"}'), "key_unavailable", 503),
        (Fetched(200, b'{"verification_status":"success"}'), "key_unavailable", 503),
        (Fetched(200, b'{"verification_status":true}'), "key_unavailable", 503),
        (Fetched(200, b'["SUCCESS"]'), "key_unavailable", 503),
        (Fetched(200, b"\xff"), "key_unavailable", 503),
    ],
)
def test_what_paypal_says(answer, why, status):
    """Only its SUCCESS is a proof, only its FAILURE is a forgery; anything else is to be sent again."""
    verdict = settled("paypal", REAL.request(), CONFIG, REAL.now_s, {TOKEN_URL: GRANTED, ASK_URL: answer})[0]
    assert reason(verdict) == why
    assert isinstance(verdict, Verified) or (isinstance(verdict, Refused) and verdict.status == status)


def test_token_that_has_become_bad():
    """A kept token that PayPal does not take any more is replaced once, and the question is put again."""
    fetched = {paypal.TOKEN: GRANTED, paypal.JUDGEMENT: Fetched(401, b"")}
    again = asked(fetched=fetched)
    assert isinstance(again, Fetch)
    assert (again.name, again.url, again.keep_s) == (f"{paypal.TOKEN}-again", TOKEN_URL, 60.0)
    fetched[again.name] = Fetched(200, b'{"access_token":"NEW"}')
    question = asked(fetched=fetched)
    assert isinstance(question, Fetch)
    assert dict(question.headers)["authorization"] == "Bearer NEW"
    assert isinstance(asked(fetched={**fetched, question.name: YES}), Verified)
    assert reason(asked(fetched={**fetched, question.name: Fetched(401, b"")})) == "key_unavailable"


@pytest.mark.parametrize(
    "granted",
    [
        Fetched(0, b""),
        Fetched(401, b'{"access_token":"x"}'),
        Fetched(200, b"{}"),
        Fetched(200, b'{"access_token":""}'),
        Fetched(200, b'{"access_token":"a\\r\\nx: y"}'),
        Fetched(200, b"html"),
    ],
)
def test_no_token(granted):
    """Without a token that can stand in a header nothing can be asked: to be sent again."""
    assert reason(asked(fetched={paypal.TOKEN: granted})) == "key_unavailable"


def test_nothing_is_asked_for_what_cannot_be_paypals():
    """Missing headers and certificates of elsewhere cost no question; a missing secret is said."""
    assert reason(asked(REAL.request(headers={"PAYPAL-CERT-URL": "https://evil.com/c"}))) == "untrusted_key"
    assert reason(asked(REAL.request(headers={"PAYPAL-TRANSMISSION-SIG": None}))) == "missing_signature"
    assert reason(asked(client_secret=None)) == "not_configured"
    assert reason(asked(webhook_id=None)) == "not_configured"
    assert reason(asked(environment="mars")) == "not_configured"


def test_certificates_go_before_questions():
    """Where certificates are configured, PayPal is not asked."""
    assert isinstance(REAL.judged(client_id="c", client_secret="s"), Verified)
