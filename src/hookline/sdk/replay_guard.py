"""Replay guards: what makes a delivery that comes again run its handler once.

    MemoryReplayGuard        one process; forgets when it ends
    RedisReplayGuard         many processes; any client that speaks as redis-py does
    AsyncRedisReplayGuard    the same with redis.asyncio
    SqlReplayGuard           many processes; SQLite or PostgreSQL through any DB-API 2.0 driver
    threaded                 any of the first kind for an event loop, in threads

All are `hookline.sdk.guard.ReplayGuard` (or its async form). A claim that is neither done nor released within `lease_s`
is free again: its process has died. So `lease_s` must be longer than any handler takes. What is done is remembered for
`keep_s`, which must be longer than the sender repeats: Hookline's usual schedule takes 76 h.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from hookline.sdk.guard import AsyncReplayGuard, Claim, ReplayGuard
from hookline.sdk.sql import Connect, Database, Dialect, Transaction, sqlite_file, table_name

__all__ = [
    "KEEP_S",
    "LEASE_S",
    "AsyncRedisReplayGuard",
    "MemoryReplayGuard",
    "RedisReplayGuard",
    "SqlReplayGuard",
    "threaded",
]

KEEP_S: Final = 7 * 86_400.0
LEASE_S: Final = 300.0
ENTRIES_MAX: Final = 100_000
PURGE_EVERY_S: Final = 60.0
PURGE_ROWS_MAX: Final = 1000
KEY_BYTES_MAX: Final = 1024
_TRIES_MAX: Final = 5


def _checked(keep_s: float, lease_s: float) -> None:
    if not (0 < lease_s <= 86_400 and 0 < keep_s <= 3650 * 86_400):
        raise ValueError("lease_s is more than 0 and at most a day, keep_s at most ten years")


def _key(key: str) -> str:
    """The key itself, or, where it is too long or cannot be stored as text, what stands for it."""
    raw = key.encode("utf-8", "surrogatepass")
    if len(raw) <= KEY_BYTES_MAX and key.isprintable():  # no NUL, no lone surrogate
        return key
    import hashlib

    return "sha256:" + hashlib.sha256(raw).hexdigest()


class MemoryReplayGuard:
    """Remembers in this process, at most `entries_max` keys: beyond that the oldest that is done is forgotten.

    Safe for threads; nothing in it waits, so it may be used in an event loop as it is. `begin` raises `OverflowError`
    when all that it remembers is running.
    """

    def __init__(
        self,
        *,
        keep_s: float = KEEP_S,
        lease_s: float = LEASE_S,
        entries_max: int = ENTRIES_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _checked(keep_s, lease_s)
        if entries_max < 1:
            raise ValueError("entries_max is at least 1")
        self._keep_s, self._lease_s, self._entries_max, self._clock = keep_s, lease_s, entries_max, clock
        self._lock = threading.Lock()
        self._running: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Key → fence and end of its lease, in the order of these."""
        self._done: OrderedDict[str, float] = OrderedDict()
        """Key → when it is forgotten, in that order."""
        self._fences = itertools.count(1)

    def begin(self, key: str) -> Claim:
        """See `ReplayGuard`."""
        key = _key(key)
        now_s = self._clock()
        with self._lock:
            self._forget(now_s)
            if key in self._done:
                return Claim(key, "done")
            if key in self._running:
                return Claim(key, "running")
            if len(self._running) + len(self._done) >= self._entries_max:
                if not self._done:
                    raise OverflowError(f"{self._entries_max} deliveries are being handled already")
                self._done.popitem(last=False)
            fence = str(next(self._fences))
            self._running[key] = (fence, now_s + self._lease_s)
            return Claim(key, "first", fence)

    def done(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        with self._lock:
            if self._is_held(claim):
                del self._running[claim.key]
                self._done[claim.key] = self._clock() + self._keep_s

    def release(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        with self._lock:
            if self._is_held(claim):
                del self._running[claim.key]

    def __len__(self) -> int:
        """How many keys it remembers."""
        with self._lock:
            return len(self._running) + len(self._done)

    def _is_held(self, claim: Claim) -> bool:
        return claim.fence != "" and self._running.get(claim.key, ("", 0.0))[0] == claim.fence

    def _forget(self, now_s: float) -> None:
        while self._done and next(iter(self._done.values())) <= now_s:
            self._done.popitem(last=False)
        while self._running and next(iter(self._running.values()))[1] <= now_s:
            self._running.popitem(last=False)


_DONE: Final = "done"
_SET_DONE: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then "
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0"
)
_DELETE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class _InRedis:
    """What both clients of Redis share: names of keys, and what a value means."""

    def __init__(
        self, client: Any, *, keep_s: float = KEEP_S, lease_s: float = LEASE_S, prefix: str = "hookline:replay:"
    ) -> None:
        """`client` has `set(name, value, nx=, px=)`, `get(name)` and `eval(script, n, *keys_and_args)`, as redis-py."""
        _checked(keep_s, lease_s)
        self._client = client
        self._keep_ms, self._lease_ms = max(1, int(keep_s * 1000)), max(1, int(lease_s * 1000))
        self._prefix = prefix

    def _name(self, key: str) -> str:
        return self._prefix + key

    @staticmethod
    def _claim(key: str, value: Any) -> Claim | None:
        """What a value that is there already means; None where it has just gone."""
        if value is None:
            return None
        text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
        return Claim(key, "done" if text == _DONE else "running")


class RedisReplayGuard(_InRedis):
    """Remembers in Redis (or what speaks its protocol), where each key expires by itself.

    It is as safe as that server: what is evicted or lost there is handled again. Every error of the client is raised.
    """

    def begin(self, key: str) -> Claim:
        """See `ReplayGuard`."""
        key = _key(key)
        for _ in range(_TRIES_MAX):
            fence = secrets.token_hex(16)
            if self._client.set(self._name(key), fence, nx=True, px=self._lease_ms):
                return Claim(key, "first", fence)
            found = self._claim(key, self._client.get(self._name(key)))
            if found is not None:
                return found
        return Claim(key, "running")

    def done(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            self._client.eval(_SET_DONE, 1, self._name(claim.key), claim.fence, _DONE, self._keep_ms)

    def release(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            self._client.eval(_DELETE, 1, self._name(claim.key), claim.fence)


class AsyncRedisReplayGuard(_InRedis):
    """The same with an async client, as redis.asyncio."""

    async def begin(self, key: str) -> Claim:
        """See `ReplayGuard`."""
        key = _key(key)
        for _ in range(_TRIES_MAX):
            fence = secrets.token_hex(16)
            if await self._client.set(self._name(key), fence, nx=True, px=self._lease_ms):
                return Claim(key, "first", fence)
            found = self._claim(key, await self._client.get(self._name(key)))
            if found is not None:
                return found
        return Claim(key, "running")

    async def done(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            await self._client.eval(_SET_DONE, 1, self._name(claim.key), claim.fence, _DONE, self._keep_ms)

    async def release(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            await self._client.eval(_DELETE, 1, self._name(claim.key), claim.fence)


class SqlReplayGuard:
    """Remembers in a table: of a SQLite file, or of the application's own database.

    `where` is the file's path, or a function that makes a DB-API 2.0 connection (`lambda: psycopg.connect(DSN)`), which
    belongs to the guard from then on. The table is made on first use; with `create` False it must be there (`schema`
    has the statement). Each call is one transaction. Times are of this machine's clock: those of several machines may
    differ by less than `lease_s`. Every error of the driver is raised.
    """

    def __init__(
        self,
        where: str | Connect,
        *,
        keep_s: float = KEEP_S,
        lease_s: float = LEASE_S,
        table: str = "hookline_replay",
        paramstyle: str | None = None,
        dialect: Dialect | None = None,
        create: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _checked(keep_s, lease_s)
        self._database = (
            Database(where, paramstyle=paramstyle, dialect=dialect) if callable(where) else sqlite_file(where)
        )
        self._table = table_name(table)
        self._keep_s, self._lease_s, self._clock = keep_s, lease_s, clock
        self._there = not create
        self._purge_at_s = 0.0

    @property
    def schema(self) -> tuple[str, ...]:
        """The statements that make the table, the same for both databases."""
        index = self._table.replace(".", "_")
        return (
            f"""CREATE TABLE IF NOT EXISTS {self._table}
            (key TEXT PRIMARY KEY, state TEXT NOT NULL, fence TEXT NOT NULL, expires_at DOUBLE PRECISION NOT NULL)""",
            f"CREATE INDEX IF NOT EXISTS {index}_expires_at ON {self._table} (expires_at)",
        )

    def begin(self, key: str) -> Claim:
        """See `ReplayGuard`."""
        key, fence, now_s = _key(key), secrets.token_hex(16), self._clock()
        self._make()
        self._purge(now_s)
        return self._database.run(lambda transaction: self._begin(transaction, key, fence, now_s))

    def done(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            statement = f"UPDATE {self._table} SET state = 'done', expires_at = ? WHERE key = ? AND fence = ?"  # noqa: S608
            until_s = self._clock() + self._keep_s
            self._database.run(lambda t: t.execute(statement, until_s, claim.key, claim.fence))

    def release(self, claim: Claim) -> None:
        """See `ReplayGuard`."""
        if claim.fence:
            statement = f"DELETE FROM {self._table} WHERE key = ? AND fence = ? AND state = 'running'"  # noqa: S608
            self._database.run(lambda t: t.execute(statement, claim.key, claim.fence))

    def close(self) -> None:
        """Close the connections that are idle."""
        self._database.close()

    def _begin(self, transaction: Transaction, key: str, fence: str, now_s: float) -> Claim:
        for _ in range(_TRIES_MAX):
            taken = transaction.execute(
                f"INSERT INTO {self._table} (key, state, fence, expires_at) VALUES (?, 'running', ?, ?)"  # noqa: S608
                " ON CONFLICT (key) DO UPDATE SET state = 'running', fence = excluded.fence,"
                f" expires_at = excluded.expires_at WHERE {self._table}.expires_at <= ?",
                key,
                fence,
                now_s + self._lease_s,
                now_s,
            )
            if taken == 1:
                return Claim(key, "first", fence)
            found = transaction.rows(f"SELECT state FROM {self._table} WHERE key = ?", key)  # noqa: S608
            if found:
                return Claim(key, "done" if found[0][0] == "done" else "running")
        return Claim(key, "running")

    def _make(self) -> None:
        if self._there:
            return
        for last in (False, True):
            try:
                self._database.run(lambda t: [t.execute(statement) for statement in self.schema])
            except Exception:
                # Two that make it at once: the other one has it by now.
                if last:
                    raise
            else:
                break
        self._there = True

    def _purge(self, now_s: float) -> None:
        """Now and then, a limited number of what is over."""
        if now_s < self._purge_at_s:
            return
        self._purge_at_s = now_s + PURGE_EVERY_S
        statement = (
            f"DELETE FROM {self._table} WHERE key IN"  # noqa: S608
            f" (SELECT key FROM {self._table} WHERE expires_at <= ? ORDER BY expires_at LIMIT {PURGE_ROWS_MAX})"
        )
        while self._database.run(lambda t: t.execute(statement, now_s)) == PURGE_ROWS_MAX:
            pass


class _Threaded:
    """A guard that waits, for an event loop."""

    def __init__(self, guard: ReplayGuard) -> None:
        self._guard = guard

    async def begin(self, key: str) -> Claim:
        """See `AsyncReplayGuard`."""
        return await asyncio.to_thread(self._guard.begin, key)

    async def done(self, claim: Claim) -> None:
        """See `AsyncReplayGuard`."""
        await asyncio.to_thread(self._guard.done, claim)

    async def release(self, claim: Claim) -> None:
        """See `AsyncReplayGuard`."""
        await asyncio.to_thread(self._guard.release, claim)


def threaded(guard: ReplayGuard) -> AsyncReplayGuard:
    """The guard for an event loop: each call runs in a thread, so that the loop does not wait for Redis or SQL."""
    return _Threaded(guard)
