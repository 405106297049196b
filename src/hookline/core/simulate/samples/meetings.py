"""Zoom and Calendly."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac, first_of
from hookline.core.simulate.template import Scene, composed

_MEETING: Final = """{"event": "@event@", "payload": {"account_id": "AAAAAABBBB", "object": {"duration": 30,
    "start_time": "${iso-60}", "timezone": "Europe/Berlin"@more@, "topic": "Café & planning", "id": "${digits:10#id}",
    "type": 2, "uuid": "${base64:16}", "host_id": "x1yCzABCDEfg23HiJKl4mN"}}, "event_ts": "${ms}"}"""


def _encrypted(scene: Scene) -> str:
    """What proves to Zoom that the receiver knows the secret."""
    secret = first_of(scene.config["secret"]).encode()
    return hmac.new(secret, str(scene.known["plain"]).encode(), hashlib.sha256).hexdigest()


ZOOM: Final = Provider(
    "zoom",
    (
        Sample("meeting.started", "a meeting has begun", composed(_MEETING, event="meeting.started", more="")),
        Sample(
            "meeting.ended",
            "a meeting has ended",
            composed(_MEETING, event="meeting.ended", more=', "end_time": "${iso}"'),
        ),
        Sample(
            "endpoint.url_validation",
            "a first question, repeated every 72 hours: the token is encrypted",
            '{"payload": {"plainToken": "${#plain}"}, "event_ts": "${ms}", "event": "endpoint.url_validation"}',
            {"plain": "${base62:22}"},
            wanted=Wanted(_encrypted),
        ),
    ),
    by_hmac(HmacScheme("x-zm-signature", "v0:{time}:{body}", "v0={signature}", time_header="x-zm-request-timestamp")),
    {"secret": "${base62:22}"},
    headers={
        "User-Agent": "Zoom Marketplace/1.0a",
        "clientid": "${base62:22}",
        "x-zm-trackingid": "v=2.0;clid=us02;rid=WEB_${hex:32}",
    },
    content_type="application/json; charset=utf-8",
)

_INVITEE: Final = """{"created_at": "${iso.6}", "created_by": "https://api.calendly.com/users/AAAAAAAAAAAAAAAA",
    "event": "@event@", "payload": {"cancel_url": "https://calendly.com/cancellations/${#invitee}",
    "created_at": "${iso.6-2}", "email": "zoe@example.com", "event": "https://api.calendly.com/scheduled_events/${#meeting}",
    "first_name": null, "invitee_scheduled_by": null, "last_name": null, "name": "Zoë Doe", "new_invitee": null,
    "no_show": null, "old_invitee": null, "payment": null, "questions_and_answers": [],
    "reconfirmation": null, "reschedule_url": "https://calendly.com/reschedulings/${#invitee}", "rescheduled": false,
    "routing_form_submission": null, "scheduled_event": {"created_at": "${iso.6-2}", "end_time": "${iso.6+90000}",
        "event_guests": [], "event_memberships": [{"user": "https://api.calendly.com/users/AAAAAAAAAAAAAAAA",
        "user_email": "host@example.com", "user_name": "Host"}], "event_type":
        "https://api.calendly.com/event_types/CCCCCCCCCCCCCCCC", "invitees_counter": {"total": 1, "active": 1,
        "limit": 1},
        "location": {"join_url": "https://meet.example.com/1", "status": "pushed", "type": "zoom"},
        "meeting_notes_html": null, "name": "30 Minute Meeting", "start_time": "${iso.6+88200}", "status": "@status@",
        "updated_at": "${iso.6}", "uri": "https://api.calendly.com/scheduled_events/${#meeting}"},
    "status": "@status@", "text_reminder_number": null, "timezone": "Europe/Berlin", "tracking": {"utm_campaign": null,
        "utm_source": null, "utm_medium": null, "utm_content": null, "utm_term": null, "salesforce_uuid": null},
    "updated_at": "${iso.6}",
    "uri": "https://api.calendly.com/scheduled_events/${#meeting}/invitees/${#invitee}"@more@}}"""
_INVITEE_KNOWN: Final = {"invitee": "${uuid}", "meeting": "${uuid}"}
_CANCELLED: Final = ', "cancellation": {"canceled_by": "Zoë Doe", "reason": "ill", "canceler_type": "invitee"}'

CALENDLY: Final = Provider(
    "calendly",
    (
        Sample(
            "invitee.created",
            "somebody has booked",
            composed(_INVITEE, event="invitee.created", status="active", more=""),
            _INVITEE_KNOWN,
        ),
        Sample(
            "invitee.canceled",
            "somebody has cancelled",
            composed(_INVITEE, event="invitee.canceled", status="canceled", more=_CANCELLED),
            _INVITEE_KNOWN,
        ),
    ),
    by_hmac(HmacScheme("Calendly-Webhook-Signature", "{time}.{body}", "t={time},v1={signature}")),
    {"secret": "${base64url:32}"},
    headers={"User-Agent": "Calendly Webhooks", "Calendly-Webhook-Attempt": "1"},
)

PROVIDERS: Final = (ZOOM, CALENDLY)
