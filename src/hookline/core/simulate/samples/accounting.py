"""Xero, QuickBooks and Chargebee."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac, first_of
from hookline.core.simulate.json_style import xero
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import basic

_XERO_TAIL: Final = '"firstEventSequence": @number@, "lastEventSequence": @number@, "entropy": "${upper:20}"}'


def _xero(category: str, kind: str, says: str, resource: str) -> Sample:
    event = composed(
        """{"resourceUrl": "https://api.xero.com/api.xro/2.0/@resource@/${uuid#resource}", "resourceId": "${#resource}",
        "eventDateUtc": "${iso.3-2}", "eventType": "@kind@", "eventCategory": "@category@", "tenantId":
        "c2cc9b6e-9458-4c7d-93cc-f02b81b0594f", "tenantType": "ORGANISATION"}""",
        resource=resource,
        kind=kind,
        category=category,
    )
    tail = composed(_XERO_TAIL, number='"${#sequence}"')
    return Sample(f"{category}.{kind}", says, f'{{"events": [{event}], {tail}', {"sequence": "${int:1-99999}"})


XERO: Final = Provider(
    "xero",
    (
        _xero("INVOICE", "CREATE", "an invoice was made", "Invoices"),
        _xero("CONTACT", "UPDATE", "a contact has changed", "Contacts"),
        Sample(
            "intent_to_receive",
            "a first question, several times: 200 for those well signed, 401 for those wrongly signed",
            '{"events": [], ' + composed(_XERO_TAIL, number=0),
        ),
    ),
    by_hmac(HmacScheme("x-xero-signature", encoding="base64")),
    {"secret": "${base64:64}"},
    headers={"User-Agent": "Xero/1.0"},
    style=xero,
    content_type="application/json; charset=utf-8",
    signs_time=False,
)


def _quickbooks(entity: str, operation: str, says: str) -> Sample:
    data = composed(
        """{"eventNotifications": [{"realmId": "1185883450", "dataChangeEvent": {"entities": [{"name": "@entity@",
        "id": "${'int:1-9999}", "operation": "@operation@", "lastUpdated": "${iso.3-2}"}]}}]}""",
        entity=entity,
        operation=operation,
    )
    return Sample(f"{entity}.{operation}", says, data)


QUICKBOOKS: Final = Provider(
    "quickbooks",
    (
        _quickbooks("Customer", "Create", "a customer was made"),
        _quickbooks("Invoice", "Update", "an invoice has changed"),
        Sample(
            "qbo.customer.created.v1",
            "a customer was made (2026: CloudEvents)",
            """[{"specversion": "1.0", "id": "${uuid}", "source": "intuit.${base64url:32}=",
            "type": "qbo.customer.created.v1", "datacontenttype": "application/json", "time": "${iso.9-2}",
            "intuitentityid": "${'int:1-9999}", "intuitaccountid": "1185883450", "data": {}}]""",
        ),
    ),
    by_hmac(HmacScheme("intuit-signature", encoding="base64")),
    {"secret": "${uuid}"},
    headers={
        "User-Agent": "intuit_notification_server/1.0",
        "intuit-created-time": "${iso}",
        "intuit-t-id": "${uuid}",
        "intuit-notification-schema-version": "1.0",
    },
    signs_time=False,
)


def _sign_chargebee(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """Basic, or the secret as a parameter of the address."""
    if scene.config.get("username") is not None or scene.config.get("password") is not None:
        return basic(draft, scene, key)
    known = f"{'&' if '?' in scene.url else '?'}key={quote(first_of(scene.config['secret']), safe='')}"
    scene.url += known
    return Draft(draft.method, draft.url + known, draft.headers, draft.body)


_CUSTOMER: Final = """"customer": {"id": "${base62:17}", "first_name": "Zoë", "last_name": "Doe", "email":
    "zoe@example.com", "auto_collection": "on", "net_term_days": 0, "created_at": "${s-9}", "taxability": "taxable",
    "updated_at": "${s-2}", "pii_cleared": "active", "resource_version": "${ms-2}", "deleted": false,
    "object": "customer", "preferred_currency_code": "EUR", "mrr": 0}"""
_SUBSCRIBED: Final = """"subscription": {"id": "${base62:17#subscription}", "billing_period": 1, "billing_period_unit":
    "month", "customer_id": "${base62:17}", "status": "active", "current_term_start": "${s-2}",
    "current_term_end": "${s+2592000}", "next_billing_at": "${s+2592000}", "created_at": "${s-2}",
    "started_at": "${s-2}", "activated_at": "${s-2}", "updated_at": "${s-2}", "has_scheduled_changes": false,
    "resource_version": "${ms-2}", "deleted": false, "object": "subscription", "currency_code": "EUR",
    "subscription_items": [{"item_price_id": "basic-EUR-Monthly", "item_type": "plan", "quantity": 1,
    "unit_price": 2900, "amount": 2900, "object": "subscription_item"}], "due_invoices_count": 0, "mrr": 2900}"""
_DECLINED: Final = """"transaction": {"id": "txn_${base62:16}", "customer_id": "${base62:17}", "gateway": "chargebee",
    "type": "payment", "date": "${s-2}", "amount": "${int:500-90000}", "status": "failure", "error_code":
    "card_declined", "error_text": "The card was declined", "currency_code": "EUR", "object": "transaction"}"""


def _chargebee(event: str, says: str, content: str) -> Sample:
    data = composed(
        """{"id": "ev_${base62:16}", "occurred_at": "${s-1}", "source": "api", "user": "full_access_key_v1",
        "object": "event", "api_version": "v2", "content": {@content@, @customer@}, "event_type": "@event@",
        "webhook_status": "scheduled", "webhooks": [{"id": "whv2_${base62:17}", "webhook_status": "scheduled",
        "object": "webhook"}]}""",
        content=content,
        customer=_CUSTOMER,
        event=event,
    )
    return Sample(event, says, data)


CHARGEBEE: Final = Provider(
    "chargebee",
    (
        _chargebee("subscription_created", "a subscription has begun", _SUBSCRIBED),
        _chargebee("payment_failed", "a payment has failed", _DECLINED),
    ),
    _sign_chargebee,
    {"username": "chargebee", "password": "${base62:32}"},
    credential="password",
    instead={"username": ("secret",), "password": ("secret",)},
    headers={"User-Agent": "ChargeBee", "Accept": "*/*"},
    content_type="application/json;charset=UTF-8",
    forged=("password", "secret"),
    signs_time=False,
)

PROVIDERS: Final = (XERO, QUICKBOOKS, CHARGEBEE)
