"""The sender of kind `kafka`: each event a record of a topic, confirmed by all replicas in sync.

An idempotent producer with acks=all; the record's key is the event's ordering key, so that one key is one partition
(by the partitioner of the Java client). The driver is librdkafka, which opens its sockets itself: it reaches the
cluster through `kafka_relay`, and so through the guard. Each connection has a thread in which the driver's events are
waited for.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from hookline.adapters.senders.broker import BrokerSender, Where, dialing
from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.kafka_relay import Relay, Streams
from hookline.adapters.senders.links import Answer, Link
from hookline.adapters.senders.publication import Publication, Unpublished, lost, said
from hookline.core import bindings, broker
from hookline.core.address import Target
from hookline.core.attempt import Kind
from hookline.core.broker import KafkaConfig, login

CONNECTIONS_MAX: Final = 32
"""Each is some threads."""
POLL_S: Final = 0.1
ASK_S: Final = 0.5
QUIET: Final = 60
"""Above every level of logging: what goes wrong is in the attempts."""

_LOG: Final = logging.getLogger("hookline.kafka")
_LOG.setLevel(QUIET)

SETTINGS: Final = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "linger.ms": 2,
    "message.max.bytes": 16 * 1024 * 1024,
    "message.timeout.ms": 30_000,
    "topic.metadata.propagation.max.ms": 1000,
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 10_000,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 256 * 1024,
    "broker.address.family": "v4",
    "enable.metrics.push": False,
    "client.id": "hookline",
    "log_level": 0,
}

_UNAUTHORIZED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - its public name
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_UNROUTABLE: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_REJECTED: Final = frozenset({KafkaError.INVALID_RECORD, KafkaError.TOPIC_EXCEPTION, KafkaError.POLICY_VIOLATION})
_LOST: Final = frozenset(
    {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._TRANSPORT, KafkaError._DESTROY}  # noqa: SLF001
)


class KafkaSender(BrokerSender):
    """Delivers to the topics of Kafka, and what else speaks its protocol."""

    broker = broker.KAFKA
    binding = bindings.KAFKA
    method = "PRODUCE"
    connections = CONNECTIONS_MAX

    def sharing(self, where: Where) -> str:
        """How the credentials are proven belongs to the connection."""
        assert isinstance(where.config, KafkaConfig)
        return where.config.sasl

    async def open(self, where: Where, deadline_s: float) -> Link:  # noqa: ARG002 - who waits ends it
        """Start a producer, and wait until the cluster has told it of itself."""
        relay = Relay(where.url.servers, partial(self._streams, where))
        link = _Producing(relay, {**SETTINGS, **_security(where), "bootstrap.servers": await relay.start()})
        try:
            await link.greeted()
        except BaseException:
            await asyncio.shield(link.close())
            raise
        return link

    async def _streams(self, where: Where, server: Target) -> Streams:
        """A connection to one of the cluster's servers."""
        context = self.context(where.url)
        sock = await self.dial(where, server, self._monotonic_s() + 10.0)
        try:
            if context is None:
                return await asyncio.open_connection(sock=sock)
            return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=server.server_name)
        except (ssl.SSLError, OSError) as error:
            sock.close()
            raise dialing(error) from None


def _security(where: Where) -> dict[str, str]:
    username, password = login(where.auth)
    if username is None and password is None:
        return {}
    assert isinstance(where.config, KafkaConfig)
    return {
        "security.protocol": "sasl_plaintext",  # up to the relay; beyond it TLS where asked for
        "sasl.mechanism": where.config.sasl.upper(),
        "sasl.username": username or "",
        "sasl.password": password or "",
    }


class _Producing(Link):
    """One producer and its thread."""

    def __init__(self, relay: Relay, settings: dict[str, Any]) -> None:
        self._relay = relay
        relay.refused = self._give_up
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._producer: Producer | None = None
        self._open = True
        self._unauthorized: str | None = None
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._waiting: set[asyncio.Future[Answer]] = set()
        # A daemon: a driver that hangs does not keep the program from ending.
        threading.Thread(target=self._run, name="hookline-kafka", daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Until it is closed, or the driver gives up; lost connections are its own business."""
        return self._open

    async def greeted(self) -> None:
        """The cluster is there. Raises `DialError`, `Unpublished` as soon as it is known that it is not."""
        while not self._greeted.done():
            await asyncio.wait({self._greeted}, timeout=POLL_S)
            if self._greeted.done():
                break
            if self._unauthorized is not None:
                raise Unpublished(Kind.RETRY, "unauthorized", self._unauthorized)
            if self._relay.failure is not None or not self._open:
                failure = self._relay.failure or self._relay.latest_failure
                raise failure or DialError("connect", "The cluster closed the connection.")
        await self._greeted

    async def publish(self, publication: Publication) -> Answer:
        """Returns with the partition and the offset in it."""
        producer, config = self._producer, publication.config
        assert isinstance(config, KafkaConfig)
        if producer is None or not self._open:
            raise self._lost()
        confirmed: asyncio.Future[Answer] = self._loop.create_future()
        body: bytes | None = publication.body
        if not body and any(name == "ce_specversion" for name, _ in publication.headers):
            body = None  # an event without data is a record without a value (Kafka binding, 3.2.2)
        try:
            producer.produce(
                config.topic,
                value=body,
                key=None if publication.key is None else publication.key.encode(),
                headers=[(name, str(value).encode()) for name, value in publication.headers],
                on_delivery=partial(self._delivered, confirmed),
            )
        except KafkaException as error:
            raise _unpublished(error.args[0]) from None
        except BufferError:
            raise Unpublished(Kind.RETRY, "server_error", "Too much waits for the cluster already.") from None
        self._waiting.add(confirmed)
        try:
            return await confirmed
        except Unpublished as error:
            raise (self._lost() if error.reason == "connect" else error) from None
        finally:
            self._waiting.discard(confirmed)

    def _give_up(self) -> None:
        """The guard does not let the driver go where the cluster sends it: it would try for ever."""
        self._open = False

    def _lost(self) -> Unpublished:
        """With the guard's reason, where it has one."""
        refused = self._relay.latest_failure
        return lost() if refused is None else Unpublished(Kind.RETRY, refused.reason, str(refused))

    async def close(self) -> None:
        """End it: what is not confirmed is not known to have arrived."""
        self._open = False
        await asyncio.wait({self._finished}, timeout=2.0)
        for confirmed in list(self._waiting):
            _settle(confirmed, lost())
        await self._relay.close()

    # ------------------------------------------------------------------------------------------- in its thread

    def _run(self) -> None:
        try:
            producer = Producer({**self._settings, "error_cb": self._failed}, logger=_LOG)
        except KafkaException as error:
            self._tell(_fail, self._greeted, DialError("protocol", said(error)))
            self._tell(_finish, self._finished)
            return
        while self._open and not self._asked(producer):
            pass
        while self._open:
            producer.poll(POLL_S)
        producer.purge()
        producer.flush(1.0)
        self._producer = None
        del producer
        self._tell(_finish, self._finished)

    def _asked(self, producer: Producer) -> bool:
        producer.poll(0)
        try:
            producer.list_topics(timeout=ASK_S)
        except KafkaException:
            return False
        self._producer = producer
        self._tell(_finish, self._greeted)
        return True

    def _failed(self, error: KafkaError) -> None:
        """What the driver says of its connections; it goes on trying, but for these."""
        if error.code() in _UNAUTHORIZED:
            self._unauthorized = said(error.str())
        if error.fatal() or (self._producer is not None and error.code() == KafkaError._ALL_BROKERS_DOWN):  # noqa: SLF001
            self._open = False  # what waits is told at once; the next message has a new producer

    def _delivered(self, confirmed: asyncio.Future[Answer], error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._tell(_settle, confirmed, _unpublished(error))
            return
        answer = [
            (b"topic", (message.topic() or "").encode()),
            (b"partition", str(message.partition()).encode()),
            (b"offset", str(message.offset()).encode()),
        ]
        self._tell(_settle, confirmed, answer)

    def _tell(self, tell: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, *arguments)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for this


def _settle(confirmed: asyncio.Future[Answer], result: Answer | Unpublished) -> None:
    if confirmed.done():
        return
    if isinstance(result, Unpublished):
        confirmed.set_exception(result)
    else:
        confirmed.set_result(result)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _unpublished(error: KafkaError) -> Unpublished:
    """What became of a message, in the words of an attempt."""
    code, text = error.code(), said(error.str())
    if code in _UNAUTHORIZED:
        return Unpublished(Kind.RETRY, "unauthorized", text)
    if code in _UNROUTABLE:
        return Unpublished(Kind.RETRY, "unroutable", text)
    if code in _TOO_LARGE:
        return Unpublished(Kind.REJECTED, "too_large", text)
    if code in _REJECTED:
        return Unpublished(Kind.REJECTED, "rejected", text)
    if code in _LOST:
        return lost()
    if code == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001
        return Unpublished(Kind.RETRY, "timeout", "The cluster did not confirm the record in time.")
    return Unpublished(Kind.RETRY, "server_error", text)
