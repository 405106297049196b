"""Requests for the tests of the receiver kit: what Hookline sends, and what a provider sends."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from hookline.core.endpoint import SigningKey
from hookline.core.signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ED_SECRET = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ED_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ORDER = {"order_id": "A-1", "amount": 12.5}


@dataclass(frozen=True)
class Sent:
    """A request."""

    headers: dict[str, str]
    body: bytes


def sent(
    data: Any = ORDER,
    *,
    body: bytes | None = None,
    webhook_id: str = "msg_1",
    event_type: str = "order.created",
    secret: str = SECRET,
    at_s: int | None = None,
    content_type: str | None = "application/json",
    headers: dict[str, str] | None = None,
) -> Sent:
    """A delivery of Hookline's, in the format `standard` unless there is a `body`, signed now unless told otherwise."""
    at_s = int(time.time()) if at_s is None else at_s
    if body is None:
        document = {"type": event_type, "timestamp": "2026-01-02T03:04:05.678Z", "data": data}
        body = json.dumps(document).encode()
    signature = Signer([SigningKey(secret)]).header(webhook_id, at_s, body, at_s * 1000)
    named = {"webhook-id": webhook_id, "webhook-timestamp": str(at_s), "webhook-signature": signature}
    if content_type is not None:
        named["content-type"] = content_type
    return Sent({**named, **(headers or {})}, body)


def github(body: bytes, secret: str = "s3cret", *, delivery: str = "d-1", event: str = "push") -> Sent:
    """A webhook of GitHub's."""
    signature = "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    headers = {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": signature,
        "Content-Type": "application/json",
    }
    return Sent(headers, body)


def slack(body: bytes, secret: str = "8f742231b10e8888abcd99yyyzzz85a5") -> Sent:
    """A request of Slack's Events API."""
    at = str(int(time.time()))
    signature = "v0=" + hmac.digest(secret.encode(), b"v0:%b:%b" % (at.encode(), body), hashlib.sha256).hex()
    headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature, "Content-Type": "application/json"}
    return Sent(headers, body)


SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
