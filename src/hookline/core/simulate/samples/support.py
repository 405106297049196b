"""Intercom and Zendesk."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.template import composed

_NOTICE: Final = """{"type": "notification_event", "app_id": "a86dr8yl", "data": {"type": "notification_event_data",
    "item": @item@}, "links": {}, "id": "notif_${uuid}", "topic": "@topic@", "delivery_status": "pending",
    "delivery_attempts": 1, "delivered_at": 0, "first_sent_at": "${s}", "created_at": "${s-1}", "self": null}"""
_CONTACT: Final = """{"type": "contact", "id": "${hex:24#contact}", "workspace_id": "a86dr8yl", "external_id":
    "${digits:6}", "role": "user", "email": "zoe@example.com", "phone": null, "name": "Zoë Doe", "avatar": null,
    "owner_id": null, "social_profiles": {"type": "list", "data": []}, "has_hard_bounced": false,
    "marked_email_as_spam": false, "unsubscribed_from_emails": false, "created_at": "${iso.3-1}",
    "updated_at": "${iso.3-1}", "signed_up_at": "${iso.3-1}", "last_seen_at": null, "browser": "chrome", "os": "OS X",
    "location": {"type": "location", "country": "Germany", "city": "Köln"}, "custom_attributes": {},
    "tags": {"type": "list", "data": [], "url": "/contacts/${#contact}/tags", "total_count": 0, "has_more": false}}"""
_CONVERSATION: Final = """{"type": "conversation", "id": "${digits:15}", "created_at": "${s-2}", "updated_at": "${s-1}",
    "waiting_since": "${s-2}", "snoozed_until": null, "source": {"type": "conversation", "id": "${digits:10}",
    "delivered_as": "customer_initiated", "subject": "", "body": "<p>Où est ma commande?</p>", "author": {"type":
    "user",
    "id": "${hex:24}", "name": "Zoë Doe", "email": "zoe@example.com"}, "attachments": [], "url":
    "https://shop.example.com/"}, "contacts": {"type": "contact.list", "contacts": [{"type": "contact",
    "id": "${hex:24}"}]}, "open": true, "state": "open", "read": false, "priority": "not_priority",
    "admin_assignee_id": null, "team_assignee_id": null, "tags": {"type": "tag.list", "tags": []}}"""

INTERCOM: Final = Provider(
    "intercom",
    (
        Sample(
            "contact.user.created", "a user was made", composed(_NOTICE, item=_CONTACT, topic="contact.user.created")
        ),
        Sample(
            "conversation.user.created",
            "a user has begun a conversation",
            composed(_NOTICE, item=_CONVERSATION, topic="conversation.user.created"),
        ),
        Sample(
            "ping",
            "the webhook was made: a first question, answered like any event",
            composed(_NOTICE, item='{"type": "ping", "message": "something something interzen"}', topic="ping"),
        ),
    ),
    by_hmac(HmacScheme("X-Hub-Signature", value="sha1={signature}", digest="sha1")),
    {"secret": "${uuid}"},
    headers={"User-Agent": "intercom-webhooks/1.0", "Intercom-Webhooks-Version": "2.14"},
    content_type="application/json; charset=utf-8",
    signs_time=False,
)


def _zendesk(name: str, says: str, subject: str, detail: str, event: str) -> Sample:
    kind = f"zen:event-type:{name}"
    data = composed(
        """{"type": "@type@", "account_id": 123456, "id": "${uuid}", "time": "${iso.6-1}", "zendesk_event_version":
        "2022-11-06", "subject": "zen:@subject@:${digits:9#subject}", "event": @event@, "detail": @detail@}""",
        type=kind,
        subject=subject,
        event=event,
        detail=detail,
    )
    return Sample(kind, says, data)


ZENDESK: Final = Provider(
    "zendesk",
    (
        _zendesk(
            "user.created",
            "a user was made",
            "user",
            """{"created_at": "${iso-1}", "email": "zoe@example.com", "external_id": "", "default_group_id": "0",
            "id": "${#subject}", "organization_id": "", "role": "end-user", "updated_at": "${iso-1}"}""",
            "{}",
        ),
        _zendesk(
            "ticket.created",
            "a ticket was opened",
            "ticket",
            """{"actor_id": "8447388090494", "assignee_id": null, "brand_id": "8447346621310", "created_at":
            "${iso-1}", "description": "Où est ma commande?", "external_id": null, "form_id": "8646151517822",
            "group_id": "8447320466430", "id": "${#subject}", "is_public": true, "organization_id": null,
            "priority": "HIGH", "requester_id": "8447388090494", "status": "OPEN", "subject": "Lost order",
            "submitter_id": "8447388090494", "tags": ["order"], "type": "QUESTION", "updated_at": "${iso-1}",
            "via": {"channel": "web_service"}}""",
            '{"meta": {"sequence": {"id": "${hex:32}", "position": 1, "total": 1}}}',
        ),
    ),
    by_hmac(
        HmacScheme(
            "X-Zendesk-Webhook-Signature",
            "{time}{body}",
            encoding="base64",
            time="iso",
            time_header="X-Zendesk-Webhook-Signature-Timestamp",
        )
    ),
    {"secret": "${base64:32}"},
    headers={
        "User-Agent": "Zendesk Webhook",
        "X-Zendesk-Account-Id": "123456",
        "X-Zendesk-Webhook-Id": "01F1KRFQ6BG29CNWFR60NK5FNY",
        "X-Zendesk-Webhook-Invocation-Id": "01${upper:24}",
    },
    content_type="application/json; charset=utf-8",
    limits_age=False,
)

PROVIDERS: Final = (INTERCOM, ZENDESK)
