"""What `hookline tail --summary` counts: per endpoint, since it began, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RATE_S: Final = 10
"""Rates are of so many seconds."""
DURATIONS_MAX: Final = 500
"""Percentiles are of so many attempts."""
ENDPOINTS_MAX: Final = 2000


class Rate:
    """How many a second, over the last ten."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque(maxlen=RATE_S + 1)

    def add(self, now_s: float) -> None:
        """One more."""
        second = int(now_s)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])

    def per_s(self, now_s: float, begun_s: float) -> float:
        """The rate now. Before ten seconds have passed since `begun_s` it is of as many as have."""
        since = int(now_s) - RATE_S
        count = sum(count for second, count in self._seconds if second > since)
        return count / max(1.0, min(float(RATE_S), now_s - begun_s))


@dataclass(slots=True)
class Row:
    """An endpoint."""

    name: str
    state: str = ""
    delivered: int = 0
    retried: int = 0
    failed: int = 0
    attempts: Rate = field(default_factory=Rate)
    durations_ms: deque[float] = field(default_factory=lambda: deque(maxlen=DURATIONS_MAX))
    error: str = ""
    """Of its last attempt that failed."""
    at_s: float = 0.0
    """When something happened last."""

    def percentiles_ms(self) -> tuple[float, float] | None:
        """p50 and p95 of the last attempts."""
        return percentiles(self.durations_ms)


def percentiles(values: Sequence[float] | deque[float]) -> tuple[float, float] | None:
    """p50 and p95 (nearest rank); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2], ordered[min(len(ordered) - 1, (len(ordered) * 95) // 100)]


class Tally:
    """Counts messages of the stream."""

    def __init__(self, now_s: float) -> None:
        self.begun_s = now_s
        self.rows: dict[str, Row] = {}
        self.events = 0
        self.attempts = 0
        self.delivered = 0
        self.failed = 0
        self.resets = 0
        self.events_rate = Rate()
        self.attempts_rate = Rate()
        self.durations_ms: deque[float] = deque(maxlen=DURATIONS_MAX)

    def add(self, kind: str, data: Mapping[str, Any], now_s: float) -> None:
        """One entry."""
        if kind == "event":
            self.events += 1
            self.events_rate.add(now_s)
        elif kind == "attempt":
            self._attempt(data, now_s)
        elif kind == "delivery":
            row = self._row(data, now_s)
            self._closed(row, data["after"])
        elif kind == "endpoint":
            self._row(data, now_s).state = str(data["after"])
        elif kind == "reset":
            self.resets += 1

    def busiest(self, count: int) -> list[Row]:
        """The rows in which something happened last, by name."""
        latest = sorted(self.rows.values(), key=lambda row: row.at_s, reverse=True)[:count]
        return sorted(latest, key=lambda row: row.name)

    def _attempt(self, data: Mapping[str, Any], now_s: float) -> None:
        self.attempts += 1
        self.attempts_rate.add(now_s)
        self.durations_ms.append(data["duration_ms"])
        row = self._row(data, now_s)
        row.attempts.add(now_s)
        row.durations_ms.append(data["duration_ms"])
        outcome = data["outcome"]
        if outcome == "delivered":
            self._closed(row, "delivered")
            return
        if outcome == "unconfirmed":
            return
        status = data["status"]
        row.error = f"{data['reason'] or outcome}{'' if status is None else f' {status}'}"
        if data["next_at"] is not None:
            row.retried += 1
        else:
            self._closed(row, "failed")

    def _closed(self, row: Row, state: str) -> None:
        if state == "delivered":
            row.delivered += 1
            self.delivered += 1
        elif state == "failed":
            row.failed += 1
            self.failed += 1

    def _row(self, data: Mapping[str, Any], now_s: float) -> Row:
        identifier = str(data["endpoint_id"])
        row = self.rows.get(identifier)
        if row is None:
            if len(self.rows) >= ENDPOINTS_MAX:
                identifier = "others"
            row = self.rows.setdefault(identifier, Row(identifier))
        if data.get("endpoint_uid") and identifier != "others":
            row.name = str(data["endpoint_uid"])
        row.at_s = now_s
        return row
