"""The sender of kind `rabbitmq`: each event a persistent, mandatory message, confirmed by the broker.

Delivered means that every queue it was routed to has it (publisher confirms); a message that no queue takes comes back
(mandatory) and is tried again. A queue is reached by its name on the default exchange. Nothing is declared here: what
does not exist is said to be missing. Each exchange has a channel of its own, because a fault at one closes the channel.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from typing import Any, Final

import aiormq
from aiormq import exceptions as failures
from aiormq.abc import AbstractChannel
from aiormq.connection import Connection, TransportFactory
from pamqp import commands
from yarl import URL

from hookline.adapters.senders.broker import BrokerSender, Where, dialing
from hookline.adapters.senders.links import Answer, Link
from hookline.adapters.senders.publication import Publication, Unpublished, lost, said
from hookline.core import bindings, broker
from hookline.core.attempt import Kind
from hookline.core.broker import RabbitmqConfig, login, placed

HEARTBEAT_S: Final = 20
CHANNELS_MAX: Final = 64
PERSISTENT: Final = 2
_LARGER: Final = re.compile(r"size ([0-9]+) (?:is )?larger than (?:configured )?max size ([0-9]+)")

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what goes wrong is in the attempts


class RabbitmqSender(BrokerSender):
    """Delivers to the queues and exchanges of RabbitMQ, by AMQP 0-9-1."""

    broker = broker.RABBITMQ
    binding = bindings.AMQP
    method = "PUBLISH"

    async def open(self, where: Where, deadline_s: float) -> Link:
        """Connect, prove who we are, and open the virtual host."""
        server = where.url.server
        username, password = login(where.auth)
        context = self.context(where.url)
        sock = await self.dial(where, server, deadline_s)
        address = URL.build(
            scheme="amqp" if context is None else "amqps",
            host=server.host,
            port=server.port,
            user=username or "guest",
            password=password or "guest",
            query={"heartbeat": str(HEARTBEAT_S), "name": "hookline"},
        )
        connection = Connection(
            address,
            context=context,
            transport_factory=_Pinned(sock, context, server.server_name),
            client_properties={"connection_name": "hookline", "product": "Hookline", "version": self.version},
        )
        connection.vhost = where.url.path or "/"
        try:
            await connection.connect()
        except failures.ProbableAuthenticationError as error:
            raise Unpublished(Kind.RETRY, "unauthorized", said(error)) from None
        except (failures.ConnectionClosed, failures.InvalidFrameError) as error:
            raise _refused_connection(error) from None
        except (failures.AMQPError, OSError, EOFError) as error:
            cause = error.__cause__ or error.__context__
            raise dialing(cause if isinstance(cause, ssl.SSLError) else error) from None
        finally:
            if not connection.is_opened:
                sock.close()
        return _Connected(connection)


class _Pinned(TransportFactory):
    """Hands the driver a socket that was dialled for it: it opens none itself."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None, name: str) -> None:
        self._sock = sock
        self._context = context
        self._name = name

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ARG002
        """The streams of the socket."""
        if self._context is None:
            return await asyncio.open_connection(sock=self._sock)
        return await asyncio.open_connection(sock=self._sock, ssl=self._context, server_hostname=self._name)


class _Connected(Link):
    """One connection, with a channel for each exchange that is published to."""

    def __init__(self, connection: aiormq.abc.AbstractConnection) -> None:
        self._connection = connection
        self._channels: dict[str, AbstractChannel] = {}
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the broker is still there."""
        return bool(self._connection.is_opened)

    async def publish(self, publication: Publication) -> Answer:
        """Returns when the broker has confirmed it."""
        config = publication.config
        assert isinstance(config, RabbitmqConfig)
        exchange = config.exchange or ""
        key = config.queue
        if key is None:
            template = config.routing_key if config.routing_key is not None else broker.TYPE_PLACE
            key = placed(template, publication.event.type)
        properties = commands.Basic.Properties(
            content_type=publication.content_type,
            headers=dict(publication.headers),
            delivery_mode=PERSISTENT if config.persistent else 1,
            message_id=publication.message_id,
            app_id="hookline",
        )
        try:
            channel = await self._channel(exchange)
            await channel.basic_publish(
                publication.body, exchange=exchange, routing_key=key, properties=properties, mandatory=True
            )
        except (failures.AMQPError, failures.ChannelInvalidStateError, OSError, EOFError) as error:
            raise _unpublished(error, exchange, key, len(publication.body)) from None
        except ValueError as error:  # a routing key or property that AMQP cannot carry
            raise Unpublished(Kind.REJECTED, "rejected", said(error)) from None
        return [(b"exchange", exchange.encode()), (b"routing-key", key.encode())]

    async def _channel(self, exchange: str) -> AbstractChannel:
        channel = self._channels.get(exchange)
        if channel is not None and not channel.is_closed:
            return channel
        async with self._opening:
            channel = self._channels.get(exchange)
            if channel is None or channel.is_closed:
                self._channels.pop(exchange, None)
                if len(self._channels) >= CHANNELS_MAX:
                    await self._channels.pop(next(iter(self._channels))).close()
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channels[exchange] = channel
        return channel

    async def close(self) -> None:
        """End it."""
        await self._connection.close()


def _unpublished(error: Exception, exchange: str, key: str, size: int) -> Unpublished:
    """What became of a message, in the words of an attempt."""
    match error:
        case failures.PublishError():
            return Unpublished(
                Kind.RETRY, "unroutable", f"No queue takes it: exchange {exchange!r}, key {said(key)!r}."
            )
        case failures.DeliveryError():
            return Unpublished(
                Kind.RETRY, "server_error", "The broker refused it (nack): a queue is full, or not there."
            )
        case failures.ChannelNotFoundEntity():
            return Unpublished(Kind.RETRY, "unroutable", said(error))
        case failures.ChannelAccessRefused():
            return Unpublished(Kind.RETRY, "unauthorized", said(error))
        case failures.ChannelPreconditionFailed():
            found = _LARGER.search(str(error))
            # All messages of the channel are told; only those that are too large are meant.
            if found is not None and size > int(found[2]):
                return Unpublished(Kind.REJECTED, "too_large", said(error))
            return lost("The broker closed the channel before it confirmed the message.")
        case _:
            return lost()


def _refused_connection(error: Exception) -> Exception:
    """Why the broker closed a connection that was just made."""
    text = said(error)
    if isinstance(error, failures.InvalidFrameError):
        # The driver keeps to itself what the broker said of its answer to Connection.Open.
        if "Connection.Close" not in text:
            return dialing(error)
        detail = "The broker did not open the virtual host: it is not there, or this user may not use it."
        return Unpublished(Kind.RETRY, "unroutable", detail)
    if "refused" in text.lower() or "not allowed" in text.lower():
        return Unpublished(Kind.RETRY, "unauthorized", text)
    return Unpublished(Kind.RETRY, "server_error", text)
