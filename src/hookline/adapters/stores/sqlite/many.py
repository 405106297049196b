"""Many rows in few statements.

A statement costs the GIL twice (given up for SQLite, fought for again), so 64 rows as one statement cost half of
what 64 statements cost. Sizes are few, so that every statement stays prepared.

Ids and payloads are given as `bytearray`: the sqlite3 module binds exact int, float, str and bytearray directly, and
looks for an adapter for everything else (0.6 µs for each bytes or None).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

SIZES = (64, 16, 4, 1)
ROWS = "/*rows*/"
"""Where the rows go in a statement."""


def _chunks(count: int) -> Iterator[tuple[int, int, int]]:
    """(size's index, from, to) that cover `count`."""
    start = 0
    for index, size in enumerate(SIZES):
        while count - start >= size:
            yield index, start, start + size
            start += size


class ManyRows:
    """`INSERT … VALUES /*rows*/`, where one row is `row`, as `(?, ?, 0)`."""

    def __init__(self, sql: str, row: str) -> None:
        self._width = row.count("?")
        self._sql = tuple(sql.replace(ROWS, ", ".join([row] * size)) for size in SIZES)

    def run(self, connection: sqlite3.Connection, flat: Sequence[Any]) -> None:
        """Insert the rows whose parameters follow each other in `flat`."""
        width = self._width
        for index, start, end in _chunks(len(flat) // width):
            connection.execute(self._sql[index], flat[start * width : end * width])


class ManyKeys:
    """`… WHERE id IN (/*rows*/)`, after any parameters of its own."""

    def __init__(self, sql: str) -> None:
        self._sql = tuple(sql.replace(ROWS, ", ".join("?" * size)) for size in SIZES)

    def run(self, connection: sqlite3.Connection, keys: Sequence[bytes | bytearray], *own: Any) -> int:
        """Change the rows with these keys; how many there were."""
        changed = 0
        for index, start, end in _chunks(len(keys)):
            changed += connection.execute(self._sql[index], (*own, *keys[start:end])).rowcount
        return changed

    def rows(self, connection: sqlite3.Connection, keys: Sequence[bytes | bytearray], *own: Any) -> list[Any]:
        """The rows with these keys."""
        found: list[Any] = []
        for index, start, end in _chunks(len(keys)):
            found += connection.execute(self._sql[index], (*own, *keys[start:end])).fetchall()
        return found
