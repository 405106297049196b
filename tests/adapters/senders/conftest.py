"""What the tests of the HTTP sender share: told time, both event loops, and a sender that may reach the loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from hookline.adapters.senders.http import HttpSender
from hookline.core.address import Networks
from hookline.testing.clock import ToldClock
from hookline.testing.receiver import Receiver

LOOPBACK = ("127.0.0.0/8", "::1/128")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test here runs on the loop of the program and on the standard library's; the suite ran there already."""
    if item.path.stem.endswith("_on_uvloop"):
        return {"uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
def clock() -> ToldClock:
    """The sender's time, which moves only when told."""
    return ToldClock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on 127.0.0.1 that answers 200 unless told otherwise."""
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def make_sender(clock: ToldClock) -> AsyncIterator[Callable[..., HttpSender]]:
    """Makes senders that are closed after the test: `allow` are CIDRs, the rest are arguments of `HttpSender`."""
    made = []

    def make(allow: tuple[str, ...] = LOOPBACK, **changes: Any) -> HttpSender:
        sender = HttpSender(Networks(allow), clock, **{"https_only": False, "version": "1.2.3", **changes})
        made.append(sender)
        return sender

    yield make
    for sender in made:
        await sender.close()


@pytest.fixture
def sender(make_sender: Callable[..., HttpSender]) -> HttpSender:
    """A sender that may reach the loopback."""
    return make_sender()


@pytest.fixture
def open_files() -> Callable[[], int]:
    """How many file descriptors this process has."""
    return lambda: len(os.listdir("/proc/self/fd"))  # noqa: PTH208
