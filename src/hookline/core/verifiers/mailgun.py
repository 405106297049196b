"""Mailgun: the signature is in the body, as JSON or as fields of a form, and covers nothing of the event."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.json_body import member
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.rows import HOUR_S
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.timestamp import UNIX_DIGITS, Timestamp

JSON: Final = HmacScheme(
    SignedMessage(
        place("body:signature.signature"),
        content("{timestamp}{body:signature.token}"),
        timestamp=Timestamp(place("body:signature.timestamp"), digits=UNIX_DIGITS),
    )
)
FORM: Final = HmacScheme(
    SignedMessage(
        place("form:signature"),
        content("{timestamp}{form:token}"),
        timestamp=Timestamp(place("form:timestamp"), digits=UNIX_DIGITS),
    )
)
# Of a subaccount's event its parent account has a signature too, made with the parent's key.
PARENT: Final = HmacScheme(replace(JSON.message, signature=place("body:signature.parent-signature")))


def _prove(parts: Parts, config: Config, now_s: float) -> str:
    if parts.is_form:
        return FORM.prove(parts, config, now_s)
    try:
        return JSON.prove(parts, config, now_s)
    except Unproven as error:
        other = member(parts.json(), "signature.parent-signature")
        if other is None or error.refused.reason not in ("wrong_signature", "missing_signature", "malformed_signature"):
            raise
    return PARENT.prove(parts, config, now_s)


PRESET: Final = Preset(
    "mailgun",
    "Mailgun",
    verifier(_prove),
    keys=("secret", "tolerance_s"),
    reading=Reading(
        type="body:event-data.event|form:event",
        # Not the token: whether a repeat keeps it is not known, and the event must not come twice.
        id="body:event-data.id|{form:event}.{form:Message-Id|form:message-id}",
        subject="body:event-data.recipient|form:recipient",
        time="body:event-data.timestamp|form:timestamp",
    ),
    answer_within_s=15,
    retry_window_s=9 * HOUR_S,
    check=JSON.check,
)
