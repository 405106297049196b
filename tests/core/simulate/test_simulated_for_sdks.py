"""The providers' own Python kits take what is simulated of them, and refuse what is forged."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import atlassian_jwt
import discord_interactions
import jwt as pyjwt
import pytest
import razorpay
import slack_sdk.signature
import standardwebhooks
import stripe
import svix.webhooks
import twilio.request_validator
from Adyen import util as adyen
from google.auth import exceptions as google_exceptions
from google.auth import jwt as google_jwt
from paddle_billing.Entities.Event import Event as PaddleEvent
from paddle_billing.Notifications import Secret, Verifier
from sendgrid.helpers.eventwebhook import EventWebhook
from square.types.payment_updated_event import PaymentUpdatedEvent
from square.types.refund_created_event import RefundCreatedEvent
from square.utils.webhooks_helper import verify_signature as square_verify
from tests.core.simulate.simulating import SAMPLES, setting_of, simulated

from hookline.core.simulate.changes import Changes
from hookline.core.simulate.simulation import Setting, Simulated

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the kit uses what it has itself deprecated
    import braintree
    from braintree.exceptions.invalid_signature_error import InvalidSignatureError

Takes = Callable[[Setting, Simulated], bool]


def header(sent: Simulated, name: str) -> str:
    """A header that must be there."""
    value = sent.inbound.header(name)
    assert value is not None, name
    return value


def by_stripe(setting: Setting, sent: Simulated) -> bool:
    secret = setting.receiver["secret"]
    try:
        event = stripe.Webhook.construct_event(sent.body, header(sent, "stripe-signature"), secret)
    except stripe.SignatureVerificationError:
        return False
    assert event.type == setting.sample.type
    assert event.data.object.object in event.type or event.type.startswith("customer.subscription")
    return True


def by_slack(setting: Setting, sent: Simulated) -> bool:
    return slack_sdk.signature.SignatureVerifier(setting.receiver["secret"]).is_valid_request(
        sent.body, dict(sent.headers)
    )


def by_twilio(setting: Setting, sent: Simulated) -> bool:
    is_form = sent.inbound.content_type == "application/x-www-form-urlencoded"
    text = sent.body.decode()
    params = dict(parse_qsl(text, keep_blank_values=True)) if is_form else text
    validator = twilio.request_validator.RequestValidator(setting.receiver["auth_token"])
    return bool(validator.validate(sent.signed_url, params, header(sent, "x-twilio-signature")))


def by_standard_webhooks(setting: Setting, sent: Simulated) -> bool:
    try:
        standardwebhooks.Webhook(setting.receiver["secret"]).verify(sent.body, dict(sent.inbound.headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def by_svix(setting: Setting, sent: Simulated) -> bool:
    try:
        svix.webhooks.Webhook(setting.receiver["secret"]).verify(sent.body, dict(sent.headers))
    except svix.webhooks.WebhookVerificationError:
        return False
    return True


def by_google(setting: Setting, sent: Simulated) -> bool:
    config = setting.receiver
    token = header(sent, "authorization").removeprefix("Bearer ")
    try:
        claims = google_jwt.decode(token, certs=config["certs"], audience=config["audience"])
    except (ValueError, google_exceptions.GoogleAuthError):
        return False
    message = json.loads(sent.body)["message"]
    assert message["messageId"] == message["message_id"]
    return bool(claims["email"] == config["service_account_email"] and claims["email_verified"])


def by_sendgrid(setting: Setting, sent: Simulated) -> bool:
    prefix = "x-twilio-email-event-webhook"
    signature, timestamp = header(sent, f"{prefix}-signature"), header(sent, f"{prefix}-timestamp")
    webhook = EventWebhook(setting.receiver["public_key"])
    return bool(webhook.verify_signature(sent.body.decode(), signature, timestamp))


def by_razorpay(setting: Setting, sent: Simulated) -> bool:
    utility = razorpay.Client(auth=("id", "secret")).utility
    try:
        utility.verify_webhook_signature(
            sent.body.decode(), header(sent, "x-razorpay-signature"), setting.receiver["secret"]
        )
    except razorpay.errors.SignatureVerificationError:
        return False
    return True


def by_braintree(setting: Setting, sent: Simulated) -> bool:
    config = setting.receiver
    gateway = braintree.BraintreeGateway(braintree.Configuration(braintree.Environment.Sandbox, **config))
    if sent.method == "GET":
        answer = gateway.webhook_notification.verify(sent.inbound.query("bt_challenge"))
        return bool(answer == sent.wanted.body)
    fields = dict(parse_qsl(sent.body.decode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            notification = gateway.webhook_notification.parse(fields["bt_signature"], fields["bt_payload"])
        except InvalidSignatureError:
            return False
    assert notification.kind == setting.sample.type
    subject = notification.dispute if "dispute" in notification.kind else notification.subscription
    return bool(subject.id and notification.timestamp)


def by_adyen(setting: Setting, sent: Simulated) -> bool:
    key, body = setting.receiver["hmac_key"], sent.body.decode()
    if setting.receiver["mode"] == "header":
        return bool(adyen.is_valid_hmac_payload(header(sent, "hmacsignature"), key, sent.body))
    return bool(adyen.is_valid_hmac_notification(json.loads(body), key))


def by_discord(setting: Setting, sent: Simulated) -> bool:
    signature, timestamp = header(sent, "x-signature-ed25519"), header(sent, "x-signature-timestamp")
    return discord_interactions.verify_key(sent.body, signature, timestamp, setting.receiver["public_key"])


def by_paddle(setting: Setting, sent: Simulated) -> bool:
    request: Any = SimpleNamespace(body=sent.body, headers=dict(sent.headers))
    if not Verifier().verify(request, Secret(setting.receiver["secret"])):
        return False
    event = PaddleEvent.from_dict(json.loads(sent.body))
    assert event.event_type == setting.sample.type
    assert event.data.id
    return True


def by_square(setting: Setting, sent: Simulated) -> bool:
    event = {"payment.updated": PaymentUpdatedEvent, "refund.created": RefundCreatedEvent}[setting.sample.type]
    assert event(**json.loads(sent.body)).type == setting.sample.type
    return square_verify(
        request_body=sent.body.decode(),
        signature_header=header(sent, "x-square-hmacsha256-signature"),
        signature_key=setting.receiver["secret"],
        notification_url=setting.receiver["notification_url"],
    )


def by_atlassian(setting: Setting, sent: Simulated) -> bool:
    class Authenticator(atlassian_jwt.Authenticator):
        def get_shared_secret(self, client_key):
            assert client_key == setting.receiver["client_key"]
            return setting.receiver["shared_secret"]

    try:
        Authenticator(leeway=0).authenticate(sent.method, sent.signed_url, dict(sent.headers))
    except pyjwt.InvalidTokenError:
        return False
    return True


KITS: dict[str, Takes] = {
    "stripe": by_stripe,
    "slack": by_slack,
    "twilio": by_twilio,
    "standard_webhooks": by_standard_webhooks,
    "gitlab": by_standard_webhooks,
    "svix": by_svix,
    "gcp_pubsub": by_google,
    "sendgrid": by_sendgrid,
    "razorpay": by_razorpay,
    "braintree": by_braintree,
    "adyen": by_adyen,
    "discord": by_discord,
    "paddle": by_paddle,
    "square": by_square,
    "jira_connect": by_atlassian,
}
# The kit of Connect knows shared secrets alone.
OF_KITS = [(name, event_type) for name, event_type in SAMPLES if name in KITS and "installed" not in event_type]


@pytest.mark.parametrize(("name", "event_type"), OF_KITS)
def test_the_providers_own_kit_takes_it(name, event_type):
    """As it is it is taken, tampered with it is not, and as of yesterday it is not where the kit looks at the time."""
    setting = setting_of(name, event_type)
    takes, now_s = KITS[name], datetime.now(UTC).timestamp()  # the kits look at the clock
    assert takes(setting, simulated(setting, now_s=now_s))
    if setting.sample.proven:
        assert not takes(setting, simulated(setting, Changes(tampered=True), now_s=now_s))
    if setting.provider.limits_age and setting.provider.signs_time is True:
        assert not takes(setting, simulated(setting, Changes(stale=True), now_s=now_s))
