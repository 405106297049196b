"""Twilio: HMAC over the URL and the fields of the form, sorted, name and value without anything between them.

SHA-1 with the account's auth token; SHA-256 with a shared key where the request says so in
`x-twilio-webhooks-signature-settings`. Of a body that is no form the URL carries the digest (`bodySHA256`), and only
the URL is signed. Because nothing stands between names and values, `a=bc` and `ab=c` are signed alike: that is Twilio's
scheme, and the order of fields is not covered either.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote_to_bytes, urlsplit

from hookline.core.verifiers.config import Config
from hookline.core.verifiers.encoded import any_same, from_base64, from_hex, same
from hookline.core.verifiers.inbound import Inbound
from hookline.core.verifiers.preset import Preset, Reading, Reply
from hookline.core.verifiers.request_parts import Unproven
from hookline.core.verifiers.verdict import Fetched, Refused, Verdict, Verified

FORM: Final = "application/x-www-form-urlencoded"
SETTINGS: Final = "x-twilio-webhooks-signature-settings"
FIELDS_MAX: Final = 1000
_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS: Final = {"https": 443, "http": 80}


def verify(request: Inbound, config: Config, _now_s: float, _fetched: Mapping[str, Fetched]) -> Verdict:
    """Whether Twilio sent it to this URL, with one of the configured tokens or keys."""
    try:
        return _verify(request, config)
    except Unproven as error:
        return error.refused


def _verify(request: Inbound, config: Config) -> Verdict:
    signature = request.header("x-twilio-signature")
    if signature is None:
        return Refused("missing_signature", "x-twilio-signature is missing, or there more than once")
    offered = from_base64(signature)
    if offered is None:
        return Refused("malformed_signature", "x-twilio-signature is not base64")
    digest = _DIGESTS[_algorithm(request)]
    covered = _covered(request)
    # Twilio gives its receivers one secret; only who has both kinds must keep them apart.
    shared = digest == "sha256" and config.has("shared_secret")
    secrets = config.texts("shared_secret" if shared else "auth_token")
    signed = [url.encode("utf-8", "surrogatepass") + one for url in _urls(request, config) for one in covered]
    expected = (hmac.digest(secret.encode(), one, digest) for secret in secrets for one in signed)
    if not any_same([offered], expected):
        return Refused("wrong_signature", "the signature is not made with this token for this URL and these fields")
    return Verified()


def _algorithm(request: Inbound) -> str:
    settings = request.all(SETTINGS)
    if len(settings) > 1:
        raise Unproven("malformed_signature", f"{SETTINGS} is there more than once")
    named = [
        value.strip()
        for part in (settings[0].split(",") if settings else ())
        for name, _, value in (part.partition("="),)
        if name.strip() == "algorithm"
    ]
    if len(named) > 1 or (named and named[0].upper() not in _DIGESTS):
        raise Unproven("unsupported", f"{SETTINGS} names no algorithm that is known")
    return named[0].upper() if named else "HMAC_SHA1"


def _covered(request: Inbound) -> list[bytes]:
    """What may be signed after the URL. Raises `Unproven` for a body that nothing covers.

    A form's fields; nothing, where the URL carries the digest of the body. A URL with a digest and a body that is not
    there, or no longer, are not signed together.
    """
    found: list[bytes] = []
    digests = request.query_all("bodySHA256")
    if request.content_type == FORM:
        fields = form_text(request.body)
        if fields or not digests:
            found.append(fields)
    elif not request.body and not digests:
        found.append(b"")
    digest = from_hex(digests[0]) if len(digests) == 1 else None
    if digest is not None and same(hashlib.sha256(request.body).digest(), digest):
        found.append(b"")
    if not found and len(digests) == 1:
        raise Unproven("wrong_signature", "bodySHA256 of the URL is not that of the body")
    if not found:
        raise Unproven("missing_signature", "the body is no form, and the URL has not one bodySHA256 of it")
    return found


def form_text(body: bytes) -> bytes:
    """Names and values of a form one after the other, sorted by bytes, each pair once. Raises `Unproven`."""
    if body.count(b"&") >= FIELDS_MAX:
        raise Unproven("malformed_body", f"a form of more than {FIELDS_MAX} fields")
    pairs: set[tuple[bytes, bytes]] = set()
    for part in body.split(b"&"):
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            pairs.add((unquote_to_bytes(name), unquote_to_bytes(value)))
    return b"".join([name + value for name, value in sorted(pairs)])


def _urls(request: Inbound, config: Config) -> list[str]:
    """The forms of the URL that Twilio may have signed: with and without a port, and as its Node library writes the
    query again."""
    try:
        parts = urlsplit(request.url)
        if config.has("notification_url"):
            called = urlsplit(config.text("notification_url"))
            parts = called._replace(query=parts.query or called.query)
        bare, with_port = _ports(parts)
    except ValueError:
        raise Unproven("wrong_recipient", "the URL cannot be read") from None
    found = [parts.geturl(), parts._replace(netloc=bare).geturl(), parts._replace(netloc=with_port).geturl()]
    if parts.query:
        legacy = parts._replace(query=_legacy_query(parts.query))
        found += [legacy._replace(netloc=bare).geturl(), legacy._replace(netloc=with_port).geturl()]
    if not config.has("notification_url"):
        found.append(request.url)  # exactly, with an empty query's `?`
    return list(dict.fromkeys(found))


def _ports(parts: SplitResult) -> tuple[str, str]:
    user, at, host = parts.netloc.rpartition("@")
    port = parts.port
    if port is not None:
        host = host.rpartition(":")[0]
    bare = f"{user}{at}{host}"
    return bare, f"{bare}:{port or _PORTS.get(parts.scheme, 80)}"


def _legacy_query(query: str) -> str:
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return "&".join(f"{_escaped(name)}={_escaped(value)}" for name, several in values.items() for value in several)


def _escaped(text: str) -> str:
    return quote(text, safe="!~*'()", errors="surrogatepass")


PRESET: Final = Preset(
    name="twilio",
    title="Twilio",
    verify=verify,
    keys=("auth_token", "shared_secret", "notification_url"),
    secrets=("auth_token", "shared_secret"),
    methods=("POST", "GET"),
    # Event Streams sends CloudEvents in an array; everything else is a form, or a query.
    reading=Reading(
        split="body:",
        type="item:type|form:MessageStatus|form:SmsStatus|form:CallStatus|form:RecordingStatus|form:ConferenceStatus"
        "|form:StatusCallbackEvent|form:EventType|form:Event|query:MessageStatus|query:SmsStatus|query:CallStatus"
        "|body:type",
        id="item:id|header:i-twilio-idempotency-token|body:id",
        subject="item:subject|form:MessageSid|form:CallSid|form:RecordingSid|form:ConferenceSid|query:MessageSid"
        "|query:CallSid",
        time="item:time|form:Timestamp|body:time",
    ),
    # Voice and SMS take the answer for instructions: an empty TwiML says that there are none.
    reply=Reply(content_type="text/xml", body='<?xml version="1.0" encoding="UTF-8"?><Response></Response>'),
    answer_within_s=15.0,
)
