"""What a verifier says of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

REASONS: Final = {
    "missing_signature": "the header or field that proves the sender is missing, or there more than once",
    "malformed_signature": "what proves the sender cannot be read",
    "wrong_signature": "the signature is not made with this key over these bytes",
    "wrong_credential": "the token, password or key is not the configured one",
    "stale": "the timestamp is outside the tolerance",
    "malformed_timestamp": "the timestamp cannot be read",
    "malformed_body": "the body is not what the provider sends",
    "wrong_recipient": "it is signed, but for somebody else (topic, account, audience, webhook)",
    "untrusted_key": "the certificate or key it names is not the provider's, or not valid now",
    "key_unavailable": "the certificate or key it names could not be fetched",
    "not_configured": "the source's configuration lacks what this request needs",
    "unsupported": "a form of this provider's requests that is not accepted",
    "defect": "the verifier failed; this is a defect of ours",
}
"""Stable codes of refusals, with what they mean."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Who sent it is proven. `confirm_url` is to be fetched (GET, guarded, no redirect) before it is answered: SNS
    subscribes so. With 200 from there it is an event as any other (its owner sees that he was subscribed), else it is
    answered with 503, that it may come again. `facts` is what was learned on the way and is worth keeping (an issuer, a
    topic), for logs."""

    confirm_url: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not proven. `reason` is one of `REASONS`; `detail` is for the operator's log, never for the sender."""

    reason: str
    detail: str
    status: int = 401


@dataclass(frozen=True, slots=True)
class Handshake:
    """A question of the provider's about this address, to be answered as it is here; no event comes of it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    """content-type among them, where there is a body."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Something from elsewhere is needed first: fetch it (guarded, no redirect, bounded) and ask again with it.

    The URL is already known to be the provider's own; one is no address, `certificates.SYSTEM_ROOTS_URL`: what this
    machine trusts, in PEM. `name` is how it is handed back, and the same URL by another name is another fetch: of keys
    that may have changed, for a name that the kept ones lack. `keep_s` is how long the answer may be used for other
    requests (0: for this one alone); a certificate, a set of keys or a token is kept, the judgement of a single request
    is not.
    """

    name: str
    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    keep_s: float = 3600.0
    proves_itself: bool = False
    """What comes is believed only for a signature in it: http will do, which is how authorities serve certificates."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a `Fetch`. `status` 0: nothing came (`body` is then empty)."""

    status: int
    body: bytes


Verdict = Verified | Refused | Handshake | Fetch
