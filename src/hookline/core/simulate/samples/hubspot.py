"""HubSpot: version 3 by an HMAC over method, address, body and time; 1 and 2 by a plain hash."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, first_of, sha256_hex
from hookline.core.simulate.template import Scene, composed

_DECODED: Final = re.compile("%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""Escapes that HubSpot decodes before it signs an address."""
_V3: Final = HmacScheme(
    "X-HubSpot-Signature-v3",
    "{method}{url}{body}{time}",
    encoding="base64",
    time="ms",
    time_header="X-HubSpot-Request-Timestamp",
)


def _sign(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    """By the version that is configured. Version 3 has the older headers besides, as HubSpot sends them."""
    version = scene.config.get("signature_version") or "v3"
    known = first_of(scene.config["secret"]).encode()
    if version == "v2":
        known += draft.method.encode() + scene.url.encode()
    older = draft.with_header("X-HubSpot-Signature", sha256_hex(known + draft.body))
    older = older.with_header("X-HubSpot-Signature-Version", "v1" if version == "v3" else version)
    if version != "v3":
        return older
    url = scene.url
    scene.url = _DECODED.sub(lambda match: unquote(match.group()), url)
    signed = _V3.sign(older, scene)
    scene.url = url
    return signed


def _event(kind: str, says: str, more: str) -> Sample:
    data = composed(
        """[{"eventId": "${int:1000000000-3999999999}", "subscriptionId": 2413105, "portalId": 33, "appId": 1160452,
        "occurredAt": "${ms-1}", "subscriptionType": "@kind@", "attemptNumber": 0, "objectId": "${int:100000-99999999}",
        @more@, "changeSource": "CRM_UI", "sourceId": "userId:9586504"}]""",
        kind=kind,
        more=more,
    )
    return Sample(kind, says, data)


HUBSPOT: Final = Provider(
    "hubspot",
    (
        _event("contact.creation", "a contact was made", '"changeFlag": "CREATED"'),
        _event(
            "deal.propertyChange",
            "a deal has changed",
            '"propertyName": "dealstage", "propertyValue": "closedwon", "isSensitive": false',
        ),
        _event("company.deletion", "a company was deleted", '"changeFlag": "DELETED"'),
    ),
    _sign,
    {"secret": "${uuid}", "signature_version": "v3"},
    signs_time=lambda config: (config.get("signature_version") or "v3") == "v3",
    headers={"User-Agent": "HubSpot Connect 2.0 (http://dev.hubspot.com/) (namespace: webhooks-nio-http-client)"},
)

PROVIDERS: Final = (HUBSPOT,)
