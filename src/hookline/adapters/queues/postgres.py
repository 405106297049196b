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
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import asyncpg

from hookline.adapters.queues.lasting import for_ever
from hookline.adapters.queues.outgoing import Outgoing
from hookline.adapters.queues.packing import unpacked
from hookline.ports.clock import Clock
from hookline.ports.queue import MESSAGES_BUFFERED_MAX, Message

CHANNEL: Final = "hookline_due"
REGISTRY_CHANNEL: Final = "hookline_registry"
"""Where the store says that the configuration changed."""
EVERY_S: Final = 0.02
ALIVE_EVERY_S: Final = 5.0
CONNECT_S: Final = 5.0
_NOTIFY: Final = "SELECT pg_notify($1, said) FROM unnest($2::text[]) AS m (said)"


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
        self._outgoing = Outgoing()
        self._coming: asyncio.Queue[Message] = asyncio.Queue(MESSAGES_BUFFERED_MAX)
        self._task: asyncio.Task[Any] | None = None
        self._hears = False
        self._closed = False
        self._deaf = False

    def publish(self, delivery_ids: Sequence[bytes]) -> None:
        """`Queue.publish`; dropped and counted when 1,000 messages wait to be sent, or after `close`."""
        if self._deaf:
            return
        self._outgoing.add(delivery_ids)
        if self._outgoing:
            self.listen()

    async def receive(self) -> Message:
        """`Queue.receive`."""
        self.listen()
        return await self._coming.get()

    async def acknowledge(self, message: Message) -> None:
        """Nothing to do: a message heard is gone."""

    def listen(self) -> None:
        """Connect, if that has not begun: for who only wants to hear that the configuration changed."""
        if self._task is None and not self._closed:
            running = for_ever(self._run, self._clock, lambda detail: self._warn("queue_lost", detail))
            self._task = asyncio.get_running_loop().create_task(running, name="hookline-postgres-queue")

    @property
    def hears(self) -> bool:
        """Whether the connection is there."""
        return self._hears

    @property
    def dropped(self) -> int:
        """How many messages were dropped since the start."""
        return self._outgoing.dropped

    async def close(self) -> None:
        """`Queue.close`."""
        self._closed = True
        self._outgoing.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Connect, hear and say, until the connection is lost."""
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_S,
            command_timeout=CONNECT_S,
            statement_cache_size=0,
            server_settings={"application_name": "hookline-queue"},
        )
        try:
            if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
                connection.terminate()  # who answers is not who was connected to: a pooler is between
                await self._stay_deaf()
            await connection.execute("SELECT set_config('tcp_user_timeout', '10000', false)")
            connection.add_termination_listener(self._lost)
            await connection.add_listener(CHANNEL, self._heard)
            await connection.add_listener(REGISTRY_CHANNEL, self._heard_change)
            self._hears = True
            self.registry_changed()  # what was said until now was not heard
            await self._say(connection)
        finally:
            self._hears = False
            connection.terminate()

    async def _stay_deaf(self) -> NoReturn:
        """Until cancelled: what is published is nobody's, and who receives waits."""
        self._deaf = True
        self._outgoing.close()
        self._warn("queue_polls", "HOOKLINE_DB leads to a pooler: HOOKLINE_DB_DIRECT lets processes wake each other")
        while True:
            await asyncio.Event().wait()

    async def _say(self, connection: asyncpg.Connection[Any]) -> None:
        """Send what comes, until the connection is lost; ask for a sign of life where nothing comes."""
        while not connection.is_closed():
            try:
                async with asyncio.timeout(ALIVE_EVERY_S):
                    await self._outgoing.some()
            except TimeoutError:
                await connection.execute("SELECT 1")
                continue
            messages = self._outgoing.take()
            try:
                await connection.execute(_NOTIFY, CHANNEL, [base64.b64encode(one).decode("ascii") for one in messages])
            except BaseException:
                self._outgoing.back(messages)
                raise
            self._outgoing.sent(messages)
            await self._clock.sleep(EVERY_S)
        raise ConnectionResetError("the connection is lost")

    def _lost(self, _connection: object) -> None:
        self._hears = False
        self._outgoing.wake()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            ids = unpacked(base64.b64decode(str(payload), validate=True))
        except (binascii.Error, ValueError):
            return  # anybody may say something on a channel
        if ids is not None and not self._coming.full():
            self._coming.put_nowait(Message(ids))

    def _heard_change(self, _connection: object, _pid: int, _channel: str, _payload: object) -> None:
        self.registry_changed()
