"""Square, Paddle and Razorpay."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.json_style import php
from hookline.core.simulate.template import composed

_AMOUNT: Final = {"amount": "${int:500-90000}", "fee": "${int:48-320}"}
_SQUARE_MONEY: Final = '{"amount": "${#amount}", "currency": "USD"}'
_SQUARE_PAYMENT: Final = composed(
    """{"payment": {"amount_money": @money@, "approved_money": @money@,
    "capabilities": ["EDIT_TIP_AMOUNT", "EDIT_TIP_AMOUNT_UP", "EDIT_TIP_AMOUNT_DOWN"],
    "card_details": {"avs_status": "AVS_ACCEPTED", "card": {"bin": "540988", "card_brand": "MASTERCARD",
        "card_type": "CREDIT", "exp_month": 11, "exp_year": 2031, "fingerprint": "sq-1-${base62:86}",
        "last_4": "9029", "prepaid_type": "NOT_PREPAID"}, "card_payment_timeline": {
        "authorized_at": "${iso.3-3}", "captured_at": "${iso.3-2}"}, "cvv_status": "CVV_ACCEPTED",
        "entry_method": "KEYED", "status": "CAPTURED"},
    "created_at": "${iso.3-3}", "id": "${#payment}", "location_id": "S8GWD5R9QB376", "order_id": "${base62:27}",
    "processing_fee": [{"amount_money": {"amount": "${#fee}", "currency": "USD"}, "effective_at": "${iso.3}",
        "type": "INITIAL"}], "receipt_number": "${base62:4}", "receipt_url": "https://squareup.com/receipt/preview/${#payment}",
    "source_type": "CARD", "status": "COMPLETED", "total_money": @money@, "updated_at": "${iso.3}",
    "version": 5}}""",
    money=_SQUARE_MONEY,
)
_SQUARE_REFUND: Final = composed(
    """{"refund": {"amount_money": @money@, "created_at": "${iso.3-2}",
    "id": "${#payment}_${base62:22}", "location_id": "S8GWD5R9QB376", "order_id": "${base62:27}",
    "payment_id": "${#payment}", "reason": "Returned: café cup", "status": "PENDING", "updated_at": "${iso.3}",
    "version": 1}}""",
    money=_SQUARE_MONEY,
)


def _square(event_type: str, says: str, kind: str, data_object: str) -> Sample:
    data = composed(
        """{"merchant_id": "6SSW7HV8K2ST5", "type": "@event@", "event_id": "${uuid}", "created_at": "${iso.9}",
        "data": {"type": "@kind@", "id": "${#payment}", "object": @object@}}""",
        event=event_type,
        kind=kind,
        object=data_object,
    )
    return Sample(event_type, says, data, {**_AMOUNT, "payment": "${base62:27}"})


SQUARE: Final = Provider(
    "square",
    (
        _square("payment.updated", "a payment has succeeded", "payment", _SQUARE_PAYMENT),
        _square("refund.created", "a payment is given back", "refund", _SQUARE_REFUND),
    ),
    by_hmac(HmacScheme("x-square-hmacsha256-signature", "{config:notification_url}{body}", encoding="base64")),
    {"secret": "${base64url:16}", "notification_url": "${url}"},
    headers={
        "User-Agent": "Square Connect v2",
        "square-environment": "Sandbox",
        "square-initial-delivery-timestamp": "${iso}",
    },
    signs_time=False,
)

_PADDLE_ITEM: Final = """{"price": {"id": "pri_01${lower:24#price}", "name": "Monthly", "type": "standard",
    "status": "active", "quantity": {"minimum": 1, "maximum": 999}, "tax_mode": "account_setting",
    "created_at": "${iso.6-9000000}", "product_id": "pro_01${lower:24}", "unit_price": {"amount": "${'#amount}",
    "currency_code": "EUR"}, "updated_at": "${iso.6-9000000}", "custom_data": null, "description": "Café plan",
    "trial_period": null, "billing_cycle": {"interval": "month", "frequency": 1}, "unit_price_overrides": []},
    "quantity": 1}"""
_PADDLE_TRANSACTION: Final = composed(
    """{"id": "txn_01${lower:24}", "items": [@item@], "origin": "web", "status": "completed",
    "details": {"totals": {"fee": "${'#fee}", "tax": "0", "total": "${'#amount}", "credit": "0", "balance": "0",
        "discount": "0", "earnings": null, "subtotal": "${'#amount}", "grand_total": "${'#amount}",
        "currency_code": "EUR", "credit_to_balance": "0"}, "line_items": [], "tax_rates_used": [],
        "payout_totals": null, "adjusted_totals": null},
    "checkout": {"url": "https://shop.example.com/pay"}, "payments": [{"amount": "${'#amount}", "status": "captured",
        "created_at": "${iso.6-4}", "error_code": null, "captured_at": "${iso.6-2}", "method_details": {"card":
        {"type": "visa", "last4": "3184", "expiry_year": 2031, "expiry_month": 1, "cardholder_name": "Zoë Doe"},
        "type": "card"}, "payment_method_id": "paymtd_01${lower:24}", "payment_attempt_id": "${uuid}",
        "stored_payment_method_id": "${uuid}"}],
    "billed_at": "${iso.6-2}", "address_id": "add_01${lower:24}", "created_at": "${iso.6-60}", "invoice_id":
    "inv_01${lower:24}", "updated_at": "${iso.6-1}", "business_id": null, "custom_data": null,
    "customer_id": "ctm_01${lower:24}", "discount_id": null, "currency_code": "EUR", "billing_period": null,
    "invoice_number": "325-${digits:5}", "billing_details": null, "collection_mode": "automatic",
    "subscription_id": "sub_01${lower:24}"}""",
    item=_PADDLE_ITEM,
)
_PADDLE_SUBSCRIBED: Final = composed(
    """{"status": "active", "recurring": true, "created_at": "${iso.6-2}", "updated_at": "${iso.6-2}",
    "trial_dates": null, "next_billed_at": "${iso.6+2592000}", "previously_billed_at": "${iso.6-3}",
    "product": {"id": "pro_01${lower:24}", "name": "Café plan", "type": "standard", "status": "active",
        "image_url": null, "created_at": "${iso.6-9000000}", "updated_at": "${iso.6-9000000}", "custom_data": null,
        "description": null, "tax_category": "saas"}, @item@""",
    item=_PADDLE_ITEM.removeprefix("{"),
)
_PADDLE_SUBSCRIPTION: Final = composed(
    """{"id": "sub_01${lower:24}", "items": [@item@], "status": "active", "discount": null,
    "paused_at": null, "address_id": "add_01${lower:24}", "created_at": "${iso.6-2}", "started_at": "${iso.6-3}",
    "updated_at": "${iso.6-2}", "business_id": null, "canceled_at": null, "custom_data": null,
    "customer_id": "ctm_01${lower:24}", "import_meta": null, "billing_cycle": {"interval": "month", "frequency": 1},
    "currency_code": "EUR", "next_billed_at": "${iso.6+2592000}", "transaction_id": "txn_01${lower:24}",
    "billing_details": null, "collection_mode": "automatic", "first_billed_at": "${iso.6-3}",
    "scheduled_change": null, "current_billing_period": {"ends_at": "${iso.6+2592000}",
    "starts_at": "${iso.6-3}"}}""",
    item=_PADDLE_SUBSCRIBED,
)


def _paddle(event_type: str, says: str, entity: str) -> Sample:
    data = composed(
        """{"data": @entity@, "event_id": "evt_01${lower:24}", "event_type": "@event@", "occurred_at": "${iso.6}",
        "notification_id": "ntf_01${lower:24}"}""",
        entity=entity,
        event=event_type,
    )
    return Sample(event_type, says, data, _AMOUNT)


PADDLE: Final = Provider(
    "paddle",
    (
        _paddle("transaction.completed", "a payment has succeeded", _PADDLE_TRANSACTION),
        _paddle("subscription.created", "a subscription has begun", _PADDLE_SUBSCRIPTION),
    ),
    by_hmac(HmacScheme("Paddle-Signature", "{time}:{body}", "ts={time};h1={signature}")),
    {"secret": "pdl_ntfset_01${lower:24}_${base62:32}"},
    headers={"User-Agent": "Paddle", "Paddle-Version": "1"},
)

_RAZORPAY_PAYMENT: Final = """{"id": "pay_${base62:14#payment}", "entity": "payment", "amount": "${#amount}",
    "currency": "INR", "base_amount": "${#amount}", "status": "@status@", "order_id": "order_${base62:14#order}",
    "invoice_id": null, "international": false, "method": "upi", "amount_refunded": 0, "amount_transferred": 0,
    "refund_status": null, "captured": @captured@, "description": "Order – ₹ & more", "card_id": null, "bank": null,
    "wallet": null, "vpa": "gaurav.kumar@upi", "email": "gaurav.kumar@example.com", "contact": "+919876543210",
    "notes": {"callback": "https://shop.example.com/paid"}, "fee": @fee@, "tax": 0, "error_code": @code@,
    "error_description": @description@, "error_source": null, "error_step": null, "error_reason": @reason@,
    "acquirer_data": {"rrn": "${digits:12}"}, "created_at": "${s-5}"}"""


def _razorpay(event: str, says: str, **words: str) -> Sample:
    entity = composed(_RAZORPAY_PAYMENT, **words)
    data = composed(
        """{"entity": "event", "account_id": "acc_BFQ7uQEaa7j2z7", "event": "@event@", "contains": ["payment"],
        "payload": {"payment": {"entity": @entity@}}, "created_at": "${s}"}""",
        event=event,
        entity=entity,
    )
    return Sample(event, says, data, _AMOUNT)


RAZORPAY: Final = Provider(
    "razorpay",
    (
        _razorpay(
            "payment.captured",
            "a payment has succeeded",
            status="captured",
            captured="true",
            fee='"${#fee}"',
            code="null",
            description="null",
            reason="null",
        ),
        _razorpay(
            "payment.failed",
            "a payment has failed",
            status="failed",
            captured="false",
            fee="null",
            code='"BAD_REQUEST_ERROR"',
            description='"Payment failed due to incorrect card number"',
            reason='"incorrect_card_number"',
        ),
    ),
    by_hmac(HmacScheme("X-Razorpay-Signature")),
    {"secret": "${base62:32}"},
    headers={
        "User-Agent": "Razorpay-Webhook/v1",
        "Request-Id": "${base62:14}",
        "X-Razorpay-Event-Id": "${base62:14}",
    },
    style=php,
    signs_time=False,
)

PROVIDERS: Final = (SQUARE, PADDLE, RAZORPAY)
