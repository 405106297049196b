"""What a proven request is: its events, or the answer to a handshake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from hookline.core.verifiers.inbound import Inbound
from hookline.sdk.answer import Answer
from hookline.sdk.event import Event
from hookline.sdk.steps import Steps


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that is proven. Iterating gives its events."""

    events: tuple[Event, ...] = ()
    """In the order of the request; none for a handshake, and for an array that was empty."""
    handshake: Answer | None = None
    """What to answer to a question about this address; there is nothing else to do then."""
    reply: Answer | None = None
    """What this provider wants to hear when the events are safe; None: the kit's own answer will do."""

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    @property
    def event(self) -> Event:
        """The one event. Raises `LookupError` where there are more or none: go through `events` then."""
        if len(self.events) != 1:
            raise LookupError(f"This request has {len(self.events)} events.")
        return self.events[0]


class Prover(Protocol):
    """Proves who sent a request, and reads it."""

    @property
    def name(self) -> str:
        """What the keys of a replay guard begin with."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that the sender uses, handshakes included."""
        ...

    @property
    def is_several(self) -> bool:
        """Whether a request may have several events."""
        ...

    def prove(self, request: Inbound, now_s: float) -> Steps[Delivery]:
        """The steps to a delivery. They raise `VerificationError` and nothing else."""
        ...
