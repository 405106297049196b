"""Shopify and WooCommerce: rows of the table, and WooCommerce's question whether the address answers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from hookline.core.verifiers.answers import empty_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Parts, verifier
from hookline.core.verifiers.rows import HOUR_S, hmac_of_body
from hookline.core.verifiers.verdict import Verdict

_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")
_ENTITY: Final = re.compile("&(quot|lt|gt|amp|#0{0,5}(?:34|38|39|60|62)|#x0{0,5}(?:22|26|27|3c|3e));", re.IGNORECASE)
_NAMED: Final = {"quot": '"', "lt": "<", "gt": ">", "amp": "&"}


def _unescaped(secret: str) -> tuple[str, ...]:
    """WordPress signs with the secret after undoing the escapes of & " ' < >, whatever its page shows."""

    def character(found: re.Match[str]) -> str:
        name = found[1].lower()
        named = _NAMED.get(name)
        return named or chr(int(f"0{name[1:]}", 16) if name[1] == "x" else int(name[1:]))

    made = _ENTITY.sub(character, secret)
    return (made,) if made and made != secret else ()


# Deliveries of the newer "events" have the header without its `x-`.
SHOPIFY: Final = hmac_of_body("x-shopify-hmac-sha256|shopify-hmac-sha256", encoding="base64")
WOOCOMMERCE: Final = replace(hmac_of_body("x-wc-webhook-signature", encoding="base64"), variants=_unescaped)


def _ping(parts: Parts, _config: Config) -> Verdict | None:
    """Saving a webhook sends this form, unsigned, and wants exactly 200. Anything more than it is no such question."""
    request = parts.request
    if (
        request.content_type == "application/x-www-form-urlencoded"
        and _PING.fullmatch(request.body)
        and not any(name.startswith("x-wc-webhook-") for name, _ in request.headers)
    ):
        return empty_answer()
    return None


PRESETS: Final = (
    Preset(
        "shopify",
        "Shopify",
        verifier(SHOPIFY.prove),
        keys=("secret",),
        reading=Reading(
            type="header:x-shopify-topic|{header:shopify-topic}/{header:shopify-action?}",
            id="header:x-shopify-webhook-id|header:shopify-webhook-id",
            subject="body:admin_graphql_api_id|body:id|header:shopify-resource-id",
            time="header:x-shopify-triggered-at|header:shopify-triggered-at",
        ),
        answer_within_s=5,
        retry_window_s=4 * HOUR_S,
        check=SHOPIFY.check,
    ),
    Preset(
        "woocommerce",
        "WooCommerce",
        verifier(WOOCOMMERCE.prove, ask=_ping),
        keys=("secret",),
        reading=Reading(
            type="header:x-wc-webhook-topic",
            # The delivery's id is of the webhook and the second: two deliveries within it have the same.
            id="{header:x-wc-webhook-delivery-id}.{request:sha256}",
            subject="body:id",
            time="body:date_modified_gmt",
        ),
        answer_within_s=60,
        never_retries=True,
        check=WOOCOMMERCE.check,
    ),
)
