"""Twilio: SHA-1 over the address and the form's fields in order; JSON by a checksum in the address."""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import parse_qsl

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import first_of, sha256_hex
from hookline.core.simulate.json_style import compact, form
from hookline.core.simulate.template import Scene, composed


def _signed(draft: Draft, scene: Scene, content: str) -> Draft:
    """By the account's token; or by a key of one's own (2026), where only that is configured."""
    if scene.config.get("auth_token") is not None:
        key, digest = scene.config["auth_token"], "sha1"
    else:
        key, digest = scene.config["shared_secret"], "sha256"
        draft = draft.with_header(
            "X-Twilio-Webhooks-Signature-Settings", "key=webhooks_sharedkey_simulated,algorithm=HMAC_SHA256"
        )
    mac = hmac.new(first_of(key).encode(), content.encode("utf-8", "surrogateescape"), digest).digest()
    return draft.with_header("X-Twilio-Signature", base64.b64encode(mac).decode("ascii"))


def _sign_form(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    fields = parse_qsl(draft.body.decode("utf-8", "surrogateescape"), keep_blank_values=True)
    content = scene.url + "".join(name + value for name, value in sorted(set(fields)))
    return _signed(draft, scene, content)


def _sign_json(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    checksum = f"{'&' if '?' in scene.url else '?'}bodySHA256={sha256_hex(draft.body)}"
    scene.url += checksum
    draft = Draft(draft.method, draft.url + checksum, draft.headers, draft.body)
    return _signed(draft, scene, scene.url)


_ACCOUNT: Final = "ACa1b2c3d4e5f60718293a4b5c6d7e8f90"

TWILIO: Final = Provider(
    "twilio",
    (
        Sample(
            "incoming_message",
            "somebody sent a text message",
            composed(
                """{"ToCountry": "US", "ToState": "CA", "SmsMessageSid": "SM${hex:32#sid}", "NumMedia": "0",
            "ToCity": "SAN FRANCISCO", "FromZip": "", "SmsSid": "SM${#sid}", "FromState": "", "SmsStatus": "received",
            "FromCity": "", "Body": "Où est ma commande? 😀", "FromCountry": "DE", "To": "+14158675310",
            "ToZip": "94105", "NumSegments": "1", "MessageSid": "SM${#sid}", "AccountSid": "@account@",
            "From": "+491701234567", "ApiVersion": "2010-04-01"}""",
                account=_ACCOUNT,
            ),
        ),
        Sample(
            "message_status",
            "a text message has arrived",
            composed(
                """{"SmsSid": "SM${hex:32#sid}", "SmsStatus": "delivered", "MessageStatus": "delivered",
            "To": "+491701234567", "MessageSid": "SM${#sid}", "AccountSid": "@account@", "From": "+14158675310",
            "ApiVersion": "2010-04-01"}""",
                account=_ACCOUNT,
            ),
        ),
        Sample(
            "incoming_call",
            "somebody calls, and TwiML is to say what happens",
            composed(
                """{"Called": "+14158675310", "ToState": "CA", "CallerCountry": "US", "Direction": "inbound",
            "CallerState": "CA", "ToZip": "94105", "CallSid": "CA${hex:32}", "To": "+14158675310", "CallerZip": "94105",
            "ToCountry": "US", "StirVerstat": "TN-Validation-Passed-A", "CalledZip": "94105", "ApiVersion":
            "2010-04-01",
            "CalledCity": "SAN FRANCISCO", "CallStatus": "ringing", "From": "+14158675309", "AccountSid": "@account@",
            "CalledCountry": "US", "CallerCity": "", "FromCountry": "US", "ToCity": "SAN FRANCISCO", "FromCity": "",
            "CalledState": "CA", "FromZip": "94105", "Caller": "+14158675309",
            "FromState": "CA"}""",
                account=_ACCOUNT,
            ),
        ),
        Sample(
            "com.twilio.messaging.message.delivered",
            "Event Streams: JSON, its checksum in the address",
            composed(
                """[{"specversion": "1.0", "type": "com.twilio.messaging.message.delivered",
            "source": "/@account@/Messages/SM${hex:32#sid}.json", "id": "EZ${hex:32}",
            "dataschema": "https://events-schemas.twilio.com/Messaging.MessageStatus/4",
            "datacontenttype": "application/json", "time": "${iso.3}",
            "data": {"messageSid": "SM${#sid}", "messageStatus": "DELIVERED", "accountSid": "@account@",
            "to": "+491701234567", "from": "+14158675310", "timestamp": "${iso.3}",
            "eventName": "com.twilio.messaging.message.delivered"}}]""",
                account=_ACCOUNT,
            ),
            style=compact,
            content_type="application/json",
            sign=_sign_json,
        ),
    ),
    _sign_form,
    {"auth_token": "${hex:32}"},
    credential="auth_token",
    instead={"auth_token": ("shared_secret",)},
    headers={"User-Agent": "TwilioProxy/1.1", "Accept": "*/*", "I-Twilio-Idempotency-Token": "${uuid}"},
    style=form,
    content_type="application/x-www-form-urlencoded; charset=UTF-8",
    signs_time=False,
)

PROVIDERS: Final = (TWILIO,)
