"""A cache on memcached. It has no scripts and tells no time finer than a second: a bucket is charged by compare and
swap, in the wall clock of who charges. Clocks that differ make a bucket unfair between processes, not larger: whoever
is ahead sees it fuller, and what he takes the others see."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import emcache

from hookline.core.quota import charge
from hookline.ports.cache import VALUE_BYTES_MAX, CacheUnavailable, Charge
from hookline.ports.clock import Clock

CONNECTIONS_MAX: Final = 16
ANSWER_S: Final = 1.0
SWAPS_MAX: Final = 16
"""So often a bucket is read again because somebody else charged it meanwhile."""
PORT: Final = 11211
_GONE: Final = "b'NOT_FOUND'"
T = TypeVar("T")
_SILENT: Final = logging.getLogger("emcache")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_ERRORS: Final = (
    OSError,
    TimeoutError,
    emcache.CommandError,
    emcache.ClusterNoAvailableNodes,
    AssertionError,
    RuntimeError,
)
"""What the driver raises; the last two where it is closed, or a connection ends in the middle of an answer."""


class MemcachedCache:
    """`ports.cache.Cache` on one server or several, among which keys are divided."""

    def __init__(self, url: str, clock: Clock) -> None:
        """`url`: `memcached://host:port,host:port`, with `user:password@` before them if need be."""
        self._user, self._password, self._servers = parse(url)
        self._clock = clock
        self._client: emcache.Client | None = None
        self._closed = False

    @property
    def evictions(self) -> int:
        """See `Cache`: the server counts them."""
        return 0

    async def get(self, key: bytes) -> bytes | None:
        """See `Cache`."""
        item = await self._asked(lambda client: client.get(key))
        return None if item is None else bytes(item.value)

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See `Cache`."""
        if len(value) > VALUE_BYTES_MAX:
            await self.delete(key)
            return
        await self._asked(lambda client: client.set(key, value, exptime=math.ceil(ttl_s)))

    async def add(self, key: bytes, value: bytes, ttl_s: float) -> bool:
        """See `Cache`."""
        return len(value) <= VALUE_BYTES_MAX and await self._add(key, value, math.ceil(ttl_s))

    async def delete(self, key: bytes) -> None:
        """See `Cache`."""
        with contextlib.suppress(emcache.NotFoundCommandError):
            await self._asked(lambda client: client.delete(key))

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        """See `Cache`. One that others keep charging meanwhile is given up: `CacheUnavailable`."""
        self._check()
        found: dict[bytes, float] = {}
        left = list(charges)
        for _ in range(SWAPS_MAX):
            if not left:
                break
            left = await self._round(left, found)
        if left:
            raise CacheUnavailable("a bucket is charged by too many at once")
        return [found[one.key] for one in charges]

    async def _round(self, charges: list[Charge], found: dict[bytes, float]) -> list[Charge]:
        """Charge each once; those that somebody else charged meanwhile are left."""
        kept = await self._asked(lambda client: client.gets_many([one.key for one in charges]))
        left = []
        for one in charges:
            item = kept.get(one.key)
            now_ms = float(self._clock.wall_ms())
            tat_ms = charge(0.0 if item is None else _number(item.value), now_ms, one.rate, one.count)
            found[one.key] = ahead_ms = max(0.0, tat_ms - now_ms)
            if not one.count:
                continue
            value, ttl_s = b"%.3f" % tat_ms, math.ceil(ahead_ms / 1000.0) + 1
            if item is None or item.cas is None:
                swapped = await self._add(one.key, value, ttl_s)
            else:
                swapped = await self._swap(one.key, value, item.cas, ttl_s)
            if not swapped:
                left.append(one)
        return left

    async def _add(self, key: bytes, value: bytes, ttl_s: int) -> bool:
        try:
            await self._asked(lambda client: client.add(key, value, exptime=ttl_s))
        except emcache.NotStoredStorageCommandError:
            return False
        return True

    async def _swap(self, key: bytes, value: bytes, cas: int, ttl_s: int) -> bool:
        try:
            await self._asked(lambda client: client.cas(key, value, cas, exptime=ttl_s))
        except (emcache.NotStoredStorageCommandError, emcache.NotFoundCommandError):
            return False
        return True

    async def _asked(self, ask: Callable[[emcache.Client], Awaitable[T]]) -> T:
        """What the driver says. What it says of the key alone is raised as it is."""
        self._check()
        client = self._client
        if client is None:
            client = self._client = await self._made()
        try:
            return await ask(client)
        except (emcache.NotStoredStorageCommandError, emcache.NotFoundCommandError):
            raise
        except emcache.StorageCommandError as error:
            if str(error).endswith(_GONE):
                raise emcache.NotFoundCommandError from None
            raise await self._failed(client, error) from None
        except _ERRORS as error:
            raise await self._failed(client, error) from None
        except asyncio.CancelledError:
            # Whoever asked has waited long enough. What the server is, its next connection will tell.
            await self._drop(client)
            raise

    async def close(self) -> None:
        """See `Cache`."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _check(self) -> None:
        if self._closed:
            raise CacheUnavailable("the cache is closed")

    async def _made(self) -> emcache.Client:
        return await emcache.create_client(
            [emcache.MemcachedHostAddress(host, port) for host, port in self._servers],
            timeout=ANSWER_S,
            connection_timeout=ANSWER_S,
            max_connections=CONNECTIONS_MAX,
            purge_unused_connections_after=None,  # its timer would outlive it
            username=self._user,
            password=self._password,
        )

    async def _failed(self, client: emcache.Client, error: BaseException) -> CacheUnavailable:
        await self._drop(client)
        return CacheUnavailable(f"{type(error).__name__}: {error}"[:200])

    async def _drop(self, client: emcache.Client) -> None:
        """The driver comes back to a server that was away only after up to a minute: a new one comes back at once."""
        if client is self._client:
            self._client = None
            await client.close()


def parse(url: str) -> tuple[str | None, str | None, list[tuple[str, int]]]:
    """User, password and servers. Raises `ValueError`."""
    scheme, _, rest = url.partition("://")
    account, _, hosts = rest.rstrip("/").rpartition("@")
    if scheme != "memcached" or not hosts:
        raise ValueError("memcached://host:port is expected")
    servers = []
    for host in hosts.split(","):
        parts = urllib.parse.urlsplit("//" + host)
        if not parts.hostname or parts.path or parts.query or parts.fragment:
            raise ValueError("memcached://host:port is expected")
        servers.append((parts.hostname, parts.port or PORT))
    user, colon, password = account.partition(":")
    if account and not colon:
        raise ValueError("a user without a password")
    return (urllib.parse.unquote(user) or None, urllib.parse.unquote(password) or None, servers)


def _number(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
