"""Readers beside the writer: many that overlap through the API, and a stranger who does not let his snapshot go."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import KEY, Program, running, until
from tests.acceptance.receiver import receiving
from tests.crash.chaos import LONG, Endpoint, count, metric, publishing, settled, warnings

MIB = 1024 * 1024
LONG_WAL = 64 * MIB
"""From here on the log is made to begin again."""
WAL_BYTES_MAX = 128 * MIB
WRITTEN = (1024 if LONG else 144) * MIB
FILL_BYTES = 240 * 1024
READERS = 5
QUESTIONS = (
    "/v1/events?limit=250",
    "/v1/deliveries?limit=250",
    "/v1/deliveries?limit=250&state=failed",
    "/v1/deliveries?limit=250&reason=timeout",
)


def wal_bytes(program: Program) -> int:
    """How long the file of the log is; beginning again does not shorten it."""
    return (program.folder / "hookline.db-wal").stat().st_size


@contextlib.contextmanager
def reading(program: Program) -> Iterator[Counter[int]]:
    """Threads that list without a pause; how often each status was answered (0: none)."""
    stop = threading.Event()
    answers: Counter[int] = Counter()

    def read(number: int) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=program.url, headers=headers, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                for question in QUESTIONS[number % 4 :] + QUESTIONS[: number % 4]:
                    try:
                        answers[client.get(question).status_code] += 1
                    except httpx2.TransportError:
                        answers[0] += 1

    threads = [threading.Thread(target=read, args=(n,), daemon=True) for n in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.rule(n=20)
@pytest.mark.crash
@pytest.mark.timeout(600 if LONG else 240)
def test_rule_20_overlapping_readers_do_not_stop_checkpoints(tmp_path: Path):
    """While several readers overlap without a pause, the log begins again and again: it stays bounded, however much is
    written (rule 20)."""
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        endpoint = Endpoint(program, receiver, "read.*")
        with reading(program) as answers:
            with publishing(program, "read.test", count=6, pause_s=0, fill_bytes=FILL_BYTES) as publishers:
                until(lambda: len(publishers.journal.acked) * FILL_BYTES > WRITTEN, 400)
                journal = publishers.stop()
            settled(program)
        longest = wal_bytes(program)
        result = count(journal, [endpoint])
        print(
            f"\n{READERS} readers, answers {dict(answers)}: {len(journal.acked)} events of {FILL_BYTES >> 10} KiB "
            f"({len(journal.acked) * FILL_BYTES >> 20} MiB), the log never over {longest >> 20} MiB, held up "
            f"{warnings(program, 'wal_stays_long')} times; publishers' answers {dict(journal.statuses)}"
        )
        assert longest < WAL_BYTES_MAX
        assert answers[200] > 10
        assert set(answers) <= {200, 503}  # 503: a read that took over its quarter second
        assert set(journal.codes) <= {"overloaded"}
        assert result.nothing_wrong
        assert result.duplicates == []
        assert program.terminate() == 0


@pytest.mark.rule(n=20)
@pytest.mark.crash
@pytest.mark.timeout(240)
def test_rule_20_a_strangers_snapshot_is_told(tmp_path: Path):
    """While a stranger holds a snapshot the log grows, publishing goes on, and the metric and a line of the log say so;
    when he has gone the log begins again by itself (rule 20)."""
    with receiving() as receiver, running(tmp_path / "hookline") as program:
        endpoint = Endpoint(program, receiver, "read.*")
        with publishing(program, "read.test", count=6, pause_s=0, fill_bytes=FILL_BYTES) as publishers:
            journal = publishers.journal
            until(lambda: len(journal.acked) > 20, 60)
            with contextlib.closing(
                sqlite3.connect(f"{program.folder / 'hookline.db'}", isolation_level=None)
            ) as other:
                other.execute("BEGIN")
                other.execute("SELECT count(*) FROM meta").fetchone()
                until(lambda: warnings(program, "wal_stays_long"), 120)
                acked = len(journal.acked)
                until(lambda: len(journal.acked) > acked + 50, 60)
                grown = metric(program, "hookline_wal_bytes")
                other.execute("ROLLBACK")
            until(lambda: metric(program, "hookline_wal_bytes") < LONG_WAL / 2, 60)
            after = metric(program, "hookline_wal_bytes")
            longest = wal_bytes(program)
            acked = len(journal.acked)
            until(lambda: len(journal.acked) > acked + 50, 60)
            journal = publishers.stop()
        settled(program)
        lines = [json.loads(line) for line in program.log_path.read_text().splitlines() if '"wal_stays_long"' in line]
        print(f"\nthe log grew to {int(grown) >> 20} MiB beside a stranger, then began again ({int(after) >> 20} MiB)")
        assert grown > LONG_WAL
        assert lines
        assert all(line["level"] == "warning" and line["bytes"] > LONG_WAL for line in lines)
        assert wal_bytes(program) == longest
        assert set(journal.codes) <= {"overloaded"}
        assert count(journal, [endpoint]).nothing_wrong
        assert program.terminate() == 0
