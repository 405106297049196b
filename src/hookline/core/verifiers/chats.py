"""Slack, Zoom, Intercom and Zendesk: rows of the table, and the questions that the first three ask."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers.answers import empty_answer, json_answer, text_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.json_body import member
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.rows import EMPTY, HOUR_S, hmac_of_body, hmac_of_dated_body
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.timestamp import Timestamp
from hookline.core.verifiers.verdict import Verdict

SLACK: Final = hmac_of_dated_body(
    "x-slack-signature", "v0:{timestamp}:{body}", timestamp="x-slack-request-timestamp", prefix="v0=", tolerance_s=300
)
ZOOM: Final = hmac_of_dated_body(
    "x-zm-signature", "v0:{timestamp}:{body}", timestamp="x-zm-request-timestamp", prefix="v0=", tolerance_s=300
)
INTERCOM: Final = hmac_of_body("x-hub-signature", prefix="sha1=", algorithm="sha1")
# Nothing stands between the timestamp and the body: a timestamp that is not whole RFC 3339 could have taken some of it.
ZENDESK: Final = HmacScheme(
    SignedMessage(
        place("header:x-zendesk-webhook-signature"),
        content("{timestamp}{body}"),
        "base64",
        timestamp=Timestamp(place("header:x-zendesk-webhook-signature-timestamp"), unit="rfc3339"),
    )
)


def _slack_answer(parts: Parts, _config: Config, _secret: str) -> Verdict | None:
    """`url_verification` when the address of the Events API is set, `ssl_check` now and then for commands."""
    if parts.is_form:
        return empty_answer() if parts.form().get("ssl_check") == "1" else None
    body = parts.json_or_none()
    if not isinstance(body, Mapping) or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str):
        raise Unproven("malformed_body", "url_verification has no challenge")
    return text_answer(challenge)


def _zoom_answer(parts: Parts, _config: Config, secret: str) -> Verdict | None:
    """`endpoint.url_validation`, when the address is set and every 72 h."""
    body = parts.json_or_none()
    if not isinstance(body, Mapping) or body.get("event") != "endpoint.url_validation":
        return None
    plain = member(body, "payload.plainToken")
    if not isinstance(plain, str):
        raise Unproven("malformed_body", "endpoint.url_validation has no payload.plainToken")
    made = hmac.new(secret.encode(), plain.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return json_answer({"plainToken": plain, "encryptedToken": made})


def _intercom_ask(parts: Parts, _config: Config) -> Verdict | None:
    """Whether the address is there."""
    return empty_answer() if parts.request.method == "HEAD" else None


def _intercom_answer(parts: Parts, _config: Config, _secret: str) -> Verdict | None:
    body = parts.json_or_none()
    return empty_answer() if isinstance(body, Mapping) and body.get("topic") == "ping" else None


PRESETS: Final = (
    Preset(
        "slack",
        "Slack",
        verifier(SLACK.prove, answer=_slack_answer),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            # An event, a command, or an interaction (a form whose `payload` is JSON).
            type="body:event.type|form:command|form:payload>json.type|body:type",
            id="body:event_id|form:trigger_id|form:payload>json.trigger_id",
            subject="body:event.channel|form:channel_id|form:payload>json.channel.id",
            time="body:event_time",
        ),
        reply=EMPTY,  # what a command is answered is shown to the user
        answer_within_s=3,
        retry_window_s=HOUR_S,
        check=SLACK.check,
    ),
    Preset(
        "zoom",
        "Zoom",
        verifier(ZOOM.prove, answer=_zoom_answer),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            type="body:event",
            id="{body:event_ts}.{request:sha256}",  # it has no id, but says to the ms when it happened
            subject="body:payload.object.id",
            time="body:event_ts",
        ),
        answer_within_s=3,
        retry_window_s=2 * HOUR_S,
        check=ZOOM.check,
    ),
    Preset(
        "intercom",
        "Intercom",
        verifier(INTERCOM.prove, ask=_intercom_ask, answer=_intercom_answer),
        keys=("secret",),
        reading=Reading(type="body:topic", id="body:id", subject="body:data.item.id", time="body:created_at"),
        methods=("POST", "HEAD"),
        answer_within_s=5,
        retry_window_s=HOUR_S,
        check=INTERCOM.check,
    ),
    Preset(
        "zendesk",
        "Zendesk",
        verifier(ZENDESK.prove),
        keys=("secret", "tolerance_s"),
        reading=Reading(
            type="body:type",
            id="header:x-zendesk-webhook-invocation-id|body:id",
            subject="body:subject",
            time="body:time|header:x-zendesk-webhook-signature-timestamp",
        ),
        answer_within_s=12,
        check=ZENDESK.check,
    ),
)
