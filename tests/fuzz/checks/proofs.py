"""Signatures and secrets. The input is lines: secret, id, timestamp, signatures; the rest is the body.

What must hold: verifying passes or raises `VerificationError`, nothing else; what we sign, we verify, and the
reference library does; what we take, the reference library takes; one changed bit is refused; secrets say what is
wrong with them without repeating themselves.
"""

from __future__ import annotations

import base64
import time
import zlib

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from hookline.core.endpoint import SigningKey
from hookline.core.errors import Refusal
from hookline.core.secret import (
    Keyring,
    check_signing_secret,
    mask,
    public_key,
    signing_key,
    verifying_key,
)
from hookline.core.signature import Signer
from hookline.core.signing_key import hmac_key
from hookline.core.verification import VerificationError, verify

NOW = "now"
"""Stands for a timestamp of this moment."""
GOOD = "good"
"""Stands for a signature that we make."""
_KEYRING = Keyring([b"a" * 32, b"b" * 32])


def check(data: bytes) -> None:
    """Raise unless the message is verified as it must be."""
    lines = data.split(b"\n", 4)
    secret, webhook_id, timestamp, signatures = (line.decode("latin-1") for line in (lines + [b""] * 4)[:4])
    body = lines[4] if len(lines) == 5 else b""
    usable = check_secret(secret)
    now_s = int(time.time())
    timestamp = timestamp.replace(NOW, str(now_s))
    if usable and GOOD in signatures:
        header = Signer([SigningKey(secret)]).header("msg_1", now_s, body, now_s * 1000)
        signed(secret, header, now_s, body)
        signatures = signatures.replace(GOOD, header)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signatures}
    if taken(headers, body, secret, now_s) and secret.startswith("whsec_"):
        reference(headers, body, secret)
    check_sealed(data)


def taken(headers: dict[str, str], body: bytes, secret: str, now_s: float) -> bool:
    """Whether a message is verified."""
    try:
        verify(body, headers, [secret], now_s=now_s)
    except VerificationError as error:
        assert error.reason
        return False
    return True


def signed(secret: str, header: str, now_s: int, body: bytes) -> None:
    """Raise unless what we signed is verified, by us and by the reference, and refused with one bit changed."""
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(now_s), "Webhook-Signature": header}
    public = public_key(secret)
    assert taken(headers, body, secret, now_s)
    assert public is None or taken(headers, body, public, now_s)
    if public is None:
        reference(headers, body, secret)
    at = zlib.crc32(body) % (8 * (len(body) + 1))
    if at < 8 * len(body):
        changed = bytearray(body)
        changed[at // 8] ^= 1 << at % 8
        assert not taken(headers, bytes(changed), secret, now_s)
    assert not taken(headers, body + b"\0", secret, now_s)
    assert not taken({**headers, "Webhook-Id": "msg_2"}, body, secret, now_s)
    assert not taken({**headers, "Webhook-Timestamp": str(now_s + 1)}, body, secret, now_s)
    assert not taken(headers, body, secret, now_s + 301)
    assert not taken(headers, body, "whsec_AQID", now_s)


def reference(headers: dict[str, str], body: bytes, secret: str) -> None:
    """Raise unless the reference library takes a message that we took."""
    # It wants padding, and a body that is text; what it signs is the same bytes.
    padded = "whsec_" + base64.b64encode(hmac_key(secret)).decode()
    try:
        body.decode()
    except UnicodeDecodeError:
        return
    lower = {name.lower(): value for name, value in headers.items()}
    # It cannot read items without a comma, or with two, which we pass over.
    lower["webhook-signature"] = " ".join(
        item for item in lower["webhook-signature"].split(" ") if item.startswith("v1,") and item.count(",") == 1
    )
    try:
        Webhook(padded).verify(body, lower)
    except WebhookVerificationError as error:
        raise AssertionError(f"the reference refuses it: {error}") from None
    except ValueError:
        pass  # signatures are compared before it reads the body as JSON, which this one is not


def check_secret(text: str) -> bool:
    """Whether a secret can sign. Raises unless everything that reads secrets says the same, in a ValueError."""
    try:
        check_signing_secret(text)
    except Refusal as refusal:
        assert refusal.code == "invalid_secret"
        assert len(text) < 16 or text not in refusal.detail
        for read in (hmac_key, signing_key, verifying_key):
            try:
                read(text)
            except ValueError as error:
                assert len(text) < 16 or text not in str(error)
            else:
                assert read is verifying_key  # a public key is a key, but signs nothing
        return False
    assert mask(text) in ("whsec_***", "whsk_***")
    if text.startswith("whsec_"):
        again = "whsec_" + base64.b64encode(hmac_key(text)).decode()
        assert len(again.rstrip("=")) == len(text.rstrip("="))
        assert hmac_key(again) == hmac_key(text)
    else:
        public = public_key(text)
        assert public is not None
        verifying_key(public)
    return True


def check_sealed(data: bytes) -> None:
    """Raise unless what was sealed is opened, and what was not is refused by a ValueError."""
    sealed = _KEYRING.seal(data, (zlib.crc32(data) + 1).to_bytes(12, "big"))
    assert _KEYRING.open(sealed) == data
    at = zlib.crc32(data) % len(sealed)
    changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
    for hostile in (changed, sealed[:-1], sealed[: len(sealed) // 2], data):
        try:
            _KEYRING.open(hostile)
        except ValueError:
            continue
        raise AssertionError("something was opened that was not sealed")
