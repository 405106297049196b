"""The sender of kind `nats`: each event published to a subject, confirmed by the JetStream stream that holds it.

`Nats-Msg-Id` is the delivery's id, so that within the stream's duplicate window an event that is sent again after a
lost confirmation is there once. A subject that no stream holds has no one to confirm it: that is said at once, and
tried again. Servers that the first one tells of are not connected to: the address that was checked is the only one.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from typing import Any, Final
from urllib.parse import ParseResult

from nats import errors as failures
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from hookline.adapters.senders.broker import BrokerSender, Where, dialing
from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.links import Answer, Link
from hookline.adapters.senders.publication import Publication, Unpublished, lost, said
from hookline.core import bindings, broker
from hookline.core.attempt import Kind
from hookline.core.broker import NatsConfig, login, placed

PING_S: Final = 20
GREET_S: Final = 10
CLOSE_S: Final = 1.0
_MESSAGE_ID: Final = "Nats-Msg-Id"
_EXPECTED_STREAM: Final = "Nats-Expected-Stream"
_NOT_PERMITTED: Final = re.compile(r"permissions violation for publish to \"?([^\"]+?)\"?$", re.IGNORECASE)
_AUTHORIZATION: Final = ("authorization violation", "authentication", "user authentication", "expired")
_WRONG_STREAM: Final = 10060
_TOO_LARGE: Final = 10054
_UNKNOWN_RESPONDER: Final = 503


class NatsSender(BrokerSender):
    """Delivers to the streams of NATS JetStream."""

    broker = broker.NATS
    binding = bindings.NATS
    method = "PUB"

    async def open(self, where: Where, deadline_s: float) -> Link:
        """Connect and prove who we are."""
        server = where.url.server
        username, password = login(where.auth)
        token = where.auth.token if where.auth is not None else None
        context = self.context(where.url)
        sock = await self.dial(where, server, deadline_s)
        link = _Connected(_Pinned(sock, must_tls=context is not None))
        try:
            await link.client.connect(
                f"{'nats' if context is None else 'tls'}://{_host(server.host)}:{server.port}",
                name="hookline",
                user=username,
                password=password,
                token=token,
                tls=context,
                tls_hostname=server.server_name if context is not None else None,
                allow_reconnect=False,
                connect_timeout=GREET_S,
                ping_interval=PING_S,
                max_outstanding_pings=2,
                error_cb=link.on_error,
                closed_cb=link.on_closed,
                disconnected_cb=link.on_closed,
            )
        except _PlainServer:
            raise DialError("tls", "The server does not speak TLS.") from None
        except (failures.Error, OSError, EOFError, ValueError, AssertionError) as error:
            text = str(error).lower()
            if any(word in text for word in _AUTHORIZATION):
                raise Unpublished(Kind.RETRY, "unauthorized", said(error)) from None
            cause = error.__cause__ or error.__context__
            raise dialing(cause if isinstance(cause, ssl.SSLError) else error) from None
        finally:
            if not link.is_open:
                link.abandon()
                sock.close()
        return link


class _PlainServer(OSError):
    """The server does not speak TLS, where the URL says so."""


class _Pinned(TcpTransport):  # type: ignore[misc, unused-ignore]
    """A connection on a socket that was dialled for it. With `must_tls` nothing is written before TLS is spoken, so
    that a server which does not ask for it gets no credentials."""

    def __init__(self, sock: socket.socket, *, must_tls: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sock = sock
        self._must_tls = must_tls

    def __bool__(self) -> bool:
        return True  # the driver makes one of its own where there is none

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:  # noqa: ARG002
        """On the socket, once: a second time it is closed, and that is an error."""
        reader, writer = await asyncio.open_connection(sock=self._sock, limit=buffer_size)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    async def connect_tls(self, *arguments: Any, **named: Any) -> None:
        """The connection goes on in TLS."""
        await super().connect_tls(*arguments, **named)
        self._must_tls = False

    def abort(self) -> None:
        """Closed, without a word."""
        if self._bare_io_writer is not None:
            self._bare_io_writer.transport.abort()

    def write(self, payload: bytes) -> Any:
        """Written as it is."""
        if self._must_tls:
            raise _PlainServer
        return super().write(payload)  # type: ignore[no-untyped-call]


class _Connected(Link):
    """One connection; every message waits for its own confirmation."""

    def __init__(self, transport: _Pinned) -> None:
        self._transport = transport
        self.client = Client()
        self.client._transport = transport  # noqa: SLF001 - there is no other way to give it a socket
        self._waiting: dict[asyncio.Future[Answer], str] = {}
        """With the subject of each."""

    @property
    def is_open(self) -> bool:
        """Whether the server is still there."""
        return bool(self.client.is_connected)

    async def on_error(self, error: Exception) -> None:
        """The server said something that belongs to no message by itself."""
        found = _NOT_PERMITTED.search(said(error).removesuffix("'").strip())
        for confirmed, subject in list(self._waiting.items()):
            if found is not None and subject.lower() == found[1].lower() and not confirmed.done():
                confirmed.set_exception(Unpublished(Kind.RETRY, "unauthorized", said(error)))

    async def on_closed(self) -> None:
        """The driver leaves those alone who wait."""
        for confirmed in list(self._waiting):
            if not confirmed.done():
                confirmed.set_exception(lost())

    async def publish(self, publication: Publication) -> Answer:
        """Returns with the stream and the sequence in it."""
        config = publication.config
        assert isinstance(config, NatsConfig)
        if not self.is_open:
            raise lost()
        subject = placed(config.subject, publication.event.type)
        confirmed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[confirmed] = subject
        asking = asyncio.get_running_loop().create_task(self._ask(publication, config, subject, confirmed))
        try:
            return await confirmed
        finally:
            del self._waiting[confirmed]
            asking.cancel()

    async def _ask(
        self, publication: Publication, config: NatsConfig, subject: str, confirmed: asyncio.Future[Answer]
    ) -> None:
        headers = {name: str(value) for name, value in publication.headers}
        headers[_MESSAGE_ID] = publication.message_id
        if config.stream is not None:
            headers[_EXPECTED_STREAM] = config.stream
        failure: Unpublished
        try:
            # It is bounded by whoever waits for it.
            reply = await self.client.request(subject, publication.body, timeout=120.0, headers=headers)
            answer = _answer(json.loads(reply.data))
        except Unpublished as refused:
            failure = refused
        except failures.NoRespondersError:
            failure = Unpublished(Kind.RETRY, "unroutable", f"No JetStream stream holds the subject {said(subject)}.")
        except failures.MaxPayloadError:
            failure = Unpublished(
                Kind.REJECTED, "too_large", f"The server takes at most {self.client.max_payload} bytes."
            )
        except (failures.BadSubjectError, failures.BadHeaderError) as error:
            failure = Unpublished(Kind.REJECTED, "rejected", said(error))
        except (failures.Error, OSError, EOFError):
            failure = lost()
        except ValueError:
            failure = Unpublished(Kind.RETRY, "protocol", "What confirmed the message is no JetStream.")
        else:
            if not confirmed.done():
                confirmed.set_result(answer)
            return
        if not confirmed.done():
            confirmed.set_exception(failure)

    def abandon(self) -> None:
        """Leave nothing open of a connection that was not established: nothing of the driver runs yet."""
        self._transport.abort()

    async def close(self) -> None:
        """End it."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()
        finally:
            self._transport.abort()


def _answer(document: Any) -> Answer:
    if not isinstance(document, dict) or ("error" not in document and "stream" not in document):
        raise ValueError
    error = document.get("error")
    if error is None:
        answer = [(b"stream", str(document["stream"]).encode()), (b"sequence", str(document.get("seq", "")).encode())]
        return [*answer, (b"duplicate", b"true")] if document.get("duplicate") else answer
    code, text = error.get("err_code"), said(error.get("description", "refused"))
    if code == _WRONG_STREAM or error.get("code") == 404:
        raise Unpublished(Kind.RETRY, "unroutable", text)
    if code == _TOO_LARGE:
        raise Unpublished(Kind.REJECTED, "too_large", text)
    raise Unpublished(Kind.RETRY, "server_error", text)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
