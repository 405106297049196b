"""What the kit raises: one tree for requests that are not proven, and one error of confirming."""

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
    "Unverifiable",
    "VerificationError",
    "refused",
    "status_of",
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


class Unverifiable(VerificationError):
    """It cannot be judged, and that is not the sender's fault: a secret that is none (`invalid_secret`), a package that
    is missing (`unsupported_key`), a body that was decoded before (`unusable_body`), a key that cannot be fetched."""


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
}


def refused(reason: str, detail: str) -> VerificationError:
    """The error of a reason; one that is not known is `Unverifiable`."""
    return _CLASS_BY_REASON.get(reason, Unverifiable)(reason, detail)


def status_of(error: VerificationError) -> int:
    """The HTTP status that tells the sender: 400 for a body, 500 where it is our fault and he shall try again, else
    401."""
    if isinstance(error, MalformedBody):
        return 400
    return 500 if isinstance(error, Unverifiable) else 401
