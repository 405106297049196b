"""What is asked of a claim, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hookline.core.endpoint import RateSpec
from hookline.core.event import Event


class ClaimEntry(msgspec.Struct, frozen=True, gc=False):
    """How much of one endpoint may be claimed now."""

    endpoint_id: bytes
    slots: int
    """Free slots of this process."""
    lease_s: float
    concurrency_max: int
    """Over all processes: at most this minus the leases that claims hold already (hand-offs are not counted)."""
    rate: RateSpec | None = None
    probe: bool = False
    """The endpoint is failing and a probe is due: one slot, for its oldest pending delivery, due or not, and only
    if no other lease of it is running."""


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is now ours until its lease ends."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    event: Event
    tries: int
    """Tries used up before this one."""
    attempts: int
    """Attempts made before this one (probes included)."""
    lost: int
    lease_s: float
    lane: str | None = None
    replay: bool = False
    early_s: float = 0.0
    """A probe that comes so long before the delivery's own time (uses up no try); 0 when it was due."""


class ClaimResult(msgspec.Struct, frozen=True, gc=False):
    """What was claimed, and when to come back for more."""

    claimed: Sequence[Claimed]
    next_due_s: dict[bytes, float | None]
    """Per endpoint asked for: seconds until its next pending delivery may be claimed (0: more is due now, or only
    slots, cap or tokens were missing), None: nothing pending. A rate's missing token counts as wait."""
