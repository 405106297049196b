"""Does an endpoint want to be one? What it is asked, and how its answers are read. Pure.

    challenge    unguessable text in a signed event of ours, to be echoed
    cloudevents  the handshake of "HTTP 1.1 Web Hooks for Event Delivery" 1.0: consent is given by headers

and when an endpoint that has not said yes is asked again.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from hookline.core.address import parse_url
from hookline.core.endpoint import EndpointSpec, RateSpec
from hookline.core.errors import Refusal
from hookline.core.ids import DELIVERY_BYTES, ROOT_BYTES
from hookline.core.json_text import parse
from hookline.core.quota import burst_of

CHALLENGE_TYPE: Final = "hookline.challenge"
CHALLENGE_RANDOM_BYTES: Final = 32
ANSWER_BYTES_MAX: Final = 16 * 1024
"""How much of an answer to a challenge is read."""
ASKED_PER_MIN_DEFAULT: Final = 60_000
"""What an endpoint without a rate of its own asks for: 1,000 a second."""
PER_MIN_MAX: Final = 1_000_000
ALLOWED_ORIGIN: Final = "webhook-allowed-origin"
ALLOWED_RATE: Final = "webhook-allowed-rate"
CALLBACK_PURPOSE: Final = b"hookline consent 1"

Headers = Sequence[tuple[bytes, bytes]]

_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_ANY: Final = "*"
_MINUTE_S: Final = 60.0

# ------------------------------------------------------------------------------------------------ the challenge


def make_challenge(random: bytes) -> str:
    """The text to be echoed: `CHALLENGE_RANDOM_BYTES` random bytes as base64url, without padding."""
    assert len(random) == CHALLENGE_RANDOM_BYTES
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def echo_fault(status: int | None, body: bytes, challenge: str) -> str | None:
    """What is missing in the answer to a challenge, in one sentence; None: it was echoed.

    An echo is a 2xx whose body is the challenge itself (white space around it does not count), or a JSON object with
    `"challenge"` equal to it. Compared in constant time.
    """
    if status is None or not 200 <= status <= 299:
        return f"The answer to the challenge must be 2xx, not {status}."
    expected = challenge.encode("ascii")
    if hmac.compare_digest(body.strip(), expected):
        return None
    try:
        document = parse(body)
        echoed = document.get("challenge") if isinstance(document, dict) else None
        given = echoed.encode() if isinstance(echoed, str) else b""
    except ValueError:
        given = b""
    if hmac.compare_digest(given, expected):
        return None
    return 'The answer does not echo the challenge: neither as its text nor as {"challenge": …} in JSON.'


# ------------------------------------------------------------------------------------------------ the handshake


class Permission(msgspec.Struct, frozen=True):
    """What the headers of an answer, or of a call to the callback, allow."""

    missing: str | None
    """One sentence; None: consent is given."""
    rate_per_min: int | None = None
    """The most it allows; None: no limit."""


def origin_of(public_url: str) -> str:
    """`WebHook-Request-Origin`: the host name in our own address, in ASCII."""
    try:
        return parse_url(public_url).server_name
    except Refusal:
        return "localhost"


def asked_per_min(rate: RateSpec | None) -> int:
    """`WebHook-Request-Rate`: what the endpoint's rate comes to in a minute."""
    if rate is None:
        return ASKED_PER_MIN_DEFAULT
    return max(1, min(PER_MIN_MAX, int(_sustained_per_min(rate))))


def read_permission(headers: Headers, origin: str) -> Permission:
    """What the headers of the answer to the handshake say; its status does not count.

    `WebHook-Allowed-Origin` must be our own or `*`, `WebHook-Allowed-Rate` a positive integer or `*`: each once.
    """
    missing = _origin_fault(_values(headers, ALLOWED_ORIGIN), origin)
    if missing is not None:
        return Permission(missing)
    rates = _values(headers, ALLOWED_RATE)
    if not rates:
        return Permission("The answer lacks WebHook-Allowed-Rate, which is required since a rate was asked for.")
    return _allowed(rates)


def read_callback(headers: Headers, origin: str, asked: int) -> Permission:
    """What a call to the callback allows: to call it is consent. It may name a rate; without, what was asked."""
    origins = _values(headers, ALLOWED_ORIGIN)
    missing = _origin_fault(origins, origin) if origins else None
    if missing is not None:
        return Permission(missing)
    rates = _values(headers, ALLOWED_RATE)
    return _allowed(rates) if rates else Permission(None, asked)


def _values(headers: Headers, name: str) -> list[str]:
    wanted = name.encode("ascii")
    return [value.decode("latin-1").strip(" \t") for key, value in headers if key.lower() == wanted]


def _origin_fault(origins: Sequence[str], origin: str) -> str | None:
    if not origins:
        return "The answer lacks WebHook-Allowed-Origin."
    if len(origins) > 1:
        return "WebHook-Allowed-Origin is there more than once."
    if origins[0] != _ANY and origins[0].lower() != origin.lower():
        return f"WebHook-Allowed-Origin is neither {origin} nor *."
    return None


def _allowed(rates: Sequence[str]) -> Permission:
    if len(rates) > 1:
        return Permission("WebHook-Allowed-Rate is there more than once.")
    if rates[0] == _ANY:
        return Permission(None)
    if not _NUMBER.fullmatch(rates[0]) or int(rates[0]) < 1:
        return Permission("WebHook-Allowed-Rate is neither a positive integer nor *.")
    return Permission(None, int(rates[0]))


# ----------------------------------------------------------------------------------------------------- the rate


def _sustained_per_min(rate: RateSpec) -> float:
    return rate.n * _MINUTE_S / rate.per_s


def smaller_rate(own: RateSpec | None, per_min: int | None) -> RateSpec | None:
    """The endpoint's rate once its receiver allowed `per_min` a minute (None: any).

    What was allowed is kept in every minute, so a burst has only the room that the steady rate leaves: 1, or a tenth
    of a second's worth where that is more.
    """
    if per_min is None:
        return own
    per_min = min(per_min, PER_MIN_MAX)
    if own is None or _sustained_per_min(own) > per_min:
        smaller = RateSpec(per_min, _MINUTE_S)
    else:
        smaller = own
    room = max(1, int(per_min - _sustained_per_min(smaller)), per_min // 600)
    burst = min(burst_of(smaller if own is None else own), room)
    if smaller is own and burst == burst_of(own):
        return own
    return RateSpec(smaller.n, smaller.per_s, burst)


def must_ask(old: EndpointSpec, new: EndpointSpec) -> bool:
    """Whether a change makes it another endpoint to its receiver: it is unverified then, and asked."""
    if new.verify == "none":
        return False
    if (new.verify, new.url, new.kind, new.config) != (old.verify, old.url, old.kind, old.config):
        return True
    return new.verify == "cloudevents" and exceeds(new.rate, old.rate)


def exceeds(new: RateSpec | None, old: RateSpec | None) -> bool:
    """Whether a receiver that allowed `old` has to be asked about `new`."""
    if old is None:
        return False
    if new is None:
        return True
    return _sustained_per_min(new) > _sustained_per_min(old) or burst_of(new) > burst_of(old)


# ---------------------------------------------------------------------------------------------- tokens, and when

_TRIES_S: Final = (10.0, 60.0, 300.0, 1800.0, *(hours * 3600.0 for hours in range(6, 73, 6)))
_LAST_TRY_WITHIN_S: Final = _TRIES_S[-1] + 6 * 3600.0


def planned_try_s(age_s: float) -> float | None:
    """Of an endpoint that has been unverified for `age_s` seconds: the age at which the latest try was to be made.

    After 10 s, 1 min, 5 min, 30 min, then every 6 h for 3 days. None: there is none yet, or none any more.
    """
    if age_s >= _LAST_TRY_WITHIN_S:
        return None
    return max((at_s for at_s in _TRIES_S if at_s <= age_s), default=None)


def token_subject(endpoint_id: bytes, version: int) -> bytes:
    """The 16 bytes that a callback's token is made for: it dies with the endpoint's next change."""
    return endpoint_id + (version & 0xFFFF_FFFF).to_bytes(DELIVERY_BYTES - ROOT_BYTES, "big")


def endpoint_of_token(subject: bytes) -> bytes:
    """The endpoint that `token_subject` was made for; whether it has changed since is seen by comparing subjects."""
    return subject[:ROOT_BYTES]
