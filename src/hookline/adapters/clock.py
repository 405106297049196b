"""The clock of the machine: real time, real chance."""

from __future__ import annotations

import asyncio
import os
import random
import time


class SystemClock:
    """`ports.clock.Clock` by the operating system."""

    def wall_ms(self) -> int:
        """The wall clock in ms since 1970; jumps when somebody sets it."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since some moment in the past; never goes back."""
        return time.monotonic()

    async def sleep(self, wait_s: float) -> None:
        """Return after `wait_s` seconds; at the loop's next turn when it is not positive."""
        await asyncio.sleep(wait_s)

    def dice(self) -> float:
        """Uniform in [0, 1); not fit for secrets."""
        return random.random()  # noqa: S311  spreads waits, guards nothing

    def random_bytes(self, count: int) -> bytes:
        """Bytes from the kernel, fit for keys and nonces."""
        return os.urandom(count)
