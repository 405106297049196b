"""How many processes deliver: more while work waits, fewer when there is room. Pure: time and figures are brought.

What could start now decides, not what is open: a dead endpoint's backlog must not start processes
(docs/reliability.md, rule 19). Between busy and calm is a band in which nothing changes, and a process that had to be
started again soon after it was ended makes the next end wait twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BUSY_OLDEST_S: Final = 1.0
BUSY_SLOTS: Final = 0.8
CALM_OLDEST_S: Final = 0.25
CALM_SLOTS: Final = 0.5
CALM_CORES: Final = 0.6
"""With one process fewer each of the others would use so much of a core at most."""
GROW_S: Final = 3.0
"""Busy for so long: one more."""
GROW_REST_S: Final = 4.0
"""After a change: the one that was started last must show first what it is worth."""
SHRINK_S: Final = 10.0
"""Calm for so long: one fewer. Twice as long after each end that had to be taken back, up to `SHRINK_S_MAX`."""
SHRINK_S_MAX: Final = 640.0
REGRET_S: Final = 60.0
"""A start so soon after an end takes it back."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the processes that deliver said last, all together."""

    oldest_s: float
    """How long the oldest delivery that could start now has been due; 0: there is none."""
    in_flight: int
    slots: int
    """Attempts that may run at once."""
    cores: float = 0.0
    """Processor time used per second."""


class Scale:
    """Between `least` and `most` processes; one step at a time."""

    def __init__(self, least: int, most: int) -> None:
        assert 1 <= least <= most
        self.least = least
        self.most = most
        self._busy_s: float | None = None
        self._calm_s: float | None = None
        self._changed_s = float("-inf")
        self._ended_s = float("-inf")
        self._shrink_s = SHRINK_S

    def wanted(self, processes: int, demand: Demand, now_s: float) -> int:
        """How many there should be, of which `processes` are there. Asked about once a second, on a clock that never
        goes back; whoever asks does what is said."""
        self._busy_s = (now_s if self._busy_s is None else self._busy_s) if _busy(demand) else None
        self._calm_s = (now_s if self._calm_s is None else self._calm_s) if _calm(demand, processes) else None
        if processes < self.least:
            return self.least
        if processes > self.most:
            return self.most
        rested_s = now_s - self._changed_s
        if self._busy_s is not None and now_s - self._busy_s >= GROW_S and rested_s >= GROW_REST_S:
            return self._grown(processes, now_s)
        calm_s = 0.0 if self._calm_s is None else now_s - self._calm_s
        if min(calm_s, rested_s) >= self._shrink_s and processes > self.least:
            self._changed_s = self._ended_s = self._calm_s = now_s
            return processes - 1
        return processes

    def _grown(self, processes: int, now_s: float) -> int:
        if processes == self.most:
            return processes
        regretted = now_s - self._ended_s <= REGRET_S
        self._shrink_s = min(SHRINK_S_MAX, self._shrink_s * 2) if regretted else SHRINK_S
        self._changed_s = now_s
        return processes + 1


def _busy(demand: Demand) -> bool:
    return demand.oldest_s >= BUSY_OLDEST_S or demand.in_flight >= BUSY_SLOTS * demand.slots


def _calm(demand: Demand, processes: int) -> bool:
    """Whether one fewer would do: with its slots gone there is still room, and nobody needs a core for himself."""
    others = processes - 1
    if others < 1 or demand.oldest_s > CALM_OLDEST_S:
        return False
    slots = demand.slots / processes * others
    return demand.in_flight <= CALM_SLOTS * slots and demand.cores <= CALM_CORES * others
