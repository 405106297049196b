"""Adyen: payments, each item of which is signed by itself, and the newer webhooks, signed in a header."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, Final

from hookline.core.simulate.changes import changed
from hookline.core.simulate.draft import Draft, Provider, Sample, SimulationError
from hookline.core.simulate.hmac_signing import HmacScheme, first_of, key_bytes
from hookline.core.simulate.json_style import compact
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import basic

_HEADER: Final = HmacScheme("HmacSignature", encoding="base64", key="hex", credential="hmac_key")
_FIELDS: Final = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")


def _signed_text(item: dict[str, Any]) -> str:
    amount = item.get("amount") or {}
    values = [item.get(name) for name in _FIELDS]
    values += [amount.get("value"), amount.get("currency"), item.get("eventCode"), item.get("success")]
    return ":".join("" if value is None else str(value) for value in values)


def _with_signatures(body: bytes, scene: Scene) -> bytes:
    key = key_bytes(first_of(scene.config["hmac_key"]), "hex")
    try:
        notification = json.loads(body)
        for wrapped in notification["notificationItems"]:
            item = wrapped["NotificationRequestItem"]
            mac = hmac.new(key, _signed_text(item).encode(), hashlib.sha256).digest()
            item.setdefault("additionalData", {})["hmacSignature"] = base64.b64encode(mac).decode("ascii")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SimulationError("a standard webhook of Adyen needs notificationItems to sign") from None
    return compact(notification).encode()


def _sign(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """In the items, or in a header; with Basic besides where that is configured."""
    if scene.config.get("username") is not None:
        draft = basic(draft, scene, key)
    if scene.config.get("mode") == "header":
        return _HEADER.sign(draft.with_header("Protocol", "HmacSHA256"), scene)
    return draft.with_body(_with_signatures(draft.body, scene))


def _tamper(draft: Draft) -> Draft:
    """Another amount under the same signature; where there is none, another digit."""
    notification = json.loads(draft.body)
    if "notificationItems" not in notification:
        return draft.with_body(changed(draft.body))
    item = notification["notificationItems"][0]["NotificationRequestItem"]
    item["amount"] = {**(item.get("amount") or {"currency": "EUR"}), "value": 1}
    return draft.with_body(compact(notification).encode())


def _payment(event: str, says: str, success: str, more: str) -> Sample:
    data = composed(
        """{"live": "false", "notificationItems": [{"NotificationRequestItem": {"additionalData": {
        "authCode": "${digits:6}", "cardSummary": "7777", "expiryDate": "8/2031"},
        "amount": {"currency": "EUR", "value": "${int:500-90000}"}, "eventCode": "@event@", "eventDate": "${at}",
        "merchantAccountCode": "TestMerchant", "merchantReference": "order-${digits:6}", @more@
        "pspReference": "${upper:16}", "reason": "@reason@", "success": "@success@"}}]}""",
        event=event,
        more=more,
        reason="Refused" if success == "false" else "033899:7777:8/2031",
        success=success,
    )
    return Sample(event, says, data, config={"mode": "standard"}, sealed=True)


def _header(event: str, says: str, more: str) -> Sample:
    data = composed(
        """{"data": {"balancePlatform": "YOUR_BALANCE_PLATFORM", "id": "${upper:16}", "creationDate": "${at-2}",
        "description": "Payout – café", @more@}, "environment": "test", "timestamp": "${iso.3}", "type": "@event@"}""",
        more=more,
        event=event,
    )
    return Sample(event, says, data, config={"mode": "header"})


_OPERATIONS: Final = '"operations": ["CANCEL", "CAPTURE", "REFUND"], "paymentMethod": "visa",'
_REFUNDED: Final = '"originalReference": "${upper:16}", "paymentMethod": "visa",'

ADYEN: Final = Provider(
    "adyen",
    (
        _payment("AUTHORISATION", "a payment was authorised", "true", _OPERATIONS),
        _payment("REFUND", "a payment is given back", "true", _REFUNDED),
        _payment("CHARGEBACK", "a payment was disputed", "false", _REFUNDED),
        _header(
            "balancePlatform.transfer.created",
            "a transfer was made (mode header)",
            '"amount": {"value": "${int:500-90000}", "currency": "EUR"}, "status": "booked", "type": "bankTransfer"',
        ),
        _header(
            "balancePlatform.accountHolder.updated",
            "an account holder has changed (mode header)",
            '"accountHolder": {"id": "AH${upper:23}", "status": "active"}',
        ),
    ),
    _sign,
    {"hmac_key": "${hex:64}"},
    credential="hmac_key",
    headers={"User-Agent": "Adyen HttpClient 1.0"},
    content_type="application/json; charset=utf-8",
    signs_time=False,
    tamper=_tamper,
)

PROVIDERS: Final = (ADYEN,)
