"""Replay guards: what remembers which deliveries were handled, so that a repeated one runs its handler once.

A guard is asked before the handler runs (`begin`) and told afterwards (`done`, or `release` where it failed). Between
the two the claim is `running`: whoever delivers the same meanwhile is told to come again, because "I have it already"
would lose the event if the handler then failed. A claim of a process that died ends by itself after the guard's
`lease_s`; a `Claim` has a fence, so that what a process does with a claim that it lost changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of `begin`."""

    key: str
    """What was claimed."""
    state: Literal["first", "running", "done"]
    """`first`: it is yours, run the handler. `running`: somebody is on it. `done`: it was handled."""
    fence: str = ""
    """Of a claim that is `first`: tells it from every other claim of the key, earlier or later."""


class ReplayGuard(Protocol):
    """Remembers keys for at least as long as the sender repeats. May be called from several threads at once.

    A key is `<verifier's name>:<the event's id>`. Whatever a method raises, the sender is answered 503 and tries again.
    """

    def begin(self, key: str) -> Claim:
        """Claim a key, unless it is done or claimed."""
        ...

    def done(self, claim: Claim) -> None:
        """Its handler ended well: the key is `done` from now on. Nothing, if the claim was lost meanwhile."""
        ...

    def release(self, claim: Claim) -> None:
        """Its handler failed: the next `begin` is `first` again. Nothing, if the claim was lost meanwhile."""
        ...


class AsyncReplayGuard(Protocol):
    """The same for an event loop."""

    async def begin(self, key: str) -> Claim:
        """As `ReplayGuard.begin`."""
        ...

    async def done(self, claim: Claim) -> None:
        """As `ReplayGuard.done`."""
        ...

    async def release(self, claim: Claim) -> None:
        """As `ReplayGuard.release`."""
        ...


AnyReplayGuard: TypeAlias = ReplayGuard | AsyncReplayGuard
