"""An endpoint's health: when a receiver counts as failing, when it is probed, and when it is given up. Pure.

Failures are counted at most once per second, so that a burst is one failure. Ten in a row: the endpoint is failing.
From then on only probes are sent, 1, 2, 4 … 60 s after the last failure, until one succeeds. Five days after the
first failure of the row, the next failed probe disables the endpoint: what waits is held, not lost.
docs/reliability.md, rule 14.
"""

from __future__ import annotations

from typing import Final

import msgspec

FAILING_AFTER: Final = 10
COUNTED_EVERY_MS: Final = 1000
PROBE_S_MAX: Final = 60.0
CONCURRENCY_MAX: Final = 1024
DISABLED_AFTER_MS: Final = 5 * 86_400 * 1000
_CLOCK_SLACK_MS: Final = 500


class Health(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of an endpoint's health. Instants are the store's clock, ms since 1970. The default is healthy.

    Stored as a packed array: fields are only ever added, at the end, with a default.
    """

    failures: int = 0
    """Counted failures in a row."""
    first_at_ms: int = 0
    """When the row began."""
    counted_at_ms: int = 0
    """When the last one was counted."""
    failing: bool = False
    probes: int = 0
    """Failed probes in a row."""

    def pack(self) -> bytes:
        """For the store; empty while healthy."""
        return b"" if self == HEALTHY else _encoder.encode(self)

    @staticmethod
    def unpack(packed: bytes) -> Health:
        """What `pack` made."""
        return _decoder.decode(packed) if packed else HEALTHY

    @property
    def probe_s(self) -> float | None:
        """Seconds between the last counted failure and the next probe; None: not failing."""
        return min(PROBE_S_MAX, 2.0 ** min(self.probes, 10)) if self.failing else None


HEALTHY: Final = Health()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Health)


class Step(msgspec.Struct, frozen=True, gc=False):
    """What an attempt did to an endpoint's health."""

    health: Health
    changed: bool = False
    """False: `health` is the one before, nothing is to be stored or done."""
    probe_s: float | None = None
    """Changed, and failing: nothing is sent before so long, and then a probe. None: what was said before holds."""
    became_failing: bool = False
    recovered: bool = False
    """It was failing and works again: start slowly."""
    disable: bool = False


def after_failure(health: Health, now_ms: int) -> Step:
    """An attempt failed at `now_ms`.

    While the endpoint is failing, what was still in flight is not counted: only what ends when a probe was due.
    """
    since_ms = now_ms - health.counted_at_ms
    if health.failing:
        probe_s = health.probe_s
        assert probe_s is not None
        if 0 <= since_ms < probe_s * 1000 - _CLOCK_SLACK_MS:
            return Step(health)
        disable = now_ms - health.first_at_ms >= DISABLED_AFTER_MS
        later = Health(health.failures + 1, health.first_at_ms, now_ms, failing=True, probes=health.probes + 1)
        return Step(later, changed=True, probe_s=later.probe_s, disable=disable)
    if health.failures and 0 <= since_ms < COUNTED_EVERY_MS:
        return Step(health)
    failures = health.failures + 1
    first_at_ms = health.first_at_ms if health.failures else now_ms
    later = Health(failures, first_at_ms, now_ms, failures >= FAILING_AFTER)
    return Step(later, changed=True, probe_s=later.probe_s, became_failing=later.failing)


def after_success(health: Health, now_ms: int) -> Step:  # noqa: ARG001 - both steps have one shape
    """An attempt succeeded at `now_ms`: the row of failures ends."""
    if not health.failures:
        return Step(health)
    return Step(HEALTHY, changed=True, recovered=health.failing)


class SlowStart:
    """How much may be sent at once to an endpoint that has just come back: `cap` is 1, then 1 more per success, half
    after each failure, never above `concurrency_max` (the endpoint's, so that a failure halves what was in use)."""

    __slots__ = ("cap", "concurrency_max")

    def __init__(self, concurrency_max: int = CONCURRENCY_MAX) -> None:
        assert concurrency_max >= 1
        self.concurrency_max = concurrency_max
        self.cap = 1

    def success(self) -> None:
        """An attempt succeeded."""
        self.cap = min(self.concurrency_max, self.cap + 1)

    def failure(self) -> None:
        """An attempt failed."""
        self.cap = max(1, self.cap // 2)

    def restart(self) -> None:
        """The endpoint has recovered or was resumed: from 1 again."""
        self.cap = 1
