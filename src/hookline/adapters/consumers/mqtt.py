"""MQTT 5: a topic filter, subscribed with QoS 1 in a session that outlives the connection; shared where several
processes consume.

A message is acknowledged (PUBACK) when it is durable, not when it came; until then the broker keeps it in the session
and sends it again when the session goes on. It has no coordinates of its own: its packet number is one of 65,535 that
are used again and again.

The driver is paho, which works in a thread of its own; what it says is passed on to the loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from hookline.adapters.consumers.holding import Holding
from hookline.adapters.consumers.way import CONNECT_S_MAX, Way, read_config, scope
from hookline.core.address import Target
from hookline.core.bindings import Value
from hookline.core.broker_source import MqttConfig
from hookline.core.source import Source
from hookline.ports.consumer import Consumer, ConsumerLost, Message

GROUP: Final = "hookline"
KEEPALIVE_S: Final = 10
SESSION_S: Final = 7 * 86_400
"""A broker keeps a session so long after its connection ended."""
IN_FLIGHT_MAX: Final = 64
"""A broker sends no more before the first of them are acknowledged."""
PACKET_BYTES_MAX: Final = 2 * 1024 * 1024
JOIN_S_MAX: Final = 10.0


class MqttBroker:
    """`Broker` for topics."""

    kind = "mqtt"

    def __init__(self, way: Way) -> None:
        self._way = way

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`."""
        config, hosts = read_config(source)
        address, target = (await self._way.hosts(source, hosts))[0]
        group = config.group or (None if self._way.alone else GROUP)
        topic = config.topic if group is None else f"$share/{group}/{config.topic}"
        # A session keeps its subscriptions: another topic is another session.
        name = config.client_id or f"hookline-{source.id.hex()[:16]}"
        identifier = f"{name}-{scope(config.url, topic)}-{self._way.place}"
        consumer = MqttConsumer(config, topic, identifier, asyncio.get_running_loop())
        try:
            await consumer.join(address, target, self._way.context if hosts.tls else None)
        except BaseException:
            await consumer.close()
            raise
        return consumer


class _Pinned(Client):
    """Connects to an address in numbers; the name stays what a certificate must be of."""

    pinned: tuple[str, int] = ("", 0)

    def _create_socket_connection(self) -> socket.socket:
        return socket.create_connection(self.pinned, timeout=CONNECT_S_MAX)


class MqttConsumer:
    """`Consumer` of one subscription."""

    def __init__(self, config: MqttConfig, topic: str, identifier: str, loop: asyncio.AbstractEventLoop) -> None:
        self._filter = topic
        self._loop = loop
        self._held = Holding()
        self._joined: asyncio.Future[None] = loop.create_future()
        self._closed = False
        client = self._client = _Pinned(
            CallbackAPIVersion.VERSION2,
            client_id=identifier,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if config.username is not None:
            client.username_pw_set(config.username, config.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect

    async def join(self, address: str, target: Target, context: ssl.SSLContext | None) -> None:
        """Connect and subscribe. Raises `ConsumerLost`."""
        self._client.pinned = (address, target.port)
        if context is not None:
            self._client.tls_set_context(context)
        try:
            async with asyncio.timeout(JOIN_S_MAX):
                await asyncio.to_thread(self._connect, target)
                await self._joined
        except TimeoutError:
            raise ConsumerLost("The broker did not answer in time.") from None
        except (OSError, ValueError) as error:
            raise ConsumerLost(f"The connection could not be established: {type(error).__name__}.") from None

    def _connect(self, target: Target) -> None:
        """In a thread: it waits for the network."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = IN_FLIGHT_MAX
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        self._client.connect(target.server_name, target.port, KEEPALIVE_S, clean_start=False, properties=properties)
        self._client.loop_start()

    # ------------------------------------------------------------------------------- in the thread of the driver

    def _soon(self, call: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            pass  # the loop is closed: nobody waits

    def _on_connect(self, client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        if reason.is_failure:
            self._soon(self._fail, f"The broker refused the connection: {reason}.")
            return
        options = SubscribeOptions(qos=1)
        client.subscribe(self._filter, options=options)

    def _on_subscribe(self, _client: Client, _data: object, _mid: int, reasons: list[Any], _more: object) -> None:
        refused = next((reason for reason in reasons if reason.is_failure), None)
        if refused is not None:
            self._soon(self._fail, f"The broker refused the subscription: {refused}.")
        else:
            self._soon(self._subscribed)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._soon(self._came, message)

    def _on_disconnect(self, _client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self._soon(self._fail, f"The connection was closed: {reason}.")

    # ---------------------------------------------------------------------------------------------- in the loop

    def _subscribed(self) -> None:
        if not self._joined.done():
            self._joined.set_result(None)

    def _fail(self, why: str) -> None:
        failed = ConsumerLost(why)
        if not self._joined.done():
            self._joined.set_exception(failed)
        self._held.fail(failed)

    def _came(self, message: MQTTMessage) -> None:
        self._held.add([_message(message)])

    async def receive(self) -> Sequence[Message]:
        """`Consumer.receive`."""
        return await self._held.wait()

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """`Consumer.acknowledge`."""
        if self._held.lost is not None:
            raise self._held.lost
        for message in messages:
            mid, qos = cast("tuple[int, int]", message.token)
            if qos and self._client.ack(mid, qos) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise ConsumerLost("The connection was closed.")

    async def close(self) -> None:
        """`Consumer.close`: the session stays."""
        if self._closed:
            return
        self._closed = True
        if self._joined.done() and not self._joined.cancelled():
            self._joined.exception()
        # In a thread of its own: the driver waits for its thread, which may wait for the network.
        threading.Thread(target=self._end, name="hookline-mqtt-end", daemon=True).start()

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _message(message: MQTTMessage) -> Message:
    had: Any = message.properties
    properties: dict[str, Value] = dict(getattr(had, "UserProperty", []))
    correlation = getattr(had, "CorrelationData", None)
    if correlation:
        properties["mqtt-correlation-data"] = bytes(correlation)
    return Message(
        body=bytes(message.payload),
        properties=properties,
        content_type=getattr(had, "ContentType", None) or None,
        topic=message.topic,
        token=(message.mid, message.qos),
    )
