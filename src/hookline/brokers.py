"""The brokers that sources are consumed from. Each driver is imported when the first source of its kind is opened."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hookline.adapters.consumers.way import Way
from hookline.adapters.senders.dial import DialError
from hookline.adapters.senders.http import HttpSender
from hookline.adapters.senders.tls import client_context
from hookline.core.address import Target
from hookline.core.broker_source import KINDS
from hookline.core.errors import Refusal
from hookline.core.source import Source
from hookline.ports.clock import Clock
from hookline.ports.consumer import Broker, Consumer, ConsumerLost

ONLY_NODE: Final = "1"
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


class Brokers:
    """Every kind of broker, connected to through the guard of endpoints."""

    def __init__(self, http: HttpSender, ca_file: Path | None, clock: Clock, node: str | None) -> None:
        """`http` judges addresses as it does those of endpoints. `node` tells this process from others on the same
        machine and the same store, and is the same after a restart; None: there are no others anywhere."""
        self._http = http
        trusted = None if ca_file is None else str(ca_file)
        if node is None:
            way = Way(self._check, client_context(trusted), trusted, ONLY_NODE, ONLY_NODE, alone=True)
        else:
            place = f"{socket.gethostname()}-{node}"
            way = Way(self._check, client_context(trusted), trusted, clock.random_bytes(6).hex(), place, alone=False)
        self.kinds: Mapping[str, Broker] = {kind: _Late(kind, way) for kind in KINDS}

    async def judge(self, target: Target, tenant: str) -> None:
        """Judge where a source that is made or changed would be consumed from. Raises `Refusal` for a host that may
        not be connected to; a name that does not resolve now is judged when it does."""
        try:
            await self._http.addresses(target, tenant)
        except DialError as error:
            if error.reason == "address_refused":
                raise Refusal("address_refused", str(error), pointer="/config/url") from None

    async def _check(self, target: Target, tenant: str) -> Sequence[str]:
        try:
            return await self._http.addresses(target, tenant)
        except DialError as error:
            raise ConsumerLost(str(error)) from None
