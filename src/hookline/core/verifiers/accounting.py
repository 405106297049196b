"""Xero and QuickBooks: rows of the table, and Xero's intent to receive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers.answers import empty_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Parts, verifier
from hookline.core.verifiers.rows import EMPTY, hmac_of_body
from hookline.core.verifiers.verdict import Verdict

XERO: Final = hmac_of_body("x-xero-signature", encoding="base64")
QUICKBOOKS: Final = hmac_of_body("intuit-signature", encoding="base64")


def _intent_to_receive(parts: Parts, _config: Config, _secret: str) -> Verdict | None:
    """No events, signed well or badly: 200 or 401 and nothing more is the whole answer."""
    body = parts.json_or_none()
    return empty_answer() if isinstance(body, Mapping) and body.get("events") == [] else None


PRESETS: Final = (
    Preset(
        "xero",
        "Xero",
        verifier(XERO.prove, answer=_intent_to_receive),
        keys=("secret",),
        reading=Reading(
            type="{item:eventCategory}.{item:eventType}",
            id="{item:tenantId?}.{item:resourceId}.{item:eventType}.{item:eventDateUtc}",
            subject="item:resourceId",
            time="item:eventDateUtc",
            split="body:events",
        ),
        reply=EMPTY,
        refusal=EMPTY,
        answer_within_s=5,
        check=XERO.check,
    ),
    Preset(
        "quickbooks",
        "QuickBooks Online",
        verifier(QUICKBOOKS.prove),
        keys=("secret",),
        reading=Reading(
            # An array of CloudEvents, or per company an array of what changed; that one has no ids.
            type="item:type|{item:name}.{item:operation}",
            id="{parent:realmId}.{item:name}.{item:id}.{item:operation}.{item:lastUpdated}|item:id",
            subject="parent:realmId|item:intuitaccountid",
            time="item:time|item:lastUpdated",
            split="body:eventNotifications.*.dataChangeEvent.entities|body:",
        ),
        answer_within_s=3,
        retry_window_s=3 * DAY_S,
        check=QUICKBOOKS.check,
    ),
)
