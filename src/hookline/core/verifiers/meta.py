"""Meta: Facebook, Instagram and WhatsApp: a row of the table, and the question with `hub.challenge`."""

from __future__ import annotations

from typing import Final

from hookline.core.verifiers.answers import text_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import same_text
from hookline.core.verifiers.preset import DAY_S, Preset, Reading
from hookline.core.verifiers.request_parts import Parts, Unproven, verifier
from hookline.core.verifiers.rows import HOUR_S, hmac_of_body
from hookline.core.verifiers.verdict import Verdict

# The older X-Hub-Signature (sha1) comes too and is never looked at.
SIGNED: Final = hmac_of_body("x-hub-signature-256", prefix="sha256=")


def _challenge(parts: Parts, config: Config) -> Verdict | None:
    """When the address is set, with a GET: the challenge, for who knows `verify_token`; 403 for all others."""
    request = parts.request
    if request.method != "GET":
        return None
    mode, token, challenge = (request.query(f"hub.{name}") for name in ("mode", "verify_token", "challenge"))
    if mode != "subscribe" or token is None or not challenge:
        raise Unproven("unsupported", "a GET that does not subscribe", status=403)
    known = [same_text(token, one) for one in config.texts("verify_token")]
    if not any(known):
        raise Unproven("wrong_credential", "hub.verify_token is not the configured one", status=403)
    return text_answer(challenge)


def _preset(name: str, title: str, reading: Reading, retry_window_s: float) -> Preset:
    return Preset(
        name,
        title,
        verifier(SIGNED.prove, ask=_challenge),
        keys=("secret", "verify_token"),
        reading=reading,
        secrets=("secret", "verify_token"),
        methods=("POST", "GET"),
        retry_window_s=retry_window_s,
        check=SIGNED.check,
    )


PRESETS: Final = (
    _preset(
        "meta",
        "Meta (Facebook, Instagram)",
        # A change has no id of its own: its bytes, and the entry's, which has its time.
        Reading(
            type="body:object",
            id="{parent:id}.{parent:time}.{request:sha256}",
            subject="parent:id",
            time="parent:time",
            split="body:entry.*.changes",
        ),
        36 * HOUR_S,
    ),
    _preset(
        "whatsapp",
        "WhatsApp",
        Reading(
            type="body:object",
            id="item:value.messages.0.id|{item:value.statuses.0.id}.{item:value.statuses.0.status}|request:sha256",
            subject="item:value.metadata.phone_number_id",
            time="item:value.messages.0.timestamp|item:value.statuses.0.timestamp",
            split="body:entry.*.changes",
        ),
        7 * DAY_S,
    ),
)
