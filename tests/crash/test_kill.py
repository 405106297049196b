"""kill -9 and SIGTERM under load, counted outside the program. `KILLS=20 make crash` does it longer."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from tests.acceptance.program import balanced, running, until
from tests.acceptance.receiver import receiving
from tests.crash.load import Publishers, count, leased, subscribe
from tests.crash.run import under_load

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
STOPS = max(3, KILLS // 10) if KILLS > 3 else KILLS
QUIET_S = 120.0


@pytest.mark.crash
@pytest.mark.rule(n=12)
@pytest.mark.timeout(240 + 20 * KILLS)
def test_kill_9_loses_nothing(tmp_path: Path):
    """However often the process is killed, every acknowledged event arrives whole, once for each who wants it, and in
    order; whatever arrives twice was in flight at a kill; and no event ever has some of its deliveries."""
    dice = random.Random(SEED)
    print(f"\nseed {SEED}: {KILLS} kills at any moment")
    with under_load(tmp_path, SEED) as run:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.3, 1.5))
            run.kill()
            run.program.start()
            run.receivers.replay_seeds()
        time.sleep(0.5)
        run.finish()


@pytest.mark.crash
@pytest.mark.rule(n=18)
@pytest.mark.timeout(120 + 20 * STOPS)
def test_sigterm_repeats_nothing(tmp_path: Path):
    """A process that is told to stop under load exits 0, loses nothing, and sends nothing a second time."""
    dice = random.Random(SEED)
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        endpoints = subscribe(program, receiver, SEED, failures=0.05)
        publishers = Publishers(program, SEED)
        publishers.start()
        for _ in range(STOPS):
            time.sleep(dice.uniform(0.3, 1.5))
            assert program.terminate() == 0, program.log()
            assert leased(program, tmp_path / "copy") == set()
            program.start()
        time.sleep(0.5)
        publishers.stop()
        stats = until(lambda: (s := program.stats())["open"] == dict.fromkeys(s["open"], 0) and s, QUIET_S, 0.2)
        journal = publishers.journal
        result = count(journal, endpoints)
        print(f"\nseed {SEED}: {STOPS} stops, {len(journal.acked)} events, {result.delivered} deliveries")
        assert set(journal.meant) == set(journal.acked)
        assert (result.lost, result.phantom, result.corrupt, result.disordered) == ([], [], [], [])
        assert result.duplicates == []
        assert balanced(stats)
        assert stats["delivered"] == len(endpoints) * len(journal.acked)
        assert program.terminate() == 0
