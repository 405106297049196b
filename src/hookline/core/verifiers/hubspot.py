"""HubSpot: HMAC over method, URL, body and timestamp (v3); older apps have a plain digest that begins with the secret
(v1, v2).

A plain digest can be made longer by whoever has seen one: what he may append begins with the padding of SHA-256, which
has zero bytes. A body with a zero byte is therefore refused for v1 and v2. Only the configured version is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same, from_base64, from_hex
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset, Reading
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.timestamp import check_fresh
from hookline.core.verifiers.verdict import Fetched, Refused, Verdict, Verified

TOLERANCE_S: Final = 300.0
# Nothing stands between the body and the timestamp: only its fixed length says where it begins.
_MILLISECONDS: Final = re.compile(r"[0-9]{13}")
_DECODED: Final = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""The escapes that HubSpot decodes in a URL before it signs it."""


def verify(request: Inbound, config: Config, now_s: float, _fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether HubSpot sent it, with one of the configured secrets."""
    try:
        version = config.choice("signature_version", "v3", ("v1", "v2", "v3"))
        return _verify_v3(request, config, now_s) if version == "v3" else _verify_digest(request, config, version)
    except Unproven as error:
        return error.refused


def _verify_v3(request: Inbound, config: Config, now_s: float) -> Verdict:
    signature, timestamp = _header(request, "x-hubspot-signature-v3"), _header(request, "x-hubspot-request-timestamp")
    offered = from_base64(signature)
    if offered is None:
        return Refused("malformed_signature", "x-hubspot-signature-v3 is not base64")
    if _MILLISECONDS.fullmatch(timestamp) is None:
        return Refused("malformed_timestamp", "x-hubspot-request-timestamp is not a time in ms")
    check_fresh(int(timestamp) / 1000, now_s, config.seconds("tolerance_s", TOLERANCE_S))
    secrets = [secret.encode() for secret in config.texts("secret")]
    signed = [_text(request.method, url) + request.body + timestamp.encode() for url in _urls(request, config)]
    expected = (hmac.digest(secret, one, "sha256") for secret in secrets for one in signed)
    return _judged(offered, expected)


def _verify_digest(request: Inbound, config: Config, version: str) -> Verdict:
    signature = _header(request, "x-hubspot-signature")
    named = request.all("x-hubspot-signature-version")
    if named and named != (version,):
        return Refused("unsupported", f"x-hubspot-signature-version is not {version}")
    offered = from_hex(signature)
    if offered is None:
        return Refused("malformed_signature", "x-hubspot-signature is not hexadecimal")
    if b"\0" in request.body:
        return Refused("malformed_body", "a zero byte in a body that is signed with a plain digest")
    heads = [b""] if version == "v1" else [_text(request.method, url) for url in _urls(request, config)]
    secrets = [secret.encode() for secret in config.texts("secret")]
    expected = (hashlib.sha256(secret + head + request.body).digest() for secret in secrets for head in heads)
    return _judged(offered, expected)


def _judged(offered: bytes, expected: Iterable[bytes]) -> Verdict:
    if not any_same([offered], expected):
        return Refused("wrong_signature", "the signature is not made with this secret over these bytes")
    return Verified()


def _header(request: Inbound, name: str) -> str:
    value = request.header(name)
    if value is None:
        raise Unproven("missing_signature", f"{name} is missing, or there more than once")
    return value


def _text(method: str, url: str) -> bytes:
    return (method + url).encode("utf-8", "surrogatepass")


def _urls(request: Inbound, config: Config) -> list[str]:
    """The URL as it was called; then with what HubSpot decodes in it decoded, of which its libraries differ: the `?`
    or not, and all else too."""
    url = request.url
    if config.has("notification_url"):
        try:
            called, query = config.text("notification_url"), urlsplit(url).query
            url = called if "?" in called or not query else f"{called}?{query}"
        except ValueError:
            raise Unproven("wrong_recipient", "the URL cannot be read") from None
    without = _DECODED.sub(lambda found: found[0] if found[0].upper() == "%3F" else unquote(found[0]), url)
    whole = "%3F".join(unquote(part) for part in re.split("%3[Ff]", url))
    return list(dict.fromkeys([url, _DECODED.sub(lambda found: unquote(found[0]), url), without, whole]))


PRESET: Final = Preset(
    name="hubspot",
    title="HubSpot",
    verify=verify,
    keys=("secret", "signature_version", "notification_url", "tolerance_s"),
    methods=("POST", "GET"),
    # eventId alone is not unique.
    reading=Reading(
        split="body:",
        type="item:subscriptionType|body:subscriptionType|body:eventType",
        id="{item:eventId}.{item:subscriptionId?}.{item:occurredAt?}",
        subject="item:objectId|body:objectId",
        time="item:occurredAt|body:occurredAt",
    ),
    answer_within_s=5.0,
)
