"""SendGrid and Mailgun: what became of mail."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from hookline.core.simulate.draft import Draft, Provider, Sample
from hookline.core.simulate.hmac_signing import first_of
from hookline.core.simulate.json_style import form, go, lines
from hookline.core.simulate.private_key import spki_base64
from hookline.core.simulate.template import Scene, composed
from hookline.core.simulate.token_signing import by_p256


def _sendgrid(event_type: str, says: str, *events: str) -> Sample:
    return Sample(event_type, says, f"[{', '.join(events)}]")


def _mail_event(name: str, more: str = "") -> str:
    return composed(
        """{"email": "alice@example.com", "event": "@name@", "sg_event_id": "${base64url:36}",
        "sg_message_id": "${#message}.recvd-5f64b5ccfb-${lower:5#node}-1-${#batch}-9.0",
        "smtp-id": "<${#message}@geopod-ismtpd-12>", "timestamp": "${s-2}",
        "category": ["newsletter", "spring"]@more@}""",
        name=name,
        more=more,
    )


_BROWSER: Final = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0"
_OPEN: Final = (
    f', "ip": "198.51.100.24", "useragent": "{_BROWSER}", "sg_machine_open": false, "sg_content_type": "html"'
)
_CLICK: Final = (
    f', "ip": "198.51.100.24", "useragent": "{_BROWSER}", "url": "https://shop.example.com/spring?a=1&b=2",'
    ' "url_offset": {"index": 0, "type": "html"}'
)
_BOUNCE: Final = (
    ', "bounce_classification": "Invalid Address", "ip": "149.72.154.232", "tls": 1, "status": "5.1.1",'
    ' "type": "bounce", "reason": "550 5.1.1 The email account that you tried to reach does not exist."'
)
_DELIVERED: Final = ', "ip": "149.72.154.232", "tls": 1, "response": "250 2.0.0 OK ${s-2} ${lower:20}.123 - gsmtp"'


def _key_config(key: bytes, _config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"public_key": spki_base64(key)}


def _known(sample: Sample) -> Sample:
    return Sample(sample.type, sample.says, sample.data, known={"message": "${base62:22}", "batch": "${upper:8}"})


SENDGRID: Final = Provider(
    "sendgrid",
    tuple(
        _known(sample)
        for sample in (
            _sendgrid("open", "somebody has opened a mail", _mail_event("open", _OPEN)),
            _sendgrid("click", "somebody has followed a link of a mail", _mail_event("click", _CLICK)),
            _sendgrid("bounce", "a mail was refused for good", _mail_event("bounce", _BOUNCE)),
            _sendgrid("delivered", "a mail was taken by the receiver's server", _mail_event("delivered", _DELIVERED)),
            _sendgrid(
                "several",
                "three events in one request: delivered, open, click",
                _mail_event("delivered", _DELIVERED),
                _mail_event("open", _OPEN),
                _mail_event("click", _CLICK),
            ),
        )
    ),
    by_p256,
    {},
    credential="",
    headers={"User-Agent": "SendGrid Event API", "Accept-Encoding": "gzip"},
    style=lines,
    content_type="application/json;charset=utf-8",
    key="p256",
    config_of_key=_key_config,
    limits_age=False,
)


def _mac(scene: Scene, time: str, token: str) -> str:
    return hmac.new(first_of(scene.config["secret"]).encode(), f"{time}{token}".encode(), hashlib.sha256).hexdigest()


def _sign_json(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    """The signature stands in the body, beside the event, and is not over it."""
    time, token = str(int(scene.now_s)), scene.dice.bytes(25).hex()
    proof = f'{{"token":"{token}","timestamp":"{time}","signature":"{_mac(scene, time, token)}"}}'
    return draft.with_body(f'{{"signature":{proof},"event-data":'.encode() + draft.body + b"}")


def _sign_form(draft: Draft, scene: Scene, _key: bytes) -> Draft:
    """Old webhooks and routes of incoming mail: three fields of the form."""
    time, token = str(int(scene.now_s)), scene.dice.bytes(25).hex()
    fields = urlencode({"timestamp": time, "token": token, "signature": _mac(scene, time, token)})
    return draft.with_body(draft.body + b"&" + fields.encode())


def _event_data(event: str, level: str, more: str) -> str:
    return composed(
        """{"id": "${base62:22}", "timestamp": "${sf}", "log-level": "@level@", "event": "@event@", @more@
        "flags": {"is-routed": false, "is-authenticated": true, "is-system-test": false, "is-test-mode": false},
        "envelope": {"transport": "smtp", "sender": "bob@mg.example.com", "sending-ip": "209.61.154.250",
            "targets": "alice@example.com"},
        "message": {"headers": {"to": "Alice <alice@example.com>", "message-id": "${hex:16}.${digits:8}@mg.example.com",
            "from": "Bob & Söhne <bob@mg.example.com>", "subject": "Your order"}, "attachments": [], "size": 1311},
        "recipient": "alice@example.com", "recipient-domain": "example.com",
        "storage": {"url": "https://storage-us-east4.api.mailgun.net/v3/domains/mg.example.com/messages/${base62:40#key}",
            "key": "${#key}", "region": "us-east4", "env": "production"},
        "campaigns": [], "tags": ["order"], "user-variables": {"order_id": "${digits:6}"}}""",
        level=level,
        event=event,
        more=more,
    )


_STATUS_OK: Final = """"delivery-status": {"tls": true, "mx-host": "smtp-in.example.com", "code": 250, "description":
    "",
    "session-seconds": 0.4331989288330078, "utf8": true, "attempt-no": 1, "message": "OK",
    "certificate-verified": true},"""
_STATUS_FAILED: Final = """"severity": "permanent", "reason": "bounce", "delivery-status": {"tls": true,
    "mx-host": "smtp-in.example.com", "code": 550, "description": "Mailbox does not exist!",
    "session-seconds": 0.2131989288330078, "utf8": true, "attempt-no": 1, "bounce-type": "hard",
    "message": "5.1.1 The email account that you tried to reach does not exist.", "certificate-verified": true},"""
_OPENED: Final = composed(
    """"ip": "198.51.100.24", "geolocation": {"country": "US", "region": "CA", "city": "San Francisco",
    "timezone": "America/Los_Angeles"}, "client-info": {"client-os": "macOS", "device-type": "desktop",
    "client-name": "Chrome", "client-type": "browser", "bot": "", "user-agent": "@browser@"},""",
    browser=_BROWSER,
)

MAILGUN: Final = Provider(
    "mailgun",
    (
        Sample("delivered", "a mail was taken by the receiver's server", _event_data("delivered", "info", _STATUS_OK)),
        Sample("failed", "a mail was refused for good", _event_data("failed", "error", _STATUS_FAILED)),
        Sample("complained", "somebody called a mail spam", _event_data("complained", "warn", "")),
        Sample("opened", "somebody has opened a mail", _event_data("opened", "info", _OPENED)),
        Sample(
            "unsubscribed",
            "somebody wants no more mail (old webhooks: a form)",
            """{"event": "unsubscribed", "recipient": "alice@example.com", "domain": "mg.example.com",
            "ip": "198.51.100.24", "country": "US", "region": "CA", "city": "San Francisco", "device-type": "desktop",
            "client-type": "browser", "client-name": "Chrome", "tag": "order", "user-agent": "Mozilla/5.0",
            "Message-Id": "<${hex:16}.${digits:8}@mg.example.com>"}""",
            style=form,
            content_type="application/x-www-form-urlencoded",
            sign=_sign_form,
        ),
    ),
    _sign_json,
    {"secret": "${hex:32}"},
    headers={"User-Agent": "mailgun/treq-22.4.0"},
    style=go,
    forged=("secret",),
    limits_age=False,
)

PROVIDERS: Final = (SENDGRID, MAILGUN)
