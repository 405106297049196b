"""Adyen: standard webhooks, each item of which is signed by itself, and those signed in a header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.hmac_scheme import HmacScheme
from hookline.core.verifiers.json_body import member, text
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import DAY_S, Preset, Reading, Reply
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.static_credential import check_basic

MODES: Final = ("standard", "header")
STANDARD: Final = HmacScheme(
    SignedMessage(
        place("body:additionalData.hmacSignature"),
        content(
            "{body:pspReference?}:{body:originalReference?}:{body:merchantAccountCode?}:{body:merchantReference?}:"
            "{body:amount.value?}:{body:amount.currency?}:{body:eventCode?}:{body:success?}"
        ),
        "base64",
        each=("notificationItems", "*", "NotificationRequestItem"),
    ),
    key="hex",
    secret="hmac_key",  # noqa: S106 - the name of a key of the configuration
)
HEADER: Final = HmacScheme(
    SignedMessage(place("header:hmacsignature"), content("{body}"), "base64"),
    key="hex",
    secret="hmac_key",  # noqa: S106
)
_WITHOUT_COLON: Final = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "amount.value",
    "amount.currency",
    "eventCode",
    "success",
)


def _prove(parts: Parts, config: Config, now_s: float) -> str:
    if config.has("username") or config.has("password"):
        check_basic(parts, config.text("username"), config.texts("password"))
    if config.choice("mode", "standard", MODES) == "header":
        return HEADER.prove(parts, config, now_s)
    proven = STANDARD.prove(parts, config, now_s)
    for item in member(parts.json(), "notificationItems"):
        _check_borders(item["NotificationRequestItem"])
    return proven


def _check_borders(item: Mapping[str, object]) -> None:
    """The signed fields are joined by colons that nothing escapes. Only the merchant's reference may have one, so that
    nothing can be moved from one field into another."""
    for path in _WITHOUT_COLON:
        if ":" in (text(member(item, path)) or ""):
            raise Unproven("malformed_body", f"{path} has a colon, which moves the borders between signed fields")


def _check(config: Config) -> None:
    config.choice("mode", "standard", MODES)
    STANDARD.check(config)


PRESET: Final = Preset(
    "adyen",
    "Adyen",
    verifier(_prove),
    keys=("hmac_key", "mode", "username", "password"),
    reading=Reading(
        type="item:NotificationRequestItem.eventCode|body:type",
        # Several events of one payment have its reference, and a success can follow a failure.
        id="{item:NotificationRequestItem.eventCode}.{item:NotificationRequestItem.pspReference}."
        "{item:NotificationRequestItem.success?}|request:sha256",
        subject="item:NotificationRequestItem.merchantReference|body:data.id",
        time="item:NotificationRequestItem.eventDate|body:timestamp|body:data.creationDate",
        split="body:notificationItems",
    ),
    secrets=("hmac_key", "password"),
    reply=Reply(200, "text/plain", "[accepted]"),
    replies={"header": Reply(202, "text/plain", "")},
    retry_window_s=30 * DAY_S,
    modes=MODES,
    check=_check,
)
