"""What a process that was killed left in its file, read from a copy: recovering it is the next process's business."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.program import Program

LEASED = 1
_LINE = re.compile(r"hookline: failpoint (\w+), hit (\d+): ([0-9a-f ]*)")


@dataclass
class Left:
    """The file as the kill left it. Pairs are (event id, endpoint id); ids as text."""

    leased: set[tuple[str, str]]
    pairs: dict[str, tuple[str, str]]
    """delivery id → its pair, of all that are leased, and of the ids that were asked for."""
    closed: set[str]
    """Delivery ids that were asked for and have ended."""
    events: set[str]
    """Events made since `since`."""
    wrong: list[tuple[str, str, int]]
    """Events since `since` whose rows are not one per endpoint: (event id, type, rows)."""
    last: bytes
    """The newest event: `since` of the next look."""


def look(
    program: Program, scratch: Path, endpoints_of: Counter[str], since: bytes = b"", ids: list[str] | None = None
) -> Left:
    """Copy and read it. `endpoints_of`: type → endpoints that an event of it goes to."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in program.folder.glob("hookline.db*"):
        if not path.name.endswith(("-shm", "-lock")):
            shutil.copy(path, scratch / path.name)
    with contextlib.closing(sqlite3.connect(scratch / "hookline.db")) as copy:
        assert copy.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        rows = copy.execute("SELECT id, event_id, endpoint_id FROM open WHERE state = ?", (LEASED,)).fetchall()
        leased = {row[0].hex(): _pair(row) for row in rows}
        asked, closed = {}, set()
        for identifier in ids or ():
            for table in ("open", "closed"):
                found = copy.execute(
                    f"SELECT id, event_id, endpoint_id FROM {table} WHERE id = ?", (bytes.fromhex(identifier),)
                ).fetchone()
                if found is not None:
                    asked[identifier] = _pair(found)
                    if table == "closed":
                        closed.add(identifier)
        made = copy.execute("SELECT id, type FROM events WHERE id > ? ORDER BY id", (since,)).fetchall()
        counts: Counter[bytes] = Counter()
        for table in ("open", "closed"):  # those of replays name their event
            found = copy.execute(f"SELECT substr(id, 1, 12) FROM {table} WHERE id > ? AND event_id IS NULL", (since,))
            counts.update(row[0] for row in found)
        for event, packed, done in copy.execute(
            "SELECT f.event_id, length(f.endpoint_ids) / 12, c.done FROM fanouts f LEFT JOIN fanout_cursors c USING (n)"
        ):
            counts[event] += packed - (done or 0)
    shutil.rmtree(scratch)
    return Left(
        leased=set(leased.values()),
        pairs=leased | asked,
        closed=closed,
        events={"evt_" + event.hex() for event, _ in made},
        wrong=[
            ("evt_" + event.hex(), type_, counts[event])
            for event, type_ in made
            if type_ in endpoints_of and counts[event] != endpoints_of[type_]
        ],
        last=made[-1][0] if made else since,
    )


def said(program: Program) -> tuple[str, int, list[str]]:
    """What the failpoint said last: point, hit, and the ids (hex) that were at it."""
    lines = _LINE.findall(program.log_path.read_text(errors="replace"))
    assert lines, f"no failpoint was hit:\n{program.log()}"
    point, hit, ids = lines[-1]
    return point, int(hit), ids.split()


def _pair(row: tuple[bytes, bytes | None, bytes]) -> tuple[str, str]:
    identifier, event, endpoint = row
    return "evt_" + (event or identifier[:12]).hex(), "ep_" + endpoint.hex()
