"""Time and chance come in here, so that every rule is a test with no sleep."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells time, waits, and draws. `hookline.testing.clock.ToldClock` is one that is told what to say."""

    def wall_ms(self) -> int:
        """The wall clock in ms since 1970: may jump. Only signatures and the store's anchor use it."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; for durations."""
        ...

    async def sleep(self, wait_s: float) -> None:
        """Return after `wait_s` seconds of this clock."""
        ...

    def dice(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Bytes fit for keys and nonces."""
        ...
