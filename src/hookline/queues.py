"""What HOOKLINE_QUEUE names: a broker for hints between processes. Each adapter is imported when it is chosen.

require     refuse to start without the driver
queue       the queue, not connected: a broker that is away at the start is no reason not to start
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hookline.adapters.queues.broker import Broker, BrokerQueue
from hookline.adapters.queues.tls import tls_context
from hookline.core.broker_address import BrokerAddress, parse_broker_address
from hookline.ports.clock import Clock
from hookline.ports.observer import Observer
from hookline.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class Kind:
    """One broker: its name for people, what has to be installed, and how its adapter is made."""

    name: str
    driver: str
    extra: str
    make: Callable[[BrokerAddress], Broker]


def _redis(address: BrokerAddress) -> Broker:
    from hookline.adapters.queues.redis import RedisBroker

    return RedisBroker(address)


def _nats(address: BrokerAddress) -> Broker:
    from hookline.adapters.queues.nats import NatsBroker

    return NatsBroker(address)


def _rabbitmq(address: BrokerAddress) -> Broker:
    from hookline.adapters.queues.rabbitmq import RabbitBroker

    return RabbitBroker(address)


def _kafka(address: BrokerAddress) -> Broker:
    from hookline.adapters.queues.kafka import KafkaBroker

    return KafkaBroker(address)


KINDS: Final[Mapping[str, Kind]] = {
    "redis": Kind("Redis", "redis", "redis", _redis),
    "nats": Kind("NATS", "nats", "nats", _nats),
    "rabbitmq": Kind("RabbitMQ", "aio_pika", "rabbitmq", _rabbitmq),
    "kafka": Kind("Kafka", "confluent_kafka", "kafka", _kafka),
}
"""By the kind of a scheme (`core.broker_address.SCHEMES`)."""


def require(settings: Settings) -> None:
    """Raise `SettingsError` where HOOKLINE_QUEUE names a broker whose driver is not here, or a file that is not."""
    if not settings.queue:
        return
    address = parse_broker_address(settings.queue)
    kind = KINDS[address.kind]
    if importlib.util.find_spec(kind.driver) is None:
        raise SettingsError(
            f"HOOKLINE_QUEUE names {kind.name}, whose driver is not here: pip install 'hookline[{kind.extra}]'"
        )
    try:
        tls_context(address)
    except OSError as error:
        raise SettingsError(f"HOOKLINE_QUEUE: ca_file cannot be used: {error.strerror or error}") from None


def queue(settings: Settings, clock: Clock, observer: Observer) -> BrokerQueue:
    """The queue over the broker that HOOKLINE_QUEUE names."""
    address = parse_broker_address(settings.queue)

    def warn(name: str, detail: str) -> None:
        observer.warn(name, broker=str(address), detail=address.hide(detail))

    return BrokerQueue(KINDS[address.kind].make(address), clock, warn)
