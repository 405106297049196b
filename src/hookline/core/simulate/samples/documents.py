"""DocuSign, Dropbox and Typeform."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.json_style import go, python
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import unsigned

_ENVELOPE: Final = """{"event": "@event@", "apiVersion": "v2.1",
    "uri": "/restapi/v2.1/accounts/${uuid#account}/envelopes/${uuid#envelope}", "retryCount": 0,
    "configurationId": 10418598, "generatedDateTime": "${iso.7}",
    "data": {"accountId": "${#account}", "userId": "${uuid}", "envelopeId": "${#envelope}", "envelopeSummary": {
        "status": "@status@", "emailSubject": "Please sign: contract – café & co", "emailBlurb": "",
        "signingLocation": "online", "enableWetSign": "true", "allowMarkup": "false", "allowReassign": "true",
        "createdDateTime": "${iso.7-3600}", "lastModifiedDateTime": "${iso.7-5}", "initialSentDateTime":
        "${iso.7-3590}", "sentDateTime": "${iso.7-3590}"@more@, "statusChangedDateTime": "${iso.7-5}",
        "isSignatureProviderEnvelope": "false", "envelopeIdStamping": "true", "autoNavigation": "true",
        "expireAfter": "120", "sender": {"userName": "Renée Müller", "userId": "${uuid}",
        "accountId": "${#account}", "email": "renee@example.com"}, "anySigner": null, "envelopeLocation":
        "current_site", "recipients": {"signers": [{"email": "zoe@example.com", "name": "Zoë Doe", "recipientId": "1",
        "routingOrder": "1", "status": "@status@"}], "recipientCount": "1"}}}}"""


def _envelope(event: str, says: str, status: str, more: str) -> Sample:
    data = composed(_ENVELOPE, event=event, status=status, more=more)
    return Sample(event, says, data)


DOCUSIGN: Final = Provider(
    "docusign",
    (
        _envelope(
            "envelope-completed",
            "everybody has signed",
            "completed",
            ', "deliveredDateTime": "${iso.7-600}", "completedDateTime": "${iso.7-5}"',
        ),
        _envelope("envelope-sent", "an envelope was sent out", "sent", ""),
    ),
    by_hmac(HmacScheme("X-DocuSign-Signature-1", encoding="base64")),
    {"secret": "${base64:32}"},
    headers={
        "User-Agent": "DocuSign Connect",
        "X-Authorization-Digest": "HMACSHA256",
        "X-DocuSign-AccountId": "${uuid}",
    },
    content_type="application/json; charset=utf-8",
    signs_time=False,
)

_CHANGED: Final = """{"list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc",
    "dbid:AA${base64url:26}"]},
    "delta": {"users": ["${int:10000000-99999999}", "${int:10000000-99999999}"]}}"""
_TEAM_CHANGED: Final = """{"list_folder": {"teams": {"dbtid:AACo3hWLWEUT06M8Fi9D4oVgAU65kaHBd0I":
    ["dbmid:AA${base64url:26}"]}}, "delta": {"teams": {"5": ["${int:10000000-99999999}"]}}}"""

DROPBOX: Final = Provider(
    "dropbox",
    (
        Sample("list_folder", "files of two users have changed", _CHANGED),
        Sample("list_folder_of_team", "files of a team's member have changed", _TEAM_CHANGED),
        Sample(
            "challenge",
            "a first question without a signature: the challenge is answered",
            "",
            {"challenge": "${base64url:32}"},
            query="?challenge=${#challenge}",
            method="GET",
            content_type="",
            sign=unsigned,
            proven=False,
            wanted=Wanted("${#challenge}"),
        ),
    ),
    by_hmac(HmacScheme("X-Dropbox-Signature")),
    {"secret": "${lower:15}"},
    headers={"User-Agent": "DropboxWebhooks/1.0", "Accept": "*/*"},
    style=python,
    signs_time=False,
)

_FORM: Final = """{"event_id": "01${upper:24}", "event_type": "@event@", "form_response": {"form_id": "lT4Z3j",
    "token": "${hex:32#token}", "landed_at": "${iso-90}"@more@, "hidden": {"user_id": "${digits:6}"},
    "calculated": {"score": "${int:0-20}"}, "variables": [{"key": "score", "type": "number", "number": 4}],
    "definition": {"id": "lT4Z3j", "title": "Webhooks & cafés", "fields": [
        {"id": "DlXFaesGBpoF", "ref": "readable_ref_long_text", "type": "long_text", "title": "What is it like?",
            "allow_multiple_selections": false, "allow_other_choice": false},
        {"id": "SMEUb7VJz92Q", "ref": "readable_ref_email", "type": "email", "title": "What is your address?",
            "allow_multiple_selections": false, "allow_other_choice": false}]},
    "answers": [{"type": "text", "text": "It's <cold> right now 😀", "field": {"id": "DlXFaesGBpoF", "type":
    "long_text",
        "ref": "readable_ref_long_text"}}, {"type": "email", "email": "zoe@example.com", "field":
        {"id": "SMEUb7VJz92Q", "type": "email", "ref": "readable_ref_email"}}]}}"""

TYPEFORM: Final = Provider(
    "typeform",
    (
        Sample(
            "form_response",
            "somebody has filled in a form",
            composed(_FORM, event="form_response", more=', "submitted_at": "${iso}"'),
        ),
        Sample(
            "form_response_partial",
            "somebody has filled in a part of a form",
            composed(_FORM, event="form_response_partial", more=""),
        ),
    ),
    by_hmac(HmacScheme("Typeform-Signature", value="sha256={signature}", encoding="base64")),
    {"secret": "${base62:32}"},
    headers={"User-Agent": "Typeform Webhooks", "Accept-Encoding": "gzip"},
    style=go,
    signs_time=False,
)

PROVIDERS: Final = (DOCUSIGN, DROPBOX, TYPEFORM)
