"""What the kit raises: one tree for requests that are not proven, and one error of confirming; and what an application
raises to refuse an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hookline.core.errors import HooklineError
from hookline.core.verification import VerificationError

__all__ = [
    "ConfirmationError",
    "MalformedBody",
    "SignatureMalformed",
    "SignatureMismatch",
    "SignatureMissing",
    "TimestampOutsideTolerance",
    "Unacceptable",
    "Unverifiable",
    "VerificationError",
    "refused",
]


class SignatureMissing(VerificationError):
    """What proves the sender is not there, or not all of it (`missing_header`, `missing_signature`)."""


class SignatureMalformed(VerificationError):
    """What proves the sender cannot be read, or is there twice."""


class SignatureMismatch(VerificationError):
    """What proves the sender is not right: another key, another body, another recipient."""


class TimestampOutsideTolerance(VerificationError):
    """It is signed, but too long ago or too far in the future (`too_old`, `too_new`, `stale`)."""


class MalformedBody(VerificationError):
    """It is signed, but its body is not what it says it is: JSON that cannot be read."""

    status = 400


class Unverifiable(VerificationError):
    """It cannot be judged, and that is not the sender's fault: a secret that is none (`invalid_secret`), a package that
    is missing (`unsupported_key`), a body that was decoded before (`unusable_body`), a key that cannot be fetched."""

    status = 500


class ConfirmationError(HooklineError):
    """A confirmation was not taken. `reason`: `not_asked` (the delivery asks for none), `address_refused` (neither
    https nor allowed), `unreachable`, or `refused` (what was answered is in the text)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_CLASS_BY_REASON: Final[Mapping[str, type[VerificationError]]] = {
    # of Standard Webhooks (core.verification)
    "missing_header": SignatureMissing,
    "repeated_header": SignatureMalformed,
    "invalid_id": SignatureMalformed,
    "invalid_timestamp": SignatureMalformed,
    "too_old": TimestampOutsideTolerance,
    "too_new": TimestampOutsideTolerance,
    "invalid_signature_header": SignatureMalformed,
    "too_many_signatures": SignatureMalformed,
    "no_matching_signature": SignatureMismatch,
    "invalid_secret": Unverifiable,
    "unsupported_key": Unverifiable,
    # of the kit itself
    "unusable_body": Unverifiable,
    "unusable_headers": Unverifiable,
    "unusable_setting": Unverifiable,
    # of the presets (core.verifiers.verdict)
    "missing_signature": SignatureMissing,
    "malformed_signature": SignatureMalformed,
    "wrong_signature": SignatureMismatch,
    "wrong_credential": SignatureMismatch,
    "stale": TimestampOutsideTolerance,
    "malformed_timestamp": SignatureMalformed,
    "malformed_body": MalformedBody,
    "wrong_recipient": SignatureMismatch,
    "untrusted_key": SignatureMismatch,
    "key_unavailable": Unverifiable,
    "not_configured": Unverifiable,
    "unsupported": SignatureMalformed,
    "defect": Unverifiable,
    "missing_package": Unverifiable,
    "unconfirmed_subscription": Unverifiable,
}


def refused(reason: str, detail: str, status: int | None = None) -> VerificationError:
    """The error of a reason; one that is not known is `Unverifiable`. `status`: another than that of its class."""
    error = _CLASS_BY_REASON.get(reason, Unverifiable)(reason, detail)
    if status is not None:
        error.status = status
    return error


class Unacceptable(HooklineError):
    """Raised by an application's `check=` or handler: the event is genuine, and not to be taken as it is. The sender is
    answered `status` (422, or another from 400 to 499) with `message`, and may send it again."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        if not 400 <= status <= 499:
            raise ValueError("status must be from 400 to 499")
        self.message = message
        self.status = status
