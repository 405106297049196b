"""Discord: interactions and webhook events, signed with Ed25519, and the PING of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.verifiers.answers import empty_answer, json_answer
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.content import content
from hookline.core.verifiers.place import place
from hookline.core.verifiers.preset import Preset, Reading, Reply
from hookline.core.verifiers.public_key import PublicKeyScheme
from hookline.core.verifiers.request_parts import Parts, verifier
from hookline.core.verifiers.rows import HOUR_S
from hookline.core.verifiers.signed_message import SignedMessage
from hookline.core.verifiers.timestamp import UNIX_DIGITS, Timestamp
from hookline.core.verifiers.verdict import Verdict

INTERACTIONS: Final = "interactions"
WEBHOOK_EVENTS: Final = "webhook_events"
MODES: Final = (INTERACTIONS, WEBHOOK_EVENTS)
SIGNED: Final = PublicKeyScheme(
    SignedMessage(
        place("header:x-signature-ed25519"),
        content("{timestamp}{body}"),
        timestamp=Timestamp(place("header:x-signature-timestamp"), digits=UNIX_DIGITS),
    ),
    "ed25519",
)


def _ping(parts: Parts, config: Config, _key: str) -> Verdict | None:
    """`{"type":1}` of interactions is answered in kind; `{"type":0}` of webhook events with an empty 204. Without a
    `mode` both are, and a webhook event (type 1 too) is known by its `event`."""
    mode = config.choice("mode", "", ("", *MODES))
    body = parts.json_or_none()
    if not isinstance(body, Mapping) or isinstance(body.get("type"), bool):
        return None
    if body.get("type") == 0 and mode != INTERACTIONS:
        return empty_answer(204)
    if body.get("type") == 1 and mode != WEBHOOK_EVENTS and not (mode == "" and "event" in body):
        return json_answer({"type": 1})
    return None


PRESET: Final = Preset(
    "discord",
    "Discord",
    verifier(SIGNED.prove, answer=_ping),
    keys=("public_key", "mode", "tolerance_s"),
    secrets=(),
    reading=Reading(
        type="body:event.type|body:data.name|body:data.custom_id",
        # A webhook event has no id of its own, but its bytes, time included, stay the same when it is repeated.
        id="body:id|{body:event.timestamp}.{request:sha256}",
        subject="body:channel_id|body:application_id",
        time="body:event.timestamp",
        default_type="interaction",
    ),
    reply=Reply(200, "application/json", '{"type":5}'),  # "thinking …": the answer proper follows by its token
    replies={WEBHOOK_EVENTS: Reply(204, "text/plain", "")},
    answer_within_s=3,
    retry_window_s=HOUR_S,
    modes=MODES,
    check=SIGNED.check,
)
