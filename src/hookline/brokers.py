"""The brokers that sources are consumed from. Each driver is imported when the first source of its kind is opened."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from hookline.adapters.consumers.way import Way
from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.http import HttpSender
from hookline.adapters.senders.tls import client_context
from hookline.core.address import Target
from hookline.core.broker_source import KINDS
from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.ports.consumer import Broker, Consumer, ConsumerLost

_CLASSES: Final = {
    "redis": "RedisBroker",
    "nats": "NatsBroker",
    "rabbitmq": "RabbitmqBroker",
    "kafka": "KafkaBroker",
    "mqtt": "MqttBroker",
}


class _Late:
    """`Broker` that is imported when it is needed."""

    def __init__(self, kind: str, way: Way) -> None:
        self.kind = kind
        self._way = way
        self._broker: Broker | None = None

    async def open(self, source: Source) -> Consumer:
        """`Broker.open`."""
        if self._broker is None:
            try:
                module = importlib.import_module(f"hookline.adapters.consumers.{self.kind}")
            except ImportError as error:
                detail = f"{error.name} is not installed: pip install 'hookline[{self.kind}]'"
                raise ConsumerLost(detail) from None
            self._broker = getattr(module, _CLASSES[self.kind])(self._way)
        assert self._broker is not None
        return await self._broker.open(source)


def judge(http: HttpSender) -> Callable[[Target, str], Awaitable[None]]:
    """Judges where a source that is made or changed would be consumed from, as an endpoint's url is: it raises
    `Refusal` for a host that may not be connected to. A name that does not resolve now is judged when it does."""

    async def check(target: Target, tenant: str) -> None:
        try:
            await http.addresses(target, tenant)
        except DialError as error:
            if error.reason == "address_refused":
                raise Refusal("address_refused", str(error), pointer="/config/url") from None

    return check


def brokers(http: HttpSender, ca_file: str | None, node: str, place: str, *, alone: bool) -> Mapping[str, Broker]:
    """Every kind of broker. `http` judges addresses as it does those of endpoints; `node` tells this process from
    others on the same store, and so does `place`, which is the same after a restart. `alone`: there are no
    others."""

    async def check(target: Target, tenant: str) -> Sequence[str]:
        try:
            return await http.addresses(target, tenant)
        except DialError as error:
            raise ConsumerLost(str(error)) from None

    way = Way(check, client_context(ca_file), ca_file, node, place, alone)
    return {kind: _Late(kind, way) for kind in KINDS}
