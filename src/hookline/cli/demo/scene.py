"""Who is there: the event types with their schemas, the providers that send webhooks in, and the endpoints with their
receivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

HEALTHY: Final = "healthy"
FLAKY: Final = "flaky"
DEAD: Final = "dead"

QUICK_RETRY: Final = {"schedule_s": [0.3, 0.6, 1, 2, 4, 8]}
SHORT_RETRY: Final = {"schedule_s": [0.5, 1]}
FLAKY_FAILURES: Final = 2
"""The flaky receiver refuses so many attempts of each message."""


def _object(required: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": dict(required)}


_TEXT: Final = {"type": "string", "minLength": 1}
_COUNT: Final = {"type": "integer", "minimum": 0}
EVENT_TYPES: Final[Mapping[str, dict[str, Any]]] = {
    "order.created": _object(
        {
            "order_id": _TEXT,
            "customer": _object({"id": _TEXT, "email": {"type": "string", "format": "email"}}),
            "items": {
                "type": "array",
                "minItems": 1,
                "items": _object({"sku": _TEXT, "quantity": {"type": "integer", "minimum": 1}}),
            },
            "total_cents": _COUNT,
            "currency": {"enum": ["EUR", "USD", "GBP"]},
        }
    ),
    "user.registered": _object(
        {"user_id": _TEXT, "email": {"type": "string", "format": "email"}, "plan": {"enum": ["free", "team", "scale"]}}
    ),
    "stock.changed": _object({"sku": _TEXT, "quantity": _COUNT, "reorder_level": _COUNT}),
    "invoice.overdue": _object({"invoice_id": _TEXT, "days": _COUNT}),
}
"""Name → JSON Schema, enforced at publish."""


@dataclass(frozen=True)
class Subscriber:
    """An endpoint of the demo; its `uid` is also its path at its receiver."""

    uid: str
    receiver: str
    event_types: tuple[str, ...]
    description: str
    more: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, receiver_url: str) -> dict[str, Any]:
        """What `POST /v1/endpoints` takes."""
        return {
            "url": f"{receiver_url}/{self.uid}",
            "uid": self.uid,
            "event_types": list(self.event_types),
            "description": self.description,
            **self.more,
        }


@dataclass(frozen=True)
class Sender:
    """A provider of the demo; its source has its name, and so is `/in/<provider>`."""

    provider: str
    event_type: str
    subscriber: str
    """The `uid` of the one who gets what it sends."""
    signature: str
    """The header that it signs in."""
    id_header: str = ""
    """The header with its own id of a request; empty: the member `id` of the payload."""


SENDERS: Final = (
    Sender("stripe", "payment_intent.succeeded", "receipts", "stripe-signature"),
    Sender("github", "push", "deploy", "x-hub-signature-256", "x-github-delivery"),
)
PASSED_ON: Final = frozenset(sender.subscriber for sender in SENDERS)

DEAD_LETTERS: Final = "dead-letters"
CONFIRMING: Final = "onboarding"
CONFIRM_AFTER_S: Final = 0.2
"""So long the receiver that confirms works on a message before it says that it is done."""

SUBSCRIBERS: Final = (
    Subscriber(DEAD_LETTERS, HEALTHY, ("hookline.dead_letter",), "gets what others could not take"),
    Subscriber("payment", HEALTHY, ("order.*",), "charges the card"),
    Subscriber("inventory", HEALTHY, ("order.*",), "reserves the goods"),
    Subscriber("shipping", HEALTHY, ("order.*",), "books the parcel"),
    Subscriber(
        "purchasing",
        HEALTHY,
        ("stock.*",),
        "orders more, only below the reorder level",
        {"filter": {"data.quantity": {"$lt": {"$ref": "data.reorder_level"}}}},
    ),
    Subscriber("crm", FLAKY, ("user.*",), "fails twice per message, then takes it", {"retry": QUICK_RETRY}),
    Subscriber(
        CONFIRMING,
        HEALTHY,
        ("user.*",),
        "sets the account up, and confirms when it is done",
        {"confirm": {"within_s": 30}, "retry": QUICK_RETRY},
    ),
    Subscriber(
        "accounting",
        DEAD,
        ("invoice.*",),
        "nobody listens there",
        {"retry": SHORT_RETRY, "dead_letter": DEAD_LETTERS},
    ),
    Subscriber(
        "receipts",
        HEALTHY,
        ("payment_intent.*",),
        "sends a receipt for what Stripe says was paid; gets Stripe's bytes",
        {"format": "raw"},
    ),
    Subscriber("deploy", HEALTHY, ("push",), "deploys what was pushed; gets GitHub's bytes", {"format": "raw"}),
    Subscriber("hello", HEALTHY, ("hello.*",), "for your own events"),
)


def expected_deliveries(event_type: str, data: Mapping[str, Any]) -> int:
    """How many of the subscribers want such an event: what the answer to its publish must say."""
    if event_type.startswith("stock."):
        return int(data["quantity"] < data["reorder_level"])
    return {"order.created": 3, "user.registered": 2, "invoice.overdue": 1}[event_type]
