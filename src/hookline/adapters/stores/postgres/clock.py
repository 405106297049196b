"""The server's clock, as this process sees it: instants are the server's, durations go there (rule 17)."""

from __future__ import annotations

from hookline.ports.clock import Clock


class ServerClock:
    """Follows the server by the monotonic clock. With `told` the process's clock is the time, and the server is told it
    with each statement: for tests."""

    def __init__(self, clock: Clock, *, told: bool) -> None:
        self._clock = clock
        self._is_told = told
        self._anchor_s = clock.monotonic_s()
        self._anchor_ms = clock.wall_ms()

    def now_ms(self) -> int:
        """Milliseconds since 1970 by the server, about."""
        return self._anchor_ms + int((self._clock.monotonic_s() - self._anchor_s) * 1000)

    def told(self) -> int | None:
        """What a statement is told of the time; None: the server knows it."""
        return self.now_ms() if self._is_told else None

    def heard(self, server_ms: int, asked_s: float) -> None:
        """The server said its time in answer to what was asked at `asked_s` of the monotonic clock."""
        if not self._is_told:
            now_s = self._clock.monotonic_s()
            self._anchor_s = now_s
            self._anchor_ms = server_ms + int((now_s - asked_s) * 500)
