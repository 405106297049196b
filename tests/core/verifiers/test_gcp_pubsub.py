"""Google Cloud Pub/Sub push: whose token counts; against google-auth; what is read."""

from __future__ import annotations

import base64
import datetime as dt
import json

import pytest
from google.auth import exceptions
from google.auth import jwt as google_jwt
from tests.core.verifiers.made_certificates import DAY, NOW, NOW_S, issued, pem, public_pem
from tests.core.verifiers.made_tokens import token
from tests.core.verifiers.recorded import Recorded, read, reason, said, settled

from hookline.core.verifiers import gcp_pubsub
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Fetch, Fetched, Verified

REAL = Recorded("gcp_pubsub")
AUDIENCE = "https://hooks.example.com/in/pubsub"
ACCOUNT = "push@project.iam.gserviceaccount.com"
CERTS = {"k1": pem(issued("federated-signon.system.gserviceaccount.com", "google"))}
CONFIG = {"audience": AUDIENCE, "service_account_email": ACCOUNT, "certs": CERTS}
HEADER = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
CLAIMS = {
    "iss": "https://accounts.google.com",
    "aud": AUDIENCE,
    "azp": "113774264463038321964",
    "sub": "113774264463038321964",
    "email": ACCOUNT,
    "email_verified": True,
    "iat": NOW_S - 5,
    "exp": NOW_S + 3595,
}
BODY = b'{"message":{"data":"eA==","messageId":"1"},"subscription":"projects/p/subscriptions/s"}'


def request(text, body=BODY, scheme="Bearer ", **headers):
    given = {"authorization": scheme + text, "content-type": "application/json"}
    return Inbound.of("POST", AUDIENCE, {**given, **{k.replace("_", "-"): v for k, v in headers.items()}}, body)


def judged(text=None, now_s=NOW_S, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("gcp_pubsub", request(token(HEADER, CLAIMS, "google") if text is None else text), merged, now_s)


def claims(*, drop=(), header=HEADER, by="google", **changes):
    return token(header, {name: value for name, value in {**CLAIMS, **changes}.items() if name not in drop}, by)


def test_recorded_delivery():
    """The recorded delivery is verified and read: Cloud Storage's type, the message's id."""
    assert isinstance(REAL.judged(), Verified)
    (event,) = read("gcp_pubsub", REAL.request())
    assert (event.type, event.id) == ("OBJECT_FINALIZE", REAL.expected["dedup_id"])
    assert event.data == REAL.body
    assert event.time == "2025-10-09T08:53:19.123Z"


FORGED = {
    "another audience": (claims(aud=AUDIENCE + "2"), "wrong_recipient"),
    "audience in capitals": (claims(aud=AUDIENCE.upper()), "wrong_recipient"),
    "no audience": (claims(drop=["aud"]), "wrong_recipient"),
    "another account": (claims(email="evil@project.iam.gserviceaccount.com"), "wrong_recipient"),
    "another account, beginning alike": (claims(email=ACCOUNT + ".evil.com"), "wrong_recipient"),
    "no account": (claims(drop=["email"]), "wrong_recipient"),
    "account is a list": (claims(email=[ACCOUNT]), "wrong_recipient"),
    "account not verified": (claims(email_verified=False), "wrong_recipient"),
    "account said to be verified by a text": (claims(email_verified="true"), "wrong_recipient"),
    "account verified by 1": (claims(email_verified=1), "wrong_recipient"),
    "nothing said of verification": (claims(drop=["email_verified"]), "wrong_recipient"),
    "another issuer": (claims(iss="https://accounts.google.com.evil.com"), "wrong_recipient"),
    "issuer over http": (claims(iss="http://accounts.google.com"), "wrong_recipient"),
    "no issuer": (claims(drop=["iss"]), "wrong_recipient"),
    "ended": (claims(exp=NOW_S - 1), "stale"),
    "ends now": (claims(exp=NOW_S), "stale"),
    "does not end": (claims(drop=["exp"]), "stale"),
    "ends in ms": (claims(exp=(NOW_S + 3595) * 1000), "stale"),
    "ends in a week": (claims(exp=NOW_S + 7 * 86_400), "stale"),
    "made later": (claims(iat=NOW_S + 120), "stale"),
    "not said when made": (claims(drop=["iat"]), "stale"),
    "of a stranger": (claims(by="stranger"), "wrong_signature"),
    "none": (claims(by=None, header={"alg": "none", "kid": "k1"}), "malformed_signature"),
    "NoNe": (claims(by=None, header={"alg": "NoNe", "kid": "k1"}), "malformed_signature"),
    "HS256 with the certificate": (
        claims(by=CERTS["k1"].encode(), header={**HEADER, "alg": "HS256"}),
        "wrong_signature",
    ),
    "HS256 with the key": (
        claims(by=public_pem("google").encode(), header={**HEADER, "alg": "HS256"}),
        "wrong_signature",
    ),
    "RS512": (claims(header={**HEADER, "alg": "RS512"}), "wrong_signature"),
    "kid of a path": (claims(header={**HEADER, "kid": "../../k1"}), "untrusted_key"),
    "kid unknown": (claims(header={**HEADER, "kid": "k2"}), "untrusted_key"),
    "no kid": (claims(header={"alg": "RS256"}), "untrusted_key"),
    "jku": (claims(header={**HEADER, "jku": "https://evil.com/jwks"}, by="stranger"), "wrong_signature"),
    "x5u": (claims(header={**HEADER, "x5u": "https://evil.com/c.pem"}, by="stranger"), "wrong_signature"),
    "crit": (claims(header={**HEADER, "crit": ["x"]}), "unsupported"),
    "no token": ("", "malformed_signature"),
    "not a token": ("x", "malformed_signature"),
    "cut": (claims()[:-1], "malformed_signature"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_tokens(name):
    """Whatever is not Google's token for this audience and from this account is refused."""
    text, why = FORGED[name]
    assert reason(judged(text)) == why


def test_header():
    """One Authorization header, of the scheme Bearer in any case."""
    good = claims()
    assert isinstance(said("gcp_pubsub", request(good, scheme="bearer "), CONFIG, NOW_S), Verified)
    for scheme in ("", "Basic ", "JWT ", "Bearer"):
        assert reason(said("gcp_pubsub", request(good, scheme=scheme), CONFIG, NOW_S)) == "malformed_signature"
    one = request(good)
    two = Inbound(one.method, one.url, (*one.headers, one.headers[0]), one.body)
    assert reason(said("gcp_pubsub", two, CONFIG, NOW_S)) == "missing_signature"
    none = Inbound(one.method, one.url, (), one.body)
    assert reason(said("gcp_pubsub", none, CONFIG, NOW_S)) == "missing_signature"


def test_configuration():
    """Audience and account must be configured, as one or several: without them any Google account could send."""
    assert reason(judged(audience=None)) == "not_configured"
    assert reason(judged(service_account_email=None)) == "not_configured"
    assert isinstance(judged(audience=["https://x", AUDIENCE], service_account_email=["a@b", ACCOUNT]), Verified)
    assert reason(judged(certs={"k1": "no PEM"})) == "not_configured"


def test_leeway():
    """A token may have ended by the configured leeway, by default not at all."""
    assert isinstance(judged(claims(exp=NOW_S - 5), leeway=10), Verified)
    assert reason(judged(claims(exp=NOW_S - 5))) == "stale"
    assert isinstance(judged(claims(iat=NOW_S + 5)), Verified)
    assert reason(judged(claims(iat=NOW_S + 5), leeway=0)) == "stale"


def test_given_certificate_is_trusted_as_it_is():
    """A certificate in the configuration is not judged by its time; a key alone does as well."""
    old = issued("x", "google", until=NOW - DAY)
    assert isinstance(judged(certs={"k1": pem(old)}), Verified)
    assert isinstance(judged(certs={"k1": public_pem("google")}), Verified)


def test_keys_are_fetched():
    """Otherwise Google's are fetched, once more for a new name; nothing for a token that cannot be good."""
    config = {"audience": AUDIENCE, "service_account_email": ACCOUNT}
    web = {gcp_pubsub.CERTS_URL: Fetched(200, json.dumps(CERTS).encode())}
    verdict, asked = settled("gcp_pubsub", request(claims()), config, NOW_S, web)
    assert isinstance(verdict, Verified)
    assert asked == [Fetch(gcp_pubsub.CERTS, gcp_pubsub.CERTS_URL, keep_s=3600.0)]
    unknown = request(claims(header={**HEADER, "kid": "new"}))
    verdict, asked = settled("gcp_pubsub", unknown, config, NOW_S, web)
    assert (reason(verdict), [one.name for one in asked]) == ("untrusted_key", ["google-certs", "google-certs-again"])
    assert settled("gcp_pubsub", request(claims(aud="x")), config, NOW_S, web)[1] == []
    assert reason(settled("gcp_pubsub", request(claims()), config, NOW_S, {})[0]) == "key_unavailable"


@pytest.mark.parametrize("name", ["good", *FORGED])
def test_google_auth_agrees(name, monkeypatch):
    """google-auth, with the checks that Google's sample adds to it, accepts the good token and no forged one; but one
    that ends this very second, and what it does not look at: how far off the end is, critical headers, no kid."""
    text = claims() if name == "good" else FORGED[name][0]
    told_now = dt.datetime.fromtimestamp(NOW_S, dt.UTC).replace(tzinfo=None)
    monkeypatch.setattr("google.auth._helpers.utcnow", lambda: told_now)
    try:
        told = google_jwt.decode(text, certs=CERTS, audience=AUDIENCE)
        verified = told.get("email") == ACCOUNT and told.get("email_verified") is True
        fine = verified and told.get("iss") in gcp_pubsub.ISSUERS
    except (exceptions.GoogleAuthError, ValueError, TypeError):
        fine = False
    stricter = ("ends now", "ends in ms", "ends in a week", "crit", "no kid")
    assert fine is (name == "good" or name in stricter)


# ------------------------------------------------------------------------------------------------------ reading


def wrapped(**message):
    return json.dumps({"message": {"messageId": "9", "data": "eA==", **message}, "subscription": "s"}).encode()


def test_reading_of_a_wrapped_message():
    """The attributes say the type: Cloud Storage's, that of CloudEvents, or one of one's own; else it is a message."""
    storage = {
        "eventType": "OBJECT_DELETE",
        "objectId": "a/b.txt",
        "bucketId": "b",
        "eventTime": "2025-10-09T08:53:20Z",
    }
    (event,) = read("gcp_pubsub", request("x", wrapped(attributes=storage)))
    assert (event.type, event.id, event.subject, event.time) == (
        "OBJECT_DELETE",
        "9",
        "a/b.txt",
        "2025-10-09T08:53:20Z",
    )
    assert read("gcp_pubsub", request("x", wrapped(attributes={"ce-type": "a.b"})))[0].type == "a.b"
    assert read("gcp_pubsub", request("x", wrapped(attributes={"type": "own"})))[0].type == "own"
    assert read("gcp_pubsub", request("x", wrapped()))[0].type == "message"


def test_reading_of_an_unwrapped_message():
    """Without its wrapper, a message's metadata and attributes are headers."""
    data = base64.b64decode("AAEC")
    sent = request(
        "x", data, content_type="application/octet-stream", x_goog_pubsub_message_id="7", eventType="OBJECT_FINALIZE"
    )
    (event,) = read("gcp_pubsub", sent)
    assert (event.type, event.id, event.data) == ("OBJECT_FINALIZE", "7", data)
