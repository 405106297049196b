"""Verifying what Hookline delivers, and whatever else follows Standard Webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hookline.core import verification
from hookline.core.signing_key import PUBLIC_PREFIX, SIGNING_PREFIX, hmac_key, signing_bytes, verifying_bytes
from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer, success
from hookline.sdk.delivery import Delivery
from hookline.sdk.errors import VerificationError, refused
from hookline.sdk.event import Event
from hookline.sdk.parts import Body, Headers, Pairs, by_name, clock_s, header_pairs, number, raw_body
from hookline.sdk.reading import instant, said
from hookline.sdk.steps import Steps

TOLERANCE_S: Final = verification.TOLERANCE_S
SECRETS_MAX: Final = 16
_ATTEMPT_DIGITS_MAX: Final = 9
_CHALLENGE: Final = "hookline.challenge"
_TEST: Final = "hookline.test"


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
    """The event of a request that was verified before."""
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
        malformed=spoken.malformed,
        content_type=headers.get("content-type", ""),
        subject=spoken.subject,
        source=spoken.source,
        verifier="standard_webhooks",
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


class Standard:
    """Proves requests by Standard Webhooks, as `verify` does, and agrees to be an endpoint where it is asked.

    A signed `hookline.challenge` is echoed, a signed `hookline.test` is answered with success; neither reaches a
    handler. An `OPTIONS` of the CloudEvents handshake is agreed to for the origins of `allowed_origins`, at any rate.
    Raises `ValueError` for a secret that is none.
    """

    name = "standard_webhooks"
    is_several = False

    def __init__(
        self,
        secret: str | Sequence[str],
        *,
        tolerance_s: float = TOLERANCE_S,
        confirm_origins: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
    ) -> None:
        try:
            self._secrets = secrets_of(secret)
            self._tolerance_s = number("tolerance_s", tolerance_s)
        except VerificationError as error:
            raise ValueError(str(error)) from None
        for one in self._secrets:
            _check(one)
        self._confirm_origins = tuple(confirm_origins)
        self._allowed_origins = tuple(allowed_origins)

    @property
    def methods(self) -> tuple[str, ...]:
        """`POST`, and `OPTIONS` where an origin may ask."""
        return ("POST", "OPTIONS") if self._allowed_origins else ("POST",)

    def prove(self, request: Inbound, now_s: float) -> Steps[Delivery]:
        """A delivery, without a step. Raises `VerificationError`."""
        yield from ()
        if request.method == "OPTIONS" and self._allowed_origins:
            return Delivery(handshake=self._consent(request))
        event = verified(
            request.body,
            request.headers,
            self._secrets,
            now_s=now_s,
            tolerance_s=self._tolerance_s,
            confirm_origins=self._confirm_origins,
        )
        if event.type == _CHALLENGE and isinstance(event.data, dict) and "challenge" in event.data:
            return Delivery(handshake=Answer.of({"challenge": event.data["challenge"]}))
        if event.type == _TEST:
            return Delivery(handshake=success([event.id], "a test, which no handler sees"))
        return Delivery((event,))

    def _consent(self, request: Inbound) -> Answer:
        origin = request.header("webhook-request-origin") or ""
        if origin not in self._allowed_origins:
            raise refused("wrong_recipient", "The origin that asks is not allowed.")
        rate = request.header("webhook-request-rate")
        headers = [("webhook-allowed-origin", origin), ("allow", ", ".join(self.methods))]
        if rate is not None:
            headers.append(("webhook-allowed-rate", "*"))
        return Answer(200, headers=tuple(headers))


def _check(secret: str) -> None:
    if secret.startswith(PUBLIC_PREFIX):
        verifying_bytes(secret)
    elif secret.startswith(SIGNING_PREFIX):
        signing_bytes(secret)
    else:
        hmac_key(secret)
