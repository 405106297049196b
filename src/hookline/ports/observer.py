"""Who watches: metrics and logs. Called on the hot path, so every method is synchronous, cheap and never raises."""

from __future__ import annotations

from typing import Protocol

from hookline.core.endpoint import Endpoint


class Observer(Protocol):
    """Told of facts, one call per fact or per batch of facts."""

    def accepted(self, events: int, deliveries: int, duplicates: int) -> None:
        """A publish was answered."""
        ...

    def refused(self, code: str) -> None:
        """A publish was refused, with its problem code."""
        ...

    def committed(self, kind: str, items: int, wait_s: float) -> None:
        """A shared commit of `kind` (`accept`, `record`, `claim`) held so many items; the oldest waited so long."""
        ...

    def attempted(self, endpoint: Endpoint, kind: str, reason: str | None, status: int | None, total_s: float) -> None:
        """An attempt ended with an outcome of `kind`."""
        ...

    def closed(self, state: str, count: int) -> None:
        """Deliveries were closed as `state` (delivered, failed, discarded)."""
        ...

    def received(self, source: str, outcome: str, count: int) -> None:
        """A request from a source was answered: so many events of it were `accepted`, `duplicate`, `quarantined` or
        `spooled` (and later one of the others), or it was a `handshake`. `source` is its name, or its id where that
        says more."""
        ...

    def rejected(self, source: str, reason: str, **fields: object) -> None:
        """A request to a source (empty: to none that is known) was refused; `reason` is a stable code. Fields as of
        `fact`; at most one line a second per source and reason is written."""
        ...

    def endpoint_changed(self, endpoint: Endpoint, what: str, detail: str) -> None:
        """An endpoint is `failing`, `recovered`, `disabled` or `waiting`."""
        ...

    def fact(self, name: str, **fields: object) -> None:
        """Anything rare worth a log line: `name` is stable, fields are plain values, never a secret or payload."""
        ...

    def warn(self, name: str, **fields: object) -> None:
        """A fact that a person should look at. At most one line a second per name is written."""
        ...
