"""An attempt in flight: what its outcome belongs to."""

from __future__ import annotations

from collections.abc import Callable

from hookline.core.attempt import Outcome
from hookline.flow.channel import Channel, Job
from hookline.flow.send import Once
from hookline.ports.observer import Observer


class Attempt(Once):
    """Begun with a job, for an endpoint and at a destination that may both be others by its end; `ends` is told of it
    and its outcome, once."""

    __slots__ = ("_ends", "channel", "destination", "job", "started_ms", "started_s")

    def __init__(
        self,
        ends: Callable[[Attempt, Outcome], None],
        observer: Observer,
        channel: Channel,
        job: Job,
        started_ms: int,
        started_s: float,
    ) -> None:
        super().__init__(channel.endpoint, observer)
        self._ends = ends
        self.channel = channel
        self.destination = channel.destination
        self.job = job
        self.started_ms = started_ms
        self.started_s = started_s

    def ended(self, outcome: Outcome) -> None:
        """Its outcome, once."""
        self._ends(self, outcome)
