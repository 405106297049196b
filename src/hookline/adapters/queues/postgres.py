"""Hints between processes over PostgreSQL's LISTEN and NOTIFY, on a connection of their own.

What is published goes out together, at most every 20 ms, in a statement that does nothing else: inside the transaction
of an accept it would make all commits wait for each other (docs/reliability.md, rule 24). Everybody hears everything,
also himself. While the connection is lost nothing is heard: `hears` says so, and the store is asked more often. So it
is for ever where the address leads to a pooler (PgBouncer), whose sessions are not ours to listen on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from hookline.ports.clock import Clock
from hookline.ports.queue import IDS_PER_MESSAGE_MAX, MESSAGES_BUFFERED_MAX, Message

CHANNEL: Final = "hookline_due"
REGISTRY_CHANNEL: Final = "hookline_registry"
"""Where the store says that the configuration changed."""
EVERY_S: Final = 0.02
ALIVE_EVERY_S: Final = 5.0
CONNECT_S: Final = 5.0
AGAIN_S_MAX: Final = 2.0
_NOTIFY: Final = "SELECT pg_notify($1, said) FROM unnest($2::text[]) AS m (said)"
_LOST: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    EOFError,
)


class PostgresQueue:
    """`ports.queue.Queue` over NOTIFY, bounded at 1,000 messages each way.

    `registry_changed` is called when the configuration may have changed: on the store's word, and after each connect.
    """

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        *,
        registry_changed: Callable[[], None] = lambda: None,
        warn: Callable[[str, str], None] = lambda _name, _detail: None,
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self.registry_changed = registry_changed
        self._warn = warn
        self._going: deque[str] = deque()
        self._coming: asyncio.Queue[Message] = asyncio.Queue(MESSAGES_BUFFERED_MAX)
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hears = False
        self._dropped = 0
        self._closed = False
        self._deaf = False

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """`Queue.publish`; dropped and counted when 1,000 messages wait to be sent, or after `close`."""
        if self._deaf:
            return
        for start in range(0, len(delivery_ids), IDS_PER_MESSAGE_MAX):
            if self._closed or len(self._going) >= MESSAGES_BUFFERED_MAX:
                self._dropped += 1
            else:
                self._going.append(_packed(delivery_ids[start : start + IDS_PER_MESSAGE_MAX]))
        if self._going:
            self._begin()
            self._wanted.set()

    async def receive(self) -> Message:
        """`Queue.receive`."""
        self._begin()
        return await self._coming.get()

    async def acknowledge(self, message: Message) -> None:
        """Nothing to do: a message heard is gone."""

    @property
    def hears(self) -> bool:
        """Whether the connection is there."""
        return self._hears

    @property
    def dropped(self) -> int:
        """How many messages were dropped since the start."""
        return self._dropped

    async def close(self) -> None:
        """`Queue.close`."""
        self._closed = True
        self._going.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="hookline-postgres-queue")

    async def _run(self) -> None:
        """Connected as well as may be, until cancelled."""
        again_s = 0.1
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=CONNECT_S,
                    command_timeout=CONNECT_S,
                    statement_cache_size=0,
                    server_settings={"application_name": "hookline-queue"},
                )
                if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
                    self._stay_deaf()  # who answers is not who was connected to
                    return
                await connection.execute("SELECT set_config('tcp_user_timeout', '10000', false)")
                connection.add_termination_listener(self._lost)
                await connection.add_listener(CHANNEL, self._heard)
                await connection.add_listener(REGISTRY_CHANNEL, self._heard_change)
                self._hears = True
                self.registry_changed()  # what was said until now was not heard
                again_s = 0.1
                await self._say(connection)
            except _LOST as error:
                self._warn("queue_lost", str(error)[:300] or type(error).__name__)
            finally:
                self._hears = False
                if connection is not None:
                    connection.terminate()
            await self._clock.sleep(again_s * (0.5 + self._clock.dice() / 2))
            again_s = min(AGAIN_S_MAX, 2 * again_s)

    def _stay_deaf(self) -> None:
        """What is published from here on is nobody's; who receives waits for ever."""
        self._deaf = True
        self._going.clear()
        self._warn("queue_polls", "HOOKLINE_DB leads to a pooler: HOOKLINE_DB_DIRECT lets processes wake each other")

    async def _say(self, connection: asyncpg.Connection[Any]) -> None:
        """Send what comes, until the connection is lost; ask for a sign of life where nothing comes."""
        while not connection.is_closed():
            self._wanted.clear()
            if self._going:
                messages = list(self._going)
                await connection.execute(_NOTIFY, CHANNEL, messages)
                for _ in messages:
                    self._going.popleft()
                await self._clock.sleep(EVERY_S)
                continue
            try:
                async with asyncio.timeout(ALIVE_EVERY_S):
                    await self._wanted.wait()
            except TimeoutError:
                await connection.execute("SELECT 1")
        raise ConnectionResetError("the connection is lost")

    def _lost(self, _connection: object) -> None:
        self._hears = False
        self._wanted.set()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        message = _unpacked(str(payload))
        if message is not None and not self._coming.full():
            self._coming.put_nowait(message)

    def _heard_change(self, _connection: object, _pid: int, _channel: str, _payload: object) -> None:
        self.registry_changed()


def _packed(given: Sequence[bytes]) -> str:
    """Ids as a payload: of each its length and itself; 256 of the longest stay under the 8,000 bytes allowed."""
    return base64.b64encode(b"".join(bytes((len(one),)) + one for one in given)).decode("ascii")


def _unpacked(payload: str) -> Message | None:
    """The ids of a payload; None for what is none of ours: anybody may say something on a channel."""
    try:
        raw = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return None
    found: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        if end > len(raw):
            return None
        found.append(raw[at + 1 : end])
        at = end
    return Message(tuple(found))
