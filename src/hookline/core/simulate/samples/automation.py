"""Zapier and IFTTT as senders: a credential that was agreed upon."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import first_of
from hookline.core.simulate.json_style import form, python
from hookline.core.simulate.template import Scene
from hookline.core.simulate.token_signing import basic, by_header

_TOKEN: Final = by_header("Authorization")
_BEARER: Final = by_header("Authorization", "Bearer {secret}")


def _sign_zapier(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """Basic where a name or a password is configured; else the secret: in the header of the configuration as it is, in
    Authorization as a bearer token."""
    if scene.config.get("username") is not None or scene.config.get("password") is not None:
        return basic(draft, scene, key)
    named = str(scene.config.get("header") or "Authorization").lower() != "authorization"
    has_scheme = " " in first_of(scene.config["secret"])
    return (_TOKEN if named or has_scheme else _BEARER)(draft, scene, key)


ZAPIER: Final = Provider(
    "zapier",
    (
        Sample(
            "new_row",
            "a Zap's action POST: a row was added to a table",
            """{"id": "${uuid}", "event": "new_row", "row": "${'int:2-9999}", "name": "Zoë Doe", "email":
            "zoe@example.com",
            "total": "${decimal:total}", "created_at": "${iso}"}""",
            {"total": "${int:500-90000}"},
        ),
        Sample(
            "new_lead",
            "the same as a form",
            """{"id": "${uuid}", "event": "new_lead", "name": "Zoë Doe", "email": "zoe@example.com", "source":
            "facebook",
            "created_at": "${iso}"}""",
            style=form,
            content_type="application/x-www-form-urlencoded",
        ),
    ),
    _sign_zapier,
    {"secret": "${base62:32}"},
    instead={"secret": ("username", "password")},
    headers={"User-Agent": "Zapier", "Accept": "*/*"},
    style=python,
    content_type="application/json; charset=utf-8",
    forged=("secret", "password"),
    signs_time=False,
)

IFTTT: Final = Provider(
    "ifttt",
    (
        Sample(
            "trigger",
            "IFTTT asks a trigger for what is new",
            """{"trigger_identity": "${hex:40}", "triggerFields": {"album_name": "Street Art"}, "limit": 50,
            "user": {"timezone": "Pacific Time (US & Canada)"}, "ifttt_source": {"id": "2",
            "url": "https://ifttt.com/myrecipes/personal/2"}}""",
        ),
        Sample(
            "action",
            "IFTTT wants an action done",
            """{"actionFields": {"title": "New Banksy photo!", "body": "Check out my Banksy photo: https://example.com/1"},
            "ifttt_source": {"id": "2", "url": "https://ifttt.com/myrecipes/personal/2"},
            "user": {"timezone": "Pacific Time (US & Canada)"}}""",
        ),
        Sample("setup", "IFTTT prepares a test of the service", "", content_type=""),
    ),
    by_header("IFTTT-Service-Key", credential="service_key"),
    {"service_key": "${base64url:48}"},
    credential="service_key",
    headers={
        "User-Agent": "IFTTT-Protocol/v1",
        "Accept": "application/json",
        "Accept-Charset": "utf-8",
        "IFTTT-Test-Mode": "0",
        "X-Request-ID": "${hex:32}",
    },
    forged=("service_key",),
    signs_time=False,
)

PROVIDERS: Final = (ZAPIER, IFTTT)
