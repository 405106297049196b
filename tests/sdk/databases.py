"""Databases as an application has them: SQLite by each style of parameters, and PostgreSQL where a test may use one."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

POSTGRESQL = "TEST_POSTGRESQL"
"""A connection string of psycopg (not among the locked packages: these tests run where both are there)."""
KINDS = ("file", "sqlite3", "pyformat", "numeric", "named", "postgresql")


@dataclass(frozen=True)
class Where:
    """How a guard or an inbox gets at a database, and how the test does."""

    where: Any
    """A path, or a function that makes connections."""
    options: dict[str, Any]
    connect: Callable[[], Any]
    """For the test's own looks."""


class StyledCursor:
    """A cursor of SQLite that takes only one style of parameters, as other drivers do."""

    def __init__(self, cursor: sqlite3.Cursor, style: str) -> None:
        self._cursor, self._style = cursor, style

    def execute(self, statement: str, parameters: Any = ()) -> None:
        """Run a statement."""
        assert "?" not in statement
        if self._style == "pyformat":
            assert isinstance(parameters, tuple)
            assert statement.count("%s") == len(parameters) == statement.count("%")
            statement = statement.replace("%s", "?")
        elif self._style == "numeric":
            assert isinstance(parameters, tuple)
            for n in range(len(parameters), 0, -1):
                assert f":{n}" in statement
                statement = statement.replace(f":{n}", f":p{n}")
            parameters = {f"p{n}": value for n, value in enumerate(parameters, 1)}
        else:
            assert isinstance(parameters, dict) or not parameters
        self._cursor.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class StyledConnection:
    """A wrapper round SQLite's connection, as a pool makes them."""

    def __init__(self, connection: sqlite3.Connection, style: str) -> None:
        self.driver_connection, self._style = connection, style

    def cursor(self) -> StyledCursor:
        """A cursor of that style."""
        return StyledCursor(self.driver_connection.cursor(), self._style)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver_connection, name)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Where]:
    """A database of this kind, empty."""
    path = folder / "application.db"
    if kind == "postgresql":
        if POSTGRESQL not in os.environ:
            pytest.skip(f"{POSTGRESQL} names no database")
        psycopg = pytest.importorskip("psycopg")
        schema, dsn = f"t{uuid.uuid4().hex}", os.environ[POSTGRESQL]
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")

        def connect() -> Any:
            return psycopg.connect(dsn, options=f"-c search_path={schema}")

        try:
            yield Where(connect, {}, connect)
        finally:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f"DROP SCHEMA {schema} CASCADE")
        return

    def plain() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=20)

    if kind == "file":
        yield Where(str(path), {}, plain)
    elif kind == "sqlite3":
        yield Where(plain, {}, plain)
    else:
        options = {"paramstyle": kind, "dialect": "sqlite"}
        yield Where(lambda: StyledConnection(plain(), kind), options, plain)
