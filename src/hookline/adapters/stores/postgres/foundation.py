"""What every part of the PostgreSQL store stands on: the pool, its statements and transactions, beginning and end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from hookline.adapters.stores.postgres import instances, migrate, partitions, sessions
from hookline.adapters.stores.postgres.clock import ServerClock
from hookline.adapters.stores.postgres.errors import AGAIN, NO_PARTITION, TakenForDead, translate
from hookline.adapters.stores.postgres.sessions import CONNECT_S, STATEMENT_S, Way
from hookline.adapters.stores.postgres.transaction import Transaction
from hookline.core import ids
from hookline.core.errors import StoreUnavailable
from hookline.ports.clock import Clock

T = TypeVar("T")

CONNECTIONS_MAX: Final = 8
TRIES: Final = 5
"""Of a statement that was the victim of a deadlock."""
_NOW: Final = "SELECT hl_now($1)"
_LIMIT: Final = f"SELECT {sessions.LIMIT}"
_BEGIN: Final = f"SELECT hl_now($1), {sessions.LIMIT}"


class PostgresBase:
    """`ports.store.Store` on a PostgreSQL database that any number of processes share.

    `name` tells which process this is over its restarts: a start under a name ends the earlier process of that name,
    which cannot live any more; '' is nobody's. `told`: `clock` is the time, the server's does not count (for tests).
    `unsafe` accepts a server that does not flush. `migrations`: apply what is missing at the start. `delivers` False:
    this process only accepts and serves, the others need not count with it. `direct` is the address of PostgreSQL
    itself where `dsn` is that of a pooler; without it nothing that needs a session of its own is done.
    """

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        *,
        direct: str = "",
        name: str = "",
        told: bool = False,
        unsafe: bool = False,
        migrations: bool = True,
        delivers: bool = True,
        connections_max: int = CONNECTIONS_MAX,
        warn: Callable[[str, str], None] = lambda _name, _detail: None,
    ) -> None:
        self.dsn = dsn
        self._direct = direct
        self._way = Way(pooled=False, keeps_statements=True)
        self._own_clock = clock
        self.clock = ServerClock(clock, told=told)
        self._name = name
        self._unsafe = unsafe
        self._migrations = migrations
        self._delivers = delivers
        self._connections_max = connections_max
        self._warn = warn
        self._pool: asyncpg.Pool[Any] | None = None
        self._watch = instances.Watch(clock)
        self._beating: asyncio.Task[None] | None = None
        self._entering = asyncio.Lock()
        self.instance = 0

    # ------------------------------------------------------------------------------------ beginning and end

    async def start(self) -> None:
        """`Store.start`."""
        try:
            self._way = await self._migrated()
            self._pool = await asyncpg.create_pool(
                self.dsn,
                min_size=1,
                max_size=self._connections_max,
                timeout=CONNECT_S,
                command_timeout=STATEMENT_S,
                max_inactive_connection_lifetime=300.0,
                init=self._prepare,
                reset=_as_it_is,
                **self._way.options(),
            )
        except Exception as error:
            raise self._told(error) from error
        try:
            async with self._pool.acquire() as connection:
                await self._begin(connection)
        except Exception as error:
            await self._close()
            raise self._told(error) from error
        if self._way.pooled and not self._way.keeps_statements:
            self._warn("pooler_forgets_statements", "PgBouncer 1.21 or newer with max_prepared_statements keeps them")
        self._beating = asyncio.get_running_loop().create_task(self._beats(), name="hookline-postgres-beat")

    async def _migrated(self) -> Way:
        """Look how the database is reached, and bring its schema up to date, where that is wanted."""
        way, connection = await sessions.look(self.dsn)
        try:
            if self._direct:
                connection.terminate()
                connection = await sessions.session(self._direct)
            if self._migrations:
                if way.pooled and not self._direct:
                    raise StoreUnavailable(sessions.NEEDS_DIRECT)
                await migrate.up(connection)
        finally:
            connection.terminate()
        return way

    async def _prepare(self, connection: asyncpg.Connection[Any]) -> None:
        """Durability is checked at each connect, not assumed (docs/reliability.md, rule 25)."""
        asked_s = self._own_clock.monotonic_s()
        found = await connection.fetchrow(
            "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'"
            " AND current_setting('synchronous_commit') <> 'off' AS durable,"
            " pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' AS read_only,"
            " (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms"
        )
        assert found is not None
        if found["read_only"]:
            raise StoreUnavailable("PostgreSQL is read-only: this is a standby, or it is set so")
        if not found["durable"] and not self._unsafe:
            raise StoreUnavailable(
                "PostgreSQL does not flush what it commits (fsync, full_page_writes or synchronous_commit is off);"
                " HOOKLINE_DB_UNSAFE=1 accepts that"
            )
        self.clock.heard(found["now_ms"], asked_s)

    async def _begin(self, connection: asyncpg.Connection[Any]) -> None:
        if not all(migration.applied for migration in await migrate.status(connection)):
            raise StoreUnavailable("the database lacks migrations: `hookline migrate up`")
        today = partitions.day_of(self.now_ms())
        await partitions.make(connection, range(today - 1, today + 1 + partitions.AHEAD))
        self.instance = await instances.enter(connection, self._name, delivers=self._delivers)

    @property
    def _session_dsn(self) -> str:
        """Where sessions of our own are to be had; empty: nowhere."""
        return self._direct or ("" if self._way.pooled else self.dsn)

    async def stop(self) -> None:
        """`Store.stop`. Stopping twice does nothing."""
        if self._pool is None:
            return
        if self._beating is not None:
            self._beating.cancel()
        try:
            await self._rows("DELETE FROM instances WHERE id = $1", self.instance)
        except StoreUnavailable:  # then the others find out that it is gone
            pass
        await self._close()

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT_S)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    async def check(self) -> str | None:
        """`Store.check`."""
        try:
            found = await self._rows("SELECT pg_is_in_recovery()")
        except StoreUnavailable as error:
            return str(error)
        return "PostgreSQL is read-only" if found[0][0] else None

    async def _beats(self) -> None:
        """Say that this process lives, and keep the ranges of history ahead of time."""
        made = partitions.day_of(self.now_ms())
        while True:
            await self._own_clock.sleep(instances.BEAT_S)
            try:
                alive = await self._rows(instances.BEAT, self.instance)
                if not alive:
                    await self._enter_again(self.instance)
                today = partitions.day_of(self.now_ms())
                if today != made:
                    await self._make(range(today, today + 1 + partitions.AHEAD))
                    made = today
            except StoreUnavailable as error:
                self._warn("store_beat_failed", str(error))

    async def _enter_again(self, lost: int) -> None:
        """Somebody took this process, as number `lost`, for dead, and its leases back: it goes on as another one."""

        async def work(connection: asyncpg.Connection[Any]) -> tuple[int, bool]:
            return await instances.enter_again(connection, self._name, delivers=self._delivers)

        async with self._entering:
            if self.instance != lost:
                return  # it is another one already
            self.instance, taken = await self._run(work)
        self._warn("store_instance_lost", f"it was number {lost} and is {self.instance}")
        if taken:
            self._warn("instance_name_taken", f"another process has the name {self._name}: HOOKLINE_INSTANCE")

    async def _leasing(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, which may lease something: once more, as another process, if this one counts as dead."""
        number = self.instance
        try:
            return await work()
        except TakenForDead:
            await self._enter_again(number)
            return await work()

    async def _make(self, days: Sequence[int]) -> None:
        await self._run(lambda connection: partitions.make(connection, days))

    def now_ms(self) -> int:
        """`Deliveries.now_ms`."""
        return self.clock.now_ms()

    # ------------------------------------------------------------------------------------------- statements

    def _connection(self) -> Any:
        if self._pool is None:
            raise StoreUnavailable("the store is not started", code="draining")
        return self._pool.acquire(timeout=CONNECT_S)

    async def _rows(self, sql: str, *values: Any, days: Sequence[bytes] = ()) -> list[Any]:
        """The rows of one statement. `days`: ids of what it stores, should its range of history not be there yet."""

        async def work(connection: asyncpg.Connection[Any]) -> list[Any]:
            found: list[Any] = await connection.fetch(sql, *values)
            return found

        return await self._run(work, days)

    async def _one(self, sql: str, *values: Any, days: Sequence[bytes] = ()) -> Any:
        """The one row of one statement."""
        return (await self._rows(sql, *values, days=days))[0]

    async def _write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `work` makes of one transaction, once it is durable."""

        async def run(connection: asyncpg.Connection[Any]) -> T:
            async with connection.transaction():
                now_ms = await connection.fetchval(_BEGIN if self._way.pooled else _NOW, self.clock.told())
                transaction = Transaction(connection, now_ms)
                result = await work(transaction)
                await transaction.finish()
            return result

        return await self._run(run)

    async def _read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `work` reads, in one snapshot."""

        async def run(connection: asyncpg.Connection[Any]) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if self._way.pooled:
                    await connection.execute(_LIMIT)
                return await work(Transaction(connection, self.now_ms()))

        return await self._run(run)

    async def _run(self, work: Callable[[Any], Awaitable[T]], days: Sequence[bytes] = ()) -> T:
        for attempt in range(TRIES):
            begun = False
            try:
                async with self._connection() as connection:
                    begun = True
                    try:
                        return await work(connection)
                    except asyncpg.InternalClientError:
                        connection.terminate()  # nobody knows what state it is in
                        raise
                    except (asyncpg.DataError, ValueError, OverflowError, TypeError):
                        # A value that the driver cannot encode: it had begun the statement, and did not end it.
                        await connection.execute("SELECT 1")
                        raise
            except asyncpg.PostgresError as error:
                if error.sqlstate == NO_PARTITION and attempt == 0 and "partition" in str(error):
                    await self._missing(days)
                    continue
                if error.sqlstate in AGAIN and attempt + 1 < TRIES:
                    await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311  # nothing is guessed by it
                    continue
                raise self._told(error, begun=begun) from error
            except Exception as error:
                raise self._told(error, begun=begun) from error
        raise StoreUnavailable("PostgreSQL: this statement is the victim of deadlocks again and again")

    async def _in_session(self, work: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
        """What `work` does on a session of its own, that no limit of time ends: for what is seldom."""
        try:
            session = await sessions.session(self._session_dsn)
            try:
                return await work(session)
            finally:
                session.terminate()
        except Exception as error:
            raise self._told(error) from error

    async def _missing(self, stored: Sequence[bytes]) -> None:
        """Make the ranges of what could not be stored."""
        days = {partitions.day_of(ids.time_ms(identifier)) for identifier in stored}
        days.add(partitions.day_of(self.now_ms()))
        async with self._connection() as connection:
            await partitions.make(connection, sorted(days))

    @staticmethod
    def _told(error: BaseException, *, begun: bool = False) -> BaseException:
        return translate(error, begun=begun) or error


async def _as_it_is(_connection: asyncpg.Connection[Any]) -> None:
    """A connection goes back to the pool: nothing of ours outlives a transaction, and the driver's own statement that
    forgets sessions' state would double the number of statements."""
