"""The kinds of endpoints besides `http`: which there are, which driver each needs, and when it is loaded.

A driver is imported when the first endpoint of its kind is made or sent to. Where it is not installed, an endpoint of
that kind is refused with the sentence what to install; one that exists already waits, and its attempts say the same.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from hookline.adapters.senders.dial import Dialer
from hookline.core.attempt import Kind, Outcome
from hookline.core.endpoint import Endpoint, EndpointSpec
from hookline.core.errors import Refusal
from hookline.ports.clock import Clock
from hookline.ports.sender import Consent, Done, Sender, SendRequest, VerifyRequest

if TYPE_CHECKING:
    from hookline.adapters.senders.broker import BrokerSender

BROKERS: Final = {
    "redis": ("redis", "RedisSender"),
    "rabbitmq": ("aio_pika", "RabbitmqSender"),
    "nats": ("nats", "NatsSender"),
    "kafka": ("confluent_kafka", "KafkaSender"),
    "mqtt": ("aiomqtt", "MqttSender"),
}
"""The driver's package and the adapter's class, by kind; the kind is the adapter's module and the extra's name."""


def broker_senders(dialer: Dialer, clock: Clock, *, version: str, ca_file: str | None) -> Mapping[str, Sender]:
    """A sender for each kind of broker, none of them loaded yet. `dialer` guards the addresses they connect to."""

    def maker(kind: str, name: str) -> Callable[[], Sender]:
        def make() -> Sender:
            module = importlib.import_module(f"hookline.adapters.senders.{kind}")
            adapter: type[BrokerSender] = getattr(module, name)
            return adapter(dialer, clock, version=version, ca_file=ca_file)

        return make

    return {kind: cast("Sender", OnDemand(kind, driver, maker(kind, name))) for kind, (driver, name) in BROKERS.items()}


class OnDemand:
    """A sender that is made when it is first needed, if its driver is there."""

    def __init__(self, kind: str, driver: str, make: Callable[[], Sender]) -> None:
        self.kind = kind
        self._driver = driver
        self._make = make
        self._made: Sender | None = None

    @property
    def missing(self) -> str | None:
        """What to install; None: the driver is there."""
        if self._made is not None or importlib.util.find_spec(self._driver) is not None:
            return None
        return (
            f'Endpoints of kind {self.kind} need a driver that is not installed: pip install "hookline[{self.kind}]".'
        )

    def _sender(self) -> Sender:
        if self._made is None:
            self._made = self._make()
        return self._made

    async def check(self, spec: EndpointSpec) -> Sequence[str]:
        """As the sender's; `Refusal` `not_supported` where the driver is missing."""
        missing = self.missing
        if missing is not None:
            raise Refusal("not_supported", missing, pointer="/kind")
        return await self._sender().check(spec)

    def destination(self, endpoint: Endpoint) -> str:
        """As the sender's."""
        return self._sender().destination(endpoint) if self.missing is None else endpoint.url

    def start(self, request: SendRequest, done: Done) -> None:
        """As the sender's; an attempt without a driver says what is missing and is tried again."""
        missing = self.missing
        if missing is None:
            self._sender().start(request, done)
        else:
            done([Outcome(Kind.RETRY, "connect", detail=missing) for _ in request.items])

    async def verify(self, request: VerifyRequest) -> Consent:
        """As the sender's."""
        missing = self.missing
        if missing is None:
            return await self._sender().verify(request)
        return Consent(given=False, outcome=Outcome(Kind.RETRY, "connect", detail=missing))

    async def close(self) -> None:
        """As the sender's."""
        if self._made is not None:
            await self._made.close()
