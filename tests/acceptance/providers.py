"""What providers send, signed by nothing of the program's: the standard library and `cryptography`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.acceptance.program import Program

SECRET = "whsec_0123456789abcdef"
JSON = {"Content-Type": "application/json"}


def mac(secret: str, data: bytes) -> str:
    """HMAC-SHA256 in hex."""
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def stripe(event: Any, at_s: int | None = None) -> tuple[bytes, dict[str, str]]:
    """A Stripe event, pretty-printed as Stripe does."""
    body = json.dumps(event, indent=2).encode()
    stamp = int(time.time()) if at_s is None else at_s
    signature = f"t={stamp},v1={mac(SECRET, b'%d.' % stamp + body)},v0={'0' * 64}"
    return body, {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}


def github(payload: Any, delivery: str, event: str = "push") -> tuple[bytes, dict[str, str]]:
    """A GitHub delivery."""
    body = json.dumps(payload).encode()
    named = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery}
    return body, {**JSON, **named, "X-Hub-Signature-256": "sha256=" + mac(SECRET, body)}


def slack(body: bytes, content_type: str = "application/json") -> tuple[bytes, dict[str, str]]:
    """A Slack request."""
    stamp = int(time.time())
    signature = "v0=" + mac(SECRET, b"v0:%d:" % stamp + body)
    headers = {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": signature}
    return body, {"Content-Type": content_type, **headers}


class SendGrid:
    """A SendGrid account: its key, and batches signed with it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        self.public_key = base64.b64encode(self._key.public_key().public_bytes(*form)).decode()

    def batch(self, *events: dict[str, Any]) -> tuple[bytes, dict[str, str], list[bytes]]:
        """Body, headers, and the bytes of each event."""
        items = [json.dumps(event, separators=(",", ":")).encode() for event in events]
        body = b"[" + b",\r\n".join(items) + b"]\r\n"
        stamp = str(int(time.time()))
        signature = self._key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        prefix = "X-Twilio-Email-Event-Webhook"
        headers = {f"{prefix}-Signature": base64.b64encode(signature).decode(), f"{prefix}-Timestamp": stamp}
        return body, {"Content-Type": "application/json;charset=utf-8", **headers}, items


class World:
    """The world outside a program: it makes sources there, and sends to them without a key."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.client = httpx2.Client(base_url=program.url, timeout=30, trust_env=False)

    def source(self, name: str, verifier: Any, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Make a source."""
        spec = {"name": name, "verifier": verifier, "config": {"secret": SECRET} if config is None else config, **more}
        made: dict[str, Any] = self.program.post("/v1/sources", spec, status=201).json()
        return made

    def send(self, name: str, body: bytes, headers: dict[str, str], method: str = "POST") -> httpx2.Response:
        """A request to a source."""
        return self.client.request(method, f"/in/{name}", content=body, headers=headers)

    def event(self, answer: httpx2.Response) -> dict[str, Any]:
        """The event that an answer names."""
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = self.program.get(f"/v1/events/{answer.json()['event_id']}")
        return found

    def rejections(self, name: str) -> list[dict[str, Any]]:
        """What a source refused, the newest first."""
        return self.program.rows(f"/v1/sources/{name}/rejections")
