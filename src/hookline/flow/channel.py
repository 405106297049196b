"""What a process knows of one endpoint while it delivers to it: its queue, its slots, its health.

A channel decides, the pump in `flow.deliver` does. Nothing here waits.
"""

from __future__ import annotations

from collections import deque

import msgspec

from hookline.core.endpoint import Endpoint
from hookline.core.event import Event
from hookline.core.health import Health, SlowStart
from hookline.ports.clock import Clock


class Job(msgspec.Struct, gc=False):
    """A leased delivery on its way."""

    delivery_id: bytes
    fence: int
    endpoint_id: bytes
    event: Event
    tries: int
    attempts: int
    lane: str | None
    lease_until_s: float
    """Monotonic: when the lease ends."""
    since_s: float
    """Monotonic: when it came into the queue."""
    early_s: float = 0.0
    handed_off: bool = False
    probe: bool = False


class Destination:
    """The resource behind endpoints (`host:port`): its attempts in flight, and who waits for one to end."""

    __slots__ = ("in_flight", "queued", "users", "waiting")

    def __init__(self) -> None:
        self.in_flight = 0
        self.queued = 0
        """Leased here for it and not started."""
        self.users = 0
        """Channels that lead to it."""
        self.waiting: deque[Channel] = deque()


class Channel:
    """One endpoint's way out of this process."""

    __slots__ = (
        "_second",
        "_this_second",
        "blocked",
        "claimed",
        "destination",
        "disabling",
        "endpoint",
        "finished_last_s",
        "handed",
        "health",
        "health_dirty",
        "health_version",
        "hinted_s",
        "in_flight",
        "leased_by_claim",
        "overflow",
        "probe_at_s",
        "reserved",
        "slow",
        "takes",
        "turn",
        "wait_until_s",
    )

    def __init__(self, endpoint: Endpoint, destination: Destination) -> None:
        self.endpoint: Endpoint
        self.takes: bool
        """Whether its endpoint is one that is delivered to: active, and not deleted."""
        self.change(endpoint)
        self.destination = destination
        self.handed: deque[Job] = deque()
        self.claimed: deque[Job] = deque()
        self.turn = False
        self.in_flight = 0
        self.reserved = 0
        """Hand-offs promised to accepts that are not committed yet."""
        self.leased_by_claim = 0
        """Claimed and not recorded yet: what the store counts against the cap."""
        self.overflow = False
        """The store has due deliveries of it: no new hand-off until a claim finds nothing more."""
        self.blocked = False
        """It waits in a line (its destination's or the process's) for a slot."""
        self.health = Health()
        self.health_version = 0
        self.health_dirty = False
        self.disabling = False
        """It is to be disabled, in the commit of the outcome that says so."""
        self.wait_until_s = 0.0
        self.probe_at_s: float | None = None
        self.slow = SlowStart(endpoint.concurrency_max)
        self.hinted_s = float("-inf")
        """Monotonic: when other processes were told last that it has more than starts here."""
        self.finished_last_s = 0
        self._this_second = 0
        self._second = 0

    def change(self, endpoint: Endpoint) -> None:
        """This is the endpoint from now on."""
        self.endpoint = endpoint
        self.takes = endpoint.state.delivers and not endpoint.deleted

    @property
    def queued(self) -> int:
        """Leased here and not started."""
        return len(self.handed) + len(self.claimed)

    @property
    def idle(self) -> bool:
        """Nothing would be lost by forgetting this channel's queues and counts."""
        return not (self.queued or self.in_flight or self.reserved or self.leased_by_claim)

    def cap(self) -> int:
        """How many attempts may run at once now: the endpoint's limit, less while it comes back."""
        return min(self.endpoint.concurrency_max, self.slow.cap)

    def open(self, now_s: float) -> bool:
        """Whether the endpoint takes deliveries at all: active, healthy and not asking for a pause."""
        return self.takes and not self.disabling and self.wait_until_s <= now_s and not self.health.failing

    def window(self, now_s: float, workers: int = 1) -> int:
        """Room for further hand-offs: free slots plus what it finished in the last second, less what waits. While so
        many processes deliver, each has its share of the cap; what has an order or a rate, or of which there is no
        share for each, is claimed (docs/reliability.md, rule 10)."""
        endpoint = self.endpoint
        if workers > 1:
            if endpoint.rate is not None or endpoint.lane is not None:
                return 0
            handed = self.in_flight + self.queued + self.reserved - self.leased_by_claim
            return min(self.cap(), endpoint.concurrency_max // workers) - handed
        self._roll(int(now_s))
        busy = self.in_flight + self.queued + self.reserved
        return self.cap() + max(self.finished_last_s, self._this_second) - busy

    def hints_again(self, clock: Clock, again_s: float | None) -> bool:
        """Whether other processes, if there are any, are to be told now that it has more due than starts here."""
        if again_s is None or (now_s := clock.monotonic_s()) - self.hinted_s < again_s:
            return False
        self.hinted_s = now_s
        return True

    def claim_slots(self) -> int:
        """How much may be claimed for it now."""
        return self.cap() - self.in_flight - len(self.claimed) - min(1, len(self.handed))

    def finished(self, now_s: float) -> None:
        """An attempt ended: counts for the window."""
        self._roll(int(now_s))
        self._this_second += 1

    def next_job(self) -> Job | None:
        """The next to start: what was handed off and what was claimed take turns."""
        self.turn = not self.turn
        first, second = (self.handed, self.claimed) if self.turn else (self.claimed, self.handed)
        if first:
            return first.popleft()
        return second.popleft() if second else None

    def take_all(self) -> list[Job]:
        """Everything that has not started, removed."""
        jobs = [*self.handed, *self.claimed]
        self.handed.clear()
        self.claimed.clear()
        return jobs

    def take_ordinary(self) -> list[Job]:
        """Everything that has not started and is no probe, removed."""
        jobs = [job for job in (*self.handed, *self.claimed) if not job.probe]
        self.handed = deque(job for job in self.handed if job.probe)
        self.claimed = deque(job for job in self.claimed if job.probe)
        return jobs

    def take_older(self, since_s: float) -> list[Job]:
        """What came before `since_s` and has not started, removed. Queues are in order of arrival."""
        jobs: list[Job] = []
        for queue in (self.handed, self.claimed):
            while queue and queue[0].since_s <= since_s:
                jobs.append(queue.popleft())
        return jobs

    def _roll(self, second: int) -> None:
        if second != self._second:
            self.finished_last_s = self._this_second if second == self._second + 1 else 0
            self._this_second = 0
            self._second = second
