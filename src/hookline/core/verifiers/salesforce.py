"""Salesforce outbound messages: SOAP that is not signed. The organization's id is held against the configured one,
which is no secret: the address should be an unguessable one, and who may send limited (IP ranges, client certificate).

The XML is read by the same reader that splits it into events, so that both see the same elements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hookline.core.mapped import Element, MappedError, xml_tree
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import same_text
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import DAY_S, Preset, Reading, Reply
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetched, Refused, Verdict, Verified

NOTIFICATIONS_MAX: Final = 100
ID_CHARS: Final = 15
"""Of an id's short form; the long one has 18."""
MEDIA_TYPES: Final = ("text/xml", "application/xml", "application/soap+xml")
ACK: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    "</soapenv:Body></soapenv:Envelope>"
)
_ID: Final = re.compile(r"[A-Za-z0-9]{15}(?:[A-Z0-5]{3})?")


def verify(request: Inbound, config: Config, _now_s: float, _fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether it is a message of one of the configured organizations."""
    try:
        return _verify(request, config)
    except Unproven as error:
        return error.refused


def _verify(request: Inbound, config: Config) -> Verdict:
    if request.content_type not in MEDIA_TYPES:
        return Refused("malformed_body", "not XML by its content type")
    try:
        envelope = xml_tree(request.body)
    except MappedError as error:
        return Refused("malformed_body", str(error))
    if envelope.name != "Envelope":
        return Refused("malformed_body", "not a SOAP envelope")
    message = _only(_only(envelope, "Body"), "notifications")
    notifications = [child for child in message.children if child.name == "Notification"]
    if not 0 < len(notifications) <= NOTIFICATIONS_MAX:
        return Refused("malformed_body", f"not 1 to {NOTIFICATIONS_MAX} notifications")
    for notification in notifications:
        _id(_only(notification, "Id"))
    sender = _id(_only(message, "OrganizationId"))
    wanted = config.texts("organization_id")
    if not any(_alike(sender, one) for one in wanted):
        return Refused("wrong_credential", "OrganizationId is not organization_id")
    return Verified(facts={"organization_id": sender})


def _alike(sender: str, wanted: str) -> bool:
    """Whether two ids are one: the short form is the first 15 characters of the long one, which only adds for whoever
    forgets their case which of them are capitals."""
    length = min(len(sender), len(wanted))
    return length >= ID_CHARS and same_text(sender[:length], wanted[:length])


def _only(element: Element, name: str) -> Element:
    found = [child for child in element.children if child.name == name]
    if len(found) != 1:
        raise Unproven("malformed_body", f"{element.name} has not one {name}")
    return found[0]


def _id(element: Element) -> str:
    text = "".join(element.texts).strip()
    if _ID.fullmatch(text) is None:
        raise Unproven("malformed_body", f"{element.name} is no id of Salesforce")
    return text


PRESET: Final = Preset(
    name="salesforce",
    title="Salesforce outbound messages",
    verify=verify,
    keys=("organization_id",),
    secrets=(),
    reading=Reading(
        split="body:Envelope.Body.notifications.Notification",
        type="item:sObject.@type",
        id="item:Id",
        subject="item:sObject.Id",
        default_type="Notification",
    ),
    reply=Reply(content_type="text/xml; charset=utf-8", body=ACK),
    answer_within_s=60.0,
    # A day; a week for organizations that asked for it.
    retry_window_s=7 * DAY_S,
)
