"""An application's own SQL database, through any DB-API 2.0 driver (PEP 249): SQLite and PostgreSQL.

Statements are written with `?`; `Database` turns them into the driver's style. A transaction is one function that gets
a `Transaction`: committed when it returns, rolled back when it raises.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Dialect: TypeAlias = Literal["sqlite", "postgresql"]
IDLE_MAX: Final = 8
"""Connections kept between transactions, where the driver lets threads share them."""
_STYLES: Final = ("qmark", "numeric", "named", "format", "pyformat")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_NOT_OURS: Final[list[Any]] = []
"""Connections of a process that was forked off: to close them here would end them there."""


class Cursor(Protocol):
    """What is needed of a driver's cursor."""

    rowcount: int

    def execute(self, operation: str, parameters: Any = ..., /) -> Any:
        """Run a statement."""
        ...

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """All rows."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Connection(Protocol):
    """What is needed of a driver's connection. Its own type is what a handler gets."""

    def cursor(self) -> Any:
        """A cursor."""
        ...

    def commit(self) -> None:
        """End the transaction."""
        ...

    def rollback(self) -> None:
        """Undo it."""
        ...

    def close(self) -> None:
        """Free it (or give it back to its pool)."""
        ...


Connect: TypeAlias = Callable[[], Connection]


class Transaction:
    """An open transaction on one connection."""

    def __init__(self, connection: Connection, style: str, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self._style = style

    def execute(self, statement: str, *parameters: object) -> int:
        """Run a statement with `?` for parameters; how many rows it changed."""
        cursor = self._cursor(statement, parameters)
        try:
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        cursor = self._cursor(statement, parameters)
        try:
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def _cursor(self, statement: str, parameters: Sequence[object]) -> Cursor:
        cursor: Cursor = self.connection.cursor()
        cursor.execute(*_styled(statement, parameters, self._style))
        return cursor


class Database:
    """Where transactions run. `connect` makes a connection, which belongs to this from then on.

    `paramstyle` and `dialect` are found out from the driver; a wrapper round one may have to be told them. For SQLite,
    `BEGIN IMMEDIATE` begins a transaction; for any other driver, whatever its `autocommit` off means. May be used by
    several threads at once, and in a process that was forked off. Raises `ValueError` where the driver's style is not
    known.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        paramstyle: str | None = None,
        dialect: Dialect | None = None,
        keep: bool | None = None,
    ) -> None:
        """`keep`: whether connections are kept between transactions; None: where threads may share them, which SQLite
        refuses unless it was told otherwise."""
        if paramstyle is not None and paramstyle not in _STYLES:
            raise ValueError(f"paramstyle is one of {', '.join(_STYLES)}")
        self._connect = connect
        self._style = paramstyle
        self._dialect = dialect
        self._keep = keep
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._pid = os.getpid()

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction. Raises what it raises, and what the driver does.

        A connection that was kept and turns out to be dead is replaced, as long as nothing can have been committed.
        """
        while True:
            connection, kept = self._take()
            good = committing = False
            try:
                result = work(self._begin(connection))
                committing = True
                self._commit(connection)
                good = True
            except BaseException as error:
                good = self._rolled_back(connection)
                if good or committing or not kept or not _is_its_own(connection, error):
                    raise
            else:
                return result
            finally:
                self._give_back(connection, good=good)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begin(self, connection: Connection) -> Transaction:
        if self._style is None or self._dialect is None:
            style, dialect = _found_out(connection)
            self._style, self._dialect = self._style or style, self._dialect or dialect
        if self._keep is None:
            self._keep = self._dialect != "sqlite" and _threads_may_share(connection)
        transaction = Transaction(connection, self._style, self._dialect)
        if self._dialect == "sqlite":
            _by_hand(connection)
            transaction.execute("BEGIN IMMEDIATE")
        elif getattr(connection, "autocommit", False) is True:
            connection.autocommit = False  # type: ignore[attr-defined]
        return transaction

    def _commit(self, connection: Connection) -> None:
        if self._dialect == "sqlite":
            connection.cursor().execute("COMMIT")
        else:
            connection.commit()

    def _rolled_back(self, connection: Connection) -> bool:
        """Undo; whether that was possible."""
        try:
            if self._dialect != "sqlite":
                connection.rollback()
            elif _inner(connection).in_transaction:
                connection.cursor().execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - each driver has its own; the connection is dropped
            return False
        return True

    def _take(self) -> tuple[Connection, bool]:
        with self._lock:
            if self._pid != os.getpid():
                _NOT_OURS.extend(self._idle)
                self._idle, self._pid = [], os.getpid()
            if self._idle:
                return self._idle.pop(), True
        return self._connect(), False

    def _give_back(self, connection: Connection, *, good: bool) -> None:
        with self._lock:
            if good and self._keep and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        with suppress(Exception):  # each driver has its own
            connection.close()


def sqlite_file(path: str | os.PathLike[str], *, busy_timeout_s: float = 10.0) -> Database:
    """A SQLite file of one's own: made where it is missing, in WAL mode, each commit flushed to the disk."""
    import sqlite3

    def connect() -> Connection:
        connection = sqlite3.connect(path, timeout=busy_timeout_s, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    return Database(connect, paramstyle="qmark", dialect="sqlite", keep=True)


def table_name(name: str) -> str:
    """The name, if it can stand in a statement as it is. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a table: letters, digits, _, and a schema before a dot")
    return name


def _styled(statement: str, parameters: Sequence[object], style: str) -> tuple[str, Any]:
    """The statement as the driver wants it. None of ours has a `?`, `%` or `:` that means anything else."""
    if style == "qmark":
        return statement, parameters
    if style in ("format", "pyformat"):
        return statement.replace("?", "%s"), tuple(parameters)
    pieces = statement.split("?")
    mark = ":" if style == "numeric" else ":p"
    text = pieces[0] + "".join(f"{mark}{n}{piece}" for n, piece in enumerate(pieces[1:], 1))
    if style == "numeric":
        return text, tuple(parameters)
    return text, {f"p{n}": value for n, value in enumerate(parameters, 1)}


def _inner(connection: Any) -> Any:
    """The driver's connection inside a wrapper such as SQLAlchemy's."""
    return getattr(connection, "driver_connection", None) or connection


def _driver(connection: Connection) -> tuple[str, Any]:
    name = type(_inner(connection)).__module__.partition(".")[0]
    return name, sys.modules.get(name)


def _found_out(connection: Connection) -> tuple[str, Dialect]:
    name, module = _driver(connection)
    style = getattr(module, "paramstyle", None)
    if name == "sqlite3":
        style = "qmark"
    if style not in _STYLES:
        raise ValueError(f"the parameter style of {name} is not known: give paramstyle= (and dialect=)")
    return style, "sqlite" if "sqlite" in name else "postgresql"


def _is_its_own(connection: Connection, error: BaseException) -> bool:
    """Whether the connection's driver raised this."""
    return isinstance(error, Exception) and type(error).__module__.partition(".")[0] == _driver(connection)[0]


def _threads_may_share(connection: Connection) -> bool:
    _, module = _driver(connection)
    return getattr(module, "threadsafety", 0) >= 2


def _by_hand(connection: Any) -> None:
    """Transactions of SQLite are begun and ended by statements, whatever the connection was set to."""
    inner = _inner(connection)
    if getattr(inner, "autocommit", True) is False:  # Python 3.12 and later
        inner.autocommit = True
    elif inner.isolation_level is not None:
        inner.isolation_level = None
