"""SendGrid's event webhook: the row by public key, ECDSA on P-256."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.content import content
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.public_key import PublicKeyScheme
from hookline.core.verifiers.request_parts import verifier
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.timestamp import UNIX_DIGITS, Timestamp

SIGNED: Final = PublicKeyScheme(
    SignedMessage(
        place("header:x-twilio-email-event-webhook-signature"),
        content("{timestamp}{body}"),
        "base64",
        timestamp=Timestamp(place("header:x-twilio-email-event-webhook-timestamp"), digits=UNIX_DIGITS),
    ),
    "ecdsa-p256-sha256",
)

PRESET: Final = Preset(
    "sendgrid",
    "SendGrid Event Webhook",
    verifier(SIGNED.prove),
    keys=("public_key", "tolerance_s"),
    secrets=(),
    reading=Reading(
        type="item:event", id="item:sg_event_id", subject="item:email", time="item:timestamp", split="body:"
    ),
    retry_window_s=DAY_S,
    check=SIGNED.check,
)
