"""The fixtures that the contract suites share."""

from __future__ import annotations

import pytest

from hookline.testing.clock import ToldClock


@pytest.fixture
def clock() -> ToldClock:
    """The clock that the store, the sender and the test share."""
    return ToldClock()
