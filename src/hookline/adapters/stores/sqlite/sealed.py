"""What a database holds sealed, read from its file before a store is started on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hookline.adapters.stores.sqlite.connection import open_reader

_SEALED = (
    "SELECT sealed FROM endpoints WHERE deleted = 0 AND length(sealed) > 0",
    "SELECT sealed FROM sources WHERE deleted = 0 AND length(sealed) > 0",
)


def sealed_secrets(path: str) -> Iterator[bytes]:
    """The sealed secrets of every endpoint and source. Nothing for a file that is not there or cannot be read: what is
    wrong with it is said by who starts the store."""
    if not Path(path).exists():
        return
    try:
        with closing(open_reader(path)) as connection:
            for statement in _SEALED:  # in a file of before the sources the second finds no table: that is its end
                for (sealed,) in connection.execute(statement):
                    yield sealed
    except sqlite3.Error:
        return
