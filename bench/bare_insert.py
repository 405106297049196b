"""The bare insert: what a durable row costs with nothing around it. SQLite, WAL, synchronous=FULL, one table of
events with an id that rises with time, as the program's.

    bare_insert.py FILE SECONDS BODY_FILE ROWS_PER_COMMIT

It prints one line of JSON: rows, commits, seconds, CPU seconds. Checkpoints are SQLite's own.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
from pathlib import Path


def insert(path: str, seconds: float, body: bytes, rows_per_commit: int) -> dict[str, float]:
    """Commit as often as possible for so long."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE events (id BLOB PRIMARY KEY, type TEXT NOT NULL, data BLOB NOT NULL)")
    rows = commits = 0
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    while time.perf_counter() - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO events VALUES (?, 'bench.order.created', ?)",
            [((rows + n).to_bytes(12, "big"), body) for n in range(rows_per_commit)],
        )
        connection.execute("COMMIT")
        rows += rows_per_commit
        commits += 1
    took_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    connection.close()
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rows": rows, "commits": commits, "seconds": took_s, "cpu_s": used_s}


def main() -> None:
    """The command."""
    path, seconds, body_file, rows_per_commit = sys.argv[1:]
    print(json.dumps(insert(path, float(seconds), Path(body_file).read_bytes(), int(rows_per_commit))))


if __name__ == "__main__":
    main()
