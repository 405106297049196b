"""Fenced changes of open deliveries, and the health of endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hookline.core.delivery import State
from hookline.ports.store.accept import NewEvent


class RecordItem(msgspec.Struct, frozen=True, gc=False):
    """A fenced change of one open delivery, with all that hangs on it."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    tenant: str
    after: State
    """PENDING (again after `wait_s`), DELIVERED, FAILED, DISCARDED, or UNCONFIRMED (until a deadline in `wait_s`; at
    once where the receiver has spoken already, see `Confirmations.confirm`)."""
    wait_s: float = 0.0
    tries: int = 0
    """Added to the tries used up."""
    lost: int = 0
    """Added to the take-backs; any attempt that ran sets them back to 0."""
    reason: str | None = None
    attempt: bytes | None = None
    """The packed attempt, kept under (delivery, fence); also adds 1 to its attempts. None: no attempt ran."""
    lane_waits: bool = True
    """After FAILED in a lane: True blocks the lane, False promotes the next."""
    events: Sequence[NewEvent] = ()
    """Made only if this change applies."""


class HealthRow(msgspec.Struct, frozen=True, gc=False):
    """An endpoint's health as stored. `packed` is the core's; the waits are from now (None: none)."""

    endpoint_id: bytes
    version: int
    """0: no row yet."""
    packed: bytes = b""
    wait_s: float | None = None
    """Nothing of it is claimed before (Retry-After)."""
    probe_s: float | None = None
    """It is failing: nothing but a probe is claimed, and that not before so long. None: not failing."""


class HealthChange(msgspec.Struct, frozen=True, gc=False):
    """A compare-and-set of an endpoint's health: applies only if the stored version is `row.version`, which it
    raises by 1. `disable` also sets the endpoint's state to disabled (and raises the registry version); one that is
    unverified by then is another endpoint to its receiver: it stays so, and `events` are not made."""

    row: HealthRow
    disable: bool = False
    events: Sequence[NewEvent] = ()


class RecordResult(msgspec.Struct, frozen=True, gc=False):
    """What of a record applied."""

    applied: Sequence[bool]
    """Per item. False: the fence had moved on, or its success was said meanwhile; nothing of that item was done."""
    health_applied: Sequence[bool]
    due_s: dict[bytes, float]
    """Endpoints that have something pending through this commit (retry, promotion, new event), and in how many
    seconds the earliest of it is due."""


class OpenRef(msgspec.Struct, frozen=True, gc=False):
    """An open delivery, enough to record a change of it."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    tenant: str
    event_id: bytes
    state: State
    lost: int = 0
