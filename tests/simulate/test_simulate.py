"""The short form of `make simulate`: the first seeds, in a process of their own that hashes as every other one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SEEDS", "200"))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("SEED", "SEEDS")}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulate", *arguments],
        cwd=ROOT,
        env=inherited | environment | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_must_hold_holds_in_every_walk() -> None:
    """Whatever happens in the walks of the first seeds, no invariant is broken and everything is closed at the end."""
    ended = run(str(SEEDS))
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-5_000:]
    assert f"{SEEDS} seeds from 0, 0 failed" in ended.stdout


@pytest.mark.timeout(300)
def test_a_seed_walks_the_same_way_again() -> None:
    """Two processes that walk one seed tell of the same things at the same times."""
    first, second = run(SEED="10"), run(SEED="10")
    assert first.returncode == 0, first.stdout[-5_000:] + first.stderr
    assert first.stdout == second.stdout
    assert "crash" in first.stdout
