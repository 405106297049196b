"""The receiver kit: verify webhooks in an application of your own. Only the standard library is needed."""

from hookline.sdk.errors import (
    ConfirmationError,
    MalformedBody,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    TimestampOutsideTolerance,
    Unverifiable,
    VerificationError,
)
from hookline.sdk.event import Event
from hookline.sdk.guard import AsyncReplayGuard, Claim, ReplayGuard
from hookline.sdk.standard import verify

__all__ = [
    "AsyncReplayGuard",
    "Claim",
    "ConfirmationError",
    "Event",
    "MalformedBody",
    "ReplayGuard",
    "SignatureMalformed",
    "SignatureMismatch",
    "SignatureMissing",
    "TimestampOutsideTolerance",
    "Unverifiable",
    "VerificationError",
    "verify",
]
