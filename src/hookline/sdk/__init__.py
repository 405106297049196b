"""The receiver kit: verify webhooks in an application of your own. Only the standard library is needed.

verify(body, headers, secret)      what Hookline delivers, and others by Standard Webhooks, in one call
Verifier("stripe", secret=…)       the same for any provider
Receiver(…)                        the whole of receiving, for `.flask`, `.django`, `.fastapi`, `.asgi`, `.wsgi`,
                                   `.aws_lambda`, `.google_cloud`, and by `respond` for anything else
"""

from hookline.sdk.answer import Answer
from hookline.sdk.delivery import Delivery
from hookline.sdk.errors import (
    ConfirmationError,
    MalformedBody,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    TimestampOutsideTolerance,
    Unacceptable,
    Unverifiable,
    VerificationError,
)
from hookline.sdk.event import Event
from hookline.sdk.fetcher import Fetcher
from hookline.sdk.guard import AsyncReplayGuard, Claim, ReplayGuard
from hookline.sdk.outcome import Outcome
from hookline.sdk.receiver import Receiver
from hookline.sdk.standard import verify
from hookline.sdk.verifier import Verifier

__all__ = [
    "Answer",
    "AsyncReplayGuard",
    "Claim",
    "ConfirmationError",
    "Delivery",
    "Event",
    "Fetcher",
    "MalformedBody",
    "Outcome",
    "Receiver",
    "ReplayGuard",
    "SignatureMalformed",
    "SignatureMismatch",
    "SignatureMissing",
    "TimestampOutsideTolerance",
    "Unacceptable",
    "Unverifiable",
    "VerificationError",
    "Verifier",
    "verify",
]
