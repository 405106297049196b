"""The way out. Free of HTTP: a request for one or more deliveries goes in, an outcome per delivery comes out.

Each endpoint `kind` has one sender, which owns the form of its address and config, how an event becomes bytes
there, and what counts as success. `hookline.testing.sender_contract` is what every sender promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from hookline.core.attempt import Outcome
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.event import Event


class Item(msgspec.Struct, frozen=True, gc=False):
    """One delivery to be sent."""

    delivery_id: bytes
    fence: int
    event: Event
    attempt: int
    """Number of this attempt, from 1."""
    confirm_url: str | None = None
    """Where the receiver confirms it: he is told with the delivery, and what is kept of the exchange has it masked.
    None: not asked for."""
    whole: bool = False
    """Somebody waits for what the receiver answers: all that is read of the body goes into `Outcome.answer`, where a
    kind has such a thing."""


class SendRequest(msgspec.Struct, frozen=True, gc=False):
    """One or more deliveries of one endpoint that travel together."""

    endpoint: Endpoint
    items: Sequence[Item]
    now_ms: int
    """The wall clock, for timestamps and signatures."""


class VerifyRequest(msgspec.Struct, frozen=True, gc=False):
    """A question to an endpoint: does it want to be one?"""

    endpoint: Endpoint
    how: str
    """`challenge`: our signed challenge is to be echoed. `cloudevents`: the handshake of the HTTP 1.1 Web Hooks for
    Event Delivery specification. (`test` is an ordinary `send`.)"""
    challenge: str
    """Unguessable text, made for this question."""
    event: Event
    """The challenge as an event, for its id, time and signature."""
    now_ms: int
    origin: str
    """Our own host name."""
    callback_url: str | None = None
    """Where consent may be given later."""


class Consent(msgspec.Struct, frozen=True, gc=False):
    """What the endpoint said."""

    given: bool
    outcome: Outcome
    """The exchange, as of any attempt; its `detail` says what was missing."""
    rate_per_min: int | None = None
    """The most it allows; None: no limit."""


Done = Callable[[Sequence[Outcome]], None]
"""Takes the outcomes of one request: one per item, in order."""


class Sender(Protocol):
    """Delivers to endpoints of one kind."""

    kind: str
    """The endpoint kind it serves, as `http`."""

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        """Judge an address and config at creation. Returns warnings; raises `Refusal` (`address_refused`,
        `invalid_endpoint`). May look names up, bounded; never sends."""
        ...

    def destination(self, endpoint: Endpoint) -> str:
        """The shared resource behind an endpoint (`host:port`), which has a concurrency cap of its own."""
        ...

    def start(self, request: SendRequest, done: Done) -> None:
        """Begin one attempt of each of the request's items. Never raises, whatever the other side does.

        `done` is called exactly once, on the loop: within the endpoint's `timeout_s` plus 1 s, and maybe before
        `start` returns. An attempt that has begun is not taken back: it goes on to its own end. `done` must not raise.
        """
        ...

    async def verify(self, request: VerifyRequest) -> Consent:
        """Ask for consent. Never raises for anything the other side does; ends within `timeout_s` plus 1 s. A kind
        that cannot be asked refuses `verify` in `check`."""
        ...

    async def close(self) -> None:
        """End kept connections and begin nothing more. Attempts in flight go on to their own end: who wants to know
        of it waits for them before."""
        ...
