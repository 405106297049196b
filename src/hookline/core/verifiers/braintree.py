"""Braintree: HMAC-SHA1 over a form's `bt_payload`, base64 of XML, with a key made of the private key.

The same key answers anybody's `bt_challenge`, twenty to thirty-two hexadecimal digits, which are base64 too: such an
answer would be a signature for a payload of these digits. So a payload must be a notification in XML, which no digits
of that kind can be.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from hookline.core.mapped import MappedError, form_fields, xml_tree
from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import SIGNATURES_MAX, any_same, from_hex
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetched, Handshake, Refused, Verdict, Verified

_CHALLENGE: Final = re.compile(r"[a-f0-9]{20,32}")
_PAYLOAD: Final = re.compile(r"[A-Za-z0-9+=/\n]+")


def verify(request: Inbound, config: Config, _now_s: float, _fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether Braintree signed the payload for the configured key; or the answer to its challenge."""
    try:
        return _answered(request, config) if request.method == "GET" else _verify(request, config)
    except Unproven as error:
        return error.refused


def _answered(request: Inbound, config: Config) -> Verdict:
    challenge = request.query("bt_challenge")
    if challenge is None or _CHALLENGE.fullmatch(challenge) is None:
        return Refused("malformed_signature", "bt_challenge is missing, or not 20 to 32 hexadecimal digits")
    answer = hmac.digest(_keys(config)[0], challenge.encode(), "sha1").hex()
    body = f"{config.text('public_key')}|{answer}".encode()
    return Handshake(200, body, (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")))


def _verify(request: Inbound, config: Config) -> Verdict:
    signature, payload = _form(request)
    public_key = config.text("public_key")
    pairs = [pair.partition("|") for pair in signature.split("&")]
    offered = [from_hex(told) for name, bar, told in pairs if bar and name == public_key][:SIGNATURES_MAX]
    known = [one for one in offered if one is not None]
    if not known:
        return Refused("missing_signature", "bt_signature has no signature for public_key")
    # Braintree's libraries differ in whether the line that ends the payload is sent; all take both.
    expected = (hmac.digest(key, one, "sha1") for key in _keys(config) for one in (payload, payload + b"\n"))
    if not any_same(known, expected):
        return Refused("wrong_signature", "the signature is not made with this private_key over bt_payload")
    return Verified(facts={"kind": _kind(payload)})


def _form(request: Inbound) -> tuple[str, bytes]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise Unproven("malformed_body", "not a form")
    try:
        fields = form_fields(request.content_type, request.body)
    except MappedError as error:
        raise Unproven("malformed_body", str(error)) from None
    found: list[str] = []
    for name in ("bt_signature", "bt_payload"):
        texts = [text for field, text in fields if field == name and isinstance(text, str)]
        if len(texts) != 1:
            raise Unproven("missing_signature", f"{name} is missing, or there more than once")
        found += texts
    if _PAYLOAD.fullmatch(found[1]) is None:
        raise Unproven("malformed_body", "bt_payload has characters that base64 has not")
    return found[0], found[1].encode("ascii")


def _kind(payload: bytes) -> str:
    """The kind of the notification. Raises `Unproven` where it is none."""
    try:
        root = xml_tree(binascii.a2b_base64(payload))
    except (MappedError, ValueError) as error:
        raise Unproven("malformed_body", f"bt_payload is not base64 of XML: {error}"[:300]) from None
    if root.name != "notification":
        raise Unproven("malformed_body", "bt_payload is not a notification")
    return next(("".join(child.texts)[:255] for child in root.children if child.name == "kind"), "")


def _keys(config: Config) -> list[bytes]:
    return [hashlib.sha1(one.encode()).digest() for one in config.texts("private_key")]  # noqa: S324 - their scheme


PRESET: Final = Preset(
    name="braintree",
    title="Braintree",
    verify=verify,
    keys=("public_key", "private_key", "merchant_id"),
    secrets=("private_key",),
    methods=("POST", "GET"),
    # There is no id: what was signed is known by its bytes.
    reading=Reading(
        type="form:bt_payload>base64>xml.notification.kind",
        id="request:sha256",
        subject="form:bt_payload>base64>xml.notification.subject.subscription.id"
        "|form:bt_payload>base64>xml.notification.subject.transaction.id"
        "|form:bt_payload>base64>xml.notification.subject.dispute.id",
        time='form:bt_payload>base64>xml.notification.timestamp."#text"',
    ),
    answer_within_s=30.0,
)
