"""What the tests of the senders of brokers share: a dialer that may reach the loopback, and servers that only listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hookline.adapters.clock import SystemClock
from hookline.adapters.senders.broker import BrokerSender
from hookline.adapters.senders.http import HttpSender
from hookline.core.address import Networks
from hookline.core.attempt import Outcome
from hookline.core.endpoint import AuthSpec, Endpoint
from hookline.testing.coroutine_sender import sent
from hookline.testing.sender_contract import check_outcome, request

PASSWORD = "swordfish-4711"


@asynccontextmanager
async def sending(make: type[BrokerSender], *, allow: tuple[str, ...] = ("127.0.0.0/8",), **options: Any) -> AsyncIterator:
    """A sender of one kind with a guard of its own."""
    clock = SystemClock()
    http = HttpSender(Networks(allow), clock, https_only=False, version="1.2.3")
    sender = make(http.dialer, clock, version="1.2.3", **options)
    yield sender
    await sender.close()
    await http.close()


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of somebody who takes connections and never says a word."""
    open_connections: list[asyncio.StreamWriter] = []

    async def taken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.append(writer)

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in open_connections:
        writer.close()


async def one(sender: BrokerSender, endpoint: Endpoint, *events: Any) -> Outcome:
    """What becomes of one event."""
    (outcome,) = await sent(sender, request(endpoint, *events))
    check_outcome(outcome)
    return outcome


def basic(username: str = "", password: str = PASSWORD) -> AuthSpec:
    """User name and password."""
    return AuthSpec("basic", username=username, password=password)
