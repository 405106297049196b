"""A process that is stopped for longer than its leases last, and goes on: its own zombie.

On SQLite one process owns the file, so nobody else can have taken its work meanwhile. What is left of the danger: it
wakes with leases that are over, with answers that came while it slept, and with requests of publishers who gave up.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.acceptance.program import Program, running, until
from tests.acceptance.receiver import receiving
from tests.crash.chaos import LONG, Endpoint, Pair, count, publishing, settled, warnings
from tests.crash.load import leased

TIMEOUT_S = 1
LEASE_S = TIMEOUT_S + 15
TAKEN_BACK_S = LEASE_S + 15
"""From here on the lease of a living process is taken back."""
STOPS_S = (LEASE_S + 2, TAKEN_BACK_S + 3, TAKEN_BACK_S + 20) if LONG else (LEASE_S + 2,)


@pytest.mark.rule(n=12)
@pytest.mark.crash
@pytest.mark.timeout(240 + 2 * sum(STOPS_S))
def test_rule_12_a_zombie_repeats_only_what_was_in_flight(tmp_path: Path):
    """Stopped under load for longer than every lease and told to go on, the process loses nothing, its books balance,
    and what arrives twice was in flight at a stop (rule 12)."""
    in_flight: set[Pair] = set()
    spec = {"timeout_s": TIMEOUT_S, "retry": {"schedule_s": [0.1] * 50, "jitter": 0}}
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        # One answers while the process is stopped, one says nothing in all that time; one gets its events in order.
        answers, silent = (Endpoint(program, receiver, "stop.*", **spec) for _ in range(2))
        ordered = Endpoint(program, receiver, "stop.*", order="key", **spec)
        endpoints = (answers, silent, ordered)
        with publishing(program, "stop.test", pause_s=0.05) as publishers:
            for stop_s in STOPS_S:
                acked = len(publishers.journal.acked)
                until(lambda acked=acked: len(publishers.journal.acked) > acked + 20, 60)
                before = {endpoint.id: len(endpoint.came) for endpoint in endpoints}
                for endpoint in endpoints:
                    endpoint.speaks.clear()
                for endpoint in endpoints:
                    until(lambda e=endpoint, n=before[endpoint.id]: len(e.came) > n, 60)
                os.kill(program.pid, signal.SIGSTOP)
                try:
                    stopped_s = time.monotonic()
                    time.sleep(1)  # what was on its way arrives
                    came = {(hit.id, endpoint.id) for endpoint in endpoints for hit in endpoint.came}
                    in_flight |= leased(program, tmp_path / "copy") & came
                    answers.speaks.set()
                    ordered.speaks.set()
                    time.sleep(stop_s - (time.monotonic() - stopped_s))
                finally:
                    silent.speaks.set()
                    os.kill(program.pid, signal.SIGCONT)
            acked = len(publishers.journal.acked)
            until(lambda: len(publishers.journal.acked) > acked + 20, 60)
            journal = publishers.stop()
        stats = settled(program)
        result = count(journal, endpoints)
        fenced = warnings(program, "outcome_fenced")
        print(
            f"\nstopped for {STOPS_S} s: {len(journal.acked)} events acknowledged, {result.delivered} deliveries, lost "
            f"{len(result.lost)}, phantom {len(result.phantom)}, corrupt {len(result.corrupt)}, duplicates "
            f"{len(result.duplicates)} (in flight at the stops: {len(in_flight)}), outcomes fenced off: {fenced}"
        )
        assert set(journal.meant) == set(journal.acked)
        assert result.nothing_wrong
        assert in_flight
        assert [pair for pair in set(result.duplicates) - in_flight if not given_up(program, pair)] == []
        assert stats["events"] == len(journal.acked)
        assert stats["delivered"] == len(endpoints) * len(journal.acked)
        assert in_order(ordered)
        assert program.terminate() == 0


def given_up(program: Program, pair: Pair) -> bool:
    """Whether an attempt took longer than its time at a receiver, who may have taken it all the same."""
    rows = program.deliveries(event=pair[0], endpoint=pair[1])
    return any(attempt["reason"] == "timeout" for attempt in program.attempts(rows[0]["id"]))


def in_order(endpoint: Endpoint) -> bool:
    """Whether each publisher's events came in the order in which they were published, repeats left out."""
    seen: dict[str, list[str]] = {}
    for hit, _ in endpoint.hits:
        key = hit.body.split(b'"key":', 1)[1].split(b",", 1)[0].decode()
        if hit.id not in seen.setdefault(key, []):
            seen[key].append(hit.id)
    return all(ids == sorted(ids) for ids in seen.values())
