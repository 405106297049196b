"""Discord: Ed25519 over the time and the body, for interactions and for webhook events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.json_style import by_name
from hookline.core.simulate.private_key import raw_public
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import by_ed25519


def _config_of_key(key: bytes, _config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"public_key": raw_public(key).hex()}


_USER: Final = """{"avatar": "${hex:32}", "avatar_decoration_data": null, "clan": null, "collectibles": null,
    "discriminator": "0", "display_name_styles": null, "global_name": "Zoë", "id": "53908232506183680",
    "primary_guild": null, "public_flags": 131072, "username": "zoe"}"""

_INTERACTION: Final = """{"app_permissions": "562949953601536", "application_id": "775799577604522054",
    "attachment_size_limit": 10485760, "authorizing_integration_owners": {"0": "290926798626357999"},
    "channel": {"flags": 0, "guild_id": "290926798626357999", "id": "645027906669510667", "last_message_id":
        "${digits:19}", "name": "orders", "nsfw": false, "parent_id": null, "permissions": "2251799813685247",
        "position": 1, "rate_limit_per_user": 0, "topic": null, "type": 0},
    "channel_id": "645027906669510667", "context": 0, "data": @data@,
    "entitlement_sku_ids": [], "entitlements": [],
    "guild": {"features": [], "id": "290926798626357999", "locale": "en-US"}, "guild_id": "290926798626357999",
    "guild_locale": "en-US", "id": "${digits:19}", "locale": "de",
    "member": {"avatar": null, "banner": null, "communication_disabled_until": null, "deaf": false, "flags": 0,
        "joined_at": "2017-05-29T17:55:45.620000+00:00", "mute": false, "nick": null, "pending": false,
        "permissions": "2251799813685247", "premium_since": null, "roles": ["539082325061836999"],
        "unusual_dm_activity_until": null,
        "user": "@user"},
    @message@"token": "${base62:180}", "type": @type@, "version": 1}"""

_MESSAGE: Final = """"message": {"application_id": "775799577604522054", "attachments": [], "author": "@user",
    "channel_id": "645027906669510667", "components": [{"components": [{"custom_id": "approve", "id": 2,
        "label": "Approve", "style": 1, "type": 2}], "id": 1, "type": 1}],
    "content": "Approve the order?", "edited_timestamp": null, "embeds": [], "flags": 0, "id": "${digits:19}",
    "mention_everyone": false, "mention_roles": [], "mentions": [], "pinned": false,
    "timestamp": "2025-05-29T17:55:45.620000+00:00", "tts": false, "type": 0},"""

_COMMAND: Final = """{"id": "771825006014889984", "name": "order", "options": [{"name": "number", "type": 3,
    "value": "${digits:6}"}], "type": 1}"""


def _interaction(name: str, says: str, number: int, data: str, message: str = "") -> Sample:
    text = composed(_INTERACTION, data=data, type=number, message=message)
    return Sample(name, says, text, config={"mode": "interactions"})


def _event(name: str, says: str, data: str) -> Sample:
    text = composed(
        '{"application_id": "775799577604522054", "event": {"data": @data@, "timestamp": "${iso.6}", "type": "@name@"},'
        ' "type": 1, "version": 1}',
        data=data,
        name=name,
    )
    return Sample(name, says, text, config={"mode": "webhook_events"})


_ENTITLEMENT: Final = """{"application_id": "775799577604522054", "consumed": false, "deleted": false,
    "ends_at": "${at+2592000}", "gift_code_flags": 0, "id": "${digits:19}", "promotion_id": null,
    "sku_id": "1234567890123456789", "starts_at": "${at}", "type": 8, "user_id": "53908232506183680"}"""

DISCORD: Final = Provider(
    "discord",
    (
        _interaction("APPLICATION_COMMAND", "somebody used a slash command", 2, _COMMAND),
        _interaction(
            "MESSAGE_COMPONENT",
            "somebody pressed a button",
            3,
            '{"component_type": 2, "custom_id": "approve", "id": 2}',
            _MESSAGE,
        ),
        Sample(
            "PING",
            "a first question of interactions",
            '{"application_id": "775799577604522054", "entitlements": [], "id": "${digits:19}",'
            ' "token": "${base62:180}", "type": 1, "user": "@user", "version": 1}',
            config={"mode": "interactions"},
            wanted=Wanted('"type"', status=200),
        ),
        _event(
            "APPLICATION_AUTHORIZED",
            "somebody installed the app",
            '{"integration_type": 1, "scopes": ["applications.commands"], "user": "@user"}',
        ),
        _event("ENTITLEMENT_CREATE", "somebody bought something of the app", _ENTITLEMENT),
        Sample(
            "WEBHOOK_PING",
            "a first question of webhook events",
            '{"application_id": "775799577604522054", "type": 0, "version": 1}',
            config={"mode": "webhook_events"},
            wanted=Wanted(status=204),
        ),
    ),
    by_ed25519,
    {},
    credential="",
    headers={"User-Agent": "Discord-Interactions/1.0 (+https://discord.com)"},
    style=by_name,
    fragments={"user": _USER},
    key="ed25519",
    config_of_key=_config_of_key,
    limits_age=False,
)

PROVIDERS: Final = (DISCORD,)
