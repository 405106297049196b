"""An endpoint: a subscriber. Where to deliver, which events it wants, and how.

`EndpointSpec` is what the API takes and gives; `Endpoint` is the same, compiled, as the flow uses it.
Building one from the other is `core.subscribe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from hookline.core.address import Target
    from hookline.core.filter import Filter
    from hookline.core.retry import RetryPolicy
    from hookline.core.success import SuccessRule

TIMEOUT_S_DEFAULT = 15.0
CONCURRENCY_DEFAULT = 32
RESPONSE_BYTES_DEFAULT = 16 * 1024
RESPONSE_BYTES_MAX = 1024 * 1024


class EndpointState(StrEnum):
    """What a person, a 410 or five days of failure decided. `failing` is health and is reported on top of active."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    UNVERIFIED = "unverified"

    @property
    def delivers(self) -> bool:
        """Whether its deliveries may be sent; otherwise they are reported `held`."""
        return self is EndpointState.ACTIVE


class RateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `n` deliveries each `per_s` seconds, `burst` at once (default n): a token bucket.

    `per_s` is at least a millisecond: n by it, and a token's share of it, are numbers that can be reckoned with.
    """

    n: Annotated[int, Meta(ge=1, le=1_000_000)]
    per_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class AuthSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credentials that are sent along: `bearer` (token), `basic` (username, password), `api_key` (header, value).

    They are kept encrypted and never given back.
    """

    kind: Literal["bearer", "basic", "api_key"]
    token: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    username: Annotated[str, Meta(max_length=1024)] | None = None
    password: Annotated[str, Meta(max_length=4096)] | None = None
    header: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    value: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class ConfirmSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """After a success the receiver has so long to call `hookline-confirm-url`; then the delivery is retried."""

    within_s: Annotated[float, Meta(ge=1, le=7 * 86_400)]


class EndpointSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=False):
    """What `POST /v1/endpoints` takes. Deep checks (address, filter, headers …) are `core.subscribe`'s."""

    url: str
    kind: Annotated[str, Meta(max_length=32)] = "http"
    config: dict[str, Any] = {}
    uid: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")] | None = None
    event_types: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=1000)] = (
        msgspec.field(default_factory=lambda: ["*"])
    )
    filter: dict[str, Any] | None = None
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    format: Literal["standard", "raw", "cloudevents", "cloudevents-binary"] = "standard"
    headers: Annotated[dict[str, str], Meta(max_length=50)] = {}
    auth: AuthSpec | None = None
    secret: str | None = None
    """`whsec_…` (HMAC-SHA256, v1) or `whsk_…` (Ed25519, v1a); made when absent."""
    retry: dict[str, Any] | None = None
    success_when: dict[str, Any] | None = None
    rate: RateSpec | None = None
    timeout_s: Annotated[float, Meta(ge=1, le=60)] = TIMEOUT_S_DEFAULT
    concurrency_max: Annotated[int, Meta(ge=1, le=1024)] = CONCURRENCY_DEFAULT
    order: Literal["key"] | dict[str, Any] | None = None
    verify: Literal["none", "test", "challenge", "cloudevents"] = "none"
    confirm: ConfirmSpec | None = None
    response_bytes_max: Annotated[int, Meta(ge=0, le=RESPONSE_BYTES_MAX)] = RESPONSE_BYTES_DEFAULT
    dead_letter: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """An endpoint (id or uid) of the same tenant that gets what failed here, with its history."""
    description: Annotated[str, Meta(max_length=1024)] = ""
    metadata: Annotated[dict[str, str], Meta(max_length=50)] = {}


class SigningKey(msgspec.Struct, frozen=True, gc=False):
    """A secret that signs, until `expires_at_ms` (None: for as long as it is the endpoint's)."""

    secret: str
    """Text form: `whsec_…` or `whsk_…`."""
    expires_at_ms: int | None = None


class Secrets(msgspec.Struct, frozen=True):
    """What of an endpoint is stored encrypted: signing keys, newest first, and the credentials."""

    signing: list[SigningKey]
    auth: AuthSpec | None = None


class Endpoint(msgspec.Struct, frozen=True, eq=False, dict=True):
    """An endpoint as the flow uses it: everything parsed and compiled once per version. Immutable.

    `dict=True` lets adapters cache what they derive (a prepared head) under their own name.
    """

    id: bytes
    tenant: str
    version: int
    state: EndpointState
    kind: str
    url: str
    target: Target | None
    config: dict[str, Any]
    patterns: Sequence[str]
    filter: Filter | None
    method: str
    format: str
    headers: Sequence[tuple[bytes, bytes]]
    signing: Sequence[SigningKey]
    auth_headers: Sequence[tuple[bytes, bytes]]
    """Sent, but masked wherever the request is kept or shown."""
    retry: RetryPolicy
    success: SuccessRule | None
    rate: RateSpec | None
    timeout_s: float
    concurrency_max: int
    lane: Literal["wait", "skip"] | None
    """None: no order. Else what happens to a lane when its head fails."""
    response_bytes_max: int
    uid: str | None = None
    deleted: bool = False
    confirm_s: float | None = None
    """A success is unconfirmed until the receiver says so, for so long; None: a success is one."""
    dead_letter: str | None = None
    """The endpoint that gets what failed here, as it was written: an id or a uid."""
    verify: str = "none"
    credentials: AuthSpec | None = None
    """For a kind that has no headers to carry them in; never shown, never in an outcome."""

    @property
    def public_id(self) -> str:
        """`ep_…`."""
        return "ep_" + self.id.hex()
