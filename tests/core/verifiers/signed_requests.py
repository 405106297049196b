"""Requests signed as providers sign them, by code of its own: what the verifiers are held against.

A `Row` signs a body at a time; the verifiers' parameters are not used. Every secret, body and time is made up.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.judge import judge
from hookline.core.verifiers.presets import preset
from hookline.core.verifiers.verdict import Handshake, Refused, Verdict, Verified

NOW_S = 1_760_000_000
JSON_BODY = b'{"id":"evt_1","type":"a.b","data":{"n":1,"text":"\\u00f1 \\/ z"}}'
HEX_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
WHSEC = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_WHSEC = "whsec_" + base64.b64encode(b"other key, other key, other key!").decode()
NOTIFICATION_URL = "https://hooks.example.com/in/square"

Headers = dict[str, str]
Sign = Callable[[bytes, str, str], Headers]
"""(body, timestamp as written, secret) → the headers that prove it."""


@dataclass(frozen=True)
class Row:
    """One provider's way to sign a whole body."""

    name: str
    sign: Sign
    signature: str
    """The header that has the signature."""
    secret: str = "shhh, a secret of letters"
    other: str = "another secret of letters"
    key: str = "secret"
    """Of the configuration: where the secret is."""
    configured: Callable[[str], str] = str
    """What of the secret is configured: a public key has another form."""
    config: dict[str, Any] = field(default_factory=dict)
    timestamp: str = ""
    """The header that has the timestamp; `sig`: it is in the signature's; empty: there is none."""
    tolerance_s: float | None = None
    mode: str = ""

    def __str__(self) -> str:
        return f"{self.name}-{self.mode}" if self.mode else self.name

    def config_of(self, *secrets: str, **more: Any) -> dict[str, Any]:
        """A configuration with these secrets."""
        written = [self.configured(secret) for secret in secrets or (self.secret,)]
        return {self.key: written[0] if len(written) == 1 else written, **self.config, **more}

    def headers(self, body: bytes = JSON_BODY, stamp: str = str(NOW_S), secret: str = "") -> Headers:
        """The headers of a good request."""
        return {"Content-Type": "application/json", **self.sign(body, stamp, secret or self.secret)}

    def judge(self, headers: Any, body: bytes = JSON_BODY, *, now_s: float = NOW_S, config: Any = None) -> Verdict:
        """What the preset says of a POST."""
        request = Inbound.of("POST", f"https://hooks.example.com/in/{self.name}", headers, body)
        return judge(preset(self.name), request, self.config_of() if config is None else config, now_s)


def is_valid(verdict: Verdict) -> bool:
    """Whether a request is accepted, be it a question."""
    return isinstance(verdict, Verified | Handshake)


def reason(verdict: Verdict) -> str:
    """Why it is refused; empty: it is not."""
    return verdict.reason if isinstance(verdict, Refused) else ""


# ------------------------------------------------------------------------------------------------- how they sign


def digest(key: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    """An HMAC by the book (RFC 2104)."""
    size = hashlib.new(algorithm).block_size
    block = (hashlib.new(algorithm, key).digest() if len(key) > size else key).ljust(size, b"\0")
    inner = hashlib.new(algorithm, bytes(one ^ 0x36 for one in block) + message).digest()
    return hashlib.new(algorithm, bytes(one ^ 0x5C for one in block) + inner).digest()


def b64(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode()


def of_body(header: str, form: Callable[[bytes], str], algorithm: str = "sha256") -> Sign:
    """Signs the body alone."""
    return lambda body, _stamp, secret: {header: form(digest(secret.encode(), body, algorithm))}


def of_fields(header: str, template: str, between: str) -> Sign:
    """Signs time and body; the header has both, as fields."""

    def sign(body: bytes, stamp: str, secret: str) -> Headers:
        made = digest(secret.encode(), stamp.encode() + between.encode() + body).hex()
        return {header: template.format(stamp=stamp, made=made)}

    return sign


def of_v0(signature: str, timestamp: str) -> Sign:
    """Signs `v0:time:body`."""

    def sign(body: bytes, stamp: str, secret: str) -> Headers:
        made = digest(secret.encode(), b"v0:" + stamp.encode() + b":" + body).hex()
        return {timestamp: stamp, signature: f"v0={made}"}

    return sign


def of_three(prefix: str, webhook_id: str = "msg_2b") -> Sign:
    """Signs as Standard Webhooks do."""

    def sign(body: bytes, stamp: str, secret: str) -> Headers:
        message = f"{webhook_id}.{stamp}.".encode() + body
        made = b64(digest(base64.b64decode(secret.removeprefix("whsec_")), message))
        return {f"{prefix}-id": webhook_id, f"{prefix}-timestamp": stamp, f"{prefix}-signature": f"v1,{made}"}

    return sign


def zendesk(body: bytes, stamp: str, secret: str) -> Headers:
    """Signs a time in RFC 3339 and the body."""
    made = b64(digest(secret.encode(), stamp.encode() + body))
    return {"X-Zendesk-Webhook-Signature": made, "X-Zendesk-Webhook-Signature-Timestamp": stamp}


def square(body: bytes, _stamp: str, secret: str) -> Headers:
    """Signs its own address and the body."""
    return {"x-square-hmacsha256-signature": b64(digest(secret.encode(), NOTIFICATION_URL.encode() + body))}


def adyen(body: bytes, _stamp: str, secret: str) -> Headers:
    """Signs the body with a key in hex."""
    return {"HmacSignature": b64(digest(bytes.fromhex(secret), body)), "Protocol": "HmacSHA256"}


def ed25519_key(seed: str) -> Ed25519PrivateKey:
    """A key that a text stands for."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


def discord(body: bytes, stamp: str, secret: str) -> Headers:
    """Signs time and body with Ed25519."""
    made = ed25519_key(secret).sign(stamp.encode() + body).hex()
    return {"X-Signature-Ed25519": made, "X-Signature-Timestamp": stamp}


def discord_public(secret: str) -> str:
    """The application's public key."""
    return ed25519_key(secret).public_key().public_bytes_raw().hex()


def v1a(body: bytes, stamp: str, secret: str) -> Headers:
    """Signs as Standard Webhooks do with Ed25519."""
    made = b64(ed25519_key(secret).sign(f"msg_2b.{stamp}.".encode() + body))
    return {"webhook-id": "msg_2b", "webhook-timestamp": stamp, "webhook-signature": f"v1a,{made}"}


def v1a_public(secret: str) -> str:
    """`whpk_…`."""
    return "whpk_" + b64(ed25519_key(secret).public_key().public_bytes_raw())


def _p256_key(secret: str) -> Any:
    return derive_private_key(int.from_bytes(hashlib.sha256(secret.encode()).digest()) >> 1, SECP256R1())


def sendgrid(body: bytes, stamp: str, secret: str) -> Headers:
    """Signs time and body with ECDSA."""
    made = b64(_p256_key(secret).sign(stamp.encode() + body, ECDSA(SHA256())))
    prefix = "X-Twilio-Email-Event-Webhook"
    return {f"{prefix}-Signature": made, f"{prefix}-Timestamp": stamp}


def sendgrid_public(secret: str) -> str:
    """The verification key as SendGrid shows it."""
    return b64(_p256_key(secret).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def hex_prefixed(prefix: str) -> Callable[[bytes], str]:
    """Hex after a prefix."""
    return lambda made: prefix + made.hex()


STAMPED = "x-twilio-email-event-webhook-timestamp"
ROWS = (
    Row(
        "stripe",
        of_fields("Stripe-Signature", "t={stamp},v1={made},v0=00", "."),
        "stripe-signature",
        "whsec_abc",
        timestamp="sig",
        tolerance_s=300,
    ),
    Row(
        "paddle",
        of_fields("Paddle-Signature", "ts={stamp};h1={made}", ":"),
        "paddle-signature",
        timestamp="sig",
        tolerance_s=5,
    ),
    Row(
        "calendly",
        of_fields("Calendly-Webhook-Signature", "t={stamp},v1={made}", "."),
        "calendly-webhook-signature",
        timestamp="sig",
        tolerance_s=300,
    ),
    Row("square", square, "x-square-hmacsha256-signature", config={"notification_url": NOTIFICATION_URL}),
    Row("razorpay", of_body("X-Razorpay-Signature", bytes.hex), "x-razorpay-signature"),
    Row("github", of_body("X-Hub-Signature-256", hex_prefixed("sha256=")), "x-hub-signature-256"),
    Row("jira", of_body("X-Hub-Signature", hex_prefixed("sha256=")), "x-hub-signature"),
    Row("bitbucket", of_body("X-Hub-Signature", hex_prefixed("sha256=")), "x-hub-signature"),
    Row("meta", of_body("X-Hub-Signature-256", hex_prefixed("sha256=")), "x-hub-signature-256"),
    Row("whatsapp", of_body("X-Hub-Signature-256", hex_prefixed("sha256=")), "x-hub-signature-256"),
    Row("intercom", of_body("X-Hub-Signature", hex_prefixed("sha1="), "sha1"), "x-hub-signature"),
    Row("shopify", of_body("X-Shopify-Hmac-Sha256", b64), "x-shopify-hmac-sha256"),
    Row("woocommerce", of_body("X-WC-Webhook-Signature", b64), "x-wc-webhook-signature"),
    Row("docusign", of_body("X-DocuSign-Signature-1", b64), "x-docusign-signature-1"),
    Row("dropbox", of_body("X-Dropbox-Signature", bytes.hex), "x-dropbox-signature"),
    Row("typeform", of_body("Typeform-Signature", lambda made: f"sha256={b64(made)}"), "typeform-signature"),
    Row("xero", of_body("x-xero-signature", b64), "x-xero-signature"),
    Row("quickbooks", of_body("intuit-signature", b64), "intuit-signature"),
    Row(
        "slack",
        of_v0("X-Slack-Signature", "X-Slack-Request-Timestamp"),
        "x-slack-signature",
        timestamp="x-slack-request-timestamp",
        tolerance_s=300,
    ),
    Row(
        "zoom",
        of_v0("x-zm-signature", "x-zm-request-timestamp"),
        "x-zm-signature",
        timestamp="x-zm-request-timestamp",
        tolerance_s=300,
    ),
    Row(
        "standard_webhooks",
        of_three("webhook"),
        "webhook-signature",
        WHSEC,
        OTHER_WHSEC,
        timestamp="webhook-timestamp",
        tolerance_s=300,
    ),
    Row(
        "standard_webhooks",
        v1a,
        "webhook-signature",
        configured=v1a_public,
        timestamp="webhook-timestamp",
        tolerance_s=300,
        mode="v1a",
    ),
    Row(
        "svix",
        of_three("svix"),
        "svix-signature",
        WHSEC,
        OTHER_WHSEC,
        timestamp="svix-timestamp",
        tolerance_s=300,
    ),
    Row(
        "gitlab",
        of_three("webhook"),
        "webhook-signature",
        WHSEC,
        OTHER_WHSEC,
        config={"mode": "signing_token"},
        timestamp="webhook-timestamp",
        tolerance_s=300,
    ),
    Row("adyen", adyen, "hmacsignature", HEX_KEY, HEX_KEY[::-1], "hmac_key", config={"mode": "header"}, mode="header"),
    Row(
        "discord",
        discord,
        "x-signature-ed25519",
        key="public_key",
        configured=discord_public,
        timestamp="x-signature-timestamp",
    ),
    Row(
        "sendgrid",
        sendgrid,
        "x-twilio-email-event-webhook-signature",
        key="public_key",
        configured=sendgrid_public,
        timestamp=STAMPED,
    ),
)
"""Those that sign the whole body with a header, and, where they sign a time, with Unix seconds."""
DATED = tuple(row for row in ROWS if row.timestamp)


def linear_body(stamp: Any) -> bytes:
    """A body of Linear's: the time is in it."""
    return json.dumps({"action": "create", "type": "Issue", "webhookTimestamp": stamp}).encode()
