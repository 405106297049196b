"""What HOOKLINE_DB names: SQLite, or PostgreSQL with the queue that goes with it, its own or that of `hookline.queues`.
Each is imported when it is chosen.

database(settings)      what a server needs of it, before and while it runs
spool_of(settings, …)   where received requests wait while it is away
migrations, migrate     the schema's state, for `hookline migrate`
restore, missing_key    for `hookline restore`, which only SQLite has
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from hookline.adapters.spools.file import FileSpool
from hookline.adapters.stores.scripts import Migration
from hookline.core.errors import Refusal
from hookline.core.secret import Keyring
from hookline.key_files import secret_keys
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.ports.queue import Queue
from hookline.ports.store import Store
from hookline.queues import queue, require
from hookline.settings import Settings, SettingsError
from hookline.web.backup import Backups

if TYPE_CHECKING:
    import asyncpg

    from hookline.adapters.queues.postgres import PostgresQueue
    from hookline.adapters.stores.sqlite.restore import Restored
    from hookline.adapters.stores.sqlite.store import SqliteStore

T = TypeVar("T")
MIB: Final = 1024 * 1024
COMMITS_IN_FLIGHT: Final = 3
"""On PostgreSQL; its own connections share a flush of the log."""
NO_BACKUP: Final = "on PostgreSQL backups are PostgreSQL's own business: pg_dump, or a base backup and its archived log"
_LACKS: Final = "the database lacks migrations and HOOKLINE_MIGRATE is manual: `hookline migrate up`"


class Database(Protocol):
    """What a server needs of what HOOKLINE_DB names."""

    existed: bool
    """Whether it was there before: its secret key must be, too."""
    commits_in_flight: int

    def open(self, clock: Clock, observer: Observer) -> tuple[Store, Queue]:
        """The store and the queue, not started."""
        ...

    async def check(self, keyring: Keyring) -> None:
        """Raise `SettingsError` where a server must not start on it: it lacks migrations, or the keys are another's."""
        ...

    def on_registry_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` when another process may have changed the configuration."""
        ...

    async def close(self) -> None:
        """End what is neither the store nor the queue, which the engine ends."""
        ...

    def backups(self, observer: Observer) -> Backups:
        """What makes its backups, or says why not."""
        ...

    def wal_bytes(self) -> int | None:
        """How long its write-ahead log is; None: that is not ours to know."""
        ...


def database(settings: Settings) -> Database:
    """What HOOKLINE_DB names. Raises `SettingsError`."""
    if not settings.on_postgres:
        return _Sqlite(settings)
    _require_driver()
    require(settings)
    return _Postgres(settings)


def spool_of(settings: Settings, clock: Clock, observer: Observer) -> FileSpool | None:
    """The spool of HOOKLINE_SPOOL_PATH, not started; None: there is none, or this process takes no requests."""
    if settings.spool_path is None or settings.role == "worker":
        return None
    return FileSpool(
        settings.spool_path,
        clock,
        bytes_max=settings.spool_max_mib * MIB,
        warn=lambda name, detail: observer.warn(name, detail=detail),
    )


class _Sqlite:
    """One file."""

    commits_in_flight = 1

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: SqliteStore | None = None
        self.existed = settings.db_path.exists()
        if self.existed and settings.migrate == "manual" and not all(m.applied for m in migrations(settings)):
            raise SettingsError(_LACKS)

    def open(self, clock: Clock, observer: Observer) -> tuple[Store, Queue]:
        from hookline.adapters.queues.embedded import EmbeddedQueue
        from hookline.adapters.stores.sqlite.store import SqliteStore

        self._store = SqliteStore(
            str(self._settings.db_path),
            clock,
            disk_free_min_bytes=self._settings.disk_free_min_mib * MIB,
            warn=lambda name, size_bytes: observer.warn(name, bytes=size_bytes),
        )
        return self._store, EmbeddedQueue()

    async def check(self, keyring: Keyring) -> None:
        if self.existed and await _opens_nothing(keyring, self._settings):
            raise SettingsError(_wrong_key(self._settings))

    def on_registry_change(self, changed: Callable[[], None]) -> None:
        """Nobody else changes it."""

    async def close(self) -> None:
        """Nothing is left to close."""

    def backups(self, observer: Observer) -> Backups:
        assert self._store is not None
        return Backups(self._store, f"{self._settings.db_path}-backup", observer)

    def wal_bytes(self) -> int | None:
        return None if self._store is None else self._store.wal_bytes


class _Postgres:
    """A server's database, that other processes use as well."""

    commits_in_flight = COMMITS_IN_FLIGHT

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listener: PostgresQueue | None = None
        self.existed = True

    def open(self, clock: Clock, observer: Observer) -> tuple[Store, Queue]:
        from hookline.adapters.queues.postgres import PostgresQueue
        from hookline.adapters.stores.postgres import PostgresStore

        def warn(name: str, detail: str) -> None:
            observer.warn(name, detail=detail)

        settings = self._settings
        store = PostgresStore(
            settings.db,
            clock,
            direct=settings.db_direct,
            name=settings.instance,
            unsafe=settings.db_unsafe,
            migrations=settings.migrate == "auto",
            delivers=settings.role != "api",
            warn=warn,
        )
        self._listener = PostgresQueue(settings.db_direct or settings.db, clock, warn=warn)
        return store, queue(settings, clock, observer) if settings.queue else self._listener

    async def check(self, keyring: Keyring) -> None:
        if await _opens_nothing(keyring, self._settings):
            raise SettingsError(_wrong_key(self._settings))

    def on_registry_change(self, changed: Callable[[], None]) -> None:
        assert self._listener is not None
        self._listener.registry_changed = changed
        if self._settings.queue:
            self._listener.listen()  # a broker tells what is due; what changed is told by who has it

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()

    def backups(self, observer: Observer) -> Backups:
        return Backups(None, "", observer, why_not=NO_BACKUP)

    def wal_bytes(self) -> int | None:
        return None


def _require_driver() -> None:
    if importlib.util.find_spec("asyncpg") is None:
        raise SettingsError("HOOKLINE_DB names PostgreSQL, whose driver is not here: pip install 'hookline[postgres]'")


# ------------------------------------------------------------------------------------------------- for commands


def migrations(settings: Settings) -> Sequence[Migration]:
    """Every migration and whether the database has it. Raises `StoreUnavailable`, `SettingsError`."""
    if settings.on_postgres:
        _require_driver()
        from hookline.adapters.stores.postgres import migrate as of_postgres
        from hookline.adapters.stores.postgres.sessions import reader

        return list(_connected(reader, settings.db_direct or settings.db, of_postgres.status))
    from hookline.adapters.stores.sqlite.store import SqliteStore

    return SqliteStore.migrations(str(settings.db_path))


def migrate(settings: Settings) -> Sequence[Migration]:
    """Bring the database up to date; what was done. Raises `StoreUnavailable`, `SettingsError`."""
    if settings.on_postgres:
        _require_driver()
        from hookline.adapters.stores.postgres import migrate as of_postgres
        from hookline.adapters.stores.postgres.sessions import session

        return list(_connected(session, settings.db_direct or settings.db, of_postgres.up))
    from hookline.adapters.stores.sqlite.store import SqliteStore

    return SqliteStore.migrate(str(settings.db_path))


def _connected(
    connect: Callable[[str], Awaitable[asyncpg.Connection[Any]]],
    dsn: str,
    work: Callable[[asyncpg.Connection[Any]], Awaitable[Sequence[Migration]]],
) -> Sequence[Migration]:
    from hookline.adapters.stores.postgres.errors import translate

    async def run() -> Sequence[Migration]:
        connection = await connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=5.0)

    try:
        return asyncio.run(run())
    except Exception as error:
        raise translate(error, begun=False) or error from error


def restore(settings: Settings, file: Path, *, replace: bool) -> Restored:
    """Make the database of a backup. Raises `Refusal`, `StoreUnavailable`: then what was there is as it was."""
    if settings.on_postgres:
        raise Refusal("not_supported", f"{NO_BACKUP}.")
    from hookline.adapters.stores.sqlite.store import SqliteStore

    return SqliteStore.restore(str(file), str(settings.db_path), replace=replace)


def missing_key(settings: Settings) -> str | None:
    """Why a start would refuse the secret key that is set for the database that is there, in a line; None: it would
    not."""
    if not settings.secret_key and not settings.secret_key_path.exists():
        return f"{settings.secret_key_path} is not there: put the one in place that belongs to this database."
    try:
        keyring = Keyring(secret_keys(settings, create=False))
    except SettingsError as error:
        return str(error)
    return _wrong_key(settings) if asyncio.run(_opens_nothing(keyring, settings)) else None


async def _opens_nothing(keyring: Keyring, settings: Settings) -> bool:
    """Whether the database holds secrets of endpoints or sources, and not one of them can be opened."""
    found = False
    async with contextlib.aclosing(_sealed_secrets(settings)) as secrets:
        async for sealed in secrets:
            found = True
            with contextlib.suppress(ValueError):
                keyring.open(sealed)
                return False
    return found


async def _sealed_secrets(settings: Settings) -> AsyncGenerator[bytes, None]:
    if settings.on_postgres:
        from hookline.adapters.stores.postgres.sealed import sealed_secrets as of_postgres

        async with contextlib.aclosing(of_postgres(settings.db)) as secrets:
            async for sealed in secrets:
                yield sealed
        return
    from hookline.adapters.stores.sqlite.sealed import sealed_secrets as of_sqlite

    for sealed in of_sqlite(str(settings.db_path)):
        yield sealed


def _wrong_key(settings: Settings) -> str:
    key = "HOOKLINE_SECRET_KEY" if settings.secret_key else f"{settings.secret_key_path} (HOOKLINE_SECRET_KEY_FILE)"
    where = "the database" if settings.on_postgres else str(settings.db_path)
    return f"{key} opens none of the secrets in {where}: it is another's. Put the key back that sealed them."
