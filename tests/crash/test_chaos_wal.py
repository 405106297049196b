"""The end of the write-ahead log is damaged after a kill: a write that was torn, or a page that a disk lost.

What is damaged are the last commits that no checkpoint had moved yet. SQLite reads the log up to the last commit that
is whole; what was acknowledged until then must all be there.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.program import running, until
from tests.acceptance.receiver import receiving
from tests.crash.chaos import LONG, Endpoint, count, publish, publishing, settled

HEADER = 32
FRAME = 24
BACKFILLED_AT = 128
"""In the index of the log (-shm): up to which frame a checkpoint may have moved pages (nBackfillAttempted)."""
COMMITS = 3
"""So many of the last commits are damaged at once, at most."""


@dataclass
class Log:
    """A write-ahead log as a killed program left it (https://sqlite.org/fileformat2.html#the_write_ahead_log)."""

    path: Path

    def __post_init__(self) -> None:
        self.data = bytearray(self.path.read_bytes())
        (self.page_bytes,) = struct.unpack_from(">I", self.data, 8)
        self.frame_bytes = FRAME + self.page_bytes
        self.ends: list[int] = []
        """Of each commit: where its last frame ends."""
        at = HEADER
        while at + self.frame_bytes <= len(self.data) and self.data[at + 8 : at + 16] == self.data[16:24]:
            at += self.frame_bytes
            (pages,) = struct.unpack_from(">I", self.data, at - self.frame_bytes + 4)
            if pages:
                self.ends.append(at)
        index = self.path.with_name(self.path.name.replace("-wal", "-shm")).read_bytes()
        (moved,) = struct.unpack_from("=I", index, BACKFILLED_AT)
        self.moved_to = HEADER + moved * self.frame_bytes

    @property
    def unmoved(self) -> int:
        """How many of the last commits no checkpoint has touched."""
        return sum(1 for begin in [HEADER, *self.ends][:-1] if begin >= self.moved_to)

    def save(self) -> None:
        """Write it back."""
        self.path.write_bytes(self.data)


def torn(log: Log, begin: int) -> None:
    """The last frame was written in part."""
    del log.data[log.ends[-1] - log.page_bytes // 2 :]


def zeros(log: Log, begin: int) -> None:
    """The blocks of the last commits were given to the file and never written."""
    log.data[begin : log.ends[-1]] = bytes(log.ends[-1] - begin)


def noise(log: Log, begin: int) -> None:
    """The pages of the last commits hold something else."""
    for at in range(begin, log.ends[-1], log.frame_bytes):
        log.data[at + FRAME : at + log.frame_bytes] = random.Random(at).randbytes(log.page_bytes)


def one_bit(log: Log, begin: int) -> None:
    """One bit of the first damaged commit is another."""
    log.data[begin + FRAME + 100] ^= 1


DAMAGES: tuple[tuple[Callable[[Log, int], None], int], ...] = (
    ((torn, 1), (zeros, COMMITS), (noise, 1), (one_bit, COMMITS)) if LONG else ((torn, 1), (noise, COMMITS))
)


def events(folder: Path, scratch: Path) -> set[str]:
    """The ids of all events that SQLite finds in a copy of a dead program's files; these must be sound."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder, scratch)
    with contextlib.closing(sqlite3.connect(scratch / "hookline.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {"evt_" + row[0].hex() for row in copy.execute("SELECT id FROM events")}


@pytest.mark.rule(n=1)
@pytest.mark.crash
@pytest.mark.timeout(120 + 60 * len(DAMAGES))
@pytest.mark.parametrize(("damage", "commits"), DAMAGES)
def test_rule_1_a_damaged_end_of_the_log(tmp_path: Path, damage: Callable[[Log, int], None], commits: int):
    """With the last commits of the log damaged the program starts, has every event that was acknowledged before the
    last good commit, delivers it, and takes the others when they are published again (rule 1)."""
    folder = tmp_path / "hookline"
    with receiving() as receiver, running(folder) as program:
        endpoint = Endpoint(program, receiver, "wal.*")
        with publishing(program, "wal.test", pause_s=0) as publishers:
            journal = publishers.journal
            until(lambda: len(journal.acked) > 200, 60)
            program.kill()
            log = Log(folder / "hookline.db-wal")
            while log.unmoved < commits:  # a checkpoint has just been there
                program.start()
                acked = len(journal.acked)
                until(lambda acked=acked: len(journal.acked) > acked + 20, 60)
                program.kill()
                log = Log(folder / "hookline.db-wal")
            publishers.give_up()
        acked = dict(journal.acked)
        whole = events(folder, tmp_path / "whole")
        assert set(acked.values()) <= whole
        damage(log, ([HEADER, *log.ends])[-1 - commits])
        log.save()
        good = events(folder, tmp_path / "good")
        gone = whole - good
        # Each publisher waits for its 202: a commit has at most one event of each.
        assert len(gone) <= commits * publishers.count
        for number in range(publishers.count):
            made = journal.of(number)
            missing = [event_id for event_id in made if event_id in gone]
            assert missing == made[len(made) - len(missing) :]
        program.start()
        assert {row["id"] for row in program.rows("/v1/events", limit="250")} == good
        # What was acknowledged after the last good commit is lost with it; its publisher can send it again.
        for name, event_id in acked.items():
            if event_id in gone:
                key, n = map(int, name.split("-"))
                data = {"key": key, "n": n, "fill": "x" * 500}
                more = {"source": "/chaos", "id": name, "ordering_key": f"k{key}"}
                journal.acked[name] = publish(program, "wal.test", data, **more)
        stats = settled(program)
        result = count(journal, [endpoint])
        print(
            f"\n{damage.__name__}, {commits} of {len(log.ends)} commits: {len(acked)} acknowledged, {len(gone)} events "
            f"gone with the damage, lost of the others {len(result.lost)}, corrupt {len(result.corrupt)}"
        )
        assert result.lost == []
        assert result.corrupt == []
        # What was sent before the kill and is gone from the store came all the same.
        stored_unacknowledged = good - set(acked.values())
        assert set(result.phantom) <= gone | stored_unacknowledged
        assert stats["events"] == len(good) + len(gone & set(acked.values()))
        assert program.terminate() == 0
    assert events(folder, tmp_path / "after") >= good
