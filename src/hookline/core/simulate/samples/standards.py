"""Standard Webhooks, Svix, and CloudEvents over HTTP webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.draft import Draft, Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import first_of
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import as_header, by_standard_webhooks, public_of

_PAID: Final = """{"type": "invoice.paid", "timestamp": "${iso.6}", "data": {"id": "inv_${base62:20}",
    "amount": "${int:500-90000}", "currency": "eur", "customer": "Café Müller & Söhne", "paid_at": "${iso-2}"}}"""
_JOINED: Final = """{"type": "user.created", "timestamp": "${iso.6}", "data": {"id": "usr_${base62:20}",
    "email": "zoe@example.com", "name": "Zoë Doe", "created_at": "${iso-1}"}}"""


def _public_config(_key: bytes, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Who signs with `whsk_…` is verified with `whpk_…`; the receiver never has the former."""
    secret = config.get("secret")
    if not isinstance(secret, str) or not secret.startswith("whsk_"):
        return {}
    return {"secret": None, "public_key": public_of(secret)}


def _webhooks(name: str, prefix: str, agent: str) -> Provider:
    return Provider(
        name,
        (
            Sample("invoice.paid", "an invoice was paid", _PAID),
            Sample("user.created", "somebody has an account now", _JOINED),
        ),
        by_standard_webhooks(prefix),
        {"secret": "whsec_${base64:24}"},
        headers={"User-Agent": agent, f"{prefix}-id": "msg_${base62:27}"},
        config_of_key=_public_config,
    )


STANDARD_WEBHOOKS: Final = _webhooks("standard_webhooks", "webhook", "Standard-Webhooks/1.0")
SVIX: Final = _webhooks("svix", "svix", "Svix-Webhooks/1.82.0 (sender-9YMgn; +https://www.svix.com/http-sender/)")


def _sign_cloudevents(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    return draft.with_header("Authorization", as_header(f"Bearer {first_of(scene.config['access_token'])}"))


def _origin(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    origins = scene.config["allowed_origins"]
    origin = str(origins[0] if isinstance(origins, list) else origins)
    return draft.with_header("WebHook-Request-Origin", _ORIGIN if origin == "*" else origin)


_ORIGIN: Final = "eventemitter.example.com"
_ORDER: Final = '{"order_id": "${digits:8}", "total": "${decimal:total}", "currency": "EUR", "customer": "Zoë Doe"}'
_EVENT: Final = """{"specversion": "1.0", "id": "${uuid}", "source": "/shops/@shop@", "type":
    "com.example.order.@type@",
    "subject": "${digits:8}", "time": "${iso.3}", "datacontenttype": "application/json", "data": {"total":
    "${decimal:total}",
    "currency": "EUR", "customer": "Zoë Doe"}}"""
_TOTAL: Final = {"total": "${int:500-90000}"}

CLOUDEVENTS: Final = Provider(
    "cloudevents",
    (
        Sample(
            "com.example.order.created",
            "binary mode: the attributes in headers",
            _ORDER,
            _TOTAL,
            {
                "ce-specversion": "1.0",
                "ce-id": "${uuid}",
                "ce-source": "/shops/1",
                "ce-type": "com.example.order.created",
                "ce-subject": "Zo%C3%AB%20Doe",
                "ce-time": "${iso.3}",
            },
        ),
        Sample(
            "com.example.order.paid",
            "structured mode: one JSON object",
            composed(_EVENT, shop=1, type="paid"),
            _TOTAL,
            content_type="application/cloudevents+json; charset=utf-8",
        ),
        Sample(
            "com.example.order.shipped",
            "a batch of two",
            f"[{composed(_EVENT, shop=1, type='shipped')}, {composed(_EVENT, shop=2, type='shipped')}]",
            _TOTAL,
            content_type="application/cloudevents-batch+json; charset=utf-8",
        ),
        Sample(
            "options",
            "a first question: whether this origin may send",
            "",
            headers={"WebHook-Request-Rate": "120"},
            method="OPTIONS",
            content_type="",
            sign=_origin,
            forged=("allowed_origins",),
            wanted=Wanted(header="WebHook-Allowed-Origin"),
        ),
    ),
    _sign_cloudevents,
    {"access_token": "${base62:40}", "allowed_origins": [_ORIGIN]},
    credential="access_token",
    headers={"User-Agent": "CloudEvents-Sender/1.0", "WebHook-Request-Origin": _ORIGIN},
    forged=("access_token",),
    signs_time=False,
)

PROVIDERS: Final = (STANDARD_WEBHOOKS, SVIX, CLOUDEVENTS)
