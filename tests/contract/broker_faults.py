"""A real broker that the suites may harm, with queues on it that count how often they connect and what they warn of."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hookline.adapters.clock import SystemClock
from hookline.adapters.queues.broker import KEPT_MESSAGES_MAX, Broker, BrokerQueue, Inlet, Outlet
from hookline.core.broker_address import BrokerAddress, parse_broker_address
from hookline.ports.queue import Queue
from hookline.testing.queue_contract import delivery_ids
from hookline.testing.queue_failures import Server

_NUMBERS: Final = itertools.count(1)


def own_address(url: str) -> BrokerAddress:
    """An address with a name that no other test has."""
    return parse_broker_address(f"{url}?name=test-{next(_NUMBERS)}")


@asynccontextmanager
async def queue_over(broker: Broker) -> AsyncIterator[BrokerQueue]:
    """One process's queue, closed in the end."""
    made = BrokerQueue(broker, SystemClock())
    yield made
    await made.close()


async def warned(broker: Broker, within_s: float) -> str:
    """What is said of a broker that does not take a message."""
    said: list[str] = []
    queue = BrokerQueue(broker, SystemClock(), lambda name, detail: said.append(f"{name} {detail}"))
    queue.publish(delivery_ids(1))
    async with asyncio.timeout(within_s):
        while not said:
            await asyncio.sleep(0.02)
    await queue.close()
    return " ".join(said)


class Counted:
    """A broker that counts who begins to connect."""

    def __init__(self, broker: Broker, counting: BrokerFaults) -> None:
        self._broker = broker
        self._counting = counting

    async def outlet(self) -> Outlet:
        """`Broker.outlet`."""
        self._counting.connects += 1
        return await self._broker.outlet()

    async def inlet(self) -> Inlet:
        """`Broker.inlet`."""
        self._counting.connects += 1
        return await self._broker.inlet()


class BrokerFaults:
    """What `testing.queue_failures.Faults` has for all brokers; a subclass adds what can be done to its own."""

    kept_max = KEPT_MESSAGES_MAX

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self.address = own_address(url)
        self.connects = 0
        self.warnings: list[tuple[float, str]] = []

    def broker(self) -> Broker:
        """One more process's way to connect."""
        raise NotImplementedError

    def queue(self) -> Queue:
        """`Faults.queue`."""
        return BrokerQueue(Counted(self.broker(), self), SystemClock(), self._warn)

    def _warn(self, name: str, _detail: str) -> None:
        self.warnings.append((time.monotonic(), name))
