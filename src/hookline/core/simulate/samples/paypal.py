"""PayPal: signed with a certificate, over the checksum of the body and the id of the receiver's webhook."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Final

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.private_key import chain, key_id, rsa_signature
from hookline.core.simulate.template import Scene, composed, iso


def _is_live(config: Mapping[str, Any]) -> bool:
    return config.get("environment") == "live"


def _api(config: Mapping[str, Any]) -> str:
    return "https://api.paypal.com" if _is_live(config) else "https://api.sandbox.paypal.com"


def _cert_url(key: bytes, config: Mapping[str, Any]) -> str:
    digits = key_id(key)
    return f"{_api(config)}/v1/notifications/certs/CERT-{digits[:8]}-{digits[8:16]}-{digits[16:24]}"


def _config_of_key(key: bytes, config: Mapping[str, Any]) -> Mapping[str, Any]:
    middle = "" if _is_live(config) else ".sandbox"
    leaf, root = chain(key, f"messageverificationcerts{middle}.paypal.com")
    return {"certs": {_cert_url(key, config): leaf}, "trusted_roots": [root]}


def _sign(draft: Draft, scene: Scene, key: bytes) -> Draft:
    transmission, time = scene.dice.uuid(), iso(scene.now_s)
    content = f"{transmission}|{time}|{scene.config['webhook_id']}|{zlib.crc32(draft.body)}"
    signature = base64.b64encode(rsa_signature(key, content.encode())).decode("ascii")
    return (
        draft.with_header("PAYPAL-TRANSMISSION-ID", transmission)
        .with_header("PAYPAL-TRANSMISSION-TIME", time)
        .with_header("PAYPAL-TRANSMISSION-SIG", signature)
        .with_header("PAYPAL-CERT-URL", _cert_url(key, scene.config))
        .with_header("PAYPAL-AUTH-ALGO", "SHA256withRSA")
        .with_header("PAYPAL-AUTH-VERSION", "v2")
    )


_API: Final = "https://api.sandbox.paypal.com"


def _event(event_type: str, says: str, summary: str, resource_type: str, resource: str) -> Sample:
    data = f"""{{"id": "WH-${{upper:17#event}}-${{upper:17#half}}", "event_version": "1.0", "create_time": "${{iso.3}}",
        "resource_type": "{resource_type}", "resource_version": "2.0", "event_type": "{event_type}",
        "summary": "{summary}", "resource": {resource}, "links": [
        {{"href": "{_API}/v1/notifications/webhooks-events/WH-${{#event}}-${{#half}}", "rel": "self", "method": "GET"}},
        {{"href": "{_API}/v1/notifications/webhooks-events/WH-${{#event}}-${{#half}}/resend", "rel": "resend",
         "method": "POST"}}]}}"""
    return Sample(event_type, says, data, known={"amount": "${int:500-90000}", "fee": "${int:48-320}"})


_AMOUNT: Final = '{"currency_code": "USD", "value": "${decimal:amount}"}'

_CAPTURE: Final = composed(
    """{"disbursement_mode": "INSTANT", "amount": @amount@,
    "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED",
        "UNAUTHORIZED_TRANSACTION"]},
    "supplementary_data": {"related_ids": {"order_id": "${upper:17#order}"}}, "update_time": "${iso-9}",
    "create_time": "${iso-9}", "final_capture": true,
    "seller_receivable_breakdown": {"gross_amount": @amount@,
        "paypal_fee": {"currency_code": "USD", "value": "${decimal:fee}"},
        "net_amount": {"currency_code": "USD", "value": "${decimal:amount-fee}"}},
    "invoice_id": "INV-${digits:6}", "custom_id": "order-${digits:6}",
    "links": [{"href": "@api@/v2/payments/captures/${upper:17#capture}", "rel": "self", "method": "GET"},
        {"href": "@api@/v2/payments/captures/${#capture}/refund", "rel": "refund", "method": "POST"},
        {"href": "@api@/v2/checkout/orders/${#order}", "rel": "up", "method": "GET"}],
    "id": "${#capture}", "status": "COMPLETED"}""",
    amount=_AMOUNT,
    api=_API,
)

_DENIED: Final = composed(
    """{"amount": @amount@,
    "seller_protection": {"status": "NOT_ELIGIBLE"},
    "supplementary_data": {"related_ids": {"order_id": "${upper:17#order}"}}, "update_time": "${iso-2}",
    "create_time": "${iso-9}", "final_capture": true, "invoice_id": "INV-${digits:6}",
    "processor_response": {"avs_code": "Y", "cvv_code": "N", "response_code": "5120"},
    "links": [{"href": "@api@/v2/payments/captures/${upper:17#capture}", "rel": "self", "method": "GET"},
        {"href": "@api@/v2/checkout/orders/${#order}", "rel": "up", "method": "GET"}],
    "id": "${#capture}", "status": "DECLINED"}""",
    amount=_AMOUNT,
    api=_API,
)

_REFUND: Final = composed(
    """{"seller_payable_breakdown": {"gross_amount": @amount@,
        "paypal_fee": {"currency_code": "USD", "value": "0.00"}, "net_amount": @amount@,
        "total_refunded_amount": @amount@},
    "amount": @amount@, "update_time": "${iso-3}", "create_time": "${iso-3}", "invoice_id": "INV-${digits:6}",
    "note_to_payer": "Returned: thank you", "links": [
        {"href": "@api@/v2/payments/refunds/${upper:17#refund}", "rel": "self", "method": "GET"},
        {"href": "@api@/v2/payments/captures/${upper:17}", "rel": "up", "method": "GET"}],
    "id": "${#refund}", "status": "COMPLETED"}""",
    amount=_AMOUNT,
    api=_API,
)

PAYPAL: Final = Provider(
    "paypal",
    (
        _event(
            "PAYMENT.CAPTURE.COMPLETED",
            "a payment has succeeded",
            "Payment completed for $ ${decimal:amount} USD",
            "capture",
            _CAPTURE,
        ),
        _event(
            "PAYMENT.CAPTURE.REFUNDED",
            "a payment was given back",
            "A $ ${decimal:amount} USD capture payment was refunded",
            "refund",
            _REFUND,
        ),
        _event(
            "PAYMENT.CAPTURE.DENIED",
            "a payment was denied",
            "A $ ${decimal:amount} USD capture payment was denied",
            "capture",
            _DENIED,
        ),
    ),
    _sign,
    {"webhook_id": "${upper:17}"},
    credential="webhook_id",
    headers={"User-Agent": "PayPal/AUHR-214.0-58375462", "Accept": "*/*", "Correlation-Id": "${hex:13}"},
    key="rsa",
    config_of_key=_config_of_key,
    limits_age=False,
)

PROVIDERS: Final = (PAYPAL,)
