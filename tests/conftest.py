"""What all tests share: no setting of the machine reaches them, and a failing contract says what it compared."""

from __future__ import annotations

import os

import pytest

pytest.register_assert_rewrite("hookline.testing")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the machine that runs the tests are not there."""
    for name in [name for name in os.environ if name.startswith("HOOKLINE_")]:
        monkeypatch.delenv(name)
