"""Stripe, Square, Paddle and Razorpay: rows of the table."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import verifier
from hookline.core.verifiers.rows import hmac_of_body, hmac_of_dated_body
from hookline.core.verifiers.signed_message import Fields, SignedMessage

# `v0` is a decoy of test mode; the secret is used as it is written, `whsec_` included.
STRIPE: Final = hmac_of_dated_body(
    "stripe-signature", "{timestamp}.{body}", timestamp="t", fields=Fields(",", "=", "v1"), tolerance_s=300
)
PADDLE: Final = hmac_of_dated_body(
    "paddle-signature", "{timestamp}:{body}", timestamp="ts", fields=Fields(";", "=", "h1"), tolerance_s=5
)
# The URL exactly as it was registered there, whatever a proxy made of it.
SQUARE: Final = HmacScheme(
    SignedMessage(place("header:x-square-hmacsha256-signature"), content("{config:notification_url}{body}"), "base64")
)
RAZORPAY: Final = hmac_of_body("x-razorpay-signature")

PRESETS: Final = (
    Preset(
        "stripe",
        "Stripe",
        verifier(STRIPE.prove),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            type="body:type", id="body:id", subject="body:data.object.id|body:related_object.id", time="body:created"
        ),
        retry_window_s=3 * DAY_S,
        check=STRIPE.check,
    ),
    Preset(
        "square",
        "Square",
        verifier(SQUARE.prove),
        keys=("secret", "notification_url"),
        reading=Reading(type="body:type", id="body:event_id", subject="body:data.id", time="body:created_at"),
        check=SQUARE.check,
    ),
    Preset(
        "paddle",
        "Paddle Billing",
        verifier(PADDLE.prove),
        keys=("secret", "tolerance_s"),
        reading=Reading(type="body:event_type", id="body:event_id", subject="body:data.id", time="body:occurred_at"),
        answer_within_s=5,
        retry_window_s=3 * DAY_S,
        check=PADDLE.check,
    ),
    Preset(
        "razorpay",
        "Razorpay",
        verifier(RAZORPAY.prove),
        keys=("secret",),
        reading=Reading(type="body:event", id="header:x-razorpay-event-id", time="body:created_at"),
        answer_within_s=5,
        check=RAZORPAY.check,
    ),
)
