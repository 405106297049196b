"""Stripe: pretty-printed events, signed with their time."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme
from hookline.core.simulate.json_style import pretty
from hookline.core.simulate.template import Scene

_SCHEME: Final = HmacScheme("Stripe-Signature", "{time}.{body}", "t={time},v1={signature}")


def _sign(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    """Test mode also has a `v0`, made with a key that nobody knows: to be ignored."""
    draft = _SCHEME.sign(draft, scene)
    decoy = hmac.new(b"v0", draft.body, hashlib.sha256).hexdigest()
    return draft.with_header(_SCHEME.header, f"{draft.header(_SCHEME.header)},v0={decoy}")


def _event(event_type: str, says: str, data_object: str, more: str = "") -> Sample:
    data = (
        """{"id": "evt_${base62:24}", "object": "event", "api_version": "2025-09-30.clover", "created": "${s}",
        "data": {"object": """
        + data_object
        + more
        + """}, "livemode": false, "pending_webhooks": 1,
        "request": {"id": "req_${base62:14}", "idempotency_key": "${uuid}"}, "type": \""""
        + event_type
        + '"}'
    )
    return Sample(event_type, says, data)


_PAYMENT_INTENT: Final = """{
    "id": "pi_3${base62:23#intent}", "object": "payment_intent", "amount": "${int:500-90000#amount}",
    "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": "${#amount}", "application": null,
    "application_fee_amount": null, "automatic_payment_methods": {"allow_redirects": "always", "enabled": true},
    "canceled_at": null, "cancellation_reason": null, "capture_method": "automatic_async",
    "client_secret": "pi_3${#intent}_secret_${base62:25}", "confirmation_method": "automatic", "created": "${s-4}",
    "currency": "usd", "customer": "cus_${base62:14#customer}", "description": "Order ${digits:6#order}",
    "last_payment_error": null, "latest_charge": "ch_3${#intent}", "livemode": false,
    "metadata": {"order_id": "${#order}"}, "next_action": null, "on_behalf_of": null,
    "payment_method": "pm_1${base62:23#method}",
    "payment_method_configuration_details": {"id": "pmc_1${base62:23}", "parent": null},
    "payment_method_options": {"card": {"installments": null, "mandate_options": null, "network": null,
        "request_three_d_secure": "automatic"}},
    "payment_method_types": ["card"], "processing": null, "receipt_email": "jenny.rosen@example.com", "review": null,
    "setup_future_usage": null, "shipping": null, "source": null, "statement_descriptor": null,
    "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null, "transfer_group": null}"""

_FAILED_INTENT: Final = (
    _PAYMENT_INTENT.replace('"amount_received": "${#amount}"', '"amount_received": 0')
    .replace('"status": "succeeded"', '"status": "requires_payment_method"')
    .replace(
        '"last_payment_error": null',
        """"last_payment_error": {"advice_code": "try_again_later", "charge": "ch_3${#intent}", "code": "card_declined",
        "decline_code": "insufficient_funds", "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "message": "Your card has insufficient funds.", "network_advice_code": null, "network_decline_code": "51",
        "payment_method": "@payment_method", "type": "card_error"}""",
    )
)

_PAYMENT_METHOD: Final = """{
    "id": "pm_1${base62:23#method}", "object": "payment_method", "allow_redisplay": "unspecified",
    "billing_details": "@billing_details",
    "card": {"brand": "visa", "checks": {"address_line1_check": null, "address_postal_code_check": null,
        "cvc_check": "pass"}, "country": "US", "display_brand": "visa", "exp_month": 8, "exp_year": 2031,
        "fingerprint": "${base62:16}", "funding": "credit", "generated_from": null, "last4": "9995",
        "networks": {"available": ["visa"], "preferred": null},
        "three_d_secure_usage": {"supported": true}, "wallet": null},
    "created": "${s-5}", "customer": null, "livemode": false, "metadata": {}, "type": "card"}"""

_BILLING_DETAILS: Final = """{
    "address": {"city": "San Francisco", "country": "US", "line1": "510 Townsend St", "line2": null,
        "postal_code": "94103", "state": "CA"},
    "email": "jenny.rosen@example.com", "name": "Jenny Rosen", "phone": null, "tax_id": null}"""

_CHARGE: Final = """{
    "id": "ch_3${base62:23#charge}", "object": "charge", "amount": "${int:500-90000#amount}",
    "amount_captured": "${#amount}", "amount_refunded": "${#amount}", "application": null,
    "application_fee": null, "application_fee_amount": null, "balance_transaction": "txn_3${base62:23}",
    "billing_details": "@billing_details", "calculated_statement_descriptor": "HOOKLINE SHOP", "captured": true,
    "created": "${s-86400}", "currency": "usd", "customer": "cus_${base62:14}", "description":
    "Order ${digits:6#order}",
    "destination": null, "dispute": null, "disputed": false, "failure_balance_transaction": null, "failure_code": null,
    "failure_message": null, "fraud_details": {}, "livemode": false, "metadata": {"order_id": "${#order}"},
    "on_behalf_of": null, "order": null,
    "outcome": {"advice_code": null, "network_advice_code": null, "network_decline_code": null,
        "network_status": "approved_by_network", "reason": null, "risk_level": "normal", "risk_score": 12,
        "seller_message": "Payment complete.", "type": "authorized"},
    "paid": true, "payment_intent": "pi_3${#charge}", "payment_method": "pm_1${base62:23}",
    "payment_method_details": {"card": {"amount_authorized": "${#amount}", "brand": "visa",
        "checks": {"address_line1_check": "pass", "address_postal_code_check": "pass", "cvc_check": "pass"},
        "country": "US", "exp_month": 8, "exp_year": 2031, "fingerprint": "${base62:16}", "funding": "credit",
        "last4": "4242", "network": "visa", "three_d_secure": null, "wallet": null}, "type": "card"},
    "receipt_email": "jenny.rosen@example.com", "receipt_number": null,
    "receipt_url": "https://pay.stripe.com/receipts/payment/${base62:60}", "refunded": true, "review": null,
    "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
    "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null, "transfer_group": null}"""

_SESSION: Final = """{
    "id": "cs_test_${base62:58}", "object": "checkout.session", "amount_subtotal": "${int:500-90000#amount}",
    "amount_total": "${#amount}", "automatic_tax": {"enabled": false, "liability": null, "status": null},
    "billing_address_collection": null, "cancel_url": "https://shop.example.com/cart",
    "client_reference_id": "${digits:6#order}", "consent": null, "created": "${s-120}", "currency": "usd",
    "customer": "cus_${base62:14}", "customer_creation": "always",
    "customer_details": {"address": {"city": null, "country": "US", "line1": null, "line2": null,
        "postal_code": "94103", "state": null}, "email": "jenny.rosen@example.com", "name": "Jenny Rosen",
        "phone": null, "tax_exempt": "none", "tax_ids": []},
    "expires_at": "${s+86280}", "livemode": false, "locale": null, "metadata": {"order_id": "${#order}"},
    "mode": "payment", "payment_intent": "pi_3${base62:23}", "payment_link": null, "payment_method_types": ["card"],
    "payment_status": "paid", "setup_intent": null, "shipping_cost": null, "status": "complete", "subscription": null,
    "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted", "url": null}"""

_SUBSCRIPTION: Final = """{
    "id": "sub_1${base62:23#subscription}", "object": "subscription", "application": null,
    "automatic_tax": {"disabled_reason": null, "enabled": false, "liability": null}, "billing_cycle_anchor": "${s}",
    "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null, "collection_method": "charge_automatically",
    "created": "${s}", "currency": "usd", "customer": "cus_${base62:14}", "days_until_due": null,
    "default_payment_method": "pm_1${base62:23}", "description": null, "discounts": [], "ended_at": null,
    "items": {"object": "list", "data": [{"id": "si_${base62:14}", "object": "subscription_item", "created": "${s}",
        "current_period_end": "${s+2592000}", "current_period_start": "${s}", "metadata": {},
        "price": {"id": "price_1${base62:23}", "object": "price", "active": true, "billing_scheme": "per_unit",
            "currency": "usd", "livemode": false, "lookup_key": null, "metadata": {}, "nickname": null,
            "product": "prod_${base62:14}", "recurring": {"interval": "month", "interval_count": 1, "meter": null,
            "usage_type": "licensed"}, "tax_behavior": "unspecified", "type": "recurring", "unit_amount": 2900,
            "unit_amount_decimal": "2900"},
        "quantity": 1, "subscription": "sub_1${#subscription}", "tax_rates": []}], "has_more": false,
        "total_count": 1, "url": "/v1/subscription_items?subscription=sub_1${#subscription}"},
    "latest_invoice": "in_1${base62:23}", "livemode": false, "metadata": {}, "next_pending_invoice_item_invoice": null,
    "on_behalf_of": null, "pause_collection": null, "pending_setup_intent": null, "pending_update": null,
    "schedule": null, "start_date": "${s}", "status": "active", "test_clock": null, "trial_end": null,
    "trial_start": null}"""

STRIPE: Final = Provider(
    "stripe",
    (
        _event("payment_intent.succeeded", "a payment has succeeded", _PAYMENT_INTENT),
        _event("payment_intent.payment_failed", "a card was declined", _FAILED_INTENT),
        _event(
            "charge.refunded",
            "a payment was given back",
            _CHARGE,
            ', "previous_attributes": {"amount_refunded": 0, "receipt_url": null, "refunded": false}',
        ),
        _event("checkout.session.completed", "somebody has paid at the checkout", _SESSION),
        _event("customer.subscription.created", "a subscription has begun", _SUBSCRIPTION),
    ),
    _sign,
    {"secret": "whsec_${base62:32}"},
    headers={
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Accept": "*/*; q=0.5, application/xml",
        "Cache-Control": "no-cache",
    },
    style=pretty,
    content_type="application/json; charset=utf-8",
    fragments={"payment_method": _PAYMENT_METHOD, "billing_details": _BILLING_DETAILS},
)

PROVIDERS: Final = (STRIPE,)
