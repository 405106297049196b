"""What the demo itself knows: what was acknowledged to it, what its providers sent in, and what its receivers saw. The
books are held to this."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

LATENCIES_KEPT: Final = 5000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An event that was answered with 202."""

    event_type: str
    deliveries: int
    began_s: float
    """When its publish began, by the demo's own clock."""


@dataclass(slots=True)
class Webhook:
    """A request that a provider (or a forger) sent in, and what it was answered."""

    source: str
    event_type: str
    provider_id: str
    """The provider's own id of it."""
    signature: str
    body: bytes
    began_s: float
    forged: bool = False
    status: int = 0
    """Of the last answer; 0: there was none."""
    event_ids: list[str] = field(default_factory=list)
    """What each answer of success called its event."""

    @property
    def event_id(self) -> str | None:
        """Its event; None: it was not taken."""
        return self.event_ids[0] if self.event_ids else None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request that a receiver answered."""

    subscriber: str
    webhook_id: str
    attempt: str
    status: int
    fault: str | None
    """Why its signature was not valid."""
    body: bytes


@dataclass(slots=True)
class Ledger:
    """Filled by the stream and the receivers, read by the board and the proof."""

    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    """Event id → deliveries it must have, by the demo's own knowledge of who wants what."""
    duplicates: int = 0
    """Repeats that were recognised."""
    refused: Counter[str] = field(default_factory=Counter)
    """Publishes that were refused, by problem code."""
    replayed: int = 0
    """Deliveries made by replays."""
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(subscriber, webhook-id) → requests answered with 2xx."""
    turned_away: Counter[str] = field(default_factory=Counter)
    """Subscriber → requests answered otherwise."""
    dead_letters: dict[str, int] = field(default_factory=dict)
    """Delivery id → how many attempts of it the dead letter told of."""
    confirmed: set[str] = field(default_factory=set)
    """Event ids that the receiver confirmed, and was told that this counted."""
    webhooks: list[Webhook] = field(default_factory=list)
    """All that was sent in."""
    events_in: dict[str, Webhook] = field(default_factory=dict)
    """Event id → the request that it came of."""
    arrived: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """Id of such an event → the bodies that its subscriber took."""
    rejections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Signature of a forged request → what its source noted of it."""
    forged: list[Receipt] = field(default_factory=list)
    """What reached a receiver without a valid signature of ours."""
    latencies_s: dict[str, deque[float]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=LATENCIES_KEPT))
    )
    """Subscriber → publish begun to request received, of first attempts."""
    listener: Callable[[Receipt], None] | None = None
    _early: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def acknowledge(self, event_id: str, acknowledged: Acknowledged, expected: int) -> None:
        """A publish was answered with 202."""
        self.acknowledged[event_id] = acknowledged
        self.expected[event_id] = expected
        self._measure_early(event_id, acknowledged.began_s)

    def came_in(self, webhook: Webhook, event_id: str) -> None:
        """A provider was answered with success."""
        webhook.event_ids.append(event_id)
        self.events_in[event_id] = webhook
        self._measure_early(event_id, webhook.began_s)

    def _measure_early(self, event_id: str, began_s: float) -> None:
        for subscriber, at_s in self._early.pop(event_id, ()):
            self.latencies_s[subscriber].append(at_s - began_s)

    def receive(self, receipt: Receipt, at_s: float) -> None:
        """A receiver answered a request that came at `at_s`."""
        if receipt.fault is not None:
            self.forged.append(receipt)
        elif 200 <= receipt.status < 300:
            self.taken[receipt.subscriber, receipt.webhook_id] += 1
        else:
            self.turned_away[receipt.subscriber] += 1
        if receipt.attempt == "1":
            known = self.acknowledged.get(receipt.webhook_id) or self.events_in.get(receipt.webhook_id)
            if known is not None:
                self.latencies_s[receipt.subscriber].append(at_s - known.began_s)
            else:  # it can arrive before its publisher has read the answer
                self._early.setdefault(receipt.webhook_id, []).append((receipt.subscriber, at_s))
        if self.listener is not None:
            self.listener(receipt)

    def percentiles_ms(self, subscriber: str | None = None) -> tuple[float, float] | None:
        """Median and 99th percentile of the latency, of one subscriber or all; None: nothing arrived yet."""
        chosen = self.latencies_s.values() if subscriber is None else [self.latencies_s[subscriber]]
        values = sorted(value for latencies in chosen for value in latencies)
        if not values:
            return None
        return values[len(values) // 2] * 1000, values[min(len(values) - 1, len(values) * 99 // 100)] * 1000
