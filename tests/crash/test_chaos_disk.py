"""A disk that is really full: a small file system in memory, filled up under load and made free again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.acceptance.program import Program, balanced, needs, until
from tests.acceptance.receiver import receiving
from tests.crash.chaos import LONG, Endpoint, count, publishing, settled
from tests.crash.load import leased

MIB = 1024 * 1024
DISK_MIB = 24
ROUNDS = 3 if LONG else 1
FIRST_S_MAX = 10.0
"""From space again until the first 202."""


class Disk:
    """A small file system, and a file that takes what room it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Not a byte is left."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            for size_bytes in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(size_bytes))
            filler.write(bytes(4096))

    def leave(self, size_bytes: int) -> None:
        """All but so much is taken."""
        self.fill()
        os.truncate(self._filler, self._filler.stat().st_size - size_bytes)

    def empty(self) -> None:
        """There is room again."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs of some MiB. Only root may mount it; in a container without that right the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a tmpfs can be mounted by root only")
    words = [needs("mount"), "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "chaos", str(folder)]
    mounted = subprocess.run(words, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run([needs("umount"), "-l", str(folder)], check=True)


@contextlib.contextmanager
def on(disk: Disk, tmp_path: Path, free_min_mib: int) -> Iterator[Program]:
    """The program with its database there, and its log elsewhere."""
    program = Program(disk.folder / "hookline", disk_free_min_mib=str(free_min_mib))
    program.log_path = tmp_path / "log.txt"
    try:
        yield program.start()
    finally:
        program.close()


@pytest.mark.rule(n=22)
@pytest.mark.crash
@pytest.mark.timeout(180 + 120 * ROUNDS)
def test_rule_22_a_full_disk_under_load(tmp_path: Path, disk: Disk):
    """With not a byte left publishing is 503 with Retry-After and never a false 202; with room again it goes on by
    itself, what was in flight is recorded then and sent once, and nothing is lost (rules 12 and 22)."""
    firsts_s = []
    with receiving() as receiver, on(disk, tmp_path, free_min_mib=0) as program:
        endpoints = [Endpoint(program, receiver, "disk.*", timeout_s=60) for _ in range(2)]
        with publishing(program, "disk.test", fill_bytes=20_000) as publishers:
            journal = publishers.journal
            for _ in range(ROUNDS):
                acked = len(journal.acked)
                until(lambda acked=acked: len(journal.acked) > acked + 20, 60)
                for endpoint in endpoints:
                    endpoint.speaks.clear()
                came = [len(endpoint.came) for endpoint in endpoints]
                until(lambda came=came: all(len(e.came) > n for e, n in zip(endpoints, came, strict=True)), 60)
                disk.fill()
                full = journal.codes["disk_full"]
                until(lambda full=full: journal.codes["disk_full"] > full + 20, 60)
                for endpoint in endpoints:  # what was in flight ends now, and cannot be recorded
                    endpoint.speaks.set()
                full = journal.codes["disk_full"]
                until(lambda full=full: journal.codes["disk_full"] > full + 20, 60)
                assert program.client.get("/healthz").status_code == 200
                assert balanced(program.stats())
                disk.empty()
                emptied_s = time.monotonic()
                until(lambda emptied_s=emptied_s: journal.last_acked_s > emptied_s, FIRST_S_MAX)
                firsts_s.append(round(journal.last_acked_s - emptied_s, 2))
                until(lambda: program.client.get("/readyz").status_code == 200, 60)
            journal = publishers.stop()
        stats = settled(program)
        result = count(journal, endpoints)
        print(
            f"\nfull {ROUNDS} times: answers {dict(journal.statuses)}, {dict(journal.codes)}; {len(journal.acked)}"
            f" events acknowledged, {result.delivered} deliveries, lost {len(result.lost)}, phantom "
            f"{len(result.phantom)}, duplicates {len(result.duplicates)}; first 202 after {firsts_s} s of room"
        )
        assert set(journal.statuses) <= {0, 202, 503}
        assert set(journal.codes) <= {"disk_full", "overloaded"}
        assert journal.hasty == []
        assert result.nothing_wrong
        assert result.duplicates == []
        assert stats["events"] == len(journal.acked)
        assert stats["delivered"] == 2 * len(journal.acked)
        assert program.terminate() == 0


@pytest.mark.rule(n=22)
@pytest.mark.crash
@pytest.mark.timeout(240)
def test_rule_22_little_room_is_for_outcomes(tmp_path: Path, disk: Disk):
    """Below the least free space publishing is 503 with Retry-After while what is in flight is recorded; with room
    again it goes on by itself (rule 22)."""
    with receiving() as receiver, on(disk, tmp_path, free_min_mib=8) as program:
        endpoint = Endpoint(program, receiver, "disk.*", timeout_s=60)
        with publishing(program, "disk.test") as publishers:
            journal = publishers.journal
            until(lambda: len(journal.acked) > 20, 60)
            endpoint.speaks.clear()
            came = len(endpoint.came)
            until(lambda: len(endpoint.came) > came, 60)
            disk.leave(6 * MIB)
            until(lambda: journal.codes["disk_full"] > 20, 60)
            open_then = sum(program.stats()["open"].values())
            endpoint.speaks.set()
            stats = settled(program, 60)
            assert open_then > 0
            until(lambda: len(journal.acked) == stats["delivered"], 60)
            assert program.client.get("/readyz").status_code == 503
            disk.empty()
            emptied_s = time.monotonic()
            until(lambda: journal.last_acked_s > emptied_s, FIRST_S_MAX)
            journal = publishers.stop()
        settled(program)
        result = count(journal, [endpoint])
        print(f"\n{open_then} in flight with little room, all recorded; answers {dict(journal.statuses)}")
        assert set(journal.statuses) <= {0, 202, 503}
        assert set(journal.codes) <= {"disk_full", "overloaded"}
        assert journal.hasty == []
        assert result.nothing_wrong
        assert result.duplicates == []


@pytest.mark.rule(n=22)
@pytest.mark.crash
@pytest.mark.timeout(240)
def test_rule_22_killed_while_the_disk_is_full(tmp_path: Path, disk: Disk):
    """Killed while the disk is full, the next start finds everything that was acknowledged, and only what was in
    flight comes twice (rules 12 and 22)."""
    with receiving() as receiver, on(disk, tmp_path, free_min_mib=0) as program:
        endpoint = Endpoint(program, receiver, "disk.*", timeout_s=60)
        with publishing(program, "disk.test", fill_bytes=20_000) as publishers:
            journal = publishers.journal
            until(lambda: len(journal.acked) > 20, 60)
            endpoint.speaks.clear()
            came = len(endpoint.came)
            until(lambda: len(endpoint.came) > came, 60)
            disk.fill()
            until(lambda: journal.codes["disk_full"] > 20, 60)
            endpoint.speaks.set()
            full = journal.codes["disk_full"]
            until(lambda: journal.codes["disk_full"] > full + 10, 60)
            program.kill()
            in_flight = leased(program, tmp_path / "copy")
            disk.empty()
            program.start()
            acked = len(journal.acked)
            until(lambda: len(journal.acked) > acked + 10, 60)
            journal = publishers.stop()
        settled(program)
        result = count(journal, [endpoint])
        print(
            f"\nkilled on a full disk: {len(journal.acked)} acknowledged, lost {len(result.lost)}, duplicates "
            f"{len(result.duplicates)} (in flight: {len(in_flight)})"
        )
        assert set(journal.meant) == set(journal.acked)
        assert result.nothing_wrong
        assert set(result.duplicates) <= in_flight
        with contextlib.suppress(httpx2.TransportError):
            assert program.terminate() == 0
