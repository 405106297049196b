"""Tells several observers the same facts."""

from __future__ import annotations

from hookline.core.endpoint import Endpoint
from hookline.ports.observer import Observer


class Tee:
    """An `Observer` that passes every fact on, in the order given."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.accepted(events, deliveries, duplicates)

    def refused(self, code: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.refused(code)

    def committed(self, kind: str, items: int, wait_s: float) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.committed(kind, items, wait_s)

    def attempted(self, endpoint: Endpoint, kind: str, reason: str | None, status: int | None, total_s: float) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.attempted(endpoint, kind, reason, status, total_s)

    def closed(self, state: str, count: int) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.closed(state, count)

    def received(self, source: str, outcome: str, count: int) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.received(source, outcome, count)

    def rejected(self, source: str, reason: str, **fields: object) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.rejected(source, reason, **fields)

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.endpoint_changed(endpoint, what, detail)

    def fact(self, name: str, **fields: object) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.fact(name, **fields)

    def warn(self, name: str, **fields: object) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.warn(name, **fields)
