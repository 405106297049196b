"""The sender of kind `mqtt`: each event published with QoS 1 by MQTT 5, confirmed by PUBACK.

The headers of a message are user properties. A broker that says that nobody subscribed (reason 0x10) has thrown the
message away, unless it is retained: that is no delivery, and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hookline.adapters.senders.broker import BrokerSender, Where, dialing
from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.links import Answer, Link
from hookline.adapters.senders.publication import Publication, Unpublished, lost, said
from hookline.core import bindings, broker
from hookline.core.attempt import Kind
from hookline.core.broker import MqttConfig, login, placed

KEEP_ALIVE_S: Final = 20
QOS: Final = 1
ENVELOPE_BYTES: Final = 16 * 1024
"""What a message may have besides its body, where the broker bounds packets."""
CHUNK_BYTES: Final = 64 * 1024
NO_SUBSCRIBERS: Final = 0x10
_UNAUTHORIZED: Final = frozenset({0x86, 0x87, 0x8C})
_TOO_LARGE: Final = frozenset({0x95})
_REJECTED: Final = frozenset({0x90, 0x99})
_NO_CHARACTER: Final = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr((n << 16) + 0xFFFE) + "-" + chr((n << 16) + 0xFFFF) for n in range(17)) + "]"
)
"""What brokers refuse as a malformed packet, with the whole connection."""

_LOG: Final = logging.getLogger("hookline.mqtt")
_LOG.setLevel(60)  # above every level: what goes wrong is in the attempts


class MqttSender(BrokerSender):
    """Delivers to the topics of MQTT 5."""

    broker = broker.MQTT
    binding = bindings.MQTT
    method = "PUBLISH"

    async def open(self, where: Where, deadline_s: float) -> Link:
        """Connect and prove who we are."""
        server = where.url.server
        username, password = login(where.auth)
        context = self.context(where.url)
        sock = await self.dial(where, server, deadline_s)
        pump: asyncio.Task[None] | None = None
        if context is not None:
            sock, pump = await _in_tls(sock, context, server.server_name)
        link = _Connected(sock, pump, username, password)
        try:
            await link.client.__aenter__()
        except aiomqtt.MqttCodeError as error:
            raise _refused(error) from None
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            raise dialing(error if isinstance(error, OSError) else OSError()) from None
        finally:
            if not link.is_open:
                await link.close()
                sock.close()
        return link


async def _in_tls(sock: socket.socket, context: ssl.SSLContext, name: str) -> tuple[socket.socket, asyncio.Task[None]]:
    """A socket whose other end goes on in TLS: the driver's own would hold a thread up."""
    try:
        far_reader, far_writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
    except (ssl.SSLError, OSError) as error:
        sock.close()
        raise dialing(error) from None
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)

    async def pump() -> None:
        ways = [
            asyncio.ensure_future(_pass(reader, far_writer)),
            asyncio.ensure_future(_pass(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()
            writer.close()

    return ours, asyncio.get_running_loop().create_task(pump())


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


class _Connected(Link):
    """One connection; every message waits for its own PUBACK."""

    def __init__(
        self, sock: socket.socket, pump: asyncio.Task[None] | None, username: str | None, password: str | None
    ) -> None:
        self.client = aiomqtt.Client(
            "broker",  # a name for the driver's log: the socket is there
            username=username,
            password=password,
            logger=_LOG,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=KEEP_ALIVE_S,
            timeout=10.0,
        )
        self._pump = pump
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._packet_bytes_max: int | None = None
        self._loop = asyncio.get_running_loop()
        # The driver neither takes a socket nor tells what PUBACK said: both by the client that it wraps.
        paho: Any = self.client._client  # noqa: SLF001
        paho._create_socket_connection = lambda: sock  # noqa: SLF001
        connected = paho.on_connect

        def on_connect(*arguments: Any) -> None:
            self._told(arguments[-1])
            connected(*arguments)

        paho.on_connect = on_connect
        paho.on_publish = self._confirmed
        self._paho = paho
        self.client._disconnected.add_done_callback(self._lost)  # noqa: SLF001

    @property
    def is_open(self) -> bool:
        """Whether the broker is still there."""
        return bool(self._paho.is_connected()) and not self.client._disconnected.done()  # noqa: SLF001

    async def publish(self, publication: Publication) -> Answer:
        """Returns when the broker has it."""
        config = publication.config
        assert isinstance(config, MqttConfig)
        if not self.is_open:
            raise lost()
        properties = _properties(publication)
        most = self._packet_bytes_max
        head: bytes = properties.pack()  # type: ignore[no-untyped-call]
        if most is not None and len(publication.body) + len(head) + len(config.topic) + 16 > most:
            raise Unpublished(Kind.REJECTED, "too_large", f"The broker takes packets of at most {most} bytes.")
        topic = placed(config.topic, publication.event.type)
        try:
            info = self._paho.publish(topic, publication.body, QOS, config.retain, properties)
        except ValueError as error:
            raise Unpublished(Kind.REJECTED, "rejected", said(error)) from None
        if info.rc != MQTT_ERR_SUCCESS:
            raise lost()
        confirmed = self._waiting[info.mid] = self._loop.create_future()
        try:
            reason = await confirmed
        finally:
            if self._waiting.get(info.mid) is confirmed:
                del self._waiting[info.mid]
        if reason.value == NO_SUBSCRIBERS and config.retain:
            reason.value = 0
        if reason.value:
            raise _unconfirmed(reason, topic)
        return [(b"topic", topic.encode())]

    def _told(self, properties: Any) -> None:
        """What CONNACK says of packets."""
        self._packet_bytes_max = getattr(properties, "MaximumPacketSize", None)

    def _confirmed(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        confirmed = self._waiting.get(mid)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(reason)

    def _lost(self, disconnected: asyncio.Future[None]) -> None:
        if not disconnected.cancelled():
            disconnected.exception()  # looked at
        for confirmed in list(self._waiting.values()):
            if not confirmed.done():
                confirmed.set_exception(lost())

    async def close(self) -> None:
        """End it."""
        with contextlib.suppress(aiomqtt.MqttError, OSError):
            async with asyncio.timeout(1.0):
                await self.client.__aexit__(None, None, None)
        self._paho.loop_misc()
        if not self.client._disconnected.done():  # noqa: SLF001
            self.client._disconnected.set_result(None)  # noqa: SLF001
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)


def _properties(publication: Publication) -> Properties:
    """The content type and the headers. Raises `Unpublished` for what no broker takes."""
    pairs = [(name, str(value)) for name, value in publication.headers]
    for name, value in (*pairs, ("content-type", publication.content_type)):
        if _NO_CHARACTER.search(value) or len(value.encode()) > 65_535:
            detail = f"MQTT cannot carry the property {said(name)!r}: it has a code point that is no character."
            raise Unpublished(Kind.REJECTED, "rejected", detail)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = publication.content_type
    properties.UserProperty = pairs
    return properties


def _unconfirmed(reason: Any, topic: str) -> Unpublished:
    code, text = reason.value, f"The broker answered {reason.getName()!r} to topic {said(topic)}."
    if code == NO_SUBSCRIBERS:
        return Unpublished(Kind.RETRY, "unroutable", f"Nobody subscribed to the topic {said(topic)}.")
    if code in _UNAUTHORIZED:
        return Unpublished(Kind.RETRY, "unauthorized", text)
    if code in _TOO_LARGE:
        return Unpublished(Kind.REJECTED, "too_large", text)
    if code in _REJECTED:
        return Unpublished(Kind.REJECTED, "rejected", text)
    return Unpublished(Kind.RETRY, "server_error", text)


def _refused(error: aiomqtt.MqttCodeError) -> Exception:
    """What CONNACK said."""
    value = getattr(error.rc, "value", error.rc)
    if value in _UNAUTHORIZED or value in (4, 5):
        return Unpublished(Kind.RETRY, "unauthorized", "The broker did not accept the credentials.")
    if value == 0x84:
        return DialError("protocol", "The broker does not speak MQTT 5.")
    return Unpublished(Kind.RETRY, "server_error", said(error))
