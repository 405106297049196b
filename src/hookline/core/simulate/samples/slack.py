"""Slack: events as JSON, commands and interactions as forms, all signed with their time."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.json_style import form, form_payload, php
from hookline.core.simulate.template import composed

_FORM: Final = "application/x-www-form-urlencoded"

_CALLBACK: Final = """{"token": "${#token}", "team_id": "T1DC2JH3J", "context_team_id": "T1DC2JH3J",
    "context_enterprise_id": null, "api_app_id": "A0${upper:9#app}", "event": @event@, "type": "event_callback",
    "event_id": "Ev0${upper:9}", "event_time": "${s}", "authorizations": [{"enterprise_id": null,
        "team_id": "T1DC2JH3J", "user_id": "U0LAN0Z89", "is_bot": true, "is_enterprise_install": false}],
    "is_ext_shared_channel": false, "event_context": "4-${base62:60}"}"""

_MESSAGE: Final = """{"user": "U2CERLKJA", "type": "@type@", "ts": "${'s}.${digits:6#part}", "client_msg_id": "${uuid}",
    "text": "@text@", "team": "T1DC2JH3J",
    "blocks": [{"type": "rich_text", "block_id": "${base62:5}", "elements": [{"type": "rich_text_section",
        "elements": [{"type": "text", "text": "Ça marche? 😀"}]}]}],
    "channel": "C2147483705", "event_ts": "${'s}.${#part}"@more@}"""

_ACTION: Final = """{"type": "block_actions", "user": {"id": "U2CERLKJA", "username": "roadrunner",
    "name": "roadrunner", "team_id": "T1DC2JH3J"}, "api_app_id": "A0${upper:9}", "token": "${#token}",
    "container": {"type": "message", "message_ts": "${'s}.${digits:6#part}", "channel_id": "C2147483705",
        "is_ephemeral": false},
    "trigger_id": "${digits:12}.${digits:11}.${hex:32}", "team": {"id": "T1DC2JH3J", "domain": "testteamnow"},
    "enterprise": null, "is_enterprise_install": false, "channel": {"id": "C2147483705", "name": "orders"},
    "response_url": "https://hooks.slack.com/actions/T1DC2JH3J/${digits:12}/${base62:24}",
    "actions": [{"action_id": "approve", "block_id": "${base62:5}", "text": {"type": "plain_text", "text": "Approve",
        "emoji": true}, "value": "order-${digits:6}", "style": "primary", "type": "button",
        "action_ts": "${'s}.${digits:6}"}]}"""

_COMMAND: Final = """{"token": "${#token}", "team_id": "T1DC2JH3J", "team_domain": "testteamnow",
    "channel_id": "G8PSS9T3V", "channel_name": "foobar", "user_id": "U2CERLKJA", "user_name": "roadrunner",
    "command": "/webhook-collect", "text": "order 4711 – süß", "api_app_id": "A0${upper:9}",
    "is_enterprise_install": "false",
    "response_url": "https://hooks.slack.com/commands/T1DC2JH3J/${digits:12}/${base62:24}",
    "trigger_id": "${digits:12}.${digits:11}.${hex:32}"}"""


def _callback(kind: str, text: str, more: str) -> str:
    return composed(_CALLBACK, event=composed(_MESSAGE, type=kind, text=text, more=more))


_KNOWN: Final = {"token": "${base62:24}"}
_SENT: Final = ', "channel_type": "channel"'

SLACK: Final = Provider(
    "slack",
    (
        Sample(
            "message",
            "somebody wrote in a channel",
            _callback("message", "Ça marche? 😀", _SENT),
            _KNOWN,
        ),
        Sample(
            "app_mention",
            "somebody called the app by its name",
            _callback("app_mention", "<@U0LAN0Z89> Ça marche? 😀", ""),
            _KNOWN,
        ),
        Sample("command", "somebody used a slash command", _COMMAND, _KNOWN, style=form, content_type=_FORM),
        Sample("block_actions", "somebody pressed a button", _ACTION, _KNOWN, style=form_payload, content_type=_FORM),
        Sample(
            "url_verification",
            "a first question: the challenge is answered",
            '{"token": "${#token}", "challenge": "${#challenge}", "type": "url_verification"}',
            {**_KNOWN, "challenge": "${base62:52}"},
            wanted=Wanted("${#challenge}"),
        ),
    ),
    by_hmac(
        HmacScheme("X-Slack-Signature", "v0:{time}:{body}", "v0={signature}", time_header="X-Slack-Request-Timestamp")
    ),
    {"secret": "${hex:32}"},
    headers={
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "Accept": "*/*",
        "Accept-Encoding": "gzip,deflate",
    },
    style=php,
)

PROVIDERS: Final = (SLACK,)
