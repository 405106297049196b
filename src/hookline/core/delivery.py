"""THE table of a delivery's states. Every change of state anywhere is one of `TRANSITIONS`.

    pending ──► leased ──► delivered            closed: delivered, failed, discarded
       ▲          │  ├───► failed               open:   pending, leased, held, unconfirmed
       └──────────┘  └───► unconfirmed
    held ──► pending   when its endpoint runs again, or its lane's older deliveries are closed

Each open state has one owner that drains it: `OWNER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class State(IntEnum):
    """The states of a delivery. The numbers are stored: they are never changed, only added to."""

    PENDING = 0
    """Due at a time."""
    LEASED = 1
    """Somebody is on it, until a time."""
    HELD = 2
    """Its lane waits for an older one. (An endpoint's pause is a field of the endpoint: reported as held.)"""
    UNCONFIRMED = 3
    """Sent; waits for the receiver's confirmation."""
    DELIVERED = 4
    FAILED = 5
    """Tries used up, or never to be tried again: the dead letter, replayable."""
    DISCARDED = 6
    """A person decided, or its endpoint is gone."""

    @property
    def word(self) -> str:
        """The state's name in the API."""
        return self.name.lower()


OPEN: Final = frozenset({State.PENDING, State.LEASED, State.HELD, State.UNCONFIRMED})
CLOSED: Final = frozenset({State.DELIVERED, State.FAILED, State.DISCARDED})

TRANSITIONS: Final[Mapping[tuple[State | None, State], str]] = {
    (None, State.PENDING): "accepted, to be claimed when due",
    (None, State.LEASED): "accepted and handed to this process's sender in the same commit",
    (None, State.HELD): "accepted behind an older delivery of its lane",
    (None, State.DISCARDED): "its endpoint was deleted, or its event erased, while the fan-out unfolded",
    (State.PENDING, State.LEASED): "claimed when due, or as a probe",
    (State.PENDING, State.HELD): "an older delivery of its lane was reopened before it",
    (State.PENDING, State.FAILED): "expired, or overflow of its endpoint",
    (State.PENDING, State.DISCARDED): "discarded by a person, its endpoint was deleted, or its event erased",
    (State.LEASED, State.PENDING): "tried and to be tried again, released unstarted, or taken back",
    (State.LEASED, State.HELD): "to be tried again, but an older one of its lane was reopened meanwhile",
    (State.LEASED, State.DELIVERED): "the receiver took it",
    (State.LEASED, State.UNCONFIRMED): "the receiver took it and is to confirm it",
    (State.LEASED, State.FAILED): "tries used up, rejected for good, or poison",
    (State.LEASED, State.DISCARDED): "its endpoint was deleted; the attempt in flight was the last",
    (State.HELD, State.PENDING): "promoted: nothing older of its lane is open or blocks",
    (State.HELD, State.FAILED): "expired, or overflow of its endpoint",
    (State.HELD, State.DISCARDED): "discarded by a person, its endpoint was deleted, or its event erased",
    (State.UNCONFIRMED, State.DELIVERED): "the receiver confirmed success",
    (State.UNCONFIRMED, State.PENDING): "the receiver reported an error, or the deadline passed",
    (State.UNCONFIRMED, State.FAILED): "the receiver reported an error and the tries are used up, or expired",
    (State.UNCONFIRMED, State.DISCARDED): "discarded by a person, its endpoint was deleted, or its event erased",
    (State.FAILED, State.PENDING): "retried by a person",
    (State.FAILED, State.HELD): "retried by a person while another of its lane is in flight",
    (State.FAILED, State.DISCARDED): "discarded by a person",
    (State.DISCARDED, State.PENDING): "retried by a person",
    (State.DISCARDED, State.HELD): "retried by a person while another of its lane is in flight",
}
"""(from, to) → why. `None` is "did not exist". A delivered one is never reopened: replay its event instead."""

OWNER: Final[Mapping[State, str]] = {
    State.PENDING: "flow.worker claims it when it is due",
    State.LEASED: "the process that leased it records it; flow.rescue takes it back when that process is gone",
    State.HELD: "closing its lane's head promotes it in the same commit; flow.upkeep sweeps lanes without a head",
    State.UNCONFIRMED: "the receiver's confirmation; at the deadline it is pending again",
}
"""Who drains each open state: nothing can stay open without an owner."""

LEASE_MARGIN_S: Final = 15.0
"""A lease lasts the endpoint's `timeout_s` plus this."""
START_MARGIN_S: Final = 5.0
"""No attempt starts with less lease left than `timeout_s` plus this."""
UNSTARTED_S_MAX: Final = 5.0
"""What was handed off or claimed and has not started after this is released."""
LOST_BACKOFF_FROM: Final = 5
"""From this many take-backs on, a delivery waits 2 ** lost seconds."""
LOST_MAX: Final = 20
"""After this many take-backs a delivery is `failed`, reason `poison`."""


def allowed(before: State | None, after: State) -> bool:
    """Whether the state table has this transition."""
    return (before, after) in TRANSITIONS


def lost_wait_s(lost: int) -> float | None:
    """Seconds to wait after the take-back number `lost`; None: no more tries, it is poison."""
    if lost >= LOST_MAX:
        return None
    return float(2**lost) if lost >= LOST_BACKOFF_FROM else 0.0
