"""DocuSign, Dropbox, Typeform and Calendly: rows of the table, and Dropbox's challenge."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.answers import text_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.place import NUMBERS_MAX, place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.rows import HOUR_S, hmac_of_body, hmac_of_dated_body
from hookline.core.verifiers.signed_message import Fields, SignedMessage
from hookline.core.verifiers.verdict import Verdict

# One header for each key that is active there, in any order.
DOCUSIGN: Final = HmacScheme(
    SignedMessage(place("header:x-docusign-signature-*"), content("{body}"), "base64", signatures_max=NUMBERS_MAX)
)
DROPBOX: Final = hmac_of_body("x-dropbox-signature")
TYPEFORM: Final = hmac_of_body("typeform-signature", encoding="base64", prefix="sha256=")
CALENDLY: Final = hmac_of_dated_body(
    "calendly-webhook-signature", "{timestamp}.{body}", timestamp="t", fields=Fields(",", "=", "v1"), tolerance_s=300
)


def _challenge(parts: Parts, _config: Config) -> Verdict | None:
    """When the address is set, with a GET."""
    if parts.request.method != "GET":
        return None
    challenge = parts.request.query("challenge")
    if not challenge:
        raise Unproven("unsupported", "a GET without one challenge", status=400)
    return text_answer(challenge)


PRESETS: Final = (
    Preset(
        "docusign",
        "DocuSign Connect",
        verifier(DOCUSIGN.prove),
        keys=("secret",),
        reading=Reading(
            type="body:event|body:DocuSignEnvelopeInformation.EnvelopeStatus.Status",
            id="{body:data.envelopeId}.{body:event}.{body:generatedDateTime}|request:sha256",
            subject="body:data.envelopeId|body:DocuSignEnvelopeInformation.EnvelopeStatus.EnvelopeID",
            time="body:generatedDateTime",
        ),
        answer_within_s=100,
        retry_window_s=15 * DAY_S,
        check=DOCUSIGN.check,
    ),
    Preset(
        "dropbox",
        "Dropbox",
        verifier(DROPBOX.prove, ask=_challenge),
        keys=("secret",),
        # No id: it only says whose files changed, and may say the same again when they change again.
        reading=Reading(type="'list_folder'", subject="body:list_folder.accounts.0"),
        methods=("POST", "GET"),
        check=DROPBOX.check,
    ),
    Preset(
        "typeform",
        "Typeform",
        verifier(TYPEFORM.prove),
        keys=("secret",),
        reading=Reading(
            type="body:event_type",
            id="body:event_id",
            subject="body:form_response.form_id",
            time="body:form_response.submitted_at",
        ),
        answer_within_s=30,
        retry_window_s=10 * HOUR_S,
        check=TYPEFORM.check,
    ),
    Preset(
        "calendly",
        "Calendly",
        verifier(CALENDLY.prove),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            type="body:event",
            id="{body:payload.uri}.{body:event}.{body:created_at}|request:sha256",
            subject="body:payload.uri",
            time="body:created_at",
        ),
        check=CALENDLY.check,
    ),
)
