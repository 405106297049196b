"""Meta: Facebook and Instagram, and WhatsApp: an HMAC over escaped JSON, and the question with `hub.challenge`."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.json_style import php
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import unsigned

_SIGN: Final = by_hmac(
    HmacScheme("X-Hub-Signature", value="sha1={signature}", digest="sha1"),
    HmacScheme("X-Hub-Signature-256", value="sha256={signature}"),
)
_HEADERS: Final = {"User-Agent": "facebookexternalua", "Accept": "*/*", "Accept-Encoding": "deflate, gzip"}
_CONFIG: Final = {"secret": "${hex:32}", "verify_token": "${base62:24}"}

_CHALLENGE: Final = Sample(
    "hub.challenge",
    "a first question with the verify token: the challenge is answered",
    "",
    {"challenge": "${digits:10}"},
    query="?hub.mode=subscribe&hub.challenge=${#challenge}&hub.verify_token=${config:verify_token}",
    method="GET",
    content_type="",
    sign=unsigned,
    forged=("verify_token",),
    wanted=Wanted("${#challenge}"),
)

META: Final = Provider(
    "meta",
    (
        Sample(
            "page.feed",
            "somebody wrote on a Facebook page",
            """{"object": "page", "entry": [{"id": "${digits:15#page}", "time": "${s}", "changes": [{"value": {
            "from": {"id": "${digits:17}", "name": "Zoë Doe"}, "message": "Ça marche? 😀",
            "post_id": "${#page}_${digits:15}", "created_time": "${s-1}", "item": "post",
            "permalink_url": "https://www.facebook.com/${#page}/posts/1", "published": 1, "verb": "add"},
            "field": "feed"}]}]}""",
        ),
        Sample(
            "instagram.comments",
            "somebody wrote about a picture on Instagram",
            """{"object": "instagram", "entry": [{"id": "${digits:17}", "time": "${s}", "changes": [{"value": {
            "from": {"id": "${digits:16}", "username": "zoe"}, "media": {"id": "${digits:17}",
            "media_product_type": "FEED"}, "id": "${digits:17}", "text": "Très joli! 😀"}, "field": "comments"}]}]}""",
        ),
        _CHALLENGE,
    ),
    _SIGN,
    _CONFIG,
    headers=_HEADERS,
    style=php,
    signs_time=False,
)

_WHATSAPP: Final = """{"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [{
    "value": {
    "messaging_product": "whatsapp", "metadata": {"display_phone_number": "15550783881",
    "phone_number_id": "106540352242922"}, @more@}, "field": "messages"}]}]}"""

WHATSAPP: Final = Provider(
    "whatsapp",
    (
        Sample(
            "messages",
            "somebody sent a message",
            composed(
                _WHATSAPP,
                more=""""contacts": [{"profile": {"name": "Zoë Doe"}, "wa_id": "16505551234"}], "messages": [{
            "from": "16505551234", "id": "wamid.HBgL${upper:44}AA==", "timestamp": "${'s}",
            "text": {"body": "Hola ñ 😀: does it come in another color?"}, "type": "text"}]""",
            ),
        ),
        Sample(
            "statuses",
            "a message was delivered",
            composed(
                _WHATSAPP,
                more=""""statuses": [{"id": "wamid.HBgL${upper:44}AA==", "status": "delivered", "timestamp": "${'s}",
            "recipient_id": "16505551234", "conversation": {"id": "${hex:32}", "expiration_timestamp": "${'s+86400}",
            "origin": {"type": "utility"}}, "pricing": {"billable": true, "pricing_model": "CBP",
            "category": "utility"}}]""",
            ),
        ),
        _CHALLENGE,
    ),
    _SIGN,
    _CONFIG,
    headers=_HEADERS,
    style=php,
    signs_time=False,
)

PROVIDERS: Final = (META, WHATSAPP)
