"""Proofs that are no HMAC over the body: credentials as they are, JSON Web Tokens, signatures by a private key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from hookline.core.simulate.changes import changed_character
from hookline.core.simulate.draft import Draft, Sign, SimulationError
from hookline.core.simulate.hmac_signing import HmacScheme, first_of
from hookline.core.simulate.private_key import p256_signature, read_ed25519, rsa_signature
from hookline.core.simulate.template import Scene

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def unsigned(draft: Draft, _scene: Scene, _key: bytes) -> Draft:
    """Proves nothing, or has its proof in its template."""
    return draft


def by_header(default: str, template: str = "{secret}", credential: str = "secret") -> Sign:
    """Sends the secret in the header that the configuration's `header` names, else in `default`."""

    def sign(draft: Draft, scene: Scene, _: bytes) -> Draft:
        value = template.replace("{secret}", first_of(scene.config[credential]))
        return draft.with_header(scene.config.get("header") or default, as_header(value))

    return sign


def basic(draft: Draft, scene: Scene, _: bytes) -> Draft:
    """HTTP Basic with the configured `username` and `password`."""
    pair = f"{scene.config.get('username') or ''}:{first_of(scene.config.get('password') or '')}"
    return draft.with_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode("ascii"))


def by_credentials(default: str) -> Sign:
    """Basic where a name or a password is configured, else the secret as it is, in a header."""
    header = by_header(default)

    def sign(draft: Draft, scene: Scene, key: bytes) -> Draft:
        named = scene.config.get("username") is not None or scene.config.get("password") is not None
        return (basic if named else header)(draft, scene, key)

    return sign


def as_header(value: str) -> str:
    """A text as a header carries it: its UTF-8 bytes, one character each."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def jwt_hs256(claims: dict[str, Any], secret: str) -> str:
    """A JSON Web Token with an HMAC."""
    head = _jwt_part({"typ": "JWT", "alg": "HS256"}) + "." + _jwt_part(claims)
    return head + "." + _url64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())


def jwt_rs256(claims: dict[str, Any], key: bytes, key_name: str) -> str:
    """A JSON Web Token with an RSA signature."""
    head = _jwt_part({"alg": "RS256", "kid": key_name, "typ": "JWT"}) + "." + _jwt_part(claims)
    return head + "." + _url64(rsa_signature(key, head.encode()))


def tampered_token(draft: Draft) -> Draft:
    """The body is not signed: what is changed is the signature of the token in Authorization."""
    token = draft.header("Authorization")
    middle = (token.rindex(".") + len(token)) // 2
    other = changed_character(b"a" if token[middle] in "-_" else token[middle].encode()).decode()
    return draft.with_header("Authorization", token[:middle] + other + token[middle + 1 :])


def by_ed25519(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """Discord: hexadecimal, over the time and the body."""
    time = str(int(scene.now_s))
    signature = read_ed25519(key).sign(time.encode() + draft.body).hex()
    return draft.with_header("X-Signature-Ed25519", signature).with_header("X-Signature-Timestamp", time)


def by_p256(draft: Draft, scene: Scene, key: bytes) -> Draft:
    """SendGrid: DER in base64, over the time and the body."""
    time = str(int(scene.now_s))
    signature = base64.b64encode(p256_signature(key, time.encode() + draft.body)).decode("ascii")
    header = "X-Twilio-Email-Event-Webhook"
    return draft.with_header(f"{header}-Signature", signature).with_header(f"{header}-Timestamp", time)


def by_standard_webhooks(prefix: str) -> Sign:
    """Standard Webhooks with headers of this prefix; a secret `whsk_…` signs by Ed25519 (`v1a`)."""
    content = "{header:" + prefix + "-id}.{time}.{body}"
    scheme = HmacScheme(
        f"{prefix}-signature",
        content,
        "v1,{signature}",
        encoding="base64",
        key="base64",
        time_header=f"{prefix}-timestamp",
    )

    def sign(draft: Draft, scene: Scene, _: bytes) -> Draft:
        secret = first_of(scene.config["secret"])
        if not secret.startswith("whsk_"):
            return scheme.sign(draft, scene)
        time = str(int(scene.now_s))
        signed = f"{draft.header(f'{prefix}-id')}.{time}.".encode() + draft.body
        signature = base64.b64encode(_whsk(secret).sign(signed)).decode("ascii")
        draft = draft.with_header(f"{prefix}-timestamp", time)
        return draft.with_header(f"{prefix}-signature", f"v1a,{signature}")

    return sign


def public_of(secret: str) -> str:
    """The `whpk_…` of a `whsk_…`. Raises `SimulationError`."""
    return "whpk_" + base64.b64encode(_whsk(secret).public_key().public_bytes_raw()).decode("ascii")


def _whsk(secret: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret[5:], validate=True)[:32])
    except ValueError:
        raise SimulationError("whsk_ is not followed by base64 of 32 or 64 bytes") from None


def _jwt_part(value: dict[str, Any]) -> str:
    return _url64(json.dumps(value, separators=(",", ":")).encode())


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
