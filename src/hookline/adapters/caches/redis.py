"""A cache on Redis or Valkey. A bucket is charged by a script, in the server's own time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hookline.core.quota import overdrawn_ms_max
from hookline.ports.cache import VALUE_BYTES_MAX, CacheUnavailable, Charge

CONNECTIONS_MAX: Final = 16
SOCKET_S: Final = 1.0
"""How long a connection may be silent that is waited for; whoever asks waits as long as he likes."""
_CHARGE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local found = {}
for i, key in ipairs(KEYS) do
  local interval, most = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1])
  local count = tonumber(ARGV[i * 3])
  local ahead = (tonumber(redis.call('GET', key) or '0') or 0) - now
  ahead = math.min(math.max(ahead, 0), most)
  if count > 0 then
    ahead = math.min(ahead + count * interval, most)
    redis.call('SET', key, string.format('%.3f', now + ahead), 'PX', math.ceil(ahead) + 1)
  end
  found[i] = string.format('%.3f', ahead)
end
return found
"""


class RedisCache:
    """`ports.cache.Cache` on one server; connections are made when they are needed. The script has several keys, so a
    Redis Cluster will not do."""

    def __init__(self, url: str) -> None:
        """`url`: `redis://` or `rediss://`, with user and password if need be, and the number of a database."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=SOCKET_S,
            socket_timeout=SOCKET_S,
            socket_connect_timeout=SOCKET_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client: Redis | None = Redis.from_pool(pool)
        self._charge = self._client.register_script(_CHARGE)

    @property
    def evictions(self) -> int:
        """See `Cache`: the server counts them."""
        return 0

    async def get(self, key: bytes) -> bytes | None:
        """See `Cache`."""
        try:
            found = await self._open().get(key)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None
        return found if isinstance(found, bytes) else None

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See `Cache`."""
        if len(value) > VALUE_BYTES_MAX:
            await self.delete(key)
            return
        try:
            await self._open().set(key, value, px=_ms(ttl_s))
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def add(self, key: bytes, value: bytes, ttl_s: float) -> bool:
        """See `Cache`."""
        if len(value) > VALUE_BYTES_MAX:
            return False
        try:
            return bool(await self._open().set(key, value, px=_ms(ttl_s), nx=True))
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def delete(self, key: bytes) -> None:
        """See `Cache`."""
        try:
            await self._open().delete(key)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None

    async def charge(self, charges: Sequence[Charge]) -> Sequence[float]:
        """See `Cache`."""
        client = self._open()
        if not charges:
            return []
        given: list[Any] = []
        for one in charges:
            given += (one.rate.per_s * 1000.0 / one.rate.n, overdrawn_ms_max(one.rate), one.count)
        try:
            found = await self._charge(keys=[one.key for one in charges], args=given, client=client)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from None
        return [float(ahead_ms) for ahead_ms in found]

    async def close(self) -> None:
        """See `Cache`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> Redis:
        if self._client is None:
            raise CacheUnavailable("the cache is closed")
        return self._client


def _ms(ttl_s: float) -> int:
    return max(1, round(ttl_s * 1000.0))


def _unavailable(error: Exception) -> CacheUnavailable:
    """The message of an error, which may name the server and never has a credential or a value."""
    return CacheUnavailable(f"{type(error).__name__}: {error}"[:200])
