"""Okta and Auth0: a text that was agreed upon, in a header."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import by_credentials

_OKTA: Final = """{"eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "cloudEventsVersion": "0.1",
    "source": "https://example.okta.com/api/v1/eventHooks/whoxqftr3qDtaUqFt0g3", "eventId": "${uuid}", "data": {
    "events": [{"uuid": "${uuid}", "published": "${iso.3-2}", "eventType": "@type@", "version": "0",
        "displayMessage": "@says@", "severity": "INFO", "client": {"userAgent": {"rawUserAgent": "Mozilla/5.0",
        "os": "Mac OS X", "browser": "CHROME"}, "zone": "null", "device": "Computer", "id": null, "ipAddress":
        "198.51.100.24", "geographicalContext": {"city": "Köln", "country": "Germany", "postalCode": "50667"},
        "ipChain": []}, "actor": {"id": "00uxc78lMKUMVIHLTAXY", "type": "User", "alternateId": "zoe@example.com",
        "displayName": "Zoë Doe", "detailEntry": null}, "outcome": {"result": "SUCCESS", "reason": null},
        "target": [{"id": "00u${base62:17}", "type": "User", "alternateId": "new@example.com", "displayName":
        "New User", "detailEntry": null}], "transaction": {"type": "WEB", "id": "${base62:27}", "detail": {}},
        "debugContext": {"debugData": {"requestUri": "/api/v1/users"}}, "legacyEventType": "core.user",
        "authenticationContext": {"authenticationProvider": null, "authenticationStep": 0,
        "externalSessionId": "${base62:25}"}, "securityContext": {"asNumber": null, "isProxy": null},
        "insertionTimestamp": null}]},
    "eventTime": "${iso.3}", "contentType": "application/json"}"""


def _okta(event: str, says: str, display: str) -> Sample:
    return Sample(event, says, composed(_OKTA, type=event, says=display))


OKTA: Final = Provider(
    "okta",
    (
        _okta("user.lifecycle.create", "a user was made", "Create Okta user"),
        _okta("user.session.start", "a user has logged in", "User login to Okta"),
        Sample(
            "verification",
            "a first question: the challenge is answered",
            "",
            {"challenge": "${base64url:36}"},
            {"x-okta-verification-challenge": "${#challenge}"},
            method="GET",
            content_type="",
            wanted=Wanted("${#challenge}"),
        ),
    ),
    by_credentials("Authorization"),
    {"header": "Authorization", "secret": "${base64url:32}"},
    instead={"header": ("username", "password"), "secret": ("username", "password")},
    headers={"User-Agent": "Okta-Event-Hooks", "Accept": "application/json"},
    forged=("secret", "password"),
    signs_time=False,
)

_LOG: Final = """{"log_id": "900${digits:57}", "data": {"date": "${iso.3-2}", "type": "@type@", "description": null,
    "connection": "Username-Password-Authentication", "connection_id": "con_${base62:16}", "client_id": "${base62:32}",
    "client_name": "Café App", "ip": "198.51.100.24", "user_agent": "Chrome 141.0.0 / Mac OS X", "details": {
    "prompts": [], "completedAt": "${ms-2}", "elapsedTime": 5231, "session_id": "${base64url:24}"},
    "hostname": "example.eu.auth0.com", "user_id": "auth0|${hex:24}", "user_name": "zoe@example.com",
    "strategy": "auth0", "strategy_type": "database", "log_id": "900${digits:57}", "$event_schema": {"version":
    "1.0.0"},
    "environment_name": "prod-eu-1", "tenant_name": "example"}}"""

AUTH0: Final = Provider(
    "auth0",
    (
        Sample("s", "log stream: a user has logged in (an array of one)", f"[{composed(_LOG, type='s')}]"),
        Sample("fp", "log stream: a wrong password (an array of one)", f"[{composed(_LOG, type='fp')}]"),
        Sample(
            "user.created",
            "event stream: a user was made (a CloudEvent)",
            """{"specversion": "1.0", "type": "user.created", "source": "urn:auth0:example.eu.auth0.com",
            "id": "evt_${base62:16}", "time": "${iso.3}", "a0tenant": "example", "a0stream": "est_${base62:22}",
            "data": {"object": {"user_id": "auth0|${hex:24}", "email": "zoe@example.com", "email_verified": false,
            "name": "Zoë Doe", "created_at": "${iso.3-1}", "updated_at": "${iso.3-1}", "identities": [{
            "connection": "Username-Password-Authentication", "user_id": "${hex:24}", "provider": "auth0",
            "isSocial": false}]}}}""",
            content_type="application/json",
        ),
    ),
    by_credentials("Authorization"),
    {"header": "Authorization", "secret": "${base64url:32}"},
    instead={"header": ("username", "password"), "secret": ("username", "password")},
    headers={"User-Agent": "auth0-log-streaming/1.0"},
    forged=("secret", "password"),
    signs_time=False,
)

PROVIDERS: Final = (OKTA, AUTH0)
