"""Verifying what Hookline delivers, and whatever else follows Standard Webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hookline.core import verification
from hookline.sdk.errors import VerificationError, refused
from hookline.sdk.event import Event
from hookline.sdk.parts import Body, Headers, Pairs, by_name, clock_s, header_pairs, number, raw_body
from hookline.sdk.reading import instant, said

TOLERANCE_S: Final = verification.TOLERANCE_S
SECRETS_MAX: Final = 16
_ATTEMPT_DIGITS_MAX: Final = 9


def verify(
    body: Body,
    headers: Headers,
    secret: str | Sequence[str],
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
    confirm_origins: Sequence[str] = (),
) -> Event:
    """The event of a request that was signed by one of `secret` within `tolerance_s` of `now`.

    `body` are the bytes as they came, before anything parsed them. `headers` are a mapping, anything with `items()`,
    or pairs, of text or bytes, names in any case. `secret` is a `whsec_…`, or a `whpk_…` (needs cryptography), or a
    list of up to 16 while it is changed. `now` is in seconds since 1970; None: the clock of this machine.
    `confirm_origins` are where `event.confirm()` may call, as in `http://127.0.0.1:8400`; none: any https address.

    Raises `VerificationError`, of which each subclass and each `reason` say why, and nothing else, whatever is passed.
    """
    return verified(
        raw_body(body),
        header_pairs(headers),
        secrets_of(secret),
        now_s=clock_s(now),
        tolerance_s=number("tolerance_s", tolerance_s),
        confirm_origins=confirm_origins,
    )


def verified(
    body: bytes,
    pairs: Pairs,
    secrets: Sequence[str],
    *,
    now_s: float,
    tolerance_s: float,
    confirm_origins: Sequence[str] = (),
) -> Event:
    """The same of parts that are in their one form already. Raises `VerificationError`."""
    try:
        proven = verification.verify(body, pairs, secrets, now_s=now_s, tolerance_s=tolerance_s)
    except VerificationError as error:
        raise refused(error.reason, str(error)) from None
    return event_of(body, by_name(pairs), proven.webhook_id, proven.timestamp_s, confirm_origins)


def event_of(
    body: bytes, headers: dict[str, str], webhook_id: str, sent_at_s: float, confirm_origins: Sequence[str] = ()
) -> Event:
    """The event of a request that was verified before. Raises `MalformedBody`."""
    spoken = said(body, headers)
    attempt = headers.get("hookline-attempt", "")
    is_number = attempt.isascii() and attempt.isdigit() and len(attempt) <= _ATTEMPT_DIGITS_MAX
    return Event(
        id=webhook_id,
        type=spoken.type,
        timestamp=instant(spoken.time, sent_at_s),
        data=spoken.data,
        body=body,
        headers=headers,
        content_type=headers.get("content-type", ""),
        subject=spoken.subject,
        source=spoken.source,
        attempt=int(attempt) if is_number else 1,
        confirm_url=headers.get("hookline-confirm-url"),
        confirm_origins=confirm_origins,
    )


def secrets_of(secret: str | Sequence[str]) -> tuple[str, ...]:
    """One secret or several as a tuple. Raises `Unverifiable` (`invalid_secret`)."""
    found = (secret,) if isinstance(secret, str) else tuple(secret) if isinstance(secret, list | tuple) else ()
    if not 0 < len(found) <= SECRETS_MAX or not all(isinstance(one, str) and one for one in found):
        raise refused("invalid_secret", f"The secret must be one text, or a list of 1 to {SECRETS_MAX}.")
    return found
