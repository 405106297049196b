"""Braintree: pairs of keys and signatures, the payload, the challenge; against its own kit, both ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
import warnings
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.verifiers.recorded import Recorded, read, reason, said

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.verdict import Handshake, Refused, Verified

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the kit uses what it has itself deprecated
    import braintree
    from braintree.exceptions.invalid_challenge_error import InvalidChallengeError
    from braintree.exceptions.invalid_signature_error import InvalidSignatureError

REAL = Recorded("braintree")
CONFIG = {"public_key": "public", "private_key": "private", "merchant_id": "merchant"}
GATEWAY = braintree.BraintreeGateway(
    braintree.Configuration(
        braintree.Environment.Sandbox, merchant_id="merchant", public_key="public", private_key="private"
    )
)
FORM = "application/x-www-form-urlencoded"
KIND = braintree.WebhookNotification.Kind.SubscriptionWentPastDue


def sample(kind=KIND):
    """What Braintree's kit makes: a signature, and a payload of lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = GATEWAY.webhook_testing.sample_notification(kind, "sub-1")
    return found["bt_signature"], found["bt_payload"].decode()


SIGNATURE, PAYLOAD = sample()


def signed(payload, private_key="private", public_key="public"):
    key = hashlib.sha1(private_key.encode()).digest()
    return f"{public_key}|{hmac.new(key, payload.encode(), hashlib.sha1).hexdigest()}"


def form(*fields, content_type=FORM):
    return Inbound.of("POST", "https://h.example/in/b", {"content-type": content_type}, urlencode(fields).encode())


def sent(signature=SIGNATURE, payload=PAYLOAD):
    return form(("bt_signature", signature), ("bt_payload", payload))


def judged(request=None, **config):
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    return said("braintree", request or sent(), merged, 0)


def theirs(signature, payload):
    """Whether Braintree's kit takes it."""
    try:
        GATEWAY.webhook_notification.parse(signature, payload)
    except (InvalidSignatureError, ValueError):
        return False
    return True


KINDS = [value for name, value in vars(braintree.WebhookNotification.Kind).items() if not name.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_of_the_kit(kind):
    """Every notification that Braintree's kit makes is verified, and its kind is the type."""
    signature, payload = sample(kind)
    assert isinstance(judged(sent(signature, payload)), Verified)
    (event,) = read("braintree", sent(signature, payload))
    assert event.type == kind
    assert event.time.endswith("Z")


XML = base64.b64encode(b"<notification><kind>k</kind></notification>").decode()
GOOD_PAIR = signed(PAYLOAD)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (sent(), ""),
        (sent(f"other|{'0' * 40}&{GOOD_PAIR}"), ""),
        (sent(f"{GOOD_PAIR}&public|{'0' * 40}"), ""),
        (sent(f"public|{'0' * 40}&{GOOD_PAIR}"), ""),
        (sent(signed(XML), XML), ""),
        (sent(signed(XML + "\n"), XML), ""),  # the line that ends the payload was signed and not sent
        (sent(GOOD_PAIR.replace("public|", "other|")), "missing_signature"),
        (sent(GOOD_PAIR.removeprefix("public|")), "missing_signature"),
        (sent("public|"), "missing_signature"),
        (sent("public|xyz"), "missing_signature"),
        (sent(f"public|{GOOD_PAIR}"), "missing_signature"),
        (sent(f"public|{'0' * 40}"), "wrong_signature"),
        (sent(GOOD_PAIR[:-2]), "wrong_signature"),
        (sent(signed(PAYLOAD, "another")), "wrong_signature"),
        (sent(GOOD_PAIR, PAYLOAD[:-4]), "wrong_signature"),
        (sent(GOOD_PAIR, PAYLOAD.replace("\n", "")), "wrong_signature"),
        (sent(GOOD_PAIR, PAYLOAD + " "), "malformed_body"),
        (sent(GOOD_PAIR, PAYLOAD.replace("\n", "\r\n")), "malformed_body"),
        (sent(GOOD_PAIR, ""), "malformed_body"),
        (form(("bt_signature", GOOD_PAIR)), "missing_signature"),
        (form(("bt_payload", PAYLOAD)), "missing_signature"),
        (form(("bt_signature", GOOD_PAIR), ("bt_payload", PAYLOAD), ("bt_payload", XML)), "missing_signature"),
        (form(("bt_signature", GOOD_PAIR), ("bt_payload", PAYLOAD), content_type="application/json"), "malformed_body"),
    ],
)
def test_pairs_and_payloads(request_, why):
    """The pair of our public key counts, over exactly this payload (with or without the line that ends it)."""
    assert reason(judged(request_)) == why


def signed_xml(text):
    payload = base64.b64encode(text).decode()
    return sent(signed(payload), payload)


@pytest.mark.parametrize(
    "text",
    [
        b"not XML",
        b"<other/>",
        b"<notification>",
        b'<!DOCTYPE n [<!ENTITY e "x">]><notification><kind>&e;</kind></notification>',
        b"<!DOCTYPE notification><notification/>",
    ],
)
def test_payload_that_is_no_notification(text):
    """A payload must be a notification in XML, without a DTD, even where the signature is good."""
    assert reason(judged(signed_xml(text))) == "malformed_body"


def test_answer_to_a_challenge_is_no_signature():
    """The answer to a challenge is a signature over hexadecimal digits, also base64: as a payload it fails."""
    challenge = "20f9f8ed05f77439fe955c977e4c8a53"
    request = Inbound.of("GET", f"https://h.example/in/b?bt_challenge={challenge}", {}, b"")
    answer = judged(request)
    assert isinstance(answer, Handshake)
    pair = answer.body.decode()
    assert pair == signed(challenge)
    assert reason(judged(sent(pair, challenge))) == "malformed_body"


def test_published_challenge():
    """The published challenge has the published answer, as plain text."""
    answer = REAL.judged()
    assert isinstance(answer, Handshake)
    assert (answer.status, answer.body.decode()) == (200, REAL.expected["expected_response"]["body"])
    assert dict(answer.headers)["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "query",
    ["", "?bt_challenge=", "?bt_challenge=short", f"?bt_challenge={'A' * 20}", f"?bt_challenge={'a' * 33}",
     f"?bt_challenge={'a' * 20}&bt_challenge={'a' * 20}", f"?bt_challenge={'a' * 20}%0a", "?bt_challenge=zz"],
)  # fmt: skip
def test_what_is_no_challenge(query):
    """What is no challenge is not signed."""
    assert isinstance(judged(Inbound.of("GET", f"https://h.example/in/b{query}", {}, b"")), Refused)


@given(st.text(st.sampled_from("abcdef0123456789xA"), min_size=18, max_size=34))
def test_their_kit_agrees_on_challenges(text):
    """We answer the challenges that Braintree's kit answers, with its answer."""
    try:
        wanted = GATEWAY.webhook_notification.verify(text)
    except InvalidChallengeError:
        wanted = None
    answer = judged(Inbound.of("GET", f"https://h.example/in/b?bt_challenge={text}", {}, b""))
    assert (answer.body.decode() if isinstance(answer, Handshake) else None) == wanted


@given(st.integers(0, len(SIGNATURE) - 1), st.integers(0, len(PAYLOAD) - 1), st.characters(codec="ascii"))
def test_mutations(at, where, character):
    """A changed character of signature or payload is refused, by us and by their kit; but for the case of digits."""
    signature = SIGNATURE[:at] + character + SIGNATURE[at + 1 :]
    if signature.lower() != SIGNATURE.lower():
        assert isinstance(judged(sent(signature)), Refused)
        assert not theirs(signature, PAYLOAD)
    payload = PAYLOAD[:where] + character + PAYLOAD[where + 1 :]
    if payload != PAYLOAD:
        assert isinstance(judged(sent(SIGNATURE, payload)), Refused)
        assert not theirs(SIGNATURE, payload)


def test_configuration():
    """Both keys are needed; of several private keys any counts."""
    assert reason(judged(public_key=None)) == "not_configured"
    assert reason(judged(private_key=None)) == "not_configured"
    assert isinstance(judged(private_key=["new", "private"]), Verified)
    assert isinstance(judged(merchant_id=None), Verified)


def test_repeats_are_known_by_their_bytes():
    """There is no id: the same bytes are the same delivery."""
    (one,), (again,), (other,) = (read("braintree", request) for request in (sent(), sent(), sent(signed(XML), XML)))
    assert one.id == again.id != other.id
