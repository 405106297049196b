"""The sender of kind `redis`: each event an entry of a stream (XADD), confirmed by its id.

All messages of a connection go through one pipeline: what waits is sent together, and answered in its order. An entry
has the fields of `core.bindings` and the headers of `adapters.senders.publication`, then `key` where the event has an
ordering key, and `data`, the body. With `replicas` an entry counts as delivered when so many have it too (WAIT); where
they are too slow it is tried again, and may be in the stream twice, with the same webhook-id.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, Final

import redis.exceptions as failures
from redis.asyncio.connection import Connection

from hookline.adapters.senders.broker import BrokerSender, Where, dialing
from hookline.adapters.senders.links import Answer, Link
from hookline.adapters.senders.publication import Publication, Unpublished, lost, said
from hookline.core import bindings, broker
from hookline.core.attempt import Kind
from hookline.core.broker import RedisConfig, login

BATCH_MAX: Final = 256
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024

_Waiting = tuple[Publication, asyncio.Future[Answer]]


class RedisSender(BrokerSender):
    """Delivers to the streams of Redis, Valkey, and what else speaks their protocol. No cluster."""

    broker = broker.REDIS
    binding = bindings.REDIS
    method = "XADD"

    async def open(self, where: Where, deadline_s: float) -> Link:
        """Connect, prove who we are, and choose the database."""
        server = where.url.server
        username, password = login(where.auth)
        sock = await self.dial(where, server, deadline_s)
        connection = _Pinned(
            sock,
            self.context(where.url),
            server.server_name,
            db=int(where.url.path or 0),
            username=username if password else None,
            password=password,
            protocol=2,
            client_name="hookline",
            socket_keepalive=True,
        )
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (failures.AuthenticationError, failures.NoPermissionError) as error:
            raise Unpublished(Kind.RETRY, "unauthorized", said(error)) from None
        except failures.ResponseError as error:
            raise _refused(error) from None
        except (failures.RedisError, OSError) as error:
            cause = error.__cause__ or error.__context__
            if "NOAUTH" in str(error) or "invalid username-password" in str(error):
                raise Unpublished(Kind.RETRY, "unauthorized", said(error)) from None
            known = cause if isinstance(cause, ssl.SSLError | OSError) else error
            raise dialing(known if isinstance(known, OSError) else OSError()) from None
        finally:
            if not connection.is_connected:
                connection.give_up()
        return _Pipeline(connection)


class _Pinned(Connection):  # type: ignore[misc, unused-ignore]
    """A connection on a socket that was dialled for it, once: it never opens another."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, name: str, **options: Any) -> None:
        self._dialled: socket.socket | None = sock
        self._context = context
        self._name = name
        super().__init__(**options)

    async def _connect(self) -> None:
        sock, self._dialled = self._dialled, None
        if sock is None:
            raise failures.ConnectionError("the connection is lost")
        if self._context is None:
            self._reader, self._writer = await asyncio.open_connection(sock=sock)
        else:
            self._reader, self._writer = await asyncio.open_connection(
                sock=sock, ssl=self._context, server_hostname=self._name
            )

    def give_up(self) -> None:
        """Leave nothing open of a connection that was not established."""
        if self._dialled is not None:
            self._dialled.close()
            self._dialled = None
        self._close()  # type: ignore[no-untyped-call]


class _Pipeline(Link):
    """One connection: what waits goes out together, and its answers come back in order."""

    def __init__(self, connection: _Pinned) -> None:
        self._connection = connection
        self._waiting: deque[_Waiting] = deque()
        self._sent: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._ended = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def publish(self, publication: Publication) -> Answer:
        """Returns with the entry's id."""
        if not self.is_open:
            raise lost()
        confirmed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((publication, confirmed))
        self._wanted.set()
        return await confirmed

    @property
    def is_open(self) -> bool:
        """Whether nothing went wrong so far."""
        return not self._ended

    async def close(self) -> None:
        """End it."""
        self._ended = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                while self._waiting:
                    await self._exchange(self._batch())
        except (failures.RedisError, OSError, EOFError):
            pass  # whoever waits is told
        finally:
            self._ended = True
            for _, confirmed in (*self._sent, *self._waiting):
                if not confirmed.done():
                    confirmed.set_exception(lost())
            await self._connection.disconnect(nowait=True)

    def _batch(self) -> list[_Waiting]:
        """What goes out next; those for whom nobody waits any more do not."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MAX and size <= BATCH_BYTES_MAX:
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                batch.append(waiting)
                size += len(waiting[0].body)
        return batch

    async def _exchange(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        connection = self._connection
        commands = [entry(publication) for publication, _ in batch]
        replicas = max(_config(publication).replicas for publication, _ in batch)
        if replicas:
            # Of the time of the most impatient one half, so that the answer is told in time.
            wait_ms = int(min(publication.timeout_s for publication, _ in batch) * 500)
            commands.append(("WAIT", replicas, wait_ms))
        self._sent.extend(batch)
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        answers = [await self._read() for _ in batch]
        reached = await self._read() if replicas else 0
        self._sent.clear()
        for (publication, confirmed), answer in zip(batch, answers, strict=True):
            _tell(publication, confirmed, answer, reached)

    async def _read(self) -> Any:
        """The next answer; an error of the server's is one too."""
        try:
            return await self._connection.read_response()
        except failures.ResponseError as error:
            return error


def _tell(publication: Publication, confirmed: asyncio.Future[Answer], answer: Any, reached: Any) -> None:
    if confirmed.done():
        return
    if isinstance(answer, failures.ResponseError):
        confirmed.set_exception(_refused(answer))
        return
    replicas = _config(publication).replicas
    if replicas and (isinstance(reached, Exception) or reached < replicas):
        had = said(reached) if isinstance(reached, Exception) else f"{reached} of {replicas} replicas had it in time."
        confirmed.set_exception(Unpublished(Kind.RETRY, "timeout", f"The entry was added, but {had}"))
        return
    confirmed.set_result([(b"stream", _config(publication).stream.encode()), (b"id", bytes(answer))])


def entry(publication: Publication) -> tuple[Any, ...]:
    """The XADD of a message."""
    config = _config(publication)
    trim = () if config.maxlen is None else ("MAXLEN", "~", config.maxlen)
    fields: list[Any] = []
    for name, value in publication.headers:
        fields += (name, str(value))
    if publication.key is not None:
        fields += ("key", publication.key)
    return ("XADD", config.stream, *trim, "*", *fields, "data", publication.body)


def _config(publication: Publication) -> RedisConfig:
    assert isinstance(publication.config, RedisConfig)
    return publication.config


def _refused(error: failures.ResponseError) -> Unpublished:
    """What the server's word means."""
    text = said(error)
    if isinstance(error, failures.NoPermissionError | failures.AuthenticationWrongNumberOfArgsError):
        return Unpublished(Kind.RETRY, "unauthorized", text)
    first = text.partition(" ")[0]
    if first in ("WRONGPASS", "NOAUTH", "NOPERM"):
        return Unpublished(Kind.RETRY, "unauthorized", text)
    if first == "WRONGTYPE" or isinstance(error, failures.AskError | failures.MovedError):
        return Unpublished(Kind.RETRY, "unroutable", text)
    if "too large" in text or "invalid bulk length" in text:
        return Unpublished(Kind.REJECTED, "too_large", text)
    return Unpublished(Kind.RETRY, "server_error", text)
