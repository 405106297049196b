"""When everything that lives is searched for cycles."""

from __future__ import annotations

import gc
import weakref

from hookline.garbage import EVERY_S, LATEST_S, Garbage


class _Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_cycles_go_when_nobody_publishes_and_at_the_latest_after_a_while():
    """While somebody publishes nothing is searched until it has to be; then what only refers to itself is freed."""
    now_s, busy = 0.0, True
    garbage = Garbage(lambda: busy, lambda: now_s)
    gc.disable()
    try:
        knot = weakref.ref(_Knot())
        now_s = EVERY_S + 1
        assert not garbage.look()
        assert knot() is not None
        busy = False
        assert garbage.look()
        assert knot() is None
        assert not garbage.look()  # done a moment ago
        busy, now_s = True, now_s + LATEST_S - 1
        assert not garbage.look()
        now_s += 2
        assert garbage.look()
    finally:
        gc.enable()
