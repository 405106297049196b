"""The machine's clock is set back and forth under the running program, by libfaketime: the wall alone jumps."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.acceptance.program import Program, needs, until
from tests.acceptance.receiver import Answer, Hit, receiving
from tests.crash.chaos import LONG, Endpoint, count, metric, publish, publishing, settled

HOUR_S = 3600
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WALLS_S = (HOUR_S, 0, -HOUR_S, 0, HOUR_S, -HOUR_S) * 3 if LONG else (HOUR_S, -HOUR_S)
"""How far the wall is ahead, one after the other."""
NEAR_S = 600
SLOW_S = 7.0
"""Longer than the five seconds between two looks for leases that are over."""


class Wall:
    """The wall clock of a program."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall"
        self._next = folder / "wall-next"
        self.ahead_s = 0
        self.set(0)

    def set(self, ahead_s: int) -> None:
        """So far ahead from now on."""
        self._next.write_text(f"{ahead_s:+d}")
        self._next.replace(self._file)
        self.ahead_s = ahead_s

    def environment(self) -> Mapping[str, str]:
        """What a program needs to see it: libfaketime, asked anew each time, for the wall alone."""
        words = [needs("faketime"), "-f", "+0", "env"]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        (library,) = (line for line in told.splitlines() if line.startswith("LD_PRELOAD="))
        return {
            "LD_PRELOAD": library.removeprefix("LD_PRELOAD="),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def near(self, hit: Hit) -> bool:
        """Whether a request was signed with the time of now."""
        return abs(signed_at(hit) - (time.time() + self.ahead_s)) < NEAR_S

    def hours(self, hit: Hit) -> int:
        """By how many hours the wall was ahead when a request was signed; it came within the last minutes."""
        ahead_s = signed_at(hit) - (time.time() - (time.monotonic() - hit.at_s))
        assert abs(ahead_s - round(ahead_s / HOUR_S) * HOUR_S) < NEAR_S, ahead_s
        return round(ahead_s / HOUR_S)


def signed_at(hit: Hit) -> int:
    """The time that a request was signed with; its signature must be right."""
    stamp = hit.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    proof = hmac.new(key, f"{hit.id}.{stamp}.".encode() + hit.body, hashlib.sha256).digest()
    assert f"v1,{base64.b64encode(proof).decode()}" in hit.headers["webhook-signature"].split()
    return int(stamp)


@pytest.mark.rule(n=17)
@pytest.mark.crash
@pytest.mark.timeout(300 + 30 * len(WALLS_S))
def test_rule_17_the_clock_jumps_by_an_hour_under_load(tmp_path: Path):
    """Set back and forth by an hour under load, the program loses nothing, repeats nothing that was in flight, leaves
    nothing overdue, signs with the wall's time, and makes ids that only rise (rule 17)."""
    wall = Wall(tmp_path)
    program = Program(tmp_path / "hookline", more=wall.environment())
    try:
        with receiving() as receiver:
            program.start()
            steady = Endpoint(program, receiver, "clock.*", secret=SECRET, timeout_s=30)
            again = Endpoint(program, receiver, "clock.*", retry={"schedule_s": [0.2] * 100, "jitter": 0}, timeout_s=30)
            slow_url = receiver.url(lambda _hit, before: Answer(wait_s=SLOW_S if before >= 5 else 0))
            program.endpoint(slow_url, event_types=["slow.*"], timeout_s=30)
            slow = [publish(program, "slow.test", "warm") for _ in range(5)]
            program.quiet()
            with publishing(program, "clock.test", pause_s=0.05) as publishers:
                for ahead_s in WALLS_S:
                    if ahead_s > wall.ahead_s:
                        slow += [publish(program, "slow.test", ahead_s) for _ in range(3)]
                        receiver.came(slow_url, len(slow), 60)
                    seen = len(steady.hits)
                    again.answer = Answer(500)
                    wall.set(ahead_s)
                    # Signed with the new time; what is sent from now on is near it, however long it was on its way.
                    until(lambda seen=seen: any(wall.near(hit) for hit, _ in steady.hits[seen:]), 60)
                    again.answer = Answer(200)
                journal = publishers.stop()
            stats = settled(program)
            stamps = Counter(wall.hours(hit) for hit, _ in steady.hits)
            overdue_s = metric(program, "hookline_runnable_oldest_seconds")
            taken_back = program.log_path.read_text().count("taken_back")
            # The same over a start with the wall behind what is stored.
            program.kill()
            wall.set(-2 * HOUR_S)
            program.start()
            later = [publish(program, "later", n) for n in range(3)]
            result = count(journal, (steady, again))
            repeated = len(receiver.hits(slow_url)) - len(slow)
            print(
                f"\nthe wall set {len(WALLS_S)} times: {len(journal.acked)} events acknowledged, {result.delivered} "
                f"deliveries, lost {len(result.lost)}, phantom {len(result.phantom)}, duplicates "
                f"{len(result.duplicates)}; {len(slow) - 5} in flight at the jumps, repeated {repeated}; signed "
                f"by hours ahead {dict(sorted(stamps.items()))}"
            )
            assert set(journal.meant) == set(journal.acked)
            assert set(journal.statuses) <= {0, 202, 503}
            assert set(journal.codes) <= {"overloaded"}
            assert result.nothing_wrong
            assert result.duplicates == []
            assert (repeated, taken_back) == (0, 0)
            assert stats["delivered"] == 2 * len(journal.acked) + len(slow)
            assert overdue_s == 0
            assert set(stamps) == {-1, 0, 1}
            for number in range(publishers.count):
                made = journal.of(number)
                assert made == sorted(made)
            assert [*slow, *later] == sorted([*slow, *later])
            assert max(journal.acked.values()) < later[0]
            assert program.terminate() == 0
    finally:
        program.close()
