"""The broker in memory, which the tests of the flow consume from, keeps the promise of a real one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hookline.core.source import Source
from hookline.testing.consumer_contract import TestConsumer, consuming
from hookline.testing.memory_broker import MemoryBroker

__all__ = ["TestConsumer"]


class MemoryBench:
    """`Bench` in memory."""

    has_coordinates = True
    keeps_over_restart = True
    settles_s = 0.2

    def __init__(self) -> None:
        self.broker = self.other = MemoryBroker()
        self._numbers = itertools.count(1)

    async def source(self, *, shared: bool = False, **config: Any) -> Source:
        number = next(self._numbers)
        return consuming("redis", number, url="redis://127.0.0.1", stream=f"s-{number}", **config)

    async def publish(self, source: Source, bodies: Sequence[bytes], properties: Mapping[str, str]) -> None:
        for body in bodies:
            await self.broker.publish(source.config["stream"], body, properties)

    async def kill(self) -> None:
        await self.broker.set_away(True)

    async def start(self) -> None:
        await self.broker.set_away(False)


@pytest.fixture
def bench() -> MemoryBench:
    """A broker of its own."""
    return MemoryBench()
