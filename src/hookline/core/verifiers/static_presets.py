"""Okta, Auth0, Chargebee, IFTTT and Zapier: they prove themselves by what they know, and sign nothing."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from hookline.core.verifiers.answers import empty_answer, json_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.preset import DAY_S, Preset, Reading, Reply
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.rows import HOUR_S
from hookline.core.verifiers.static_credential import StaticCredential
from hookline.core.verifiers.verdict import Verdict

AUTHORIZATION: Final = StaticCredential("authorization", named=True, basic=True)
ZAPIER: Final = StaticCredential("authorization", named=True, bearer="maybe", basic=True)
CHARGEBEE: Final = StaticCredential(query="key", basic=True)
IFTTT: Final = StaticCredential("ifttt-service-key", secret="service_key")  # noqa: S106 - the name of a key


def _okta_answer(parts: Parts, _config: Config, _secret: str) -> Verdict | None:
    """Once, with a GET that carries the credential too."""
    if parts.request.method != "GET":
        return None
    challenge = parts.request.header("x-okta-verification-challenge")
    if not challenge:
        raise Unproven("unsupported", "a GET without one x-okta-verification-challenge", status=400)
    return json_answer({"verification": challenge})


def _ifttt_answer(parts: Parts, _config: Config, _secret: str) -> Verdict | None:
    """The service's health (a GET), and the samples for its tests: there are none."""
    if parts.request.method == "GET":
        return empty_answer()
    if urlsplit(parts.request.url).path.endswith("/ifttt/v1/test/setup"):
        return json_answer({"data": {"samples": {}}})
    return None


PRESETS: Final = (
    Preset(
        "okta",
        "Okta event hooks",
        verifier(AUTHORIZATION.prove, answer=_okta_answer),
        keys=("header", "secret", "username", "password"),
        reading=Reading(
            type="item:eventType|body:eventType",
            id="item:uuid|body:eventId",
            subject="item:target.0.id",
            time="item:published|body:eventTime",
            split="body:data.events",
        ),
        secrets=("secret", "password"),
        methods=("POST", "GET"),
        reply=Reply(204, "text/plain", ""),
        answer_within_s=3,
        retry_window_s=HOUR_S,
    ),
    Preset(
        "auth0",
        "Auth0",
        verifier(AUTHORIZATION.prove),
        keys=("header", "secret", "username", "password"),
        reading=Reading(
            # A log stream sends an array or an object, an event stream an object like a CloudEvent.
            type="item:data.type|body:data.type|body:type",
            id="item:log_id|body:log_id|body:id",
            subject="item:data.user_id|body:data.user_id",
            time="item:data.date|body:data.date|body:time",
            split="body:",
        ),
        secrets=("secret", "password"),
    ),
    Preset(
        "chargebee",
        "Chargebee",
        verifier(CHARGEBEE.prove),
        keys=("secret", "username", "password"),
        reading=Reading(
            type="body:event_type",
            id="body:id",
            subject="body:content.subscription.id|body:content.customer.id",
            time="body:occurred_at",
        ),
        secrets=("secret", "password"),
        retry_window_s=4 * DAY_S,
    ),
    Preset(
        "ifttt",
        "IFTTT",
        verifier(IFTTT.prove, answer=_ifttt_answer),
        keys=("service_key",),
        reading=Reading(type="body:event|body:type", id="header:x-request-id"),
        secrets=("service_key",),
        methods=("POST", "GET"),
        reply=Reply(200, "application/json", '{"data":[{"id":"{answer:event_id}"}]}'),
        refusal=Reply(401, "application/json", '{"errors":[{"message":"The service key is not the right one."}]}'),
        answer_within_s=30,
    ),
    Preset(
        "zapier",
        "Zapier",
        verifier(ZAPIER.prove),
        keys=("header", "secret", "username", "password"),
        reading=Reading(type="body:event|body:type", id="header:idempotency-key"),
        secrets=("secret", "password"),
        answer_within_s=30,
    ),
)
